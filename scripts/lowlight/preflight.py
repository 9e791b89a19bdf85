"""Finds out before the first step whether a training will work, and says what it needs."""

import glob
import re
import shutil
from pathlib import Path

import tensorflow as tf

from lowlight.architectures import check_model, image_sides, model_of
from lowlight.classes import read_label_map
from lowlight.errors import DataError, name_some
from lowlight.record_checks import count_and_check, record_files
from lowlight.schedules import base_rate, check_schedule, schedule_of
from lowlight.warm_start import build_trial, check_start, read_shapes

KEPT_CHECKPOINTS = 7  # the newest, by TFOD's train_loop
# The optimizer's own copies of each variable that is trained.
_SLOTS = {"momentum_optimizer": 1, "rms_prop_optimizer": 2, "adam_optimizer": 2}


def preflight(
    config,
    config_path,
    model_dir,
    replicas,
    num_steps,
    checkpoint_every_n=1000,
    num_workers=1,
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
        num_workers: processes that share the record files.
        use_tpu: whether it is trained on a TPU.

    Returns:
        Lines for a table of what was found, and a line for each warning.

    Raises:
        DataError: as `check_config`, `check_training`, `count_and_check` and `check_start`; too few
            record files for the workers; too little room on the disk.
    """
    check_config(config, config_path)
    warning = check_training(config, config_path, replicas, num_steps, use_tpu)
    warnings = [warning] if warning else []
    reader, train = config.train_input_reader, config.train_config
    files = record_files(reader.tf_record_input_reader.input_path, config_path)
    _check_workers(files, num_workers, config_path)
    names = read_label_map(reader.label_map_path)
    counts = count_and_check(files, names)
    trial = build_trial(config, config_path)
    start = "random weights"
    if train.fine_tune_checkpoint:
        _check_apart(train.fine_tune_checkpoint, model_dir, config_path)
        start = check_start(trial.model, train, config_path)
    size = checkpoint_size(trial.model, train)
    disk = _check_disk(size, model_dir, num_steps, checkpoint_every_n)
    need = _memory(trial, model_of(config, config_path), train, replicas)
    warnings += _data_warnings(config, counts) + _memory_warnings(need)
    kind, schedule = schedule_of(train)
    kind, rate = kind.removesuffix("_learning_rate").replace("_", " "), base_rate(kind, schedule)
    rows = {
        "records": f"{counts.images:,} images, {counts.boxes:,} boxes in "
        f"{counts.files} file{'s' if counts.files > 1 else ''}, whole",
        "classes": f"{len(names)}, as in {reader.label_map_path}",
        "start": start,
        "batch": f"{train.batch_size} on {replicas} device{'s' if replicas > 1 else ''}",
        "schedule": f"{num_steps:,} steps, {kind}, learning rate {rate:g}",
        "disk": disk,
        "memory": f"roughly {_gb(need)} on each device"
        if need
        else "not known: images of any size",
    }
    return [f"  {name:<9} {text}" for name, text in rows.items()] + [
        f"  warning: {text}" for text in warnings
    ]


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


def _check_workers(files, num_workers, path):
    if len(files) < num_workers:
        raise DataError(
            f"{path}: {len(files)} record files for {num_workers} workers, each of which reads "
            f"files of its own.\n  Run make_tfrecords.py with --shards={num_workers} or a multiple "
            "of it, and name the files by a glob in input_path."
        )


def _check_apart(prefix, model_dir, path):
    if Path(prefix).parent.resolve() == Path(model_dir).resolve():
        raise DataError(
            f"{path}: fine_tune_checkpoint lies in the run's folder, {model_dir}.\n"
            "  Choose another --model_dir, or remove fine_tune_checkpoint to go on with the run."
        )


def checkpoint_size(model, train_config):
    """Returns the bytes that a checkpoint takes: a model's variables and the optimizer's copies."""
    optimizer = train_config.optimizer
    copies = _SLOTS.get(optimizer.WhichOneof("optimizer"), 0) + optimizer.use_moving_average
    trained = sum(_size(variable) for variable in model.trainable_variables)
    return sum(_size(variable) for variable in model.variables) + trained * copies


def _check_disk(size, model_dir, num_steps, checkpoint_every_n):
    """Returns what the checkpoints take and what is free; raises DataError if that's too little."""
    # One at step 0, and one more is written before the oldest is removed.
    number = min(2 + -(-num_steps // checkpoint_every_n), KEPT_CHECKPOINTS + 1)
    there = len(list(Path(model_dir).glob("ckpt-*.index")))
    folder = next(p for p in (Path(model_dir), *Path(model_dir).resolve().parents) if p.is_dir())
    free = shutil.disk_usage(folder).free
    if free < (needed := size * max(number - there, 1)):
        raise DataError(
            f"{model_dir}: {_gb(free)} free, and the checkpoints take {_gb(needed)} "
            f"({number} of {_gb(size)} each).\n  Make room, or choose --model_dir on another disk."
        )
    return f"{number} checkpoints of {_gb(size)} in {model_dir}, {_gb(free)} free"


def _size(variable):
    return variable.shape.num_elements() * variable.dtype.size


def _memory(trial, model, train, replicas):
    """Returns roughly the bytes that each device needs, 0 where images have any size.

    Weights, their gradients and the optimizer's copies, and every 4-dimensional result of the
    forward pass, which backpropagation reads again.
    """
    height, width = image_sides(model)
    if not height:
        return 0
    copies = 2 + _SLOTS.get(train.optimizer.WhichOneof("optimizer"), 0)
    weights = sum(_size(variable) for variable in trial.model.variables) * copies
    image = trial.per_pixel * height * width + trial.per_image
    return weights + image * (train.batch_size // replicas)


def _memory_warnings(need):
    """Returns a warning where the machine trains on its CPU and has less memory than that."""
    info = Path("/proc/meminfo")
    if tf.config.list_physical_devices("GPU") or not info.is_file():
        return []
    found = re.search(r"MemAvailable:\s*(\d+) kB", info.read_text())
    if not found or need <= (free := int(found[1]) * 1024):
        return []
    return [
        f"roughly {_gb(need)} of memory are needed, and {_gb(free)} are free. Lower batch_size."
    ]


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


def _gb(size):
    """Returns a number of bytes as text."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
