"""Keeps a second process off a folder that one writes."""

import contextlib
import errno
import fcntl
import os
import socket
import time

from lowlight.errors import DataError

LOCK = ".lock"

# Network file systems that keep no locks say one of these.
_NO_LOCKS = errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS


@contextlib.contextmanager
def locked(folder, doing="trained", flag="model_dir"):
    """Holds a folder's lock for the time of the block.

    The operating system lets go of it when the process ends, however it ends, so what is left of
    the file locks nothing.

    Args:
        folder: a run's, or another output folder, which exists.
        doing: what is done with it, for the message.
        flag: the flag that names it.

    Raises:
        DataError: another process holds it.
    """
    with open(folder / LOCK, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise DataError(
                f"{folder}: is being {doing} already, by {file.read().strip() or 'another'}.\n"
                f"  Wait for its end, stop it, or choose another --{flag}."
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(f"warning: {folder} can't be locked here; let one process alone write it.")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.ctime()}\n")
        file.flush()
        yield
