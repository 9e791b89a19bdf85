"""Finds a folder's newest checkpoint, and reads the training step that one holds."""

import re
from pathlib import Path

from lowlight.core.errors import DataError

_STEP = "step/.ATTRIBUTES/VARIABLE_VALUE"
_STATE = re.compile(r'^\s*model_checkpoint_path:\s*"([^"]*)"', re.MULTILINE)


def latest_checkpoint(folder: Path | str) -> str | None:
    """Returns the prefix of a folder's newest checkpoint, None where it has none.

    The folder may have been moved: of the path that its `checkpoint` file names the last part
    counts. Without that file it is the checkpoint that is there, if it is the only one.

    Raises:
        DataError: there are checkpoints, but none is marked as the newest.
    """
    folder = Path(folder)
    present = _names_in(folder)
    state = folder / "checkpoint"
    if state.is_file():
        found = _STATE.search(state.read_text("utf-8", errors="replace"))
        name = Path(found[1]).name if found else ""
    else:
        name = min(present) if len(present) == 1 else ""
    if name and (folder / f"{name}.index").is_file():
        return str(folder / name)
    if present:
        raise DataError(
            f"{state}: doesn't name a checkpoint that is there.\n  {how_to_go_back(folder)}"
        )
    return None


def how_to_go_back(folder: Path | str, unwanted: Path | str | None = None) -> str:
    """Returns the remedy that makes another checkpoint than the unwanted one a run's newest."""
    names = _names_in(Path(folder)) - {Path(unwanted or "").name}
    names = sorted(names, key=lambda name: (len(name), name))
    if not names:
        return "There is no other; remove the folder and begin again."
    return (
        f"There {'are' if names[1:] else 'is'} {', '.join(names)}. To continue from {names[-1]}:\n"
        f"    echo 'model_checkpoint_path: \"{names[-1]}\"' > {folder}/checkpoint"
    )


def _names_in(folder):
    return {path.stem for path in folder.glob("ckpt-*.index")}


def checkpoint_step(prefix: Path | str, unknown: int | None = None) -> int:
    """Returns the training step at which a checkpoint was saved.

    Args:
        prefix: the checkpoint's.
        unknown: what to return for a checkpoint without a step, and where TensorFlow, which reads
            it, isn't installed; None raises.

    Raises:
        DataError: the checkpoint can't be read, or isn't one of TFOD's training loop.
    """
    try:
        import tensorflow as tf  # here, since exports are found without it
    except ImportError:
        if unknown is None:
            raise
        return unknown
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        if unknown is not None and not reader.has_tensor(_STEP):
            return unknown
        return int(reader.get_tensor(_STEP))
    except (tf.errors.OpError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise DataError(
            f"{prefix}: damaged, or not a checkpoint of a training run.\n"
            f"  {how_to_go_back(Path(prefix).parent, prefix)}"
        ) from error
