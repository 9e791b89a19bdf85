"""Tells what room a training takes, on the disk and in memory, and whether it is there."""

import os
import shutil
from pathlib import Path

import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.tfod.architectures import image_sides
from lowlight.tfod.start import bytes_per_pixel
from lowlight.training.checkpoints import MOST_KEPT

# The optimizer's own copies of each variable that is trained.
_SLOTS = {"momentum_optimizer": 1, "rms_prop_optimizer": 2, "adam_optimizer": 2}
# Bytes of a pixel that no model exceeds, and how many times a machine's memory is too much to try.
_MOST_PER_PIXEL, _TIMES_TOO_MUCH = 20_000, 4


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


def check_memory(model, settings, train, path):
    """Holds a training on a CPU against the machine's memory.

    Args:
        model: TFOD's DetectionModel with its variables; settings: the message of its architecture.
        train: the config's train_config.
        path: the config's, for messages.

    Returns:
        A warning where more is needed than there is, as a list.

    Raises:
        DataError: many times as much is needed.
    """
    height, width = image_sides(settings)
    pixels = train.batch_size * height * width
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if tf.config.list_physical_devices("GPU") or pixels * _MOST_PER_PIXEL < total:
        return []
    need = bytes_per_pixel(model) * pixels
    text = (
        f"roughly {as_text(need)} of memory are needed for a batch of {train.batch_size} images of "
        f"{width}x{height} pixels, and the machine has {as_text(total)}"
    )
    if need > _TIMES_TOO_MUCH * total:
        raise DataError(f"{path}: {text}.\n  Lower batch_size or the image_resizer's sides.")
    return [f"{text}. Lower batch_size."] if need > total else []


def as_text(size):
    """Returns a number of bytes as text."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
