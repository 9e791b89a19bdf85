"""Does something with each of many items in several processes, in order and in bounded memory."""

import contextlib
import mmap
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import traceback

from lowlight.core.errors import DataError
from lowlight.core.threads import map_in_threads

_LEAST = 32  # items that are worth it to start processes for
_QUEUED = 2  # chunks that wait for each process, so that it never waits for the caller
_AHEAD = 8  # chunks a process, finished or not, that are ahead of what was taken


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
        while free and dealt < min(count, taken + _AHEAD * len(workers)):
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
