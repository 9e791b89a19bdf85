"""Keeps a second process off a folder that one writes."""

import contextlib
import errno
import fcntl
import os
import socket
import time

from lowlight.core.errors import DataError

LOCK = ".lock"

# Network file systems that keep no locks say one of these.
_NO_LOCKS = errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS


@contextlib.contextmanager
def locked(folder, doing="trained", flag="model_dir"):
    """Holds a folder's lock for the time of the block; the file goes with it.

    The operating system lets go of it when the process ends, however it ends, so a file that a
    killed one left locks nothing.

    Args:
        folder: a run's, or another output folder, which exists.
        doing: what is done with it, for the message.
        flag: the flag that names it.

    Raises:
        DataError: another process holds it.
    """
    path = folder / LOCK
    with _open_locked(path, doing, flag) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.ctime()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _open_locked(path, doing, flag):
    """Returns the open file, locked; raises as `locked`."""
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with file:
                file.seek(0)
                holder = file.read().strip() or "another"
            raise DataError(
                f"{path.parent}: is being {doing} already, by {holder}.\n"
                f"  Wait for its end, stop it, or choose another --{flag}."
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
            print(f"warning: {path.parent} can't be locked here; let one process alone write it.")
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # of a process that ended, and removed it, meanwhile
