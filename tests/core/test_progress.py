import io
import subprocess
import sys
from pathlib import Path

import pytest

from lowlight.core import parallel
from lowlight.core.parallel import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until its time is set."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(parallel, "time", clock)
    return clock


def log_of(clock, times, total, **options):
    """Returns the lines of a log for items that are done at these times, in seconds."""
    log = io.StringIO()
    with Progress(total, "image", stream=log, **options) as shown:
        for seconds in times:
            clock.now = 100.0 + seconds
            shown.update()
    return log.getvalue().splitlines()


def test_a_log_has_the_first_item_one_line_an_interval_and_the_last(clock):
    assert log_of(clock, [1, 5, 11, 12, 20, 22], total=6) == [
        "image 1/6",
        "image 3/6  5.00 s/image  left 00:15",
        "image 6/6  4.20 s/image  left 00:00",
    ]


def test_the_first_item_is_not_counted_in_the_pace(clock):
    assert log_of(clock, [60, 61, 62], total=3)[-1] == "image 3/3  1.00 s/image  left 00:00"


def test_a_quick_pace_is_told_in_items_a_second(clock):
    assert log_of(clock, [1, 1.02], total=2)[-1] == "image 2/2  50/s  left 00:00"


def test_a_count_that_goes_on_has_the_pace_of_what_was_done_now(clock):
    assert log_of(clock, [1, 3], total=1000, start=998) == [
        "image 999/1000",
        "image 1000/1000  2.00 s/image  left 00:00",
    ]


def test_time_that_went_into_something_else_is_left_out_of_the_pace(clock):
    log = io.StringIO()
    with Progress(3, "step", stream=log) as shown:
        for seconds in (1, 2, 43):
            clock.now = 100.0 + seconds
            shown.update()
            if seconds == 2:
                shown.leave_out(40)
    assert log.getvalue().splitlines()[-1] == "step 3/3  1.00 s/step  left 00:00"


def test_a_count_without_an_end_has_a_pace_and_no_time_left(clock):
    assert log_of(clock, [1, 5, 11, 12, 22], total=None) == [
        "image 1",
        "image 3  5.00 s/image",
        "image 5  5.25 s/image",
    ]


def test_more_items_than_were_announced_are_counted_on(clock):
    assert log_of(clock, [1, 2, 3, 4, 15], total=2) == [
        "image 1/2",
        "image 2/2  1.00 s/image  left 00:00",
        "image 5/2  3.50 s/image  left 00:00",
    ]


def test_one_item_is_one_line(clock):
    assert log_of(clock, [1], total=1) == ["image 1/1"]


def test_a_clock_that_stands_still_shows_no_pace(clock):
    assert log_of(clock, [1, 1], total=2) == ["image 1/2", "image 2/2"]


def test_a_detail_is_made_only_where_it_is_shown(clock):
    log, made = io.StringIO(), []
    with Progress(3, "step", stream=log) as shown:
        for number in (1, 2, 3):
            shown.update(lambda number=number: made.append(number) or f"loss {number}")
    assert made == [1, 3]
    assert log.getvalue() == "step 1/3  loss 1\nstep 3/3  loss 3\n"


def test_a_terminal_has_a_bar_with_the_newest_detail():
    terminal = Terminal()
    with Progress(2, "image", stream=terminal) as shown:
        shown.update(lambda: "loss 1")
        shown.update(lambda: "loss 2")
    assert "\r" in terminal.getvalue()
    assert "2/2" in terminal.getvalue().split("\r")[-1]
    assert "loss 2" in terminal.getvalue().split("\r")[-1]


def test_a_terminal_shows_a_count_without_an_end():
    terminal = Terminal()
    with Progress(None, "frame", stream=terminal) as shown:
        shown.update(lambda: "2 objects")
        shown.update()
    assert "2 frame" in terminal.getvalue()


def test_a_bar_starts_no_thread_with_which_the_process_could_not_be_forked():
    code = (
        "import io, threading; from lowlight.core.parallel import Progress\n"
        "stream = io.StringIO(); stream.isatty = lambda: True\n"
        "with Progress(3, 'image', stream=stream) as progress:\n"
        "    progress.update(); progress.update()\n"
        "    print(threading.active_count())"
    )
    folder = Path(__file__).resolve().parents[2] / "scripts"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
