"""Follows a training: does something at each new checkpoint until the training has ended."""

import json
import re
import time
from pathlib import Path

from lowlight.detector.runs import CONFIG, checkpoint_step, latest_checkpoint

_POLL = 5.0  # seconds between two looks


def watch_checkpoints(run_dir, timeout, poll=_POLL):
    """Yields the prefix of a run's newest checkpoint, then of each newer one.

    Ends when the newest has been yielded and the training has ended: run.json says so, or the
    step is the last of the config's. Checkpoints that come while the caller works on another are
    skipped but for the newest.

    Args:
        run_dir: the run's folder, whose first checkpoint may be still to come.
        timeout: seconds without a new checkpoint after which it ends all the same.
        poll: seconds between two looks.
    """
    run_dir, seen, waited = Path(run_dir), None, time.monotonic()
    while True:
        # Asked first: what is saved between the two looks is then still found.
        ended = _has_ended(run_dir)
        prefix = latest_checkpoint(run_dir)
        if prefix is not None and prefix != seen:
            yield prefix
            seen, waited = prefix, time.monotonic()
            continue
        if seen is not None and (ended or checkpoint_step(seen) >= _last_step(run_dir)):
            print(f"{run_dir}: the training has ended")
            return
        if time.monotonic() - waited >= timeout:
            print(f"{run_dir}: no new checkpoint for {timeout:g} s")
            return
        time.sleep(poll)


def _has_ended(run_dir):
    """Says whether run.json tells of an end, which a training that is gone on with takes back."""
    try:
        return json.loads((run_dir / "run.json").read_text("utf-8"))["sessions"][-1]["ended"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _last_step(run_dir):
    """Returns the config's num_steps, read as text; infinity where there is none."""
    path = run_dir / CONFIG
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(r"^\s*num_steps:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else float("inf")
