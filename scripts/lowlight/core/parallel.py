"""Does something with each of many items at a time, in order, and shows how far it is."""

import contextlib
import itertools
import mmap
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from lowlight.core.errors import DataError

# Submitted a thread: enough that none waits while the first of them is a slow one.
_AHEAD = 16


def map_in_threads(function, items, jobs=None, ahead=_AHEAD):
    """Yields function(item) for each item, in the order of the items.

    Pillow, hashlib and file reads let other threads run meanwhile. Only a few results are held at a
    time, however many items there are and however slowly they are taken.

    Args:
        function: called in a thread; what it raises is raised here.
        items: any iterable; it is read in the caller's thread.
        jobs: how many threads; by default one a core.
        ahead: how many items, finished or not, are held for each thread.
    """
    jobs = jobs or os.cpu_count()
    items = iter(items)
    with ThreadPoolExecutor(jobs) as pool:
        waiting = deque(
            pool.submit(function, item) for item in itertools.islice(items, jobs * ahead)
        )
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


_LEAST = 32  # items that are worth it to start processes for
_QUEUED = 2  # chunks that wait for each process, so that it never waits for the caller
_CHUNKS_AHEAD = 8  # chunks a process, finished or not, that are ahead of what was taken


def map_in_processes(function, items, jobs=None, chunk=16):
    """Yields function(item) for each item, in the order of the items.

    For work that holds Python's lock much of the time, which threads would do in turn. The
    processes are forks, which start in milliseconds and get function and items without pickling.
    Few items, and those of a caller that can't be forked safely, are left to `map_in_threads`. The
    processes end when their caller does, even where that was killed.

    Args:
        function: called in another process; what it returns or raises must be picklable.
        items: any iterable; it is read at once.
        jobs: how many processes; by default one a core.
        chunk: how many items a process takes at a time; fewer where they take longer.

    Raises:
        DataError: a process was killed. Besides, whatever the function raises.
    """
    items = list(items)
    jobs = jobs or os.cpu_count()
    if jobs < 2 or len(items) < _LEAST or not _can_fork():
        yield from map_in_threads(function, items, jobs)
        return
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    with _start(function, chunks, jobs) as workers:
        yield from _take_in_order(workers, len(chunks))


def _can_fork():
    """Says whether a fork gets nothing that other threads, Python's or TensorFlow's, had locked."""
    return (
        sys.platform == "linux"
        and threading.active_count() == 1
        and "tensorflow" not in sys.modules
        and not multiprocessing.current_process().daemon
    )


@contextlib.contextmanager
def _start(function, chunks, jobs):
    """Yields {connection: process} of the started processes, and ends them with the block."""
    context = multiprocessing.get_context("fork")
    stop = mmap.mmap(-1, 1)  # memory that all of them share
    workers = {}
    try:
        for _ in range(jobs):
            here, there = context.Pipe()
            given = function, chunks, there, (*workers, here), stop, os.getpid()
            process = context.Process(target=_work, args=given, daemon=True)
            process.start()
            there.close()
            workers[here] = process
        yield workers
    finally:
        stop[0] = 1
        for connection in workers:
            connection.close()
        for process in workers.values():
            process.join()


def _work(function, chunks, connection, of_caller, stop, caller):
    """Answers each number of a chunk with (number, results, None) or (number, None, error)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the caller, who stops this
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in of_caller:  # else the end of the caller would close none
        other.close()
    with contextlib.suppress(EOFError, OSError):
        while True:
            number = connection.recv()
            results, failure = [], None
            for item in chunks[number]:
                if stop[0] or os.getppid() != caller:
                    return
                try:
                    results.append(function(item))
                except Exception as error:
                    if not isinstance(error, DataError):  # its traceback isn't pickled
                        error.add_note(f"In another process:\n{traceback.format_exc()}")
                    failure = error
                    break
            connection.send((number, results, failure))


def _take_in_order(workers, count):
    """Deals the numbers of chunks to whoever is free, and yields the results in their order."""
    free = [connection for connection in workers for _ in range(_QUEUED)]
    waiting, dealt, taken = {}, 0, 0
    while taken < count:
        while free and dealt < min(count, taken + _CHUNKS_AHEAD * len(workers)):
            _tell(free.pop(), dealt, workers)
            dealt += 1
        for connection in multiprocessing.connection.wait(list(workers)):
            number, *waiting[number] = _hear(connection, workers)
            free.append(connection)
        while taken in waiting:
            results, failure = waiting.pop(taken)
            yield from results
            if failure is not None:
                raise failure
            taken += 1


def _tell(connection, number, workers):
    try:
        connection.send(number)
    except OSError as error:
        raise _ended(workers[connection]) from error


def _hear(connection, workers):
    try:
        return connection.recv()
    except (EOFError, OSError) as error:
        raise _ended(workers[connection]) from error


def _ended(process):
    """Returns the DataError of a process that ended before its work."""
    process.join()
    code = process.exitcode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    likely = (
        "Most often the memory is full. Free some and run" if code == -signal.SIGKILL else "Run"
    )
    return DataError(
        f"one of the processes that share the work {how}.\n"
        f"  {likely} the same command again; what is done isn't done again."
    )


# Without its thread, which looks after bars that pause: a process with threads isn't forked.
tqdm.monitor_interval = 0


class Progress:
    """Counts to a total and shows count, rate, time left and a detail, on standard error.

    On a terminal it is tqdm's bar. Elsewhere it is one line after the first item, one every
    `interval` seconds and one at the end, so that a log stays readable and still shows life.
    """

    def __init__(self, total, unit, start=0, interval=10.0, stream=None, quiet=False):
        """Counts from `start` to `total` things called `unit` ("step", "image").

        Args:
            total: how many there are; None where nobody knows.
            unit: what one is called.
            start: how many are done.
            interval: seconds between two lines of a log.
            stream: where it is shown; by default standard error.
            quiet: count, and show nothing.
        """
        self._stream = stream or sys.stderr
        self._unit, self._start, self.count, self._total = unit, start, start, total
        self._interval, self._quiet = interval, quiet
        self._began = self._shown = time.monotonic()
        self._bar = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._bar is not None:
            self._bar.close()

    def update(self, make_detail=None):
        """Counts one more; `make_detail()` gives the text shown beside it, called only if shown."""
        self.count += 1
        if self._quiet:
            return
        if self._stream.isatty():
            self._update_bar(make_detail)
            return
        now = time.monotonic()
        first, last = self.count == self._start + 1, self._is_last()
        if first or last or now - self._shown >= self._interval:
            detail = f"  {make_detail()}" if make_detail is not None else ""
            now = time.monotonic()
            print(self._line(now) + detail, file=self._stream, flush=True)
            self._shown = now
            if first:
                self._began = now  # the first includes what is done once: a trace, a start-up

    def leave_out(self, seconds):
        """Doesn't count seconds that went into something else when it tells the pace."""
        self._began += seconds
        if self._bar is not None:
            self._bar.start_t += seconds
            self._bar.last_print_t += seconds

    def _update_bar(self, make_detail):
        """Moves the bar; it appears after the first item, so that its rate is the others'."""
        is_first = self._bar is None
        if is_first:
            self._bar = tqdm(
                total=self._total,
                initial=self.count,
                unit=f" {self._unit}",
                miniters=1,
                file=self._stream,
                dynamic_ncols=True,
            )
        due = time.monotonic() - self._shown > self._bar.mininterval
        if make_detail is not None and (is_first or due or self._is_last()):
            self._shown = time.monotonic()
            self._bar.set_postfix_str(make_detail(), refresh=is_first)
        if not is_first:
            self._bar.update()

    def _is_last(self):
        return self.count == self._total

    def _line(self, now):
        text = f"{self._unit} {self.count}" + (f"/{self._total}" if self._total else "")
        done = self.count - self._start - 1
        if done > 0 and now > self._began:
            seconds = (now - self._began) / done
            pace = f"{seconds:.2f} s/{self._unit}" if seconds >= 0.1 else f"{1 / seconds:.0f}/s"
            text += f"  {pace}"
            if self._total is not None:
                left = max(self._total - self.count, 0)  # a video may hold more frames than it says
                text += f"  left {tqdm.format_interval(seconds * left)}"
        return text
