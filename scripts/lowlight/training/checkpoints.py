"""Keeps a run's checkpoints: finds the newest whole one, writes new ones, and keeps the best."""

import re
import shutil
from pathlib import Path

import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.core.files import output_dir, whole_files
from lowlight.core.tensorflow import plain_message
from lowlight.detector.runs import BEST, CONFIG
from lowlight.training.workers import LOST_WORKER

MOST_KEPT = 7  # as TFOD's loop keeps
_NAME = "ckpt"


def newest_whole_checkpoint(run_dir: Path | str) -> str | None:
    """Finds the checkpoint that a run continues from, and has the run's `checkpoint` file name it.

    It is the one that the file names. Where that one is damaged or the file is, it is the newest
    whole one before, and a warning says so. What a killed process left half-written is removed.

    Returns its prefix, ".../ckpt-7"; None for a run without checkpoints. Raises DataError where
    there are some, but none is whole.
    """
    run_dir = Path(run_dir)
    _remove_partial(run_dir)
    named, candidates = _named(run_dir), _candidates(run_dir)
    if named in candidates:
        candidates = candidates[candidates.index(named) :]
    bad = [] if named in candidates or not candidates else [f"{run_dir}/checkpoint: names none"]
    for position, prefix in enumerate(candidates):
        damage = _damage_of(prefix)
        if damage is None:
            if bad:
                _take_instead(run_dir, candidates[position:], bad)
            return prefix
        bad.append(f"{prefix}: {damage}")
    if candidates:
        raise DataError(
            "\n".join([*bad, f"  No checkpoint of {run_dir} is whole: begin again elsewhere."])
        )
    return None


def _remove_partial(folder):
    """Removes what was left half-written."""
    for partial in Path(folder).glob(f"{_NAME}-*_temp"):
        shutil.rmtree(partial, ignore_errors=True)


def _named(run_dir):
    """Returns the prefix that a run's `checkpoint` file names, None where it names none."""
    try:
        state = tf.train.get_checkpoint_state(str(run_dir))
    except ValueError:  # the file is of another form
        state = None
    return str(run_dir / Path(state.model_checkpoint_path).name) if state else None


def _candidates(run_dir):
    """Returns the prefixes of a run's checkpoints, newest first."""
    found = (re.fullmatch(rf"({_NAME}-(\d+))\.index", path.name) for path in run_dir.glob("*"))
    numbered = sorted(((int(f[2]), f[1]) for f in found if f), reverse=True)
    return [str(run_dir / name) for _, name in numbered]


def _damage_of(prefix):
    """Returns what is wrong with a checkpoint, which holds a checksum of each tensor; or None."""
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
        return plain_message(error)
    return None


def _take_instead(run_dir, prefixes, bad):
    """Names the first of the prefixes, newest first, in a run's `checkpoint` file, and says why."""
    for line in bad:
        print(f"warning: {line}")
    print(f"warning: {Path(prefixes[0]).name}, the newest whole one before, is taken instead.")
    tf.compat.v1.train.update_checkpoint_state(str(run_dir), prefixes[0], prefixes[::-1])


class Checkpoints:
    """Writes a run's checkpoints in the form and folder in which TFOD's loop keeps them."""

    def __init__(
        self,
        run_dir: Path | str,
        objects: tf.train.Checkpoint,
        write_dir: Path | str,
        most_kept: int = MOST_KEPT,
    ):
        """Takes what to keep, with TFOD's names (step, model, optimizer), and where to.

        `write_dir` is the run's folder but for workers whose checkpoints nobody needs.
        """
        self.run_dir, self._objects = Path(run_dir), objects
        self._manager = tf.train.CheckpointManager(objects, str(write_dir), most_kept)
        self.newest = self._manager.latest_checkpoint
        self.saved_step = None  # None until one was restored or saved

    def restore(self, prefix: str) -> None:
        """Gives the objects the values of a checkpoint."""
        self._objects.restore(prefix)
        self.newest, self.saved_step = prefix, int(self._objects.step.numpy())

    def save(self) -> None:
        """Saves the objects, unless that was done at this step; DataError if the disk refuses."""
        step = int(self._objects.step.numpy())
        if step == self.saved_step:
            return
        try:
            self.newest = self._manager.save()
        except LOST_WORKER:
            raise
        except tf.errors.OpError as error:
            _remove_partial(self._manager.directory)
            last = self._manager.latest_checkpoint
            kept = f"{last} (step {self.saved_step}) is kept" if last else "None was saved before"
            raise DataError(
                f"{self.run_dir}: the checkpoint of step {step} can't be written "
                f"({plain_message(error)}).\n"
                f"  {kept}. Make room on the disk and run the same command again."
            ) from error
        self.saved_step = step


def keep_best(run_dir: Path | str, prefix: Path | str, metrics_path: Path | str) -> None:
    """Copies a checkpoint to a run's best/, with the run's config and what it scored.

    Whatever interrupts it, best/ names a whole checkpoint: the new one or the one before. The new
    one gets a later number where that one has its name, as in a run that was taken back.
    """
    best, prefix = output_dir(Path(run_dir) / BEST), Path(prefix)
    sources = sorted(prefix.parent.glob(f"{prefix.name}.*"))
    if not sources:
        raise DataError(f"{prefix}: no such checkpoint, so {best} stays as it is.")
    name, number = prefix.name, int(prefix.name.rpartition("-")[2])
    while (best / f"{name}.index").exists():
        number += 1
        name = f"{_NAME}-{number}"
    copies = {best / f"{name}{source.name.removeprefix(prefix.name)}": source for source in sources}
    copies |= {best / CONFIG: Path(run_dir) / CONFIG, best / "metrics.json": Path(metrics_path)}
    with whole_files(*copies) as partials:
        for source, partial in zip(copies.values(), partials, strict=True):
            shutil.copyfile(source, partial)
    tf.compat.v1.train.update_checkpoint_state(str(best), str(best / name))
    for old in best.glob(f"{_NAME}-*"):
        if not old.name.startswith(f"{name}."):
            old.unlink()
