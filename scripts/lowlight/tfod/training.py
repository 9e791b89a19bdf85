"""What training needs of TFOD: examples, losses, optimizer, and the model that a run trains."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from google.protobuf import text_format
from object_detection import inputs, model_lib
from object_detection.builders import decoder_builder, optimizer_builder
from object_detection.core import standard_fields
from object_detection.core.model import DetectionModel
from object_detection.protos import string_int_label_map_pb2
from object_detection.utils import config_util, label_map_util
from official.modeling.optimization import ema_optimizer

from lowlight.tfod.model import PipelineConfig, build_model
from lowlight.tfod.randomness import replaced, seeded_augmentation
from lowlight.tfod.start import make_variables, restore_start

FIELDS = standard_fields.InputDataFields  # the names of a batch's tensors


def _load_label_map(path):
    """Returns a label map as TFOD does, which stumbles over the byte order mark of some editors."""
    text = Path(path).read_text("utf-8-sig")
    return text_format.Parse(text, string_int_label_map_pb2.StringIntLabelMap())


label_map_util.load_labelmap = _load_label_map


def build_optimizer(
    config: PipelineConfig, step: tf.Variable, mixed_precision: str | None = None
) -> tuple[tf.keras.optimizers.Optimizer, Callable]:
    """Returns TFOD's optimizer of a config, and a function that returns the learning rate.

    The schedule reads `step`, int64, the steps made. For "float16" the optimizer scales losses and
    leaves out steps whose gradients overflow; moving averages are kept around that.
    """
    settings = type(config.train_config.optimizer)()
    settings.CopyFrom(config.train_config.optimizer)
    settings.use_moving_average = False
    optimizer, (rate,) = optimizer_builder.build(settings, global_step=step)
    if mixed_precision == "float16":
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    if config.train_config.optimizer.use_moving_average:  # as TFOD's builder does
        decay = settings.moving_average_decay
        optimizer = ema_optimizer.ExponentialMovingAverage(optimizer, average_decay=decay)
    return optimizer, rate if callable(rate) else lambda: rate


def example_reader(config: PipelineConfig, model: DetectionModel) -> Callable:
    """Returns a function that reads a serialized tf.train.Example as TFOD's `inputs` do.

    It takes (serialized, seed), string and int64 [2] tensors, and gives the (features, labels) of
    one image in the form of TFOD's `inputs.train_input`, augmented as the config says and
    preprocessed by the model. Every random number of an augmentation follows from the seed.
    """
    reader = config.train_input_reader
    decode = decoder_builder.build(reader).decode
    # What TFOD would have its dataset do with each decoded image.
    taken = {"dataset_build": lambda reader, transform_input_data_fn, **_: transform_input_data_fn}
    with replaced([(inputs, "INPUT_BUILDER_UTIL_MAP", taken)]):
        prepare = inputs.train_input(config.train_config, reader, config.model, model)

    def read(serialized, seed):
        with seeded_augmentation(seed):
            return prepare(decode(serialized))

    # Of TFOD's augmentations this one alone is written for AutoGraph, and converting TFOD's code
    # takes longer than all else until the first step.
    options = config.train_config.data_augmentation_options
    if any(option.HasField("random_square_crop_by_scale") for option in options):
        return read
    return tf.autograph.experimental.do_not_convert(read)


# The labels that are of an image, and so have no row for each box.
_OF_IMAGE = {
    FIELDS.num_groundtruth_boxes,
    FIELDS.groundtruth_labeled_classes,
    FIELDS.groundtruth_image_classes,
    FIELDS.groundtruth_verified_neg_classes,
    FIELDS.groundtruth_not_exhaustive_classes,
}


def without_common_padding(labels: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns a batch's labels cut to as many rows as its image with the most boxes has, 1 or more.

    TFOD pads each image to max_number_of_boxes, 100 by default, and an SSD then compares every
    anchor with every row; padding has weight 0 and changes no loss.
    """
    most = tf.maximum(tf.reduce_max(labels[FIELDS.num_groundtruth_boxes]), 1)
    return {k: label if k in _OF_IMAGE else label[:, :most] for k, label in labels.items()}


def detection_losses(
    model: DetectionModel,
    config: PipelineConfig,
    features: dict[str, tf.Tensor],
    labels: dict[str, tf.Tensor],
    training_step: tf.Tensor | tf.Variable,
) -> dict[str, tf.Tensor]:
    """Returns TFOD's losses of a batch of `example_reader`'s, {name: float32 scalar}.

    Predictions in half precision become float32 before the losses. Some models anneal their losses
    by the steps made.
    """
    train = config.train_config
    model._is_training = True
    tf.keras.backend.set_learning_phase(True)
    if config.model.WhichOneof("model") == "ssd" and not train.unpad_groundtruth_tensors:
        labels = without_common_padding(labels)
    labels = model_lib.unstack_batch(labels, train.unpad_groundtruth_tensors)
    model_lib.provide_groundtruth(model, labels, training_step=training_step)
    shapes = features[FIELDS.true_image_shape]
    predictions = model.predict(features[FIELDS.image], shapes, **model.get_side_inputs(features))
    return model.loss(tf.nest.map_structure(_as_float32, predictions), shapes)


def exact_pooling() -> AbstractContextManager:
    """Makes Keras's global average pooling right in float16, where it is called in the block.

    float16 ends at 65504, and an EfficientDet's first maps have more pixels: their sum may not be a
    number of float16, and the gradient would be divided by infinity. The mean of the rows' means is
    the same.
    """
    layer = tf.keras.layers.GlobalAveragePooling2D
    original = layer.call

    def call(self, inputs):
        if inputs.dtype != tf.float16:
            return original(self, inputs)
        height = 1 if self.data_format == "channels_last" else 2
        rows = tf.reduce_mean(inputs, height + 1, self.keepdims)
        return tf.reduce_mean(rows, height, self.keepdims)

    return replaced([(layer, "call", call)])


def regularization_loss(model: DetectionModel, config: PipelineConfig) -> dict[str, tf.Tensor]:
    """Returns what TFOD adds to the losses of any batch, {name: float32 scalar} or {}."""
    wanted = config.train_config.add_regularization_loss
    parts = model.regularization_losses() if wanted else []
    return {"Loss/regularization_loss": tf.add_n(list(map(_as_float32, parts)))} if parts else {}


def loss_count(model: DetectionModel, config: PipelineConfig) -> tf.Tensor:
    """Returns by what TFOD divided the batch that `detection_losses` was last given, float32.

    An SSD's losses are sums, divided by the number of matched anchors, and a CenterNet's by that of
    boxes, each by 1 where there are none. So the losses of parts, each times its count or 1, add up
    to those of the whole batch times all counts or 1. A Faster R-CNN's are means of as many images:
    each part counts 1. Sums that aren't divided count 0.
    """
    kind = config.model.WhichOneof("model")
    if kind == "faster_rcnn":
        return tf.constant(1.0)
    names = ("boxes", "classes", "keypoints", "weights", "confidences")
    given = [
        model.groundtruth_lists(name) if model.groundtruth_has_field(name) else None
        for name in names
    ]
    if kind == "center_net":
        return tf.cast(tf.math.count_nonzero(tf.concat(given[3], 0)), tf.float32)
    if not config.model.ssd.normalize_loss_by_num_matches:
        return tf.constant(0.0)
    _, _, _, weights, _ = model._assign_targets(*given)
    return tf.reduce_sum(weights)


def _as_float32(value):
    """Returns a tensor of half precision as float32, and everything else as it is."""
    is_half = getattr(value, "dtype", None) in (tf.float16, tf.bfloat16)
    return tf.cast(value, tf.float32) if is_half else value


class Trainee(NamedTuple):
    """What a run trains."""

    model: DetectionModel
    optimizer: tf.keras.optimizers.Optimizer
    step: tf.Variable  # int64, the steps made since the run began
    schedule_step: tf.Variable  # int64, the steps made since the learning rate's schedule began

    def checkpoint(self) -> tf.train.Checkpoint:
        """Returns a tf.train.Checkpoint of it, with the names that TFOD's own loop gives."""
        return tf.train.Checkpoint(step=self.step, model=self.model, optimizer=self.optimizer)


def final_config(config: PipelineConfig, num_steps: int) -> PipelineConfig:
    """Returns the config as TFOD's loop trains it: with these steps, and bfloat16 on TPUs alone."""
    final = type(config)()
    final.CopyFrom(config)
    final.train_config.num_steps = num_steps
    final.train_config.use_bfloat16 = False
    config_util.update_fine_tune_checkpoint_type(final.train_config)
    return final


def make_trainee(
    config: PipelineConfig,
    make_batches: Callable,
    step: int = 0,
    schedule_start: int = 0,
    mixed_precision: str | None = None,
) -> tuple[Trainee, tf.distribute.DistributedDataset]:
    """Builds a config's model and optimizer, in the scope of the current strategy.

    Args:
        make_batches: takes the model and returns its dataset of training batches.
        step: the step that training continues from; 0 takes the config's fine_tune_checkpoint.
        schedule_start: the step at which the learning rate's schedule begins.
        mixed_precision: as `step.choose_precision` returned it.

    Returns:
        (Trainee, what make_batches returned).

    Raises:
        DataError: as `restore_start`.
    """
    train_config = config.train_config
    model = build_model(config, is_training=True)
    steps, schedule_steps = _make_counter(step), _make_counter(step - schedule_start)
    optimizer, _ = build_optimizer(config, schedule_steps, mixed_precision)
    batches = make_batches(model)
    # The training step, a tf.function, can't make variables on several devices.
    model._is_training = False
    tf.keras.backend.set_learning_phase(False)
    tf.distribute.get_strategy().run(lambda: make_variables(model))
    if train_config.optimizer.use_moving_average:
        optimizer.shadow_copy(model)
    inner = getattr(optimizer, "_optimizer", optimizer)
    inner._create_all_weights(model.trainable_variables)
    if train_config.fine_tune_checkpoint and not step:
        restore_start(model, train_config, "the config")
    if train_config.optimizer.use_moving_average:
        for variable in model.trainable_variables:  # TFOD's begin with zeros
            optimizer.get_slot(variable, "average").assign(variable)
    return Trainee(model, optimizer, steps, schedule_steps), batches


def _make_counter(value):
    first_alone = tf.VariableAggregation.ONLY_FIRST_REPLICA
    return tf.Variable(value, trainable=False, dtype=tf.int64, aggregation=first_alone)
