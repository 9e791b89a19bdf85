"""What a fine-tune checkpoint gives a model: which of its variables it restores, and which not."""

import glob
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from google.protobuf.message import Message
from object_detection.core.model import DetectionModel

from lowlight.core.errors import DataError, format_count, name_some
from lowlight.core.files import existing_dir
from lowlight.core.tensorflow import plain_message
from lowlight.core.tensorflow_files import latest_checkpoint
from lowlight.dataset.classes import read_label_map
from lowlight.tfod import zoo
from lowlight.tfod.model import CHECKPOINT_V2, PipelineConfig, build_model, read_config

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_FILES = "pipeline.config", "label_map.txt"  # of a start
_TRIAL_SIDE = 256  # pixels; every architecture takes it, and variables don't depend on it


class Start(NamedTuple):
    """A run to train from, heads included."""

    config: PipelineConfig
    path: str  # the config's
    checkpoint: str  # its prefix


def find_start(folder: Path | str, label_map: Path | str) -> Start:
    """Finds what a training of the label map's classes starts from in a run that was made for them.

    Raises:
        DataError: no such run, or one whose classes are others.
    """
    folder, names = existing_dir(folder, "start"), read_label_map(label_map)
    how = (
        f"  Make one: python scripts/make_start_checkpoint.py --base=... "
        f"--label_map_path={shlex.quote(str(label_map))} --output_dir=..."
    )
    path, own_map, checkpoint = *map(folder.joinpath, _FILES), latest_checkpoint(folder)
    if checkpoint is None or not (path.is_file() and own_map.is_file()):
        raise DataError(f"{folder}: no checkpoint with {' and '.join(_FILES)}.\n{how}")
    own = read_label_map(own_map)
    if own != names:
        raise DataError(
            f"{folder}: finds {name_some(own.values(), 20)}, but {label_map} has "
            f"{name_some(names.values(), 20)}, or with other ids.\n{how}"
        )
    return Start(read_config(path), str(path), checkpoint)


def build_trial(config: PipelineConfig, path: Path | str) -> DetectionModel:
    """Returns the model of a config, its variables made on the CPU with one small image.

    Raises:
        DataError: TFOD can't build it; the message names the config by its path.
    """
    try:
        with tf.device("/CPU:0"):
            model = build_model(config)
            make_variables(model)
    except Exception as error:  # TFOD raises every kind for a config that it can't follow
        detail, remedy = plain_message(error), "Correct the model, or take one of make_config.py's."
        if "URL fetch failure" in detail:
            remedy = (
                "TFOD fetches ImageNet weights to build this model: run it once with a network, or "
                "copy ~/.keras/models from a machine that has."
            )
        raise DataError(f"{path}: TFOD can't build this model ({detail}).\n  {remedy}") from error
    return model


def make_variables(model: DetectionModel) -> None:
    """Makes a model's variables, by one small image."""
    image, shape = tf.zeros([1, _TRIAL_SIDE, _TRIAL_SIDE, 3]), [[_TRIAL_SIDE, _TRIAL_SIDE, 3]]
    model.predict(image, tf.constant(shape))


def bytes_per_pixel(model: DetectionModel) -> float:
    """Returns roughly what training keeps of each pixel of an image: all maps of a forward pass."""
    shape = tf.constant([[_TRIAL_SIDE, _TRIAL_SIDE, 3]])
    predict = tf.function(lambda image: model.predict(image, shape), autograph=False)
    graph = predict.get_concrete_function(tf.TensorSpec([1, _TRIAL_SIDE, _TRIAL_SIDE, 3])).graph
    operations = [one for one in graph.get_operations() if one.type != "ReadVariableOp"]
    maps = [out for one in operations for out in one.outputs if out.shape.rank == 4]
    maps = [one for one in maps if one.shape.is_fully_defined() and one.shape[0] == 1]
    return sum(one.shape.num_elements() * one.dtype.size for one in maps) / _TRIAL_SIDE**2


def named_variables(root: tf.train.Checkpoint) -> dict[str, tf.Variable]:
    """Returns {name: variable} of what lies below a trackable object, named as in a checkpoint."""
    view, variables, seen, queue = tf.train.TrackableView(root), {}, {id(root)}, [(root, ())]
    for owner, parts in queue:  # breadth first, as tf.train.Checkpoint names them
        if isinstance(owner, tf.Variable):
            variables["/".join(parts) + _VALUE] = owner
        for name, child in view.children(owner).items():
            if id(child) not in seen:
                seen.add(id(child))
                queue.append((child, (*parts, name.replace(".", "..").replace("/", ".S"))))
    return variables


def check_start(model: DetectionModel, train_config: Message, path: Path | str) -> str:
    """Holds a fine-tune checkpoint against the part of a model that TFOD restores from it.

    The model has its variables, and the train_config a fine_tune_checkpoint.

    Returns:
        A line that says how many variables are restored and how many begin untrained.

    Raises:
        DataError: as `restored_names`; the checkpoint's weights are missing or damaged.
    """
    prefix = train_config.fine_tune_checkpoint
    names = restored_names(model, train_config, path)
    _read_all(prefix, names, path)
    total = len(model.variables)
    rest = f"; the other {total - len(names)} begin untrained" if total > len(names) else ""
    if _kind(train_config) == "full":
        rest += ", heads included"
    return f"{prefix} restores {len(names)} of {total} variables{rest}"


def restored_names(model: DetectionModel, train_config: Message, path: Path | str) -> list[str]:
    """Returns the names in a fine-tune checkpoint of the variables that a model takes from it.

    The checkpoint's index is enough.

    Raises:
        DataError: no checkpoint; an index that is damaged, or of another architecture; a
            fine_tune_checkpoint_type or _version that TFOD 2 refuses for this one.
    """
    prefix, kind = train_config.fine_tune_checkpoint, _kind(train_config)
    if train_config.fine_tune_checkpoint_version != CHECKPOINT_V2:
        raise DataError(f"{path}: fine_tune_checkpoint_version isn't V2.\n  Set it to V2.")
    try:
        root = tf.train.Checkpoint(**model.restore_from_objects(fine_tune_checkpoint_type=kind))
    except ValueError as error:
        raise DataError(
            f'{path}: fine_tune_checkpoint_type: "{kind}" ({error}).\n  Set it to "detection".'
        ) from error
    wanted = {name: list(variable.shape) for name, variable in named_variables(root).items()}
    found = read_shapes(prefix, path)
    differs = any(found.get(name) != shape for name, shape in wanted.items())
    if differs and not _restores(root, prefix):
        raise _of_another(prefix, path, kind, wanted, found)
    return [name for name in wanted if name in found]


def _restores(root, prefix):
    """Returns whether TensorFlow finds all in a checkpoint, whatever names it was saved under."""
    try:
        root.restore(str(prefix)).expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError):
        return False
    return True


def _of_another(prefix, path, kind, wanted, found):
    """Returns the DataError for a checkpoint whose names or shapes aren't those that are wanted."""
    missing = [name for name in wanted if name not in found]
    differing = [name for name in wanted if name in found and found[name] != wanted[name]]
    if kind == "full" and not missing and all(found[n][:-1] == wanted[n][:-1] for n in differing):
        return _of_other_classes(prefix, path, differing)
    examples = [f"{name} {found[name]}, not {wanted[name]}" for name in differing]
    examples = [
        text.replace(_VALUE, "") for text in examples + [f"{n} isn't in it" for n in missing]
    ]
    remedy = "Name a checkpoint of this config's architecture"
    # How the names begin in a checkpoint of the other type.
    other, start = "detection", "model/_feature_extractor"
    if kind == "detection":
        other, start = "classification", "feature_extractor/"
    if len(missing) == len(wanted) and any(name.startswith(start) for name in found):
        remedy = f'Set fine_tune_checkpoint_type: "{other}", which its names are of'
    return DataError(
        f"{path}: {prefix} is a checkpoint of another architecture: of the {len(wanted)} "
        f"variables that it should restore ({kind}) {len(missing)} are missing and "
        f"{len(differing)} have another shape.\n  {name_some(examples, 3)}.\n"
        f"  {remedy}, or remove fine_tune_checkpoint to start from random weights."
    )


def _of_other_classes(prefix, path, differing):
    """Returns the DataError for a "full" start from a detector of other classes."""
    folder = Path(prefix).parent
    base = folder.parent if folder.name == "checkpoint" else folder
    return DataError(
        f'{path}: {prefix} is a detector of another number of classes: with "full", '
        f"{format_count(len(differing), 'variable')} of its heads can't be restored.\n"
        "  Make one for these classes: python scripts/make_start_checkpoint.py "
        f"--base={shlex.quote(str(base))} --label_map_path=... --output_dir=...,\n"
        '  and name its ckpt-0; or set fine_tune_checkpoint_type: "detection".'
    )


def _kind(train_config):
    """Returns the checkpoint type as TFOD takes it (`update_fine_tune_checkpoint_type`)."""
    old = "detection" if train_config.from_detection_checkpoint else "classification"
    return train_config.fine_tune_checkpoint_type or old


def read_shapes(prefix: Path | str, path: Path | str | None = None) -> dict[str, list[int]]:
    """Returns {name: shape} of what a checkpoint's index names.

    Raises:
        DataError: there is none, or it is damaged; the message names the config by its path.
    """
    if Path(f"{prefix}.meta").is_file() or not Path(f"{prefix}.index").is_file():
        raise DataError(
            f"{path}: no checkpoint {prefix}.index to start from (fine_tune_checkpoint).\n"
            f"  {_how_to_name(prefix) or zoo.how_to_get_checkpoint(prefix)}"
        )
    try:
        return tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()
    except Exception as error:  # TensorFlow raises several kinds, RuntimeError among them
        raise _damaged(prefix, path, error) from error


def _how_to_name(given):
    """Returns the remedy for what isn't a checkpoint's prefix, but leads to one; else ""."""
    given = Path(str(given).replace("\\", "/"))
    folders = [given, given / "checkpoint", given.parent / "checkpoint"]
    near = [given.with_name(re.sub(r"\.(index|data-\d+-of-\d+)$", "", given.name))]
    near += [path.with_suffix("") for folder in folders for path in folder.glob("*.index")]
    found = [prefix for prefix in near if Path(f"{prefix}.index").is_file()]
    if Path(f"{found[0] if found else given}.meta").is_file():
        return (
            "It is one of TensorFlow 1, which TFOD 2 can't restore. Take one of the zoo for TF 2."
        )
    return f'Name its prefix: fine_tune_checkpoint: "{found[0]}".' if found else ""


def _damaged(prefix, path, error):
    return DataError(
        f"{path}: the checkpoint {prefix} is damaged ({plain_message(error)}).\n"
        f"  Remove it. {zoo.how_to_get_checkpoint(prefix)}"
    )


def _read_all(prefix, names, path):
    """Reads the values, which TensorFlow checks against their checksums."""
    if not glob.glob(f"{glob.escape(str(prefix))}.data-*"):
        raise DataError(
            f"{path}: {prefix} has an index, but no weights ({prefix}.data-*).\n"
            f"  {zoo.how_to_get_checkpoint(prefix)}"
        )
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        for name in names:
            reader.get_tensor(name)
    except Exception as error:
        raise _damaged(prefix, path, error) from error
