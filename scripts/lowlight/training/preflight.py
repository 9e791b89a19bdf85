"""Finds out before the first step whether a training will work, and what room it takes."""

import glob
import shutil
from pathlib import Path

from lowlight.core.errors import DataError, name_some
from lowlight.dataset.classes import read_label_map
from lowlight.dataset.record_checks import count_and_check, record_files
from lowlight.tfod.architectures import check_model, model_of
from lowlight.tfod.schedules import base_rate, check_schedule, schedule_of
from lowlight.tfod.start import build_trial, check_start, read_shapes
from lowlight.training.checkpoints import MOST_KEPT

# The optimizer's own copies of each variable that is trained.
_SLOTS = {"momentum_optimizer": 1, "rms_prop_optimizer": 2, "adam_optimizer": 2}


def checkpoint_size(model, train_config):
    """Returns the bytes that a checkpoint takes: a model's variables and the optimizer's copies."""
    optimizer = train_config.optimizer
    copies = _SLOTS.get(optimizer.WhichOneof("optimizer"), 0) + optimizer.use_moving_average
    trained = sum(_size(variable) for variable in model.trainable_variables)
    return sum(_size(variable) for variable in model.variables) + trained * copies


def check_disk(size, model_dir, num_steps, checkpoint_every_n):
    """Returns what a run's checkpoints take and what is free, as text.

    Args:
        size: bytes of one.
        model_dir: the run's folder, which needn't be there.
        num_steps: the step to train to.
        checkpoint_every_n: steps between two checkpoints.

    Raises:
        DataError: there is too little room.
    """
    # One at step 0, and one more is written before the oldest is removed.
    number = min(2 + -(-num_steps // checkpoint_every_n), MOST_KEPT + 1)
    there = len(list(Path(model_dir).glob("ckpt-*.index")))
    folder = next(p for p in (Path(model_dir), *Path(model_dir).resolve().parents) if p.is_dir())
    free = shutil.disk_usage(folder).free
    if free < (needed := size * max(number - there, 1)):
        raise DataError(
            f"{model_dir}: {as_text(free)} free, and the checkpoints take {as_text(needed)} "
            f"({number} of {as_text(size)} each).\n  Make room, or choose another --model_dir."
        )
    return f"{number} checkpoints of {as_text(size)} in {model_dir}, {as_text(free)} free"


def _size(variable):
    return variable.shape.num_elements() * variable.dtype.size


def as_text(size):
    """Returns a number of bytes as text."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def preflight(config, config_path, model_dir, replicas, num_steps, checkpoint_every_n=1000):
    """Checks what a training needs besides what `check_config` has seen.

    Args:
        config: TrainEvalPipelineConfig. Its paths are relative to the working directory.
        config_path: the config's own path, for the messages.
        model_dir: the run's folder, which needn't be there.
        replicas: devices that share a batch.
        num_steps: the step to train to.
        checkpoint_every_n: steps between two checkpoints.

    Returns:
        Lines for a table of what was found, and a line for each warning.

    Raises:
        DataError: as `check_training`, `count_and_check` and `check_start`; too little room on the
            disk.
    """
    warnings = check_training(config, config_path, replicas, num_steps)
    counts = _check_records(config, config_path)
    model, train, start = build_trial(config, config_path), config.train_config, "random weights"
    if train.fine_tune_checkpoint:
        _check_apart(train.fine_tune_checkpoint, model_dir, config_path)
        start = check_start(model, train, config_path)
    size, classes = checkpoint_size(model, train), model_of(config, config_path).num_classes
    labels, files = config.train_input_reader.label_map_path, _count(counts.files, "file")
    rows = {
        "records": f"{counts.images:,} images, {counts.boxes:,} boxes in {files}, whole",
        "classes": f"{classes}, as in {labels}",
        "start": start,
        "batch": f"{train.batch_size} on {_count(replicas, 'device')}",
        "schedule": _describe_schedule(train, num_steps),
        "disk": check_disk(size, model_dir, num_steps, checkpoint_every_n),
    }
    warnings += _data_warnings(config, counts)
    lines = [f"  {name:<9} {text}" for name, text in rows.items()]
    return lines + [f"  warning: {text}" for text in warnings]


def _check_records(config, path):
    """Returns the RecordCounts of a config's training records; raises DataError as `preflight`."""
    reader = config.train_input_reader
    files = record_files(reader.tf_record_input_reader.input_path, path)
    return count_and_check(files, read_label_map(reader.label_map_path))


def _count(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def _describe_schedule(train, num_steps):
    kind, schedule = schedule_of(train)
    name = kind.removesuffix("_learning_rate").replace("_", " ")
    return f"{num_steps:,} steps, {name}, learning rate {base_rate(kind, schedule):g}"


def check_config(config, path):
    """Checks that what a pipeline config names is there and fits together; reads no records.

    Args:
        config: TrainEvalPipelineConfig. Its paths are relative to the working directory.
        path: the config's own path, for the messages.

    Raises:
        DataError: as `architectures.check_model`; something that isn't supported; training records,
            label map or fine-tune checkpoint missing; another number of classes in the label map
            than in the model.
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


def _check_supported(config, path):
    """Raises DataError that names what this training leaves out of TFOD's."""
    reader, train = config.train_input_reader, config.train_config
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
    paths = [train.fine_tune_checkpoint]
    for one in (reader, *config.eval_input_reader):
        paths += [one.label_map_path, *one.tf_record_input_reader.input_path]
    for one in paths:
        check_local(one, path)


def check_local(path, where):
    """Raises DataError for a path such as gs://bucket/file."""
    if "://" in str(path):
        raise DataError(
            f"{where}: {path}: only files of this machine are supported.\n"
            "  Copy or mount it, and give that path."
        )


def check_training(config, path, replicas, num_steps):
    """Checks batch, steps, number format and learning rate of a config.

    Returns:
        Warnings, such as one about a learning-rate schedule that doesn't fit the steps.

    Raises:
        DataError: one of them can't be trained with.
    """
    train = config.train_config
    if num_steps is None or num_steps < 1:
        raise DataError(
            f"{path}: {f'{num_steps} steps' if num_steps else 'no num_steps'}.\n"
            "  Give num_steps, or --num_train_steps, of 1 or more."
        )
    if train.batch_size < 1 or train.batch_size % replicas:
        raise DataError(
            f"{path}: batch_size: {train.batch_size} can't be divided among {replicas} devices.\n"
            f"  Make it a multiple of {replicas}, or hide devices with CUDA_VISIBLE_DEVICES."
        )
    try:
        warnings = [check_schedule(train, num_steps)]
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if train.use_bfloat16:
        warnings.append(
            "use_bfloat16: true is for TPUs; elsewhere TFOD computes in float32, and so does this "
            "training. --mixed_precision computes in half precision."
        )
    return [warning for warning in warnings if warning]


def _check_apart(prefix, model_dir, path):
    if Path(prefix).parent.resolve() == Path(model_dir).resolve():
        raise DataError(
            f"{path}: fine_tune_checkpoint lies in the run's folder, {model_dir}.\n"
            "  Choose another --model_dir, or remove fine_tune_checkpoint to continue the run."
        )


def _data_warnings(config, counts):
    warnings, most = [], config.train_config.max_number_of_boxes
    for reader in config.eval_input_reader:
        for pattern in reader.tf_record_input_reader.input_path:
            if not glob.glob(pattern):
                warnings.append(f"no record file {pattern!r} to evaluate on.")
    if counts.unseen:
        warnings.append(f"no box of {name_some(counts.unseen)} in the training records.")
    if most and counts.most > most:
        warnings.append(
            f"an image has {counts.most} boxes and max_number_of_boxes is {most}: the rest aren't "
            f"learned. Set it to {counts.most}."
        )
    return warnings
