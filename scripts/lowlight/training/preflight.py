"""Finds out before the first step whether a training will work: data, start, room, schedule."""

import functools
import glob
import os
import shutil
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import Message

from lowlight.core.errors import DataError, format_count, name_some
from lowlight.core.tensorflow import find_gpus, plain_message
from lowlight.dataset.classes import read_label_map
from lowlight.dataset.record_counts import (
    Balance,
    RecordCounts,
    balance_records,
    count_and_check,
    format_balance,
    record_files,
)
from lowlight.tfod.config_parts import base_rate, image_sides, model_of, schedule_of
from lowlight.tfod.model import DetectionModel
from lowlight.tfod.start import build_trial, bytes_per_pixel, describe_frozen, restore_start
from lowlight.tfod.training import example_reader
from lowlight.training.checkpoints import MOST_KEPT
from lowlight.training.config import TrainingOptions, check_training
from lowlight.training.workers import count_devices

# The optimizer's own copies of each variable that is trained.
_SLOTS = {"momentum_optimizer": 1, "rms_prop_optimizer": 2, "adam_optimizer": 2}
# Bytes of a pixel that no model exceeds, and how many times a machine's memory is too much to try.
_MOST_PER_PIXEL, _TIMES_TOO_MUCH = 20_000, 4


def preflight(
    config: Message,
    config_path: Path | str,
    run_dir: Path | str,
    options: TrainingOptions,
    replicas: int,
) -> list[str]:
    """Checks what a training needs besides what `check_config` has seen.

    The run's folder needn't be there. The options have num_steps; the replicas are the devices that
    share a batch.

    Returns:
        Lines for a table of what was found, and a line for each warning.

    Raises:
        DataError: as `check_training`, `count_and_check`, `restore_start`, `describe_frozen` and
            `check_memory`; too little room on the disk; a record that TFOD can't take.
    """
    train, reader, parts = config.train_config, config.train_input_reader, options.accumulate
    warnings = check_training(config, config_path, replicas, options.num_steps, parts)
    files = record_files(reader.tf_record_input_reader.input_path, config_path)
    names, start = read_label_map(reader.label_map_path), "random weights"
    decode = functools.partial(tf.io.decode_image, expand_animations=False)
    counts = count_and_check(files, names, decode if options.check_images else None)
    model, settings = build_trial(config, config_path), model_of(config, config_path)
    if train.fine_tune_checkpoint:
        if Path(train.fine_tune_checkpoint).parent.resolve() == Path(run_dir).resolve():
            raise DataError(
                f"{config_path}: fine_tune_checkpoint lies in the run's folder, {run_dir}.\n"
                "  Choose another --model_dir, or remove fine_tune_checkpoint to continue the run."
            )
        start = restore_start(model, train, config_path)
    warnings += check_memory(model, settings, train, config_path, parts)
    _try_records(config, config_path, files, model)
    rows = {
        "records": f"{counts.images:,} images, {counts.boxes:,} boxes in "
        f"{format_count(counts.files, 'file')}, whole",
        "classes": f"{settings.num_classes}, as in {reader.label_map_path}",
        "balance": _describe_balance(config, options, names),
        "start": start,
        "frozen": describe_frozen(model, train, config_path),
        "batch": f"{train.batch_size} on {count_devices(replicas)}"
        + (f", in {parts} parts" if parts > 1 else ""),
        "schedule": _describe_schedule(train, options.num_steps),
        "disk": _check_disk(checkpoint_size(model, train), run_dir, options),
    }
    warnings += data_warnings(config, counts)
    lines = [f"  {name:<9} {text}" for name, text in rows.items() if text]
    return lines + [f"  warning: {text}" for text in warnings]


def find_balance(config: Message, options: TrainingOptions) -> Balance | None:
    """Returns how often a config's training records come by the options, None for each once."""
    if not options.balance:
        return None
    reader = config.train_input_reader
    files = record_files(reader.tf_record_input_reader.input_path, "train_input_reader")
    ids, every_n = read_label_map(reader.label_map_path).ids, reader.sample_1_of_n_examples
    return balance_records(files, ids, options.balance_share, every_n)


def _describe_balance(config, options, names):
    """Returns how often the classes' images come, as lines of text; "" without --balance."""
    found = find_balance(config, options)
    return format_balance(found, names).replace("\n", "\n" + " " * 12) if found else ""


def _try_records(config, path, files, model):
    """Sends the first record of each file through TFOD's own decoder and augmentations."""
    try:
        read = example_reader(config, model)
        records = tf.data.Dataset.from_tensor_slices(files)
        records = records.flat_map(lambda file: tf.data.TFRecordDataset(file).take(1))
        for _ in records.map(lambda record: read(record, tf.constant([0, 0], tf.int64))):
            files = files[1:]
    except Exception as error:  # TFOD and TensorFlow raise every kind
        raise DataError(
            f"{path}: TFOD can't make a training image of the first record of {files[0]} "
            f"({plain_message(error)}).\n  Remove from train_input_reader and "
            "data_augmentation_options what the records don't hold, such as masks or keypoints."
        ) from error


def _describe_schedule(train, num_steps):
    kind, schedule = schedule_of(train)
    name = kind.removesuffix("_learning_rate").replace("_", " ")
    return f"{num_steps:,} steps, {name}, learning rate {base_rate(kind, schedule):g}"


def data_warnings(config: Message, counts: RecordCounts) -> list[str]:
    """Returns what of the data, which can be trained on, spoils the training or its evaluation."""
    warnings, most = [], config.train_input_reader.max_number_of_boxes
    for reader in config.eval_input_reader:
        for pattern in reader.tf_record_input_reader.input_path:
            if not glob.glob(pattern):
                warnings.append(f"no record file {pattern!r} to evaluate on.")
    if counts.unseen:
        warnings.append(f"no box of {name_some(counts.unseen)} in the training records.")
    if counts.most > most:
        warnings.append(
            f"an image has {counts.most} boxes and the train_input_reader's max_number_of_boxes is "
            f"{most}: the rest aren't learned. Set it to {counts.most}."
        )
    return warnings


def checkpoint_size(model: DetectionModel, train: Message) -> int:
    """Returns the bytes that a checkpoint takes: a model's variables and the optimizer's copies."""

    def size(variables):
        return sum(v.shape.num_elements() * v.dtype.size for v in variables)

    copies = _SLOTS.get(train.optimizer.WhichOneof("optimizer"), 0)
    copies += train.optimizer.use_moving_average
    return size(model.variables) + copies * size(model.trainable_variables)


def _check_disk(size, run_dir, options):
    """Returns what a run's checkpoints, of `size` bytes each, take and what is free, as text."""
    # One at step 0, and one more is written before the oldest is removed.
    number = min(2 + -(-options.num_steps // options.checkpoint_every_n), MOST_KEPT + 1)
    there = len(list(Path(run_dir).glob("ckpt-*.index")))
    folder = next(p for p in (Path(run_dir), *Path(run_dir).resolve().parents) if p.is_dir())
    free = shutil.disk_usage(folder).free
    if free < (needed := size * max(number - there, 1)):
        raise DataError(
            f"{run_dir}: {_format_bytes(free)} free, and the checkpoints take "
            f"{_format_bytes(needed)} ({number} of {_format_bytes(size)} each).\n"
            "  Make room, or choose another --model_dir."
        )
    return f"{number} checkpoints of {_format_bytes(size)} in {run_dir}, {_format_bytes(free)} free"


def check_memory(
    model: DetectionModel, settings: Message, train: Message, path: Path | str, parts: int = 1
) -> list[str]:
    """Returns a warning, in a list, where a training on a CPU needs more memory than there is.

    The settings are the message of the model's architecture; a batch is taken in so many parts.
    Raises DataError where it needs many times as much.
    """
    height, width = image_sides(settings)
    images = train.batch_size // parts
    pixels = images * height * width
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if find_gpus() or pixels * _MOST_PER_PIXEL < total:
        return []
    need = bytes_per_pixel(model) * pixels
    text = (
        f"roughly {_format_bytes(need)} of memory are needed for {images} images of "
        f"{width}x{height} pixels at a time, and the machine has {_format_bytes(total)}"
    )
    if need > _TIMES_TOO_MUCH * total:
        raise DataError(
            f"{path}: {text}.\n"
            "  Lower batch_size or the image_resizer's sides, or give --accumulate."
        )
    return [f"{text}. Lower batch_size, or give --accumulate."] if need > total else []


def _format_bytes(size):
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
