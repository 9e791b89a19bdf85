"""What a fine-tune checkpoint gives a model: which of its variables it restores, and which not."""

import glob
import re
from pathlib import Path

import tensorflow as tf

from lowlight.core.errors import DataError, name_some
from lowlight.core.tensorflow import plain_message
from lowlight.tfod import model as tfod
from lowlight.tfod import zoo

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_TRIAL_SIDE = 256  # pixels; every architecture takes it, and variables don't depend on it


def build_trial(config, path):
    """Returns the DetectionModel of a config, its variables made on the CPU with one small image.

    Args:
        config: TrainEvalPipelineConfig.
        path: the config's, for messages.

    Raises:
        DataError: TFOD can't build it.
    """
    try:
        with tf.device("/CPU:0"):
            model = tfod.build_model(config)
            make_variables(model)
    except Exception as error:  # TFOD raises every kind for a config that it can't follow
        raise DataError(_not_built(path, plain_message(error))) from error
    return model


def make_variables(model):
    """Makes a model's variables, by one small image."""
    image, shape = tf.zeros([1, _TRIAL_SIDE, _TRIAL_SIDE, 3]), [[_TRIAL_SIDE, _TRIAL_SIDE, 3]]
    model.predict(image, tf.constant(shape))


def bytes_per_pixel(model):
    """Returns roughly what training keeps of each pixel of an image: all maps of a forward pass.

    Args:
        model: of `build_trial`.
    """
    shape = tf.constant([[_TRIAL_SIDE, _TRIAL_SIDE, 3]])
    predict = tf.function(lambda image: model.predict(image, shape))
    graph = predict.get_concrete_function(tf.TensorSpec([1, _TRIAL_SIDE, _TRIAL_SIDE, 3])).graph
    operations = [one for one in graph.get_operations() if one.type != "ReadVariableOp"]
    maps = [out for one in operations for out in one.outputs if out.shape.rank == 4]
    maps = [one for one in maps if one.shape.is_fully_defined() and one.shape[0] == 1]
    return sum(one.shape.num_elements() * one.dtype.size for one in maps) / _TRIAL_SIDE**2


def _not_built(path, detail):
    remedy = "Correct the model, or take one of make_config.py's."
    if "URL fetch failure" in detail:
        remedy = (
            "TFOD fetches ImageNet weights to build this model: run it once with a network, or "
            "copy ~/.keras/models from a machine that has."
        )
    return f"{path}: TFOD can't build this model ({detail}).\n  {remedy}"


def named_variables(root):
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


def check_start(model, train_config, path):
    """Holds a fine-tune checkpoint against the part of a model that TFOD restores from it.

    Args:
        model: TFOD's DetectionModel with its variables.
        train_config: the config's train_config, with a fine_tune_checkpoint.
        path: the config's, for messages.

    Returns:
        A line that says how many variables are restored and how many begin anew.

    Raises:
        DataError: as `restored_names`; the checkpoint's weights are missing or damaged.
    """
    prefix = train_config.fine_tune_checkpoint
    names = restored_names(model, train_config, path)
    _read_all(prefix, names, path)
    total = len(model.variables)
    rest = f"; the other {total - len(names)} begin anew" if total > len(names) else ""
    return f"{prefix} restores {len(names)} of {total} variables{rest}"


def restored_names(model, train_config, path):
    """Returns the names in a fine-tune checkpoint of the variables that a model takes from it.

    Arguments as `check_start`; the checkpoint's index is enough.

    Raises:
        DataError: no checkpoint; an index that is damaged, or of another architecture; a
            fine_tune_checkpoint_type or _version that TFOD 2 refuses for this one.
    """
    prefix, kind = train_config.fine_tune_checkpoint, _kind(train_config)
    if train_config.fine_tune_checkpoint_version != tfod.CHECKPOINT_V2:
        raise DataError(f"{path}: fine_tune_checkpoint_version isn't V2.\n  Set it to V2.")
    try:
        parts = model.restore_from_objects(fine_tune_checkpoint_type=kind)
    except ValueError as error:
        raise DataError(
            f'{path}: fine_tune_checkpoint_type: "{kind}" ({error}).\n  Set it to "detection".'
        ) from error
    variables = named_variables(tf.train.Checkpoint(**parts))
    wanted = {name: list(variable.shape) for name, variable in variables.items()}
    found = read_shapes(prefix, path)
    differing = [name for name in wanted if name in found and found[name] != wanted[name]]
    missing = [name for name in wanted if name not in found]
    if (differing or missing) and not _restores(parts, prefix):
        examples = [f"{_short(n)} {found[n]}, not {wanted[n]}" for n in differing]
        examples += [f"{_short(name)} isn't in it" for name in missing]
        raise DataError(
            f"{path}: {prefix} is a checkpoint of another architecture: of the {len(wanted)} "
            f"variables that it should restore ({kind}) {len(missing)} are missing and "
            f"{len(differing)} have another shape.\n  {name_some(examples, 3)}.\n"
            f"  {_remedy(kind, found, len(missing) == len(wanted))}, or remove "
            "fine_tune_checkpoint to start from random weights."
        )
    return [name for name in wanted if name in found]


def _restores(parts, prefix):
    """Returns whether TensorFlow finds all in a checkpoint, whatever names it was saved under."""
    try:
        status = tf.train.Checkpoint(**parts).restore(str(prefix)).expect_partial()
        status.assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError):
        return False
    return True


def _remedy(kind, found, lacks_all):
    """Returns what to do about a checkpoint, by the names found in one that lacks all."""
    other, start = ("detection", "model/_feature_extractor")
    if kind == "detection":
        other, start = "classification", "feature_extractor/"
    if lacks_all and any(name.startswith(start) for name in found):
        return f'Set fine_tune_checkpoint_type: "{other}", which its names are of'
    return "Name a checkpoint of this config's architecture"


def _kind(train_config):
    """Returns the checkpoint type as TFOD takes it (`update_fine_tune_checkpoint_type`)."""
    old = "detection" if train_config.from_detection_checkpoint else "classification"
    return train_config.fine_tune_checkpoint_type or old


def read_shapes(prefix, path=None):
    """Returns {name: shape} of what a checkpoint's index names.

    Raises:
        DataError: there is none, or it is damaged.
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


def _short(name):
    return name.removesuffix(_VALUE)


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
