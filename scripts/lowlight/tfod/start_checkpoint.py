"""Makes a detector for other classes of one that is trained, class by class, as a run's folder."""

import contextlib
import json
import os
import shlex
from collections import Counter
from pathlib import Path

import tensorflow as tf
from google.protobuf import text_format

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import existing_dir, folder_beside, write_text
from lowlight.core.tensorflow_files import latest_checkpoint
from lowlight.dataset.classes import format_label_map, read_label_map
from lowlight.tfod import zoo
from lowlight.tfod.config_parts import check_model, model_of
from lowlight.tfod.configs import find_records
from lowlight.tfod.model import build_model, read_config, restore_weights
from lowlight.tfod.start import make_variables, named_variables

_UNSET = "PATH_TO_BE_CONFIGURED"
_BOX = 4  # numbers of a box


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
        trained = _read_base(zoo.find_folder(base, "base"))
        base_names = _names_of(trained, base_label_map)
        sources = match_classes(names, base_names, given)
        if not any(sources.values()) and not allow_no_match:
            raise DataError(
                f"{base}: none of {name_some(names.values(), 20)} is a class of this detector.\n"
                "  Say which are by --classes=NAME=BASE, or begin untrained by --allow_no_match."
            )
        came = {name: base_names.get(sources[number]) for number, name in names.items()}
        config, model, counts = _adapt(trained, sources, raw_weights)
        averaged = config.eval_config.use_moving_averages and not raw_weights
        _name_inputs(config, folder, data_dir)
        _write(partial, config, model, names)
        about = {
            "base": trained.checkpoint,
            "averages": averaged,
            "classes": came,
            "variables": counts,
        }
        write_text(partial / "start.json", json.dumps(about, indent=2) + "\n")
        if folder.is_dir():
            folder.rmdir()  # an empty one
        os.replace(partial, folder)
    shared = {name for name, count in Counter(came.values()).items() if name and count > 1}
    return [
        f"{folder}: {counts['taken']} variables of {trained.checkpoint} whole, "
        f"{counts['heads']} by class{', as moving averages' if averaged else ''}",
        *(f"  {name:<20} <- {source or 'begins untrained'}" for name, source in came.items()),
        *(f"several classes begin as {name}: they find the same at first" for name in shared),
    ]


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


def _adapt(base, sources, raw_weights):
    """Returns (config, model, counts) of a detector for other classes, made of a `zoo.Base`.

    All that doesn't depend on the number of classes is taken over; of the heads' last layers the
    rows of each class that has a source. The other rows keep what TFOD begins them with. The counts
    are of the variables that were taken whole, and of the heads that got some of their rows.
    """
    config = type(base.config)()
    config.CopyFrom(base.config)
    settings = check_model(config, base.name)
    classes = settings.num_classes, max(sources)
    settings.num_classes = max(sources)
    kind = config.model.WhichOneof("model")
    # How many outputs of a class head, before those of the classes, are of none.
    background = int(kind == "faster_rcnn" or kind == "ssd" and settings.add_background_class)
    trained, own = build_model(base.config), build_model(config)
    for model in (trained, own):
        make_variables(model)
    restore_weights(trained, base.config, base.checkpoint, raw_weights)
    before, after = (named_variables(tf.train.Checkpoint(model=model)) for model in (trained, own))
    heads = 0
    for name, variable in after.items():
        value, own_value = before[name].numpy(), variable.numpy()
        if value.shape != own_value.shape:
            if not _take_rows(value, own_value, sources, classes, background):
                raise DataError(
                    f"{base.name}: this architecture's heads aren't known here ({name} has "
                    f"{list(value.shape)}).\n  Train it from the checkpoint: "
                    'fine_tune_checkpoint_type: "detection".'
                )
            value, heads = own_value, heads + 1
        variable.assign(value)
    return config, own, {"taken": len(after) - heads, "heads": heads}


def _take_rows(base, own, sources, classes, background):
    """Writes the rows of a trained head into those of a new one, for classes with a source.

    A class head gives its outputs, the last axis, anchor by anchor, and of each anchor one a slot:
    the background where there is one, then the classes. Faster R-CNN gives four numbers of a box
    for each class. `classes` are the two heads' numbers of them.

    Returns:
        Whether the head is of this form.
    """
    lead, sizes, numbers = base.shape[:-1], (base.shape[-1], own.shape[-1]), 1
    if background and sizes == tuple(_BOX * count for count in classes):
        numbers, background = _BOX, 0
    slots = [count + background for count in classes]
    anchors = sizes[0] // (slots[0] * numbers)
    if own.shape[:-1] != lead or sizes != tuple(anchors * n * numbers for n in slots):
        return False
    base, own = (
        head.reshape(*lead, anchors, n, numbers) for head, n in zip((base, own), slots, strict=True)
    )
    own[..., :background, :] = base[..., :background, :]
    for number, source in sources.items():
        if source:
            own[..., number - 1 + background, :] = base[..., source - 1 + background, :]
    return True


def _read_base(folder):
    """Returns the `zoo.Base` of an unpacked archive, or of a run with its newest checkpoint."""
    path, is_archive = folder / "pipeline.config", (folder / "checkpoint").is_dir()
    checkpoint = zoo.checkpoint_in(folder) if is_archive else latest_checkpoint(folder)
    if checkpoint is None or not path.is_file():
        raise DataError(
            f"{folder}: no checkpoint with a pipeline.config.\n"
            "  Name an archive of the model zoo, or a run."
        )
    return zoo.Base(read_config(path), str(path), str(checkpoint))


def _names_of(base, label_map):
    """Returns {id: name} of the classes that a `zoo.Base` finds."""
    folder, number = Path(base.name).parent, model_of(base.config, base.name).num_classes
    named = base.config.train_input_reader.label_map_path
    if label_map is None and number == zoo.SLOTS and not Path(named).is_file():
        return zoo.COCO
    places = [label_map] if label_map else [named, folder / "label_map.txt"]
    found = next((place for place in places if place and Path(place).is_file()), None)
    if found is None:
        raise DataError(
            f"{folder}: finds {number} classes, and no label map says which.\n"
            "  Give --base_label_map_path."
        )
    names = read_label_map(found)
    if max(names) > number:
        raise DataError(
            f"{found}: ids up to {max(names)}, but {folder} finds {number} classes.\n"
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


def _write(folder, config, model, names):
    """Writes a run's files into a folder."""
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    whole = tf.train.Checkpoint(model=model, step=step)
    tf.train.CheckpointManager(whole, str(folder), 1).save(checkpoint_number=0)
    write_text(folder / "pipeline.config", text_format.MessageToString(config))
    write_text(folder / "label_map.txt", format_label_map(names))


def find_start(folder: Path | str, label_map: Path | str) -> zoo.Base:
    """Reads what a training of a label map's classes starts from, heads included.

    That is a run that was made for these classes.

    Raises:
        DataError: no such run, or one whose classes are others.
    """
    folder, names = existing_dir(folder, "start"), read_label_map(label_map)
    path, own_map = folder / "pipeline.config", folder / "label_map.txt"
    checkpoint, problem = latest_checkpoint(folder), ""
    if checkpoint is None or not (path.is_file() and own_map.is_file()):
        problem = "no checkpoint with pipeline.config and label_map.txt"
    elif (own := read_label_map(own_map)) != names:
        problem = (
            f"finds {name_some(own.values(), 20)}, but {label_map} has "
            f"{name_some(names.values(), 20)}, or with other ids"
        )
    if problem:
        raise DataError(
            f"{folder}: {problem}.\n  Make one: python scripts/make_start_checkpoint.py --base=... "
            f"--label_map_path={shlex.quote(str(label_map))} --output_dir=..."
        )
    return zoo.Base(read_config(path), str(path), checkpoint)
