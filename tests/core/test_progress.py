import io
import subprocess
import sys

import pytest

from lowlight.core import parallel
from lowlight.core.files import CONFIGS
from lowlight.core.parallel import Progress


def open_terminal(monkeypatch):
    """Returns a terminal that is standard error from now on."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    for name in ("stderr", "__stderr__"):
        monkeypatch.setattr(sys, name, terminal)
    return terminal


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


# The seconds at which items are done, how many there are and where the count starts; the log.
LOGS = {
    "the first item, one line an interval and the last": (
        ([1, 5, 11, 12, 20, 22], 6, 0),
        ["image 1/6", "image 3/6  5.00 s/image  left 00:15", "image 6/6  4.20 s/image  left 00:00"],
    ),
    "the first item isn't counted in the pace": (
        ([60, 61, 62], 3, 0),
        ["image 1/3", "image 3/3  1.00 s/image  left 00:00"],
    ),
    "a quick pace is in items a second": (
        ([1, 1.02], 2, 0),
        ["image 1/2", "image 2/2  50/s  left 00:00"],
    ),
    "a count that continues has the pace of what was done now": (
        ([1, 3], 1000, 998),
        ["image 999/1000", "image 1000/1000  2.00 s/image  left 00:00"],
    ),
    "a count without an end has a pace and no time left": (
        ([1, 5, 11, 12, 22], None, 0),
        ["image 1", "image 3  5.00 s/image", "image 5  5.25 s/image"],
    ),
    "more items than were announced": (
        ([1, 2, 3, 4, 15], 2, 0),
        ["image 1/2", "image 2/2  1.00 s/image  left 00:00", "image 5/2  3.50 s/image  left 00:00"],
    ),
    "one item is one line": (([1], 1, 0), ["image 1/1"]),
    "a clock that stands still": (([1, 1], 2, 0), ["image 1/2", "image 2/2"]),
}


@pytest.mark.parametrize(("given", "lines"), LOGS.values(), ids=LOGS)
def test_a_log_shows_count_pace_and_time_left(clock, capsys, given, lines):
    times, total, start = given
    with Progress(total, "image", start) as shown:
        for seconds in times:
            clock.now = 100.0 + seconds
            shown.update()
    assert capsys.readouterr().err.splitlines() == lines


def test_time_that_went_into_something_else_is_left_out_of_the_pace(clock, capsys):
    with Progress(3, "step") as shown:
        for seconds in (1, 2, 43):
            clock.now = 100.0 + seconds
            shown.update()
            if seconds == 2:
                shown.leave_out(40)
    assert capsys.readouterr().err.splitlines()[-1] == "step 3/3  1.00 s/step  left 00:00"


def test_a_detail_is_made_only_where_it_is_shown(clock, capsys):
    made = []
    with Progress(3, "step") as shown:
        for number in (1, 2, 3):
            shown.update(lambda number=number: made.append(number) or f"loss {number}")
    assert made == [1, 3]
    assert capsys.readouterr().err == "step 1/3  loss 1\nstep 3/3  loss 3\n"


def test_a_terminal_has_a_bar_with_the_newest_detail(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with Progress(2, "image") as shown:
        shown.update(lambda: "loss 1")
        shown.update(lambda: "loss 2")
    *_, last = terminal.getvalue().split("\r")
    assert last != terminal.getvalue()
    assert "2/2" in last
    assert "loss 2" in last


def test_a_terminal_shows_a_count_without_an_end(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with Progress(None, "frame") as shown:
        shown.update(lambda: "2 objects")
        shown.update()
    assert "2 frame" in terminal.getvalue()


def test_a_bar_starts_no_thread_with_which_the_process_could_not_be_forked():
    code = (
        "import sys, threading; from lowlight.core.parallel import Progress\n"
        "sys.stderr.isatty = lambda: True\n"
        "with Progress(3, 'image') as progress:\n"
        "    progress.update(); progress.update()\n"
        "    print(threading.active_count())"
    )
    command, folder = [sys.executable, "-c", code], CONFIGS.parent / "scripts"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
