"""Writes a run's folder that holds a trained detector, made one for other classes."""

import json
import os
import tempfile
from pathlib import Path

import tensorflow as tf
from google.protobuf import text_format

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import existing_dir, output_dir, write_text
from lowlight.dataset.classes import format_label_map, read_label_map
from lowlight.tfod import zoo
from lowlight.tfod.architectures import model_of
from lowlight.tfod.class_heads import adapt, match_classes
from lowlight.tfod.model import read_config

_UNSET = "PATH_TO_BE_CONFIGURED"


def make_start(
    base: Path,
    names: dict,
    folder: Path,
    given: dict,
    base_label_map: str | None = None,
    allow_no_match: bool = False,
) -> list[str]:
    """Makes a run of a trained detector's weights.

    Args:
        base: an archive of the zoo, packed or unpacked, or a run.
        names: {id: name} of the classes to be.
        folder: the run to write, which appears when it is whole.
        given: as `match_classes` takes it.
        base_label_map: the detector's; None for COCO's, or the one that its config names.
        allow_no_match: go ahead where no class has a source.

    Returns:
        Lines that say what each class came from.

    Raises:
        DataError: no such detector, as `zoo.unpack`, `match_classes` and `adapt`; classes of which
            none has a source; a folder that isn't empty.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder}: isn't empty.\n  Choose another --output_dir.")
    base = zoo.unpack(base) if base.is_file() else existing_dir(base, "base")
    config, checkpoint = read_config(base / "pipeline.config"), _checkpoint_in(base)
    base_names = _names_of(config, base, base_label_map)
    sources = match_classes(names, base_names, given)
    if not any(sources.values()) and not allow_no_match:
        raise DataError(
            f"{base}: none of {name_some(names.values(), 20)} is a class of this detector.\n"
            "  Say which are by --classes=NAME=BASE, or begin them anew by --allow_no_match."
        )
    adapted = adapt(config, checkpoint, sources, base / "pipeline.config")
    came = {name: base_names.get(sources[number]) for number, name in names.items()}
    counts = {"taken": adapted.taken, "heads": adapted.heads}
    about = {"base": str(checkpoint), "classes": came, "variables": counts}
    _write(adapted, names, about, folder)
    return [
        f"{folder}: {adapted.taken} variables of {checkpoint} whole, {adapted.heads} by class",
        *(f"  {name:<20} <- {source or 'begins anew'}" for name, source in came.items()),
    ]


def _checkpoint_in(base):
    """Returns the prefix of an unpacked archive's checkpoint, or of a run's newest."""
    if (base / "checkpoint").is_dir():
        return zoo.checkpoint_in(base)
    prefix = tf.train.latest_checkpoint(str(base))
    if prefix is None:
        raise DataError(f"{base}: no checkpoint.\n  Name a zoo archive's folder or a run.")
    return prefix


def _names_of(config, base, label_map):
    """Returns {id: name} of the classes that a detector finds."""
    number = model_of(config, base / "pipeline.config").num_classes
    named = config.train_input_reader.label_map_path
    if label_map is None and number == zoo.SLOTS and not Path(named).is_file():
        return zoo.COCO
    places = [label_map] if label_map else [named, base / "label_map.txt"]
    found = next((place for place in places if place and Path(place).is_file()), None)
    if found is None:
        raise DataError(
            f"{base}: finds {number} classes, and no label map says which.\n"
            "  Give --base_label_map_path."
        )
    names = read_label_map(found)
    if max(names) > number:
        raise DataError(
            f"{found}: ids up to {max(names)}, but {base} finds {number} classes.\n"
            "  Give --base_label_map_path, the one it was trained with."
        )
    return names


def _write(adapted, names, about, folder):
    """Writes the run's files beside their place, and then moves them there."""
    config, step = adapted.config, tf.Variable(0, dtype=tf.int64, trainable=False)
    config.train_config.ClearField("fine_tune_checkpoint")
    for reader in (config.train_input_reader, *config.eval_input_reader):
        reader.label_map_path = str(folder / "label_map.txt")
        reader.tf_record_input_reader.input_path[:] = [_UNSET]
    output_dir(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        partial = Path(beside) / "run"
        checkpoint = tf.train.Checkpoint(model=adapted.model, step=step)
        tf.train.CheckpointManager(checkpoint, str(partial), 1).save(checkpoint_number=0)
        write_text(partial / "pipeline.config", text_format.MessageToString(config))
        write_text(partial / "label_map.txt", format_label_map(list(names.values())))
        write_text(partial / "start.json", json.dumps(about, indent=2) + "\n")
        if folder.is_dir():
            folder.rmdir()  # an empty one
        os.replace(partial, folder)
