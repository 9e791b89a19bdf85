"""Runs a script's main: flags in, DataError out as one plain message."""

import atexit
import contextlib
import errno
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterable

from absl import app, flags, logging

from lowlight.core.errors import (
    DataError,
    Interrupted,
    Signals,
    name_some,
    printable,
    say,
    take_signals,
)
from lowlight.core.tensorflow import prepare_tensorflow

_FULL = errno.ENOSPC, errno.EDQUOT  # the disk, or what one may have of it
_MAKE_ROOM = "Make room and run the same command again."
_PATIENCE = 2  # seconds that a command told to end may wait without a word
_WAITS = "waits for what is being read, written or computed; Ctrl-C now ends it at once"


def run(main: Callable, takes_arguments: bool = False) -> None:
    """Parses the flags, calls main and exits.

    With `takes_arguments`, main gets what stands beside the flags as a list; else that is an error.

    Exit status: 0 on success, 1 after a DataError, a flag error, or a file that the operating
    system refuses (each printed as `error: ...`), 130 after Ctrl-C, 143 after SIGTERM, 129 after
    SIGHUP, and in silence 141 where nobody reads the output any more, as in `| head`. Any other
    exception is a bug and keeps its traceback. TFOD's and TensorFlow's own log shows errors only;
    --verbosity=0 shows all of it.
    """
    take_signals(_CommandSignals())
    sys.stdout.reconfigure(line_buffering=True)  # a log has each line at once, in its order
    sys.stdout, sys.stderr = _Printable(sys.stdout), _Printable(sys.stderr)
    with _ended_at_once():
        app.run(
            lambda argv: _run_plainly(main, argv[1:] if takes_arguments else None),
            flags_parser=lambda argv: _parse_flags(argv, takes_arguments),
        )


class _CommandSignals(Signals):
    """Ends a command where it stands, or at a second Ctrl-C without a wait for what it is at."""

    def stop(self, number: int, twice: bool) -> None:
        interrupted = Interrupted(number, again="Run the same command again.")
        if twice:
            self.leave(interrupted)
        self.number = signal.SIGINT  # one Ctrl-C now is the second, whatever came first
        signal.signal(signal.SIGALRM, lambda *_: say(_WAITS))
        signal.alarm(_PATIENCE)
        raise interrupted


def _end_imports(kind, error, trace):
    """Ends a script that Ctrl-C finds before its main; for sys.excepthook."""
    if issubclass(kind, KeyboardInterrupt):
        _CommandSignals().stop(signal.SIGINT, True)
    sys.__excepthook__(kind, error, trace)


sys.excepthook = _end_imports


class _Printable:
    """A text stream that writes what is `printable`, since messages hold names of any files."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        self._stream.write(printable(text, kept="\n\t"))
        return len(text)


def print_notes(notes: Iterable[tuple[str, int, Iterable[str]]]) -> None:
    """Prints what occurred in a step: what, how many, the names of what it was met in."""
    for what, count, names in notes:
        if count:
            print(f"  {what}: {count} ({name_some(names)})")


def _parse_flags(argv, takes_arguments):
    """Returns argv without its flags; stray arguments and wrong flags end the program."""
    see = f"\n  See: python {argv[0]} --help"
    try:
        rest = flags.FLAGS(argv)
    except SystemExit:
        sys.stdout.flush()
        sys.exit(0)  # --help, which absl ends with 1
    except flags.Error as error:
        missing = re.match(r"flag --(\w+)=None: .* other than None", str(error))
        _fail((f"missing flag --{missing[1]}" if missing else str(error)) + see)
    if len(rest) > 1 and not takes_arguments:
        _fail(f"unexpected argument {rest[1]!r}; every input is a flag.{see}")
    for flag in flags.FLAGS.get_key_flags_for_module(argv[0]):
        if flag.present and flag.value in ("", []):  # as in --output_dir=$DATA where DATA isn't set
            _fail(f"missing flag --{flag.name}: its value is empty.")
    return rest


@contextlib.contextmanager
def _ended_at_once():
    """Ends the process with what sys.exit says, as soon as everything else registered is done.

    A thread that TensorFlow leaves behind aborts the process if it comes back while Python (before
    3.14) takes itself down. Where nobody reads the output any more, it ends in silence.
    """
    statuses = []

    def end():
        if statuses:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(statuses[0])

    atexit.register(end)  # the first registered is the last called
    try:
        yield
    except SystemExit as status:
        statuses.append(status.code or 0)
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is left to print
        statuses.append(128 + signal.SIGPIPE)
        sys.exit(statuses[0])


def _run_plainly(main, arguments):
    """Calls main, with the arguments unless they are None, and exits as `run` says."""
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)
    prepare_tensorflow()
    # Of a picture's tags and profiles, which have no say in its pixels.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        status = main() if arguments is None else main(arguments)
        sys.stdout.flush()
        sys.exit(status)
    except DataError as error:
        _fail(error)
    except Interrupted as interrupted:
        print(f"\n{interrupted} {interrupted.again}", file=sys.stderr)
        sys.exit(128 + interrupted.number)
    except Exception as error:
        message = _system_message(error)
        if message is None:
            raise
        _fail(message)


def _system_message(error):
    """Returns what to say of an error that the operating system gave, None of any other."""
    if not isinstance(error, OSError):  # TensorFlow has its own, which name the file
        is_full = any(os.strerror(number) in str(error) for number in _FULL)
        return f"{str(error).splitlines()[0]}.\n  {_MAKE_ROOM}" if is_full else None
    found = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if error.errno in _FULL:
        return f"{found}.\n  {_MAKE_ROOM}"
    remedy = "Check the path and its permissions, or choose another."
    return None if error.filename is None else f"{found}.\n  {remedy}"


def _fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
