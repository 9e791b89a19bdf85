"""Does something with each of many items in several threads, in order and in bounded memory."""

import itertools
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor

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
