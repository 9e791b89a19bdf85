"""What a training takes of a machine: room for its checkpoints, and roughly its memory."""

import re
import shutil
from pathlib import Path

import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.tfod.architectures import image_sides

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
