"""Lets a long step end well when it is told to stop: by Ctrl-C, or by the SIGTERM of a cloud."""

import contextlib
import os
import signal
import sys


class Interrupted(Exception):  # noqa: N818 - as KeyboardInterrupt, it is no error
    """A step that was told to stop, and has kept what it had made."""

    def __init__(self, number, kept="", again="Run the same command again to go on."):
        """Takes the signal's number, a sentence about what was kept, and one about what to do."""
        super().__init__(f"interrupted by {signal.Signals(number).name}.{kept and ' '}{kept}")
        self.number, self.again = number, again


class Signals:
    """The signal that came while a step ran, 0 for none.

    Until there is something to keep, a signal ends the step where it stands, as it would without
    this. From then on it is noted, and the step looks for it where it can stop. Whoever presses
    Ctrl-C twice doesn't want to wait for that.
    """

    def __init__(self):
        self.number = 0
        self.something_to_keep = False

    def on_signal(self, number, frame):
        """Notes a signal or raises Interrupted, as the class says; for signal.signal."""
        del frame
        twice = self.number == number == signal.SIGINT
        if twice or not self.something_to_keep:
            raise Interrupted(number)
        self.number = number
        # Not print: this may have interrupted one.
        os.write(sys.__stderr__.fileno(), b"\nstopping: this step is finished and kept first\n")


@contextlib.contextmanager
def noted_signals():
    """Yields a Signals that notes SIGTERM and SIGINT for the time of the block."""
    signals = Signals()
    before = {
        number: signal.signal(number, signals.on_signal)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
