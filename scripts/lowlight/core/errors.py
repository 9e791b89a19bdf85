"""The one error for input that the project can't use, and a step's end when it is interrupted."""

import contextlib
import os
import re
import signal
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence

from lowlight.core.tensorflow import real_stderr

STOPPING = signal.SIGINT, signal.SIGTERM, signal.SIGHUP  # what a step ends at
_MOST_SHOWN = 20
# What a terminal or a page obeys (controls, ends of lines, turns of the reading direction), and
# what is no character.
_CONTROLS = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LONG_LINE = re.compile(r"(.{800}).{400,}(.{200})")


class DataError(Exception):
    """Bad input, in words for the person who gave it.

    The message names the file, the place in it and the remedy. A script prints it as
    `error: <message>` and exits with status 1, without a traceback.
    """


@contextlib.contextmanager
def kept_in(errors: list) -> Iterator[None]:
    """Ends the block at a DataError and adds it to a list, so that what comes next is read too."""
    try:
        yield
    except DataError as error:
        errors.append(error)


def raise_any(errors: Sequence[DataError], rest: str = "") -> None:
    """Raises one error that names the first 20 and counts the others, where there are any.

    The rest is a sentence about what is not wrong, or what to do next.
    """
    lines = [str(error) for error in errors[:_MOST_SHOWN]]
    if len(errors) > _MOST_SHOWN:
        lines.append(f"... and {len(errors) - _MOST_SHOWN} more like these.")
    if lines:
        raise DataError("\n".join([*lines, rest] if rest else lines))


def name_some(names: Iterable[str], most: int = 5) -> str:
    """Returns the first names, divided by commas, and how many more there are."""
    names = [printable(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def format_count(number: int, what: str) -> str:
    """Returns how many there are of something: "1 box", "2 boxes"."""
    if number == 1:
        return f"{number} {what}"
    return f"{number} {what}{'es' if what.endswith(('x', 's')) else 's'}"


def say_others(number: int, where: str) -> str:
    """Returns a sentence on the images that nothing was wrong with, "" where there are none."""
    if not number:
        return ""
    others = "other image is" if number == 1 else f"other {number} images are"
    return f"The {others} {where}."


def escape_controls(text: str, kept: str = "") -> str:
    r"""Returns a text whose control characters, but those kept, are shown as \x1b or \u202e."""

    def escape(found):
        return found[0] if found[0] in kept else found[0].encode("unicode_escape").decode()

    return _CONTROLS.sub(escape, text)


def printable(text: object, kept: str = "") -> str:
    """Returns what may be printed of a text that a stranger wrote, such as a file's name.

    Control characters are escaped as by `escape_controls`, and long lines lose their middle.
    """
    return _LONG_LINE.sub(r"\1 ... \2", escape_controls(str(text), kept))


class Interrupted(BaseException):  # noqa: N818 - as KeyboardInterrupt, it is no error
    """A step that was told to stop, and has kept what it had made.

    No Exception, so that what takes any error of TensorFlow's for a bad model doesn't take this.
    """

    def __init__(
        self, number: int, kept: str = "", again: str = "Run the same command again to continue."
    ):
        """Takes the signal's number, a sentence about what was kept, and one about what to do."""
        super().__init__(f"interrupted by {signal.Signals(number).name}.{kept and ' '}{kept}")
        self.number, self.again = number, again


class Signals:
    """The signal that came while a step ran, 0 for none.

    Until there is something to keep, a signal ends the step where it stands, as it would without
    this. From then on it is noted, and the step looks for it where it can stop. A second Ctrl-C
    doesn't wait for that.
    """

    def __init__(self):
        self.number = 0
        self.something_to_keep = False
        self._process = os.getpid()

    def on_signal(self, number: int, frame: object) -> None:
        """Notes a signal or ends the step, as the class says; for signal.signal."""
        if os.getpid() != self._process:  # a fork that hasn't begun; its caller says what is said
            os._exit(128 + number)
        if number == signal.SIGHUP:
            _leave_terminal()
        twice = self.number == number == signal.SIGINT
        self.number = number
        if twice or not self.something_to_keep:
            self.stop(number, twice)
        say("stopping: this step is finished and kept first")

    def stop(self, number: int, twice: bool) -> None:
        """Raises Interrupted; where that is lost, as in a __del__, the step looks for the signal.

        It came `twice` where it is a second Ctrl-C.
        """
        raise Interrupted(number)

    def leave(self, interrupted: Interrupted) -> None:
        """Ends the process as `command.run` does, without a wait for its threads."""
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        say(f"{interrupted} {interrupted.again}")
        os._exit(128 + interrupted.number)


def say(text: str) -> None:
    """Writes a line to standard error, if that is open: in a signal's handler.

    A print wouldn't do, because the signal may have interrupted one.
    """
    with contextlib.suppress(OSError):
        os.write(real_stderr(), f"\n{text}\n".encode())


def _leave_terminal():
    """Drops what is printed from now on to a terminal, which is closed: writing there fails."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        if stat.S_ISCHR(os.fstat(output).st_mode):
            os.dup2(nowhere, output)
    os.close(nowhere)


def take_signals(signals: Signals) -> dict:
    """Lets a Signals take STOPPING from now on, and returns {signal's number: what took it before}.

    One that is ignored already, as SIGHUP is under nohup, stays so.
    """
    numbers = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, signals.on_signal) for number in numbers}


@contextlib.contextmanager
def noted_signals(signals: Signals | None = None) -> Iterator[Signals]:
    """Yields a Signals, or the one given, that takes STOPPING for the time of the block."""
    signals = signals or Signals()
    before = take_signals(signals)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
