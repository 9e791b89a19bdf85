"""Finds the model that a folder holds: a training run's checkpoint, or an exported SavedModel."""

import re
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from lowlight.errors import DataError
from lowlight.files import existing_dir

CONFIG = "pipeline.config"
_STEP = "step/.ATTRIBUTES/VARIABLE_VALUE"


class Model(NamedTuple):
    """A trained model on disk."""

    path: Path  # a checkpoint's prefix, or the folder that holds saved_model.pb
    run_dir: Path  # where evaluations of it belong
    config_path: Path  # the pipeline config; an export of another program may lack the file
    checkpoint: str | None  # prefix of the checkpoint that holds its step

    @property
    def is_exported(self):
        """Whether `path` is that of a SavedModel."""
        return (self.path / "saved_model.pb").is_file()

    def step(self):
        """Returns how many training steps it has behind it, 0 where that isn't known."""
        return checkpoint_step(self.checkpoint) if self.checkpoint else 0

    def num_classes(self):
        """Returns the config's num_classes, None without a config.

        Read as text, which spares the five seconds that TFOD takes to import.
        """
        if not self.config_path.is_file():
            return None
        found = re.search(r"^\s*num_classes:\s*(\d+)", self.config_path.read_text(), re.MULTILINE)
        return int(found[1]) if found else None


def latest_checkpoint(folder):
    """Returns the prefix of a folder's newest checkpoint, None where it has none."""
    return tf.train.latest_checkpoint(str(folder))


def checkpoint_step(prefix):
    """Returns the training step at which a checkpoint was saved.

    Raises:
        DataError: the checkpoint can't be read, or isn't one of TFOD's training loop.
    """
    try:
        return int(tf.train.load_variable(str(prefix), _STEP))
    except (tf.errors.OpError, ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"{prefix}: damaged, or not a checkpoint of a training run.\n"
            f"  Remove {prefix}.* and the line that names it in the file 'checkpoint' beside it."
        ) from error


def check_classes(model, names, label_map_path):
    """Raises DataError where a label map has another number of classes than a model.

    Args:
        model: Model.
        names: {id: name} as read from the label map.
        label_map_path: for the message.
    """
    number = model.num_classes()
    if number is not None and number != len(names):
        raise DataError(
            f"{label_map_path}: {len(names)} classes, but {model.path} has {number} "
            f"(num_classes in {model.config_path}).\n"
            "  Give the label map that the model was trained with."
        )


def find_model(model_dir):
    """Finds what to run: a SavedModel, a run's checkpoint, or the newest run below a folder.

    Of a run that was exported at its newest checkpoint's step, the SavedModel is taken: it is the
    same model and starts sooner.

    Args:
        model_dir: a SavedModel, the folder of an export, a run, or a folder of runs.

    Raises:
        DataError: no such folder, or no model in it.
    """
    folder = existing_dir(model_dir, "model_dir")
    model = _model_in(folder) or _model_in(_newest_run(folder))
    if model is None:
        raise _no_model(folder, "no checkpoint (ckpt-*.index) and no saved_model.pb")
    return model


def find_checkpoint(model_dir):
    """As `find_model`, for checkpoints only."""
    folder = existing_dir(model_dir, "model_dir")
    model = _checkpoint_in(folder) or _checkpoint_in(_newest_run(folder))
    if model is None:
        raise _no_model(folder, "no checkpoint (ckpt-*.index)")
    return model


def _no_model(folder, what):
    return DataError(
        f"{folder}: holds {what}.\n"
        "  Check --model_dir: a run of train.py, a folder of runs, or what export_model.py wrote."
    )


def _model_in(folder):
    if folder is None:
        return None
    exported, checkpoint = _export_in(folder), _checkpoint_in(folder)
    if exported and checkpoint and exported.step() != checkpoint.step():
        return checkpoint
    return exported or checkpoint


def _export_in(folder):
    """Returns the SavedModel that is this folder or lies in it, or None."""
    for place in (folder, folder / "saved_model", folder / "exported" / "saved_model"):
        if (place / "saved_model.pb").is_file():
            top = place.parent if place.name == "saved_model" else place
            run_dir = top.parent if top.name == "exported" else top
            return Model(place, run_dir, top / CONFIG, latest_checkpoint(top / "checkpoint"))
    return None


def _checkpoint_in(folder):
    """Returns the newest checkpoint of the run that this folder is, or None."""
    prefix = latest_checkpoint(folder) if folder else None
    if prefix is None:
        return None
    return Model(Path(prefix), folder, folder / CONFIG, prefix)


def _newest_run(folder):
    """Returns the folder of the run below this one that was trained last, or None."""
    states = [path for path in folder.rglob("checkpoint") if path.is_file()]
    runs = [path for path in states if (path.parent / CONFIG).is_file()]
    return max(runs, key=lambda path: path.stat().st_mtime).parent if runs else None
