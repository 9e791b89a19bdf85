"""Tells whether a run's checkpoints can be gone on with under a config that was changed since."""

import difflib

from google.protobuf import text_format

from lowlight.core.errors import DataError


def check_same_run(own, given, run_dir, given_path):
    """Compares the config that a run was trained with to the one it is to go on with.

    Args:
        own: the run's TrainEvalPipelineConfig.
        given: the one to go on with.
        run_dir, given_path: for the messages.

    Returns:
        The lines of a diff of what else differs, such as batch, steps, paths or learning rate; none
        where nothing does.

    Raises:
        DataError: the checkpoints don't fit; the message holds the diff of what makes it so.
    """
    relevant = diff_lines(_what_a_checkpoint_holds(own), _what_a_checkpoint_holds(given))
    if relevant:
        shown = "\n".join(f"    {line}" for line in relevant)
        raise DataError(
            f"{run_dir}: holds checkpoints of another model or optimizer than {given_path} "
            f"describes:\n{shown}\n"
            "  Choose another --model_dir, or give the config that the run was begun with."
        )
    return diff_lines(*(text_format.MessageToString(c).splitlines() for c in (own, given)))


def diff_lines(old, new):
    """Returns the changed lines between two lists of lines, with two lines around each change."""
    return list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]


def _what_a_checkpoint_holds(config):
    """Returns, as lines of text, what of a config decides on the tensors of a checkpoint."""
    optimizer = config.train_config.optimizer
    return [
        *text_format.MessageToString(config.model).splitlines(),
        f"optimizer: {optimizer.WhichOneof('optimizer')}",
        f"use_moving_average: {optimizer.use_moving_average}",
    ]
