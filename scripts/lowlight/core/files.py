"""Files that are whole when they have their name, folders, and a lock against a second writer."""

import contextlib
import errno
import fcntl
import os
import socket
import tempfile
import time
from pathlib import Path

from lowlight.core.errors import DataError


@contextlib.contextmanager
def whole_files(*paths):
    """Yields a temporary path beside each path; they get the paths' names when the block ends well.

    Whatever interrupts the block, each path is what it was before: all are renamed together, after
    all are whole. The temporary names are the same each time, so what a killed run leaves behind is
    written over.

    Args:
        paths: the final names; their folders must exist.

    Yields:
        A list of paths, one for each.

    Raises:
        OSError: a folder can't be written, or the disk is full; `filename` is then the final name,
            or the folder where it isn't known which of several files was being written.
    """
    finals = [Path(path) for path in paths]
    partials = [path.with_name(f".{path.name}.partial") for path in finals]
    try:
        yield partials
        for partial, final in zip(partials, finals, strict=True):
            os.replace(partial, final)
    except BaseException as error:
        for partial in partials:
            with contextlib.suppress(OSError):
                partial.unlink()
        if isinstance(error, OSError):
            _name_final(error, partials, finals)
        raise


def _name_final(error, partials, finals):
    """Makes an OSError name the final file in place of the temporary one."""
    if error.filename is None:
        error.filename = str(finals[0] if len(finals) == 1 else finals[0].parent)
    for partial, final in zip(partials, finals, strict=True):
        if Path(error.filename) == partial:
            error.filename = str(final)


@contextlib.contextmanager
def whole_file(path):
    """As `whole_files`, for one path: yields its temporary path."""
    with whole_files(path) as (partial,):
        yield partial


def write_text(path, text):
    """Writes text as UTF-8 with LF line ends, whole or not at all."""
    write_texts({path: text})


def write_texts(texts):
    """Writes {path: text} as `write_text` does, all files or none."""
    with whole_files(*texts) as partials:
        for partial, text in zip(partials, texts.values(), strict=True):
            partial.write_text(text, encoding="utf-8", newline="\n")


def existing_dir(path, flag):
    """Returns path as a Path; raises DataError, naming the flag, unless it is a folder."""
    path = Path(path)
    if not path.is_dir():
        found = "is a file, not a folder" if path.exists() else "no such folder"
        raise DataError(f"{path}: {found}.\n  Check --{flag}.")
    return path


def existing_file(path, remedy):
    """Returns path as a Path; raises DataError with the remedy unless it is a file."""
    path = Path(path)
    if not path.is_file():
        found = "is a folder, not a file" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {found}.\n  {remedy}")
    return path


def is_inside(path, folder):
    """Returns whether a path is a folder, which is there, or lies in it."""
    inside, top = Path(path).resolve(), Path(folder).resolve()
    return top.is_dir() and top in (inside, *inside.parents)


def output_dir(path):
    """Makes the folder with its parents, checks that it can be written, and returns its Path.

    Raises:
        OSError: it can't be made or written; `filename` names it.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        error.filename = str(path)
        raise
    return path


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
