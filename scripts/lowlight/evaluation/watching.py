"""Waits for a training's checkpoints, and scores each new one until the training has ended."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

from lowlight.core.files import existing_dir
from lowlight.core.tensorflow_files import checkpoint_step, latest_checkpoint
from lowlight.detector.runs import CONFIG, find_checkpoint
from lowlight.evaluation.evaluation import evaluate_model

_POLL = 5.0  # seconds between two looks
_SAY_SO = 60.0  # seconds of waiting after which that is said, again and again


def watch_run(model_dir: Path | str, timeout: float, **options) -> None:
    """Scores a run's newest checkpoint, and then each new one until the training ends.

    The options are those of `evaluate_model`; with a timeout of 0 the newest alone is scored.

    Raises:
        DataError: no such folder, no checkpoint in it in time, or as `evaluate_model`.
    """
    for _ in watch_checkpoints(existing_dir(model_dir, "model_dir"), timeout):
        evaluate_model(model_dir, **options)


def watch_checkpoints(run_dir: Path, timeout: float, poll: float = _POLL) -> Iterator[str]:
    """Yields the prefix of a run's newest checkpoint, then of each newer one.

    Ends when the newest has been yielded and the training has ended: run.json says so, or the
    step is the last of the config's. Checkpoints that come while the caller works on another are
    skipped but for the newest.

    Args:
        run_dir: whose first checkpoint may be still to come.
        timeout: seconds without a new checkpoint after which it ends all the same.
        poll: seconds between two looks.

    Raises:
        DataError: not one checkpoint came in time.
    """
    seen, since, said = None, time.monotonic(), 0
    while True:
        # Asked first: what is saved between the two looks is then still found.
        ended = _has_ended(run_dir)
        prefix = latest_checkpoint(run_dir)
        if prefix is not None and prefix != seen:
            yield prefix
            seen, since, said = prefix, time.monotonic(), 0
            continue
        if seen is not None and (ended or checkpoint_step(seen) >= _last_step(run_dir)):
            print(f"{run_dir}: the training has ended")
            return
        waited = time.monotonic() - since
        if waited >= timeout:
            if seen is None:
                find_checkpoint(run_dir)  # which says that there is none, and what to check
            print(f"{run_dir}: no new checkpoint for {timeout:g} s")
            return
        if waited // _SAY_SO > said:
            said = waited // _SAY_SO
            print(f"{run_dir}: no new checkpoint for {waited:.0f} s; waits {timeout:g} s")
        time.sleep(poll)


def _has_ended(run_dir):
    """Says whether run.json holds an end, which a training that continues takes back."""
    try:
        return json.loads((run_dir / "run.json").read_text("utf-8"))["sessions"][-1]["ended"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _last_step(run_dir):
    """Returns the config's num_steps, read as text; infinity where there is none."""
    path = run_dir / CONFIG
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    found = re.search(r"^\s*num_steps:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else float("inf")
