"""What a training starts with: its model, what a checkpoint restores of it, and what is frozen."""

import glob
import re
import shlex
from pathlib import Path

import tensorflow as tf
import tf_slim
from google.protobuf.message import Message
from object_detection.core.model import DetectionModel

from lowlight.core.errors import DataError, format_count, name_some
from lowlight.core.tensorflow import plain_message
from lowlight.tfod import zoo
from lowlight.tfod.model import CHECKPOINT_V2, PipelineConfig, build_model

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_TRIAL_SIDE = 256  # pixels; every architecture takes it, and variables don't depend on it


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


def restore_start(model: DetectionModel, train_config: Message, path: Path | str) -> str:
    """Restores from a fine-tune checkpoint the part of a model that TFOD restores from it.

    The model has its variables, and the train_config a fine_tune_checkpoint.

    Returns:
        A line that says how many variables are restored and how many begin untrained.

    Raises:
        DataError: no checkpoint, or one that is damaged, or of another architecture; a
            fine_tune_checkpoint_type or _version that TFOD 2 refuses for this one. The message
            names the config by its path.
    """
    prefix = train_config.fine_tune_checkpoint
    # As TFOD takes it (`update_fine_tune_checkpoint_type`).
    old_kind = "detection" if train_config.from_detection_checkpoint else "classification"
    kind = train_config.fine_tune_checkpoint_type or old_kind
    if train_config.fine_tune_checkpoint_version != CHECKPOINT_V2:
        raise DataError(f"{path}: fine_tune_checkpoint_version isn't V2.\n  Set it to V2.")
    try:
        root = tf.train.Checkpoint(**model.restore_from_objects(fine_tune_checkpoint_type=kind))
    except ValueError as error:
        raise DataError(
            f'{path}: fine_tune_checkpoint_type: "{kind}" ({error}).\n  Set it to "detection".'
        ) from error
    variables, found = named_variables(root), read_shapes(prefix, path)
    if not glob.glob(f"{glob.escape(str(prefix))}.data-*"):
        raise DataError(
            f"{path}: {prefix} has an index, but no weights ({prefix}.data-*).\n"
            f"  {zoo.how_to_get_checkpoint(prefix)}"
        )
    try:
        root.restore(prefix).expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError) as error:
        wanted = {name: list(variable.shape) for name, variable in variables.items()}
        raise _of_another(prefix, path, kind, wanted, found) from error
    except Exception as error:  # TensorFlow raises several kinds, IndexError among them
        raise _damaged(prefix, path, error) from error
    restored, total = len(variables), len(model.variables)
    rest = f"; the other {total - restored} begin untrained" if total > restored else ""
    if kind == "full":
        rest += ", heads included"
    return f"{prefix} restores {restored} of {total} variables{rest}"


def _of_another(prefix, path, kind, wanted, found):
    """Returns the DataError for a checkpoint whose names or shapes aren't those that are wanted."""
    missing = [name for name in wanted if name not in found]
    differing = [name for name in wanted if name in found and found[name] != wanted[name]]
    if kind == "full" and not missing and all(found[n][:-1] == wanted[n][:-1] for n in differing):
        return _of_other_classes(prefix, path, differing)
    examples = [f"{name} {found[name]}, not {wanted[name]}" for name in differing]
    examples += [f"{name} isn't in it" for name in missing]
    shown = name_some(examples, 3).replace(_VALUE, "")
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
        f"{len(differing)} have another shape.\n  {shown}.\n"
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


def read_shapes(prefix: Path | str, path: Path | str) -> dict[str, list[int]]:
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


def updated_variables(model: DetectionModel, train_config: Message) -> list[tf.Variable]:
    """Returns those of a model's trainable variables that a training updates.

    As in TFOD's `model_lib`, which its loop for TensorFlow 2 doesn't follow: those in whose names
    (`block_1/kernel:0`) a regex of update_trainable_variables is found, where there is any, but for
    those in which one of freeze_variables is. Other variables, such as the averages of batch
    normalisation, aren't meant.
    """
    return tf_slim.filter_variables(
        model.trainable_variables,
        train_config.update_trainable_variables or None,
        train_config.freeze_variables or None,
    )


def describe_frozen(model: DetectionModel, train_config: Message, path: Path | str) -> str:
    """Says how much of a model, whose variables are made, a config freezes; "" for nothing.

    Raises:
        DataError: a regex that isn't one, or that no name matches; nothing is left to train. The
            message names the config by its path.
    """
    variables = model.trainable_variables
    counts = [
        f'{field} "{pattern}" ({_count_matches(variables, field, pattern, path)})'
        for field in ("freeze_variables", "update_trainable_variables")
        for pattern in getattr(train_config, field)
    ]
    if not counts:
        return ""
    kept = updated_variables(model, train_config)
    if not kept:
        raise DataError(
            f"{path}: {', '.join(counts)}: all {len(variables)} variables are frozen.\n"
            "  Leave some of them to train."
        )
    weights, trained = (sum(v.shape.num_elements() for v in some) for some in (variables, kept))
    return (
        f"{len(variables) - len(kept)} of {len(variables)} variables, {weights - trained:,} of "
        f"{weights:,} weights: {', '.join(counts)}"
    )


def _count_matches(variables, field, pattern, path):
    """Returns in how many variables' names a pattern is found; raises as `describe_frozen`."""
    try:
        count = sum(re.search(pattern, variable.name) is not None for variable in variables)
    except re.error as error:
        raise DataError(
            f'{path}: {field}: "{pattern}" is no regular expression ({error}).\n  Correct it.'
        ) from error
    if not count:
        parts = dict.fromkeys(variable.name.split("/")[0] for variable in variables)
        raise DataError(
            f'{path}: {field}: "{pattern}" is found in no name of the {len(variables)} variables.\n'
            f"  Correct it: they begin with {name_some(parts, 20)}."
        )
    return count
