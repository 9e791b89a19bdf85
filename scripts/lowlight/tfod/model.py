"""The one door to TFOD 2: what the scripts need of `object_detection`, on today's TensorFlow.

It takes about five seconds to import. What only training needs of TFOD is in `training`; no other
package imports `object_detection`.
"""

import difflib
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pool, text_format
from object_detection import exporter_lib_v2
from object_detection.builders import model_builder, optimizer_builder
from object_detection.core.model import DetectionModel
from object_detection.protos import pipeline_pb2, train_pb2
from object_detection.utils import config_util

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file
from lowlight.core.tensorflow import plain_message
from lowlight.tfod import fast

PipelineConfig = pipeline_pb2.TrainEvalPipelineConfig
CHECKPOINT_V2 = train_pb2.CheckpointVersion.V2

# TFOD sets Keras's learning phase as Keras 2 once wanted it; it works, and warns at each trace.
warnings.filterwarnings("ignore", message=r".*set_learning_phase. is deprecated")


def read_config(path: Path | str) -> PipelineConfig:
    """Reads a pipeline config (protobuf text).

    Raises:
        DataError: no such file, or not a pipeline config; the message names line and column, and
            for an unknown name the known one that is nearest.
    """
    data = existing_file(path, "Check --pipeline_config_path.").read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not a text file in UTF-8 ({error}).\n"
            "  Save it as UTF-8; configs/ holds configs that work."
        ) from error
    try:
        # Sample configs of TFOD hold extensions that only Google has; `check_config` sees the rest.
        return text_format.Parse(text, PipelineConfig(), allow_unknown_extension=True)
    except text_format.ParseError as error:
        place = f"{path}:{error.GetLine() or 1}:{error.GetColumn() or 1}"
        detail = str(error).split(" : ", 1)[-1].strip("'")
        detail = re.sub(r"^.*': (?=Enum type)", "", detail)  # the line once more
        raise DataError(
            f"{place}: {detail}{_nearest_name(detail)}\n"
            "  Correct the config, with plain quotes and / in paths; configs/ holds one that works."
        ) from error


def _nearest_name(detail):
    """Returns " The nearest is ..." for a parse error that is about an unknown name, else ""."""
    found = re.match(r'(Message|Enum) type "([\w.]+)" has no (?:field|value) named "?(\w+)', detail)
    if not found:
        return ""
    pool = descriptor_pool.Default()
    if found[1] == "Message":
        names = pool.FindMessageTypeByName(found[2]).fields_by_name
    else:
        names = pool.FindEnumTypeByName(found[2]).values_by_name
    near = difflib.get_close_matches(found[3], list(names), 1)
    return f" The nearest is {near[0]}." if near else ""


def build_model(config: PipelineConfig, is_training: bool = False) -> DetectionModel:
    """Returns the Keras detection model of a pipeline config, with its layers not yet built."""
    tf.keras.backend.reset_uids()  # so that names don't depend on the models that were built before
    return model_builder.build(config.model, is_training=is_training)


def detection_module(
    config: PipelineConfig, checkpoint: Path | str, raw_weights: bool = False
) -> tf.Module:
    """Returns TFOD's inference module with the weights of a checkpoint, given by its prefix.

    They are their moving averages where eval_config.use_moving_averages says so, unless the raw
    ones are asked for.

    Its `__call__` has one signature, uint8 [1, H, W, 3] RGB, and returns a dict of float32 tensors:
    detection_boxes [1, N, 4] unit yxyx, detection_classes [1, N] from 1, detection_scores [1, N],
    num_detections [1] and the raw ones.

    Raises:
        DataError: the checkpoint is damaged, or of another model than the config's.
    """
    tf.keras.backend.set_learning_phase(False)  # training, in the same process, sets it to True
    model = build_model(config)
    module = exporter_lib_v2.DETECTION_MODULE_MAP["image_tensor"](model)
    trace = tf.autograph.experimental.do_not_convert(module.__call__.get_concrete_function)
    trace()  # makes the variables
    restore_weights(model, config, checkpoint, raw_weights)
    return module


def restore_weights(
    model: DetectionModel, config: PipelineConfig, checkpoint: Path | str, raw_weights: bool = False
) -> None:
    """Gives a config's model, whose variables are made, a checkpoint's weights.

    Averages, `raw_weights` and errors are as in `detection_module`.
    """
    try:
        status = tf.train.Checkpoint(model=model).restore(str(checkpoint)).expect_partial()
        status.assert_existing_objects_matched()
    except (tf.errors.OpError, IndexError, RuntimeError) as error:
        raise DataError(
            f"{checkpoint}: damaged ({plain_message(error)}).\n"
            "  Take another checkpoint, or train or fetch it again."
        ) from error
    except (AssertionError, ValueError) as error:
        raise DataError(
            f"{checkpoint}: holds another model than its config describes.\n"
            "  Check that the folder's pipeline.config is the one it was trained with."
        ) from error
    if config.eval_config.use_moving_averages and not raw_weights:
        _take_averages(model, config, checkpoint)


def _take_averages(model, config, checkpoint):
    """Gives a model the moving averages of its weights that a training kept, as TFOD scores it."""
    settings = config.train_config.optimizer
    if not settings.use_moving_average:
        raise DataError(
            f"{checkpoint}: eval_config asks for moving averages (use_moving_averages: true), but "
            "the training kept none.\n  Set it to false, or train with use_moving_average: true."
        )
    names = tf.train.load_checkpoint(str(checkpoint)).get_variable_to_shape_map()
    if not any("/.OPTIMIZER_SLOT/optimizer/average/" in name for name in names):
        raise DataError(
            f"{checkpoint}: eval_config asks for moving averages (use_moving_averages: true), but "
            "the checkpoint holds none.\n  Give --raw_weights, or set it to false."
        )
    optimizer, _ = optimizer_builder.build(settings, global_step=tf.Variable(0, dtype=tf.int64))
    optimizer.shadow_copy(model)
    both = tf.train.Checkpoint(model=model, optimizer=optimizer)
    both.restore(str(checkpoint)).expect_partial()
    optimizer.assign_average_vars(model.variables)


def save_export(
    module: tf.Module, config: PipelineConfig, step: int, output_dir: Path | str
) -> None:
    """Writes what TFOD's exporter_main_v2 writes: saved_model/, checkpoint/ and pipeline.config.

    The SavedModel has the signature of `detection_module`, whose module and config are given. It
    is saved without the Keras layers inside, only the traced function and its variables: TFOD's
    exporter traces each layer again. The exported checkpoint keeps the training steps behind it.
    What weights it has, averages or raw ones, are its only ones: the exported config asks for none.
    """
    exported = tf.Module()
    exported.variables_ = list(module._model.variables)
    exported.__call__ = module.__call__
    output_dir = Path(output_dir)
    function = module.__call__.get_concrete_function()
    tf.saved_model.save(exported, str(output_dir / "saved_model"), signatures=function)
    step = tf.Variable(step, dtype=tf.int64, trainable=False)
    checkpoint = tf.train.Checkpoint(model=module._model, step=step)
    manager = tf.train.CheckpointManager(checkpoint, str(output_dir / "checkpoint"), max_to_keep=1)
    manager.save(checkpoint_number=0)
    exported_config = PipelineConfig()
    exported_config.CopyFrom(config)
    exported_config.eval_config.use_moving_averages = False
    config_util.save_pipeline_config(exported_config, str(output_dir))


def trace_network(module: tf.Module, height: int, width: int) -> Callable:
    """Returns an SSD's network alone, with what is faster in place of some of its operations.

    It is a ConcreteFunction of float32 [B, height, width, 3], any B, as `preprocess` gives them. It
    returns a dict: encodings [B, N, 4], scores [B, N, C] without the background's, and anchors
    [N, 4], unit yxyx.
    """
    model = module._model

    signature = [tf.TensorSpec([None, height, width, 3], name="images")]

    @tf.function(input_signature=signature, autograph=False)
    def network(images):
        found = model.predict(images, None)
        scores = model._score_conversion_fn(found["class_predictions_with_background"])
        if model._add_background_class or model._explicit_background_class:
            scores = scores[:, :, 1:]
        return {
            "encodings": tf.identity(found["box_encodings"], "encodings"),
            "scores": tf.identity(scores, "scores"),
            "anchors": found["anchors"],
        }

    with fast.switched_on_for_inference():
        return network.get_concrete_function()


def normalized(module: tf.Module, image: np.ndarray) -> np.ndarray:
    """Returns an image, uint8 [H, W, 3], with the colours that a model's network takes."""
    image = tf.constant(image[np.newaxis], tf.float32)
    return module._model._feature_extractor.preprocess(image).numpy()[0]


def preprocessed(module: tf.Module, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image, uint8 [H, W, 3], as a model's network takes it, and its shape there."""
    images, shapes = module._model.preprocess(tf.constant(image[np.newaxis], tf.float32))
    return images.numpy()[0], shapes.numpy()[0]
