"""Runs a script's main: flags in, DataError out as one plain message."""

import errno
import re
import sys

from absl import app, flags

from lowlight.errors import DataError

# What the operating system refuses for a reason that the user can act on.
_REMEDIES = {
    errno.ENOSPC: "The disk is full. Make room and run the same command again.",
    errno.EDQUOT: "The disk quota is used up. Make room and run the same command again.",
    errno.EACCES: "Permission denied. Choose another folder or change its permissions.",
    errno.EPERM: "Permission denied. Choose another folder or change its permissions.",
    errno.EROFS: "The file system is read-only. Choose another folder.",
    errno.ENOTDIR: "A part of this path is a file, not a folder. Choose another path.",
    errno.EEXIST: "A file of this name is in the way. Choose another path.",
    errno.EISDIR: "This is a folder where a file is needed. Choose another path.",
    errno.ENOENT: "No such file or folder. Check the path.",
    errno.ENAMETOOLONG: "The name is too long. Choose a shorter path.",
}


def run(main):
    """Parses the flags, calls main() and exits.

    Exit status: 0 on success, 1 after a DataError, a flag error, or a file that the operating
    system refuses (each printed as `error: ...`), 130 after Ctrl-C. Any other exception is a bug
    and keeps its traceback. TFOD's and TensorFlow's own log shows errors only; --verbosity=0 shows
    all of it.
    """
    flags.FLAGS.set_default("verbosity", -2)
    app.run(lambda _: _exit_plainly(main), flags_parser=_parse_flags)


def _parse_flags(argv):
    """Returns argv without its flags; stray arguments and wrong flags end the program."""
    try:
        rest = flags.FLAGS(argv)
    except SystemExit:
        sys.exit(0)  # --help, which absl ends with 1
    except flags.Error as error:
        _fail(f"{_flag_message(error)}\n  See: python {argv[0]} --help")
    if len(rest) > 1:
        _fail(
            f"unexpected argument {rest[1]!r}; every input is a flag.\n"
            f"  See: python {argv[0]} --help"
        )
    return rest


def _flag_message(error):
    missing = re.match(r"flag --(\w+)=None: .* other than None", str(error))
    return f"missing flag --{missing[1]}" if missing else str(error)


def _exit_plainly(main):
    try:
        sys.exit(main())
    except DataError as error:
        _fail(error)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from what is done.", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        if error.errno not in _REMEDIES or error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}.\n  {_REMEDIES[error.errno]}")


def _fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
