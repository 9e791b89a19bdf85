"""Finds out before the first step whether a training will work, and what it takes of a machine."""

import glob
import re
import shutil
from pathlib import Path

import tensorflow as tf

from lowlight.core.errors import DataError, name_some
from lowlight.dataset.classes import read_label_map
from lowlight.tfod.architectures import check_model, image_sides, model_of
from lowlight.tfod.schedules import base_rate, check_schedule, schedule_of
from lowlight.tfod.start import build_trial, check_start, read_shapes
from lowlight.training.checks import count_and_check, record_files

KEPT_CHECKPOINTS = 7  # the newest, by TFOD's train_loop
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
    number = min(2 + -(-num_steps // checkpoint_every_n), KEPT_CHECKPOINTS + 1)
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


def device_memory(trial, model, train, replicas):
    """Returns roughly the bytes that each device needs, 0 where images have any size.

    Weights, their gradients and the optimizer's copies, and every 4-dimensional result of the
    forward pass, which backpropagation reads again.

    Args:
        trial: TrialModel.
        model: the message of its architecture.
        train: the config's train_config.
        replicas: devices that share a batch.
    """
    height, width = image_sides(model)
    if not height:
        return 0
    copies = 2 + _SLOTS.get(train.optimizer.WhichOneof("optimizer"), 0)
    weights = sum(_size(variable) for variable in trial.model.variables) * copies
    image = trial.per_pixel * height * width + trial.per_image
    return weights + image * (train.batch_size // replicas)


def memory_warnings(need):
    """Returns a warning where the machine trains on its CPU and has less memory than that."""
    info = Path("/proc/meminfo")
    if tf.config.list_physical_devices("GPU") or not info.is_file():
        return []
    found = re.search(r"MemAvailable:\s*(\d+) kB", info.read_text())
    if not found or need <= (free := int(found[1]) * 1024):
        return []
    needed = f"roughly {as_text(need)} of memory are needed"
    return [f"{needed}, and {as_text(free)} are free. Lower batch_size."]


def as_text(size):
    """Returns a number of bytes as text."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def preflight(
    config,
    config_path,
    model_dir,
    replicas,
    num_steps,
    checkpoint_every_n=1000,
    use_tpu=False,
):
    """Checks everything that a training needs before it begins.

    Args:
        config: TrainEvalPipelineConfig. Its paths are relative to the working directory.
        config_path: the config's own path, for the messages.
        model_dir: the run's folder, which needn't be there.
        replicas: devices that share a batch.
        num_steps: the step to train to.
        checkpoint_every_n: steps between two checkpoints.
        use_tpu: whether it is trained on a TPU.

    Returns:
        Lines for a table of what was found, and a line for each warning.

    Raises:
        DataError: as `check_config`, `check_training`, `count_and_check` and `check_start`; too
            little room on the disk.
    """
    check_config(config, config_path)
    warning = check_training(config, config_path, replicas, num_steps, use_tpu)
    counts = _check_records(config, config_path)
    trial, train, start = build_trial(config, config_path), config.train_config, "random weights"
    if train.fine_tune_checkpoint:
        _check_apart(train.fine_tune_checkpoint, model_dir, config_path)
        start = check_start(trial.model, train, config_path)
    size, model = checkpoint_size(trial.model, train), model_of(config, config_path)
    need = device_memory(trial, model, train, replicas)
    labels, files = config.train_input_reader.label_map_path, _count(counts.files, "file")
    rows = {
        "records": f"{counts.images:,} images, {counts.boxes:,} boxes in {files}, whole",
        "classes": f"{model.num_classes}, as in {labels}",
        "start": start,
        "batch": f"{train.batch_size} on {_count(replicas, 'device')}",
        "schedule": _describe_schedule(train, num_steps),
        "disk": check_disk(size, model_dir, num_steps, checkpoint_every_n),
        "memory": f"roughly {as_text(need)} on each device"
        if need
        else "of images of any size, not known",
    }
    warnings = [warning] if warning else []
    warnings += _data_warnings(config, counts) + memory_warnings(need)
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
        DataError: as `architectures.check_model`; training records, label map or fine-tune
            checkpoint missing; another number of classes in the label map than in the model.
    """
    model, reader = check_model(config, path), config.train_input_reader
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


def check_training(config, path, replicas, num_steps, use_tpu=False):
    """Checks batch, steps, number format and learning rate of a config.

    Returns:
        A warning about the learning-rate schedule, "" where it fits the steps.

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
    if train.use_bfloat16 and not use_tpu:
        raise DataError(
            f"{path}: use_bfloat16: true, which TFOD heeds on TPUs alone.\n  Set it to false."
        )
    try:
        return check_schedule(train, num_steps)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _check_apart(prefix, model_dir, path):
    if Path(prefix).parent.resolve() == Path(model_dir).resolve():
        raise DataError(
            f"{path}: fine_tune_checkpoint lies in the run's folder, {model_dir}.\n"
            "  Choose another --model_dir, or remove fine_tune_checkpoint to go on with the run."
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
