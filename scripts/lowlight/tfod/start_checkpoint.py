"""Makes a detector for other classes of one that is trained, class by class, as a run's folder."""

import contextlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from object_detection.core.model import DetectionModel

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import existing_dir, folder_beside, write_text
from lowlight.core.tensorflow_files import latest_checkpoint
from lowlight.dataset.classes import format_label_map, read_label_map
from lowlight.tfod import zoo
from lowlight.tfod.architectures import check_model, model_of
from lowlight.tfod.configs import find_records
from lowlight.tfod.model import PipelineConfig, build_model, read_config, restore_weights
from lowlight.tfod.start import make_variables, named_variables

_UNSET = "PATH_TO_BE_CONFIGURED"
_BOX = 4  # numbers of a box


class _Base(NamedTuple):
    """A trained detector."""

    config: PipelineConfig
    path: Path  # the config's
    checkpoint: Path  # its prefix
    names: dict[int, str]  # of its classes


def make_start(
    base: Path,
    names: dict[int, str],
    folder: Path,
    given: dict[str, str],
    base_label_map: str | None = None,
    allow_no_match: bool = False,
    data_dir: Path | None = None,
    raw_weights: bool = False,
) -> list[str]:
    """Makes a run of a trained detector's weights; returns lines that say what came from where.

    Args:
        base: an archive of the zoo, packed, unpacked or by its name, or a run.
        names: {id: name} of the classes to be.
        folder: the run to write, which appears when it is whole.
        given: as `match_classes` takes it.
        base_label_map: the detector's; None for COCO's, or the one that its config names.
        allow_no_match: go ahead where no class has a source.
        data_dir: where records of these classes may lie, which the run's config then names.
        raw_weights: not the averages that the detector's config asks for.

    Raises:
        DataError: no such detector; as `zoo.unpack`, `match_classes`, `check_model` and
            `detection_module`; no class has a source; the folder isn't an empty one,
            or another process makes it.
    """
    with folder_beside(folder, "made", "output_dir") as partial:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise DataError(f"{folder}: isn't an empty folder.\n  Choose another --output_dir.")
        base = _folder_of(base)
        trained = _read_base(base, base_label_map)
        sources = match_classes(names, trained.names, given)
        if not any(sources.values()) and not allow_no_match:
            raise DataError(
                f"{base}: none of {name_some(names.values(), 20)} is a class of this detector.\n"
                "  Say which are by --classes=NAME=BASE, or begin untrained by --allow_no_match."
            )
        came = {name: trained.names.get(sources[number]) for number, name in names.items()}
        adapted = _adapt(trained, sources, raw_weights)
        _name_inputs(adapted.config, folder, data_dir)
        _write(adapted, names, came, trained.checkpoint, partial)
        if folder.is_dir():
            folder.rmdir()  # an empty one
        os.replace(partial, folder)
    shared = {name for name, count in Counter(came.values()).items() if name and count > 1}
    return [
        f"{folder}: {adapted.taken} variables of {trained.checkpoint} whole, "
        f"{adapted.heads} by class{', as moving averages' if adapted.averaged else ''}",
        *(f"  {name:<20} <- {source or 'begins untrained'}" for name, source in came.items()),
        *(f"several classes begin as {name}: they find the same at first" for name in shared),
    ]


def _folder_of(base):
    """Returns a detector's folder; an archive is unpacked beside itself if it isn't there already.

    An archive's name alone stands for the one in checkpoint/.
    """
    if str(base) in zoo.ARCHIVES and not base.exists():
        base = Path("checkpoint", base)
    archive = base.name.removesuffix(".tar.gz")
    folder = zoo.folder_of(archive, base.parent)
    if (folder / "pipeline.config").is_file():
        return folder
    for packed in (base, base.with_name(f"{archive}.tar.gz")):
        if packed.is_file():
            return zoo.unpack(packed)
    if archive in zoo.ARCHIVES:
        raise DataError(f"{base}: not there.\n  {zoo.how_to_fetch(archive, base.parent)}")
    return existing_dir(base, "base")


def match_classes(
    names: dict[int, str], base_names: dict[int, str], given: dict[str, str] | None = None
) -> dict[int, int | None]:
    """Finds for each class, {id: name}, the one of a trained detector that it begins as.

    The user says it in `given`, {name: base name, "" to begin untrained}; the other classes meet by
    name, without regard to case, or by `zoo.COCO_ALIASES`.

    Returns:
        {id: base id, None to begin untrained}.

    Raises:
        DataError: a name in `given` that is none of the classes.
    """
    ids = {name.lower(): number for number, name in base_names.items()}
    given = {name.lower(): base.lower() for name, base in (given or {}).items()}
    unknown = given.keys() - {name.lower() for name in names.values()}
    unknown |= {base for base in given.values() if base and base not in ids}
    if unknown:
        raise DataError(
            f"--classes: {', '.join(sorted(unknown))}: no such class.\n"
            f"  Yours: {name_some(names.values(), 20)}. The detector's: "
            f"{name_some(base_names.values(), 90)}."
        )
    sources = {}
    for number, name in names.items():
        own = name.lower()
        found = [given[own]] if own in given else [own, zoo.COCO_ALIASES.get(own)]
        sources[number] = next((ids[one] for one in found if one in ids), None)
    return sources


class _Adapted(NamedTuple):
    """A detector for other classes."""

    config: PipelineConfig
    model: DetectionModel  # with its weights
    taken: int  # variables taken over as they were
    heads: int  # variables that got some of their rows
    averaged: bool  # whether they are moving averages


def _adapt(base, sources, raw_weights):
    """Returns the _Adapted of a _Base.

    All that doesn't depend on the number of classes is taken over; of the heads' last layers the
    rows of each class that has a source. The other rows keep what TFOD begins them with.
    """
    check_model(base.config, base.path)
    config = type(base.config)()
    config.CopyFrom(base.config)
    model_of(config, base.path).num_classes = max(sources)
    trained, own = build_model(base.config), build_model(config)
    for model in (trained, own):
        make_variables(model)
    restore_weights(trained, base.config, base.checkpoint, raw_weights)
    before, after = (named_variables(tf.train.Checkpoint(model=model)) for model in (trained, own))
    heads = _Heads(
        model_of(base.config, base.path).num_classes, max(sources), _background_slots(config)
    )
    by_class = 0
    for name, variable in after.items():
        value, own_value = before[name].numpy(), variable.numpy()
        if value.shape != own_value.shape:
            if not heads.take(value, own_value, sources):
                raise DataError(
                    f"{base.path}: this architecture's heads aren't known here ({name} has "
                    f"{list(value.shape)}).\n  Train it from the checkpoint: "
                    'fine_tune_checkpoint_type: "detection".'
                )
            value, by_class = own_value, by_class + 1
        variable.assign(value)
    averaged = base.config.eval_config.use_moving_averages and not raw_weights
    return _Adapted(config, own, len(after) - by_class, by_class, averaged)


def _background_slots(config):
    """Returns how many outputs of a class head, before those of the classes, are of none."""
    kind = config.model.WhichOneof("model")
    return int(kind == "faster_rcnn" or kind == "ssd" and config.model.ssd.add_background_class)


class _Heads(NamedTuple):
    """How the last layers of a trained detector and of its new one give their outputs."""

    base_classes: int
    classes: int
    background: int  # slots of it

    def take(self, base: np.ndarray, own: np.ndarray, sources: dict[int, int | None]) -> bool:
        """Writes the rows of a trained head into those of a new one, for classes with a source.

        A class head gives its outputs, the last axis, anchor by anchor, and of each anchor one a
        slot: the background where there is one, then the classes. Faster R-CNN gives four numbers
        of a box for each class.

        Returns:
            Whether the head is of this form.
        """
        pairs = [(number - 1, source - 1) for number, source in sources.items() if source]
        sizes, lead = (base.shape[-1], own.shape[-1]), base.shape[:-1]
        if own.shape[:-1] != lead:
            return False
        if self.background and sizes == (_BOX * self.base_classes, _BOX * self.classes):
            shape = *lead, -1, _BOX
            for to, of in pairs:
                own.reshape(shape)[..., to, :] = base.reshape(shape)[..., of, :]
            return True
        slots, own_slots = (n + self.background for n in (self.base_classes, self.classes))
        anchors = sizes[0] // slots
        if sizes != (anchors * slots, anchors * own_slots):
            return False
        base, own = base.reshape(*lead, anchors, slots), own.reshape(*lead, anchors, own_slots)
        own[..., : self.background] = base[..., : self.background]
        for to, of in pairs:
            own[..., to + self.background] = base[..., of + self.background]
        return True


def _read_base(folder, label_map):
    """Returns the _Base of an unpacked archive, or of a run with its newest checkpoint."""
    path, is_archive = folder / "pipeline.config", (folder / "checkpoint").is_dir()
    checkpoint = zoo.checkpoint_in(folder) if is_archive else latest_checkpoint(folder)
    if checkpoint is None or not path.is_file():
        raise DataError(
            f"{folder}: no checkpoint with a pipeline.config.\n"
            "  Name an archive of the model zoo, or a run."
        )
    config = read_config(path)
    return _Base(config, path, checkpoint, _names_of(config, folder, label_map))


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


def _name_inputs(config, folder, data_dir):
    """Names the run's label map in a config, and the records that lie in a folder, if any."""
    config.train_config.ClearField("fine_tune_checkpoint")
    config.eval_config.use_moving_averages = False  # none lie in the checkpoint
    for reader, part in (
        (config.train_input_reader, "train"),
        *((reader, "test") for reader in config.eval_input_reader),
    ):
        reader.label_map_path = str(folder / "label_map.txt")
        records = _UNSET
        if data_dir is not None:
            with contextlib.suppress(DataError):
                records = find_records(data_dir, part)
        reader.tf_record_input_reader.input_path[:] = [records]


def _write(adapted, names, came, checkpoint, folder):
    """Writes the run's files into a folder."""
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    counts = {"taken": adapted.taken, "heads": adapted.heads}
    about = {
        "base": str(checkpoint),
        "averages": adapted.averaged,
        "classes": came,
        "variables": counts,
    }
    whole = tf.train.Checkpoint(model=adapted.model, step=step)
    tf.train.CheckpointManager(whole, str(folder), 1).save(checkpoint_number=0)
    write_text(folder / "pipeline.config", text_format.MessageToString(adapted.config))
    write_text(folder / "label_map.txt", format_label_map(names))
    write_text(folder / "start.json", json.dumps(about, indent=2) + "\n")
