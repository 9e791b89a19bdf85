"""The one door to TFOD 2: what the scripts need of `object_detection`, on today's TensorFlow.

Importing this module repairs TFOD first (see `repairs`) and then imports it, which takes about
five seconds; whoever can do without TFOD doesn't import it.
"""

import contextlib
import io
import math
import warnings
from pathlib import Path
from typing import NamedTuple

from lowlight import repairs

repairs.apply()

import tensorflow as tf  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from object_detection import exporter_lib_v2, model_lib_v2  # noqa: E402
from object_detection.builders import model_builder  # noqa: E402
from object_detection.core import standard_fields  # noqa: E402
from object_detection.metrics import coco_evaluation  # noqa: E402
from object_detection.protos import pipeline_pb2  # noqa: E402
from object_detection.utils import config_util  # noqa: E402

from lowlight.errors import DataError  # noqa: E402
from lowlight.files import existing_file  # noqa: E402
from lowlight.runs import how_to_go_back  # noqa: E402

# TFOD sets Keras's learning phase as Keras 2 once wanted it; it works, and warns at each trace.
warnings.filterwarnings("ignore", message=r".*set_learning_phase. is deprecated")


def read_config(path):
    """Reads a pipeline config (protobuf text) as a TrainEvalPipelineConfig message.

    Raises:
        DataError: no such file, or not a pipeline config; the message names line and column.
    """
    text = existing_file(path, "Check --pipeline_config_path.").read_text(encoding="utf-8")
    try:
        return text_format.Parse(text, pipeline_pb2.TrainEvalPipelineConfig())
    except text_format.ParseError as error:
        place = f"{path}:{error.GetLine() or 1}:{error.GetColumn() or 1}"
        detail = str(error).split(" : ", 1)[-1].strip("'")
        raise DataError(
            f"{place}: {detail}\n  Correct the config; configs/ holds one that works."
        ) from error


def build_model(config, is_training=False):
    """Returns the Keras detection model of a pipeline config, with its layers not yet built."""
    return model_builder.build(config.model, is_training=is_training)


class Step(NamedTuple):
    """One training step as reported by `train`."""

    number: int  # steps made since the run began, from 1
    losses: dict  # TFOD's names ("Loss/total_loss", ...) -> float
    learning_rate: float


def train(
    config_path,
    model_dir,
    num_steps,
    on_step,
    checkpoint_every_n=1000,
    record_summaries=True,
    summarize_every_n=100,
    use_tpu=False,
):
    """Runs TFOD's own `model_lib_v2.train_loop` under the current tf.distribute strategy.

    TFOD's loop makes blocks of 100 steps, silent until a block ends and blind to how many steps
    were asked for, and keeps no checkpoint of the last ones. Here it makes blocks of one; what it
    reports goes to `on_step`, summaries are still written once in `summarize_every_n`, and a last
    checkpoint is kept, also after KeyboardInterrupt.

    Args:
        config_path: the pipeline config; its paths are relative to the working directory.
        model_dir: the run's folder; a checkpoint found there is gone on from.
        num_steps: the step to train to, counted from the run's beginning.
        on_step: called after each step with a function that returns its Step. Reading it waits for
            the device, so call it only for steps that are shown.
        checkpoint_every_n, record_summaries, use_tpu: as in `model_main_tf2`.
        summarize_every_n: steps between two summaries of losses and training images.

    Returns:
        The prefix of the newest checkpoint.

    Raises:
        DataError: a step that was read, or is to be saved, has a loss that isn't a finite number.
    """
    hooks = _LoopHooks(model_dir, on_step, summarize_every_n, checkpoint_every_n, num_steps)
    with hooks.installed():
        try:
            model_lib_v2.train_loop(
                pipeline_config_path=str(config_path),
                model_dir=str(model_dir),
                train_steps=num_steps,
                use_tpu=use_tpu,
                save_final_config=True,
                checkpoint_every_n=checkpoint_every_n,
                record_summaries=record_summaries,
                num_steps_per_iteration=1,
            )
        except KeyboardInterrupt:
            hooks.save_unsaved_steps()
            raise
    return hooks.manager.latest_checkpoint


class _LoopHooks:
    """Stands between TFOD's training loop and TensorFlow where the loop offers no hook itself."""

    def __init__(self, model_dir, on_step, summarize_every_n, checkpoint_every_n, last_step):
        self.manager = None
        self._model_dir, self._on_step = model_dir, on_step
        self._summarize_every_n, self._checkpoint_every_n = summarize_every_n, checkpoint_every_n
        self._last_step = last_step
        self._values = {}
        self._steps_made = 0
        self._unsaved_steps = 0
        # Read by the traced training step, which is one graph for summarised and other steps.
        self._due = tf.Variable(True, trainable=False, name="summary_due")

    @contextlib.contextmanager
    def installed(self):
        """Puts the hooks in place for the time of the block."""
        v2 = model_lib_v2.tf.compat.v2
        self._scalar, self._record_if = v2.summary.scalar, v2.summary.record_if
        self._manager_class = v2.train.CheckpointManager
        v2.summary.scalar, v2.summary.record_if = self._on_scalar, self._record_when_due
        v2.train.CheckpointManager = self._make_manager
        try:
            yield
        finally:
            v2.summary.scalar, v2.summary.record_if = self._scalar, self._record_if
            v2.train.CheckpointManager = self._manager_class

    def save_unsaved_steps(self):
        """Keeps a checkpoint of the steps made since the last one."""
        if self._unsaved_steps:
            self._read()
            self.manager.save()

    def _make_manager(self, *args, **kwargs):
        hooks = self

        class Manager(self._manager_class):
            """Counts as saved what the loop itself saves."""

            def save(self, *args, **kwargs):
                path = super().save(*args, **kwargs)
                hooks._unsaved_steps = 0
                return path

        self.manager = Manager(*args, **kwargs)
        return self.manager

    def _record_when_due(self, condition):
        del condition  # The loop's own: true in every block, and here a block is one step.
        return self._record_if(lambda: self._due)

    def _on_scalar(self, name, data, step=None, description=None):
        self._scalar(name, data, step=step, description=description)
        if not tf.executing_eagerly():
            return
        self._values[name] = data
        if name == "learning_rate":  # the last one that the loop writes of a step
            self._end_step(step, self._values)
            self._values = {}

    def _end_step(self, step, values):
        self._unsaved_steps += 1
        number = int(step.numpy())
        self._due.assign((number + 1) % self._summarize_every_n == 0)

        def read():
            losses = {name: float(v) for name, v in values.items() if name.startswith("Loss/")}
            self._check_loss(number, losses["Loss/total_loss"])
            return Step(number, losses, float(values["learning_rate"]))

        self._read = read
        self._on_step(read)
        if self._unsaved_steps >= self._checkpoint_every_n:
            read()  # The loop itself saves now.
        elif number == self._last_step:
            self.save_unsaved_steps()

    def _check_loss(self, number, total):
        if not math.isfinite(total):
            raise DataError(
                f"{self._model_dir}: the loss at step {number} is {total}; it isn't saved.\n"
                "  Lower learning_rate_base or lengthen warmup_steps in the config and run the\n"
                "  same command again: it goes on from the newest checkpoint. Where that is too\n"
                "  late already, take an earlier one. "
                f"{how_to_go_back(self._model_dir, self.manager.latest_checkpoint)}"
            )


def detection_module(config, checkpoint):
    """Returns TFOD's inference module with the weights of a checkpoint.

    Args:
        config: TrainEvalPipelineConfig.
        checkpoint: prefix of a training checkpoint (".../ckpt-7").

    Returns:
        A tf.Module whose `__call__` has one signature, uint8 [1, H, W, 3] RGB, and returns a dict
        of float32 tensors: detection_boxes [1, N, 4] unit yxyx, detection_classes [1, N] from 1,
        detection_scores [1, N], num_detections [1] and the raw ones.

    Raises:
        DataError: the checkpoint is of another model than the config's.
    """
    model = build_model(config)
    status = tf.train.Checkpoint(model=model).restore(str(checkpoint)).expect_partial()
    module = exporter_lib_v2.DETECTION_MODULE_MAP["image_tensor"](model)
    module.__call__.get_concrete_function()  # makes the variables, which restores them
    try:
        status.assert_existing_objects_matched()
    except AssertionError as error:
        raise DataError(
            f"{checkpoint}: holds another model than its config describes.\n"
            f"  Check that the folder's pipeline.config is the one it was trained with."
        ) from error
    return module


def detection_function(config_path, checkpoint):
    """Returns the `__call__` of `detection_module`, given the config's path."""
    return detection_module(read_config(config_path), checkpoint).__call__


def export(config_path, checkpoint, step, output_dir):
    """Writes what TFOD's exporter_main_v2 writes: saved_model/, checkpoint/ and pipeline.config.

    The SavedModel has the signature of `detection_module`. It is saved without the Keras layers
    inside, only the traced function and its variables: TFOD's exporter traces each layer anew.

    Args:
        config_path: the run's pipeline config.
        checkpoint: prefix of the training checkpoint; `step`: the training steps behind it, which
            the exported checkpoint keeps.
        output_dir: an existing folder.

    Raises:
        DataError: as `read_config` and `detection_module`.
    """
    config = read_config(config_path)
    module = detection_module(config, checkpoint)
    function = module.__call__.get_concrete_function()
    exported = tf.Module()
    exported.variables_ = list(module._model.variables)
    exported.__call__ = module.__call__
    output_dir = Path(output_dir)
    tf.saved_model.save(exported, str(output_dir / "saved_model"), signatures=function)
    step = tf.Variable(step, dtype=tf.int64, trainable=False)
    checkpoint = tf.train.Checkpoint(model=module._model, step=step)
    manager = tf.train.CheckpointManager(checkpoint, str(output_dir / "checkpoint"), max_to_keep=1)
    manager.save(checkpoint_number=0)
    config_util.save_pipeline_config(config, str(output_dir))


class CocoScore:
    """TFOD's own COCO box evaluator, fed image by image."""

    def __init__(self, names):
        """Takes {id: name}, ids from 1."""
        categories = [{"id": number, "name": name} for number, name in names.items()]
        self._evaluator = coco_evaluation.CocoDetectionEvaluator(categories)

    def add(self, image_id, truth_boxes, truth_classes, detections):
        """Adds an image.

        Args:
            image_id: any string, once.
            truth_boxes: float32 [M, 4], pixel yxyx; truth_classes: int [M], from 1.
            detections: boxes float32 [N, 4] pixel yxyx, classes int [N] from 1, scores float32 [N].
        """
        fields, results = standard_fields.InputDataFields, standard_fields.DetectionResultFields
        boxes, classes, scores = detections
        self._evaluator.add_single_ground_truth_image_info(
            image_id,
            {fields.groundtruth_boxes: truth_boxes, fields.groundtruth_classes: truth_classes},
        )
        self._evaluator.add_single_detected_image_info(
            image_id,
            {
                results.detection_boxes: boxes,
                results.detection_classes: classes,
                results.detection_scores: scores,
            },
        )

    def metrics(self):
        """Returns the twelve COCO numbers, {"DetectionBoxes_Precision/mAP": 0.37, ...}.

        A number is -1 where no object has the size it is about, as in pycocotools.
        """
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its own table
            metrics = self._evaluator.evaluate()
        return {name: float(value) for name, value in metrics.items()}
