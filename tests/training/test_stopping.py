"""A training with nothing to keep ends at once when it is told to, with the signal's status."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lowlight.core.errors import noted_signals
from lowlight.training.loop import Fetcher, TrainingSignals

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[2] / "scripts"
TRACES = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from lowlight.core.errors import noted_signals
from lowlight.training.loop import TrainingSignals

with noted_signals(TrainingSignals()) as signals:
    signals.at_end = lambda reason: os.write(1, f"record: {reason}\\n".encode())
    print("traces", flush=True)
    try:
        time.sleep(60)
    except BaseException as error:  # as TensorFlow catches what is raised while it traces
        print("caught", error)
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_before_the_first_step_ends_the_process_whatever_catches_errors(number, status):
    process = subprocess.Popen(
        [sys.executable, "-c", TRACES, str(SCRIPTS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "traces\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    reason = f"interrupted by {signal.Signals(number).name}."
    assert process.returncode == status
    assert out == f"record: {reason}\n"
    assert err == f"\n{reason} Run the same command again to continue.\n"


def test_a_hangup_that_is_ignored_as_under_nohup_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noted_signals(TrainingSignals()):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_batches_come_in_order_and_an_error_in_its_place():
    def batches():
        yield from "ab"
        raise OSError("gone")

    fetcher = Fetcher(batches(), TrainingSignals())
    assert [fetcher.next(), fetcher.next()] == ["a", "b"]
    with pytest.raises(OSError, match="gone"):
        fetcher.next()
    fetcher.close()
