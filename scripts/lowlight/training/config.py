"""Checks with what a run is trained: a config, also beside the one that it was begun with."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import Message

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file
from lowlight.dataset.classes import read_label_map
from lowlight.dataset.record_counts import record_files
from lowlight.tfod.config_parts import check_model, check_schedule
from lowlight.tfod.start import read_shapes

# Fields of a model that its checkpoints' tensors don't depend on: the choice of boxes, the losses.
_NOT_IN_CHECKPOINTS = re.compile(
    "post_processing|loss|matcher|negative_class_weight|_nms_|max_proposals"
    "|min_box_overlap_iou|max_box_predictions"
)


@dataclass(frozen=True)
class TrainingOptions:
    """How a run is trained, beside its config."""

    num_steps: int | None = None  # the step to train to; the config's num_steps by default
    checkpoint_every_n: int = 1000  # steps between two checkpoints
    summarize_every_n: int = 100  # steps between two TensorBoard summaries
    record_summaries: bool = True  # training images among them
    num_workers: int = 1  # processes that train together, as TF_CONFIG names them
    seed: int | None = None  # makes a run repeatable; None draws one
    restart_schedule: bool = False  # begin the learning rate's schedule again at this step
    eval_every_n: int = 0  # steps between two evaluations; 0 for none
    patience: int = 0  # evaluations without a better score that end the training; 0 for no end
    accumulate: int = 1  # parts in which each device takes its images of a batch
    balance: bool = False  # have images of rare classes come more often
    balance_share: float | None = None  # a rare class is in a smaller share; None: the median
    mixed_precision: bool = False  # compute in float16 on GPUs, in bfloat16 elsewhere
    dry_run: bool = False  # end after the checks
    check_images: bool = False  # decode all of them before training
    flags: Mapping[str, object] = field(default_factory=dict)  # what the user gave, for run.json

    def sampling(self) -> str:
        """Says how often images come, in the flags' words; "" where each comes once an epoch."""
        share = "" if self.balance_share is None else f" --balance_share={self.balance_share:g}"
        return f"--balance{share}" if self.balance else ""


def check_config(config: Message, path: Path | str) -> None:
    """Raises DataError unless what a pipeline config names is there, fits, and is supported.

    It reads no records.
    """
    model, reader = check_model(config, path), config.train_input_reader
    _check_supported(config, path)
    if not Path(reader.label_map_path).is_file():
        raise DataError(
            f"{path}: no label map {reader.label_map_path!r} (paths are relative to the folder "
            "that the command runs in).\n  make_tfrecords.py writes it, or correct label_map_path."
        )
    names = read_label_map(reader.label_map_path)
    if max(names) != model.num_classes:
        raise DataError(
            f"{path}: the model has num_classes: {model.num_classes}, "
            f"but {reader.label_map_path} has ids up to {max(names)}.\n"
            f"  Set num_classes to {max(names)} or name the right label map."
        )
    record_files(reader.tf_record_input_reader.input_path, path)
    if config.train_config.fine_tune_checkpoint:
        read_shapes(config.train_config.fine_tune_checkpoint, path)


def check_eval_input(config: Message, path: Path | str) -> None:
    """Raises DataError unless a config names test records and a label map that are there."""
    if not config.eval_input_reader:
        raise DataError(f"{path}: no eval_input_reader to evaluate on.\n  Add one.")
    reader = config.eval_input_reader[0]
    existing_file(reader.label_map_path, f"Correct the eval_input_reader's in {path}.")
    record_files(reader.tf_record_input_reader.input_path, path)


def _check_supported(config, path):
    """Raises DataError that names what this training leaves out of TFOD's."""
    reader = config.train_input_reader
    if reader.sample_from_datasets_weights:
        raise DataError(
            f"{path}: sample_from_datasets_weights isn't supported.\n"
            "  Remove it: each epoch takes every record of all input_path files once."
        )
    if reader.input_type != type(reader)().input_type or reader.HasField("external_input_reader"):
        raise DataError(
            f"{path}: the train_input_reader's input_type or external_input_reader isn't "
            "supported.\n  Remove it: records hold tf.train.Examples in TFRecord files."
        )
    others = sorted({*config.eval_config.metrics_set} - {"coco_detection_metrics"})
    if others:
        raise DataError(
            f"{path}: metrics_set: {', '.join(others)} isn't supported.\n"
            '  Set it to "coco_detection_metrics"; scripts/model_main_tf2.py has TFOD\'s others.'
        )
    check_local(config.train_config.fine_tune_checkpoint, path)
    for reader in (config.train_input_reader, *config.eval_input_reader):
        for named in (reader.label_map_path, *reader.tf_record_input_reader.input_path):
            check_local(named, path)


def check_local(path: Path | str, where: Path | str) -> None:
    """Raises DataError for a path such as gs://bucket/file."""
    if "://" in str(path):
        raise DataError(
            f"{where}: {path}: only files of this machine are supported.\n"
            "  Copy or mount it, and give that path."
        )


def check_training(
    config: Message, path: Path | str, replicas: int, num_steps: int, parts: int = 1
) -> list[str]:
    """Checks batch, number format and learning rate of a config that is trained for some steps.

    Each of the replicas takes its images of a batch in so many parts. Returns warnings; raises
    DataError for what can't be trained with.
    """
    train = config.train_config
    if train.batch_size < 1 or train.batch_size % replicas:
        raise DataError(
            f"{path}: batch_size: {train.batch_size} can't be divided among {replicas} devices.\n"
            f"  Make it a multiple of {replicas}, or hide devices with CUDA_VISIBLE_DEVICES."
        )
    if parts > 1:
        _check_parts(config, path, replicas, parts)
    warnings = [check_schedule(train, num_steps, path)]
    if train.use_bfloat16:
        warnings.append(
            "use_bfloat16: true is for TPUs; elsewhere TFOD computes in float32, and so does this "
            "training. --mixed_precision computes in half precision."
        )
    return [warning for warning in warnings if warning]


def _check_parts(config, path, replicas, parts):
    """Raises DataError where a batch can't be taken in so many parts by each replica."""
    batch, each = config.train_config.batch_size, config.train_config.batch_size // replicas
    if each % parts:
        fitting = [str(number) for number in range(1, each + 1) if each % number == 0]
        of = f", {each} on each of {replicas} devices," if replicas > 1 else ""
        raise DataError(
            f"{path}: batch_size: {batch}{of} can't be taken in {parts} parts (--accumulate).\n"
            f"  Give --accumulate one of {', '.join(fitting)}, or choose another batch_size."
        )
    if config.model.ssd.loss.HasField("random_example_sampler"):
        raise DataError(
            f"{path}: random_example_sampler draws anchors from a whole batch, which --accumulate "
            "takes in parts.\n  Remove it, or leave out --accumulate."
        )


def check_same_run(
    own: Message, given: Message, run_dir: Path | str, given_path: Path | str
) -> list[str]:
    """Compares the config that a run was trained with to the one it is to continue with.

    Returns the lines of a diff of what may differ, such as batch, steps, paths or learning rate.
    Raises DataError, with a diff of what makes it so, where the checkpoints don't fit.
    """
    relevant = _diff(_what_a_checkpoint_holds(own), _what_a_checkpoint_holds(given))
    if relevant:
        shown = "\n".join(f"    {line}" for line in relevant)
        raise DataError(
            f"{run_dir}: holds checkpoints of another model or optimizer than {given_path} "
            f"describes:\n{shown}\n"
            "  Choose another --model_dir, or give the config that the run was begun with."
        )
    return _diff(text_format.MessageToString(own), text_format.MessageToString(given))


def _diff(old, new):
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2))[2:]


def _what_a_checkpoint_holds(config):
    """Returns, as text, what of a config decides on the tensors of a checkpoint."""
    optimizer = config.train_config.optimizer
    model = type(config.model)()
    model.CopyFrom(config.model)
    _clear(model)
    return (
        f"{text_format.MessageToString(model)}"
        f"optimizer: {optimizer.WhichOneof('optimizer')}\n"
        f"use_moving_average: {optimizer.use_moving_average}\n"
    )


def _clear(message):
    """Clears the fields of a message that don't decide on tensors."""
    for descriptor, value in message.ListFields():
        if _NOT_IN_CHECKPOINTS.search(descriptor.name):
            message.ClearField(descriptor.name)
        elif isinstance(value, Message):
            _clear(value)
