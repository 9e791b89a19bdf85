"""Ends a training that is told to stop: at once, or after what it has made is kept."""

import contextlib
import queue
import threading
from collections.abc import Iterable

from lowlight.core.errors import Interrupted, Signals

_PATIENCE = 2.0  # seconds that a training told to stop waits for its next batch


class TrainingSignals(Signals):
    """The signal that came while a training ran, 0 for none.

    Until there is a step to keep, and at a second Ctrl-C, it ends the process at once: an exception
    wouldn't find its way out of TensorFlow while that traces a model.
    """

    def __init__(self):
        super().__init__()
        self.at_end = lambda reason: None  # called before the process ends at once

    def stop(self, number: int, twice: bool) -> None:
        """Ends the process."""
        del twice
        self.leave(Interrupted(number))

    def leave(self, interrupted: Interrupted) -> None:
        """Ends the process as `command.run` does, without a wait for TensorFlow's threads."""
        with contextlib.suppress(Exception):
            self.at_end(str(interrupted))
        super().leave(interrupted)


class Fetcher:
    """Takes batches from an iterator, in a thread of its own, so that a wait for one can end."""

    def __init__(self, batches: Iterable, signals: TrainingSignals):
        """Takes batches, and the signals that end a wait."""
        self._wanted, self._fetched = queue.SimpleQueue(), queue.SimpleQueue()
        self._signals = signals
        self._thread = threading.Thread(target=self._fetch, args=(iter(batches),), daemon=True)
        self._thread.start()

    def _fetch(self, iterator):
        while self._wanted.get():
            try:
                self._fetched.put((next(iterator), None))
            except Exception as error:
                self._fetched.put((None, error))

    def next(self) -> object | None:
        """Returns the next batch; None where a signal came and there is none within seconds.

        Raises:
            Exception: what the iterator raised.
        """
        self._wanted.put(True)
        while True:
            with contextlib.suppress(queue.Empty):
                batch, error = self._fetched.get(timeout=_PATIENCE)
                if error is not None:
                    raise error
                return batch
            if self._signals.number:
                return None

    def close(self) -> None:
        """Ends the thread, and with it the iterator. Not to be called while it waits for a batch.

        A thread that still was inside TensorFlow when Python ends would abort the process.
        """
        self._wanted.put(False)
        self._thread.join()
