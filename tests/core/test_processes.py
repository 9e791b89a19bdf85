"""Work is shared by processes in order, and ends plainly whatever happens to one of them."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from lowlight.core import parallel
from lowlight.core.errors import DataError
from lowlight.core.parallel import map_in_processes

SCRIPTS = Path(parallel.__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")


@pytest.fixture
def forked(monkeypatch):
    """Lets it fork whatever other tests have loaded into this process."""
    monkeypatch.setattr(parallel, "_can_fork", lambda: True)


@pytest.mark.parametrize(
    ("allowed", "customary", "expected"),
    [(64, None, (64, 0)), (2, None, (2, 2)), (2, "1", (2, 1)), (64, "3", (64, 3))],
)
def test_a_process_uses_the_cores_that_it_may(monkeypatch, allowed, customary, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(allowed)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if customary:
        monkeypatch.setenv("OMP_NUM_THREADS", customary)
    assert (parallel.cores(), parallel.thread_limit()) == expected


def with_process(item):
    time.sleep(0.02 * (item % 7 == 0))
    return item, os.getpid()


@pytest.mark.parametrize(("jobs", "chunk"), [(None, 16), (2, 1), (3, 16), (2, 1000)])
def test_results_come_in_the_order_of_the_items(forked, jobs, chunk):
    found = list(map_in_processes(with_process, iter(range(100)), jobs, chunk))
    assert [item for item, _ in found] == list(range(100))


def test_the_items_are_shared_by_other_processes(forked):
    found = {process for _, process in map_in_processes(with_process, range(200), 2)}
    assert len(found) == 2
    assert os.getpid() not in found


@pytest.mark.parametrize(("count", "jobs"), [(0, 2), (31, 2), (100, 1)])
def test_little_work_stays_in_this_process(forked, count, jobs):
    found = list(map_in_processes(with_process, range(count), jobs))
    assert found == [(item, os.getpid()) for item in range(count)]


def test_a_process_with_other_threads_is_not_forked():
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        found = {process for _, process in map_in_processes(with_process, range(100), 2)}
    finally:
        ended.set()
        thread.join()
    assert found == {os.getpid()}


def fail_at_50(fail):
    """Returns the results before the failure of item 50 of 100."""
    return map_in_processes(lambda item: fail() if item == 50 else item, range(100), 2)


def raise_error(error):
    raise error


def test_what_the_function_raises_is_raised_behind_the_results_before_it(forked):
    results = fail_at_50(lambda: raise_error(DataError("50: bad.")))
    assert [next(results) for _ in range(48)] == list(range(48))  # three chunks of 16
    with pytest.raises(DataError, match=r"^50: bad\.$"):
        next(results)


def test_a_bug_tells_where_it_was(forked):
    with pytest.raises(ZeroDivisionError) as caught:
        list(fail_at_50(lambda: raise_error(ZeroDivisionError())))
    assert "in raise_error" in str(caught.value.__cause__)


def test_an_error_of_the_operating_system_keeps_its_file(forked):
    with pytest.raises(OSError, match="No space left") as caught:
        list(fail_at_50(lambda: raise_error(OSError(28, os.strerror(28), "a.jpg"))))
    assert (caught.value.errno, caught.value.filename) == (28, "a.jpg")


def test_a_process_that_is_killed_is_named_as_that(forked):
    with pytest.raises(DataError, match=r"was killed\.\n  Most often the memory is full"):
        list(fail_at_50(lambda: os.kill(os.getpid(), signal.SIGKILL)))


def test_no_process_is_left_when_the_results_are_not_taken(forked):
    results = map_in_processes(with_process, range(1000), 2)
    _, process = next(results)
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def start(folder):
    """Runs a program that shares endless work; returns it and its processes once two work."""
    program = textwrap.dedent(f"""
        import os, sys, time
        sys.path.insert(0, {str(SCRIPTS)!r})
        from lowlight.core.parallel import map_in_processes
        def work(item):
            open(os.path.join({str(folder)!r}, str(os.getpid())), "w").close()
            time.sleep(0.05)
        list(map_in_processes(work, range(100_000), 2))
    """)
    running = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
    return running, [path.name for path in folder.iterdir()]


def is_left(process):
    """Says whether a process runs; a zombie counts as ended."""
    try:
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("end", "number", "said"),
    [(os.killpg, signal.SIGINT, "KeyboardInterrupt\n"), (os.kill, signal.SIGKILL, "")],
    ids=["Ctrl-C", "their caller is killed"],
)
def test_all_processes_end_with_at_most_one_traceback(tmp_path, end, number, said):
    running, workers = start(tmp_path)
    end(running.pid, number)
    _, errors = running.communicate(timeout=20)
    assert errors.count("Traceback") == errors.count(said or "Traceback") == bool(said)
    deadline = time.monotonic() + 5
    while left := [process for process in workers if is_left(process)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
