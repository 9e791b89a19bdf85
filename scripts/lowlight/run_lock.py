"""Keeps a second trainer off a run."""

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
def locked(run_dir):
    """Holds a run's lock for the time of the block.

    The operating system lets go of it when the process ends, however it ends, so what is left of
    the file locks nothing.

    Args:
        run_dir: the run's folder, which exists.

    Raises:
        DataError: another process holds it.
    """
    with open(run_dir / LOCK, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise DataError(
                f"{run_dir}: is being trained already, by {file.read().strip() or 'another'}.\n"
                "  Wait for its end, stop it, or choose another --model_dir."
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(f"warning: {run_dir} can't be locked here; train it by one process alone.")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.ctime()}\n")
        file.flush()
        yield
