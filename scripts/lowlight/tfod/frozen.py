"""Chooses the variables that a config's training updates, as TFOD's loop for TensorFlow 1 did."""

import re
from pathlib import Path

import tensorflow as tf
import tf_slim
from google.protobuf.message import Message
from object_detection.core.model import DetectionModel

from lowlight.core.errors import DataError, name_some

_FIELDS = "freeze_variables", "update_trainable_variables"


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
        for field in _FIELDS
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
