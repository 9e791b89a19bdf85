"""Does something with each of many items at a time, in order, and shows how far it is."""

import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Self

from tqdm import tqdm

from lowlight.core.errors import DataError

# Submitted a thread: enough that none waits while the first of them is a slow one.
_AHEAD = 16
_CHUNKS_AHEAD = 8  # submitted a process
_LEAST = 32  # items that are worth starting processes for
_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG, from <linux/prctl.h>
_LOG_INTERVAL, _BAR_INTERVAL = 10, 0.1  # seconds between two lines, between two looks of a bar
tqdm.monitor_interval = 0  # no thread for bars that pause: a process with threads isn't forked


def cores() -> int:
    """Returns how many cores this process may use, which a batch system may have limited."""
    return len(os.sched_getaffinity(0))


def thread_limit() -> int:
    """Returns the limit of the threads that a library starts, 0 for none.

    It is OMP_NUM_THREADS, which Ray sets to the cores that a worker has, or the cores of a process
    that may not use all; ONNX Runtime counts the machine's.
    """
    text = os.environ.get("OMP_NUM_THREADS", "")
    if text.isdecimal():
        return int(text)
    return cores() if cores() < (os.cpu_count() or 0) else 0


def map_in_threads(
    function: Callable, items: Iterable, jobs: int | None = None, ahead: int = _AHEAD
) -> Iterator:
    """Yields function(item) for each item, in the order of the items; raises what it raises.

    Pillow, hashlib and file reads let other threads run meanwhile. Only a few results are held at a
    time, however many items there are and however slowly they are taken.

    Args:
        function: what a thread calls.
        items: any iterable; it is read in the caller's thread.
        jobs: how many threads; by default one a core.
        ahead: how many items, finished or not, are held for each thread.
    """
    jobs = jobs or cores()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield from _map_in_order(pool, function, items, jobs * ahead)
        finally:
            pool.shutdown(cancel_futures=True)


def map_in_processes(
    function: Callable, items: Iterable, jobs: int | None = None, chunk: int = 16
) -> Iterator:
    """As `map_in_threads`, for work that holds Python's lock much of the time.

    The processes are forks, which start in milliseconds and get function and items, all at once,
    without pickling; results are pickled. Few items, and those of a caller that can't be forked
    safely, are left to threads. The processes end when their caller does, even if that is killed.

    Args:
        chunk: how many items a process takes at a time; fewer where they take longer.

    Raises:
        DataError: a process was killed.
    """
    items = list(items)
    jobs = jobs or cores()
    if jobs < 2 or len(items) < _LEAST or not _can_fork():
        yield from map_in_threads(function, items, jobs)
        return
    context = multiprocessing.get_context("fork")
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    stop = context.RawValue("b", 0)
    given = function, chunks, stop, os.getpid()
    pool = ProcessPoolExecutor(min(jobs, len(chunks)), context, _Fork.begin, given)
    try:
        for results in _map_in_order(pool, _Fork.work, range(len(chunks)), jobs * _CHUNKS_AHEAD):
            yield from results
    except BrokenProcessPool as error:
        raise DataError(
            "one of the processes that share the work was killed.\n"
            "  Most often the memory is full. Free some and run the same command again; what is "
            "done isn't done again."
        ) from error
    finally:
        stop.value = 1
        pool.shutdown(cancel_futures=True)


def _map_in_order(pool: Executor, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """Yields what the pool's function(item) returns, in order, `ahead` of them at a time."""
    items = iter(items)
    waiting = deque(pool.submit(function, item) for item in itertools.islice(items, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
        yield result


def _can_fork():
    """Says whether a fork gets nothing that other threads, Python's or TensorFlow's, had locked."""
    return (
        threading.active_count() == 1
        and "tensorflow" not in sys.modules
        and not multiprocessing.current_process().daemon
    )


class _Fork:
    """What a forked process holds: the work, which needn't be picklable."""

    @classmethod
    def begin(cls, function, chunks, stop, caller):
        """Prepares the process, which ends when its caller does."""
        for number in (signal.SIGINT, signal.SIGHUP):  # they reach the caller, who stops this
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGTERM)
        if os.getppid() != caller:  # it ended before that
            os._exit(1)
        cls.function, cls.chunks, cls.stop = staticmethod(function), chunks, stop

    @classmethod
    def work(cls, number):
        """Returns the results of a chunk."""
        return [cls.function(item) for item in cls.chunks[number] if not cls.stop.value]


class Progress:
    """Counts to a total and shows count, rate, time left and a detail, on standard error.

    On a terminal it is tqdm's bar. Elsewhere it is one line after the first item, one every ten
    seconds and one at the end, so that a log stays readable and still shows life.
    """

    def __init__(self, total: int | None, unit: str, start: int = 0, quiet: bool = False):
        """Counts from what is done to the total, None where nobody knows; `quiet` shows nothing.

        The unit is what one is called ("step", "image").
        """
        self._unit, self._start, self.count, self._total = unit, start, start, total
        self._quiet, self._on_terminal = quiet, sys.stderr.isatty()
        self._began = self._shown = time.monotonic()
        self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error):
        if self._bar is not None:
            self._bar.update(self.count - self._bar.n)
            self._bar.close()

    def update(self, make_detail: Callable[[], str] | None = None) -> None:
        """Counts one more; `make_detail()` gives the text shown beside it, called only if shown."""
        self.count += 1
        if self._quiet:
            return
        is_first, waited = self.count == self._start + 1, time.monotonic() - self._shown
        is_due = waited >= (_BAR_INTERVAL if self._on_terminal else _LOG_INTERVAL)
        if is_first or is_due or self.count == self._total:
            detail = make_detail() if make_detail is not None else ""
            self._shown = time.monotonic()
            if is_first:
                self._began = self._shown  # the first includes what is done once: a start-up
            if self._on_terminal:
                self._show_in_bar(detail)
            else:
                print(f"{self._line()}  {detail}".rstrip(), file=sys.stderr, flush=True)

    def leave_out(self, seconds: float) -> None:
        """Doesn't count seconds that went into something else when it tells the pace."""
        self._began += seconds
        if self._bar is not None:
            self._bar.start_t += seconds
            self._bar.last_print_t += seconds

    def _show_in_bar(self, detail):
        """Moves the bar; it appears after the first item, so that its rate is the others'."""
        if self._bar is not None:
            self._bar.set_postfix_str(detail, refresh=False)
            self._bar.update(self.count - self._bar.n)
            return
        self._bar = tqdm(
            total=self._total,
            initial=self.count,
            unit=f" {self._unit}",
            postfix=detail,
            mininterval=0,  # whenever it is moved
            miniters=1,
            file=sys.__stderr__,  # `command.run`'s escapes carriage returns
            dynamic_ncols=True,
        )

    def _line(self):
        text = f"{self._unit} {self.count}" + (f"/{self._total}" if self._total else "")
        done, seconds = self.count - self._start - 1, self._shown - self._began
        if done > 0 and seconds > 0:
            pace = seconds / done
            text += f"  {pace:.2f} s/{self._unit}" if pace >= 0.1 else f"  {1 / pace:.0f}/s"
            if self._total is not None:
                left = max(self._total - self.count, 0)  # a video may hold more frames than it says
                text += f"  left {tqdm.format_interval(pace * left)}"
        return text
