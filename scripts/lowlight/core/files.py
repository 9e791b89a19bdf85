"""Files that are whole when they have their name, folders, and a lock against a second writer."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lowlight.core.errors import DataError

CONFIGS = Path(__file__).resolve().parents[3] / "configs"  # the project's own
LOCK = ".lock"
_LONG_NAME = 200  # bytes; file systems take 255
_POLL = 0.5  # seconds between two looks at a lock that another process holds
_NO_LOCKS = errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS  # of network file systems without locks


@contextlib.contextmanager
def whole_files(*paths: Path, durable: bool = True) -> Iterator[list[Path]]:
    """Yields a temporary path beside each path; they get the paths' names when the block ends well.

    They are renamed one after another when all are whole: an interruption between two renames, and
    only there, leaves some new and the others old. What a killed run leaves behind is written over.

    Args:
        paths: the final names; their folders must exist.
        durable: wait until the files are on the disk, so that a power cut doesn't empty them. That
            takes some milliseconds a file, which is much for thousands of pictures.

    Raises:
        OSError: a folder can't be written, or the disk is full; `filename` is then the final name,
            or the folder where it isn't known which of several files was being written.
    """
    finals = [Path(path) for path in paths]
    partials = [_partial(path) for path in finals]
    try:
        for partial in partials:
            partial.unlink(missing_ok=True)
            partial.touch(exist_ok=False)  # a link would lead elsewhere
        yield partials
        _flush(partials if durable else ())
        for partial, final in zip(partials, finals, strict=True):
            os.replace(partial, final)
        _flush({final.parent for final in finals} if durable else ())
    except BaseException as error:
        for partial in partials:
            with contextlib.suppress(OSError):
                partial.unlink()
        if isinstance(error, OSError):
            unknown = finals[0] if len(finals) == 1 else finals[0].parent
            named = dict(zip(map(str, partials), finals, strict=True)) | {None: unknown}
            name = None if error.filename is None else str(error.filename)
            error.filename = str(named.get(name, name))
        raise


def _partial(path):
    """Returns the temporary path, whose name is no longer than a file system takes."""
    name = path.name
    if len(os.fsencode(name)) > _LONG_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.partial")


def _flush(paths):
    """Waits until files, and folders' lists of files, are on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of a file system that can't
                raise
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def whole_file(path: Path, durable: bool = True) -> Iterator[Path]:
    """As `whole_files`, for one path: yields its temporary path."""
    with whole_files(path, durable=durable) as (partial,):
        yield partial


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8 with LF line ends, as `whole_files` does."""
    write_texts({path: text})


def write_texts(texts: dict[Path, str]) -> None:
    """Writes {path: text} as `whole_files` does."""
    with whole_files(*texts) as partials:
        for partial, text in zip(partials, texts.values(), strict=True):
            partial.write_text(text, encoding="utf-8", newline="\n")


def existing_dir(path: str | Path, flag: str) -> Path:
    """Returns path as a Path; raises DataError, naming the flag, unless it is a folder."""
    path = Path(path)
    if not path.is_dir():
        found = "is a file, not a folder" if path.exists() else "no such folder"
        raise DataError(f"{path}: {found}.\n  Check --{flag}.")
    return path


def existing_file(path: str | Path, remedy: str) -> Path:
    """Returns path as a Path; raises DataError with the remedy unless it is a file."""
    path = Path(path)
    if not path.is_file():
        found = "is a folder, not a file" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {found}.\n  {remedy}")
    return path


def is_inside(path: str | Path, folder: str | Path) -> bool:
    """Returns whether a path is a folder, which is there, or lies in it."""
    top = Path(folder).resolve()
    return top.is_dir() and Path(path).resolve().is_relative_to(top)


def output_dir(path: str | Path) -> Path:
    """Makes the folder with its parents, and returns its Path.

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


def no_links(path: str, flags: int) -> int:
    """Opens a file that isn't a link, as the `opener` of `open`."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


@contextlib.contextmanager
def locked(
    folder: Path, doing: str = "trained", flag: str = "model_dir", waits: bool = False
) -> Iterator[None]:
    """Holds the lock of a folder, which exists, for the time of the block.

    The operating system lets go of it when the process ends, however it ends, so a file that a
    killed one left locks nothing.

    Args:
        folder: a run's, or another output folder.
        doing: what is done with it, and `flag`, which names it: for the message.
        waits: wait until another process lets go of it, and say so.

    Raises:
        DataError: another process holds it.
    """
    path = folder / LOCK
    with _open_locked(path, doing, flag, waits) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.ctime()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _open_locked(path, doing, flag, waits):
    """Returns the open file, locked; raises as `locked`."""
    said = False
    while True:
        file = open(path, "a+", encoding="utf-8", opener=no_links)  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
            file.close()  # of a process that ended, and removed it, meanwhile
        except BlockingIOError as error:
            with file:
                file.seek(0)
                holder = file.read().strip() or "another"
            if not waits:
                raise DataError(
                    f"{path.parent}: is being {doing} already, by {holder}.\n"
                    f"  Wait for its end, stop it, or choose another --{flag}."
                ) from error
            if not said:
                print(f"{path.parent}: is being {doing} by {holder}; waits for it")
            said = True
            time.sleep(_POLL)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
            print(f"warning: {path.parent} can't be locked here; let one process alone write it.")
            return file


@contextlib.contextmanager
def folder_beside(path: Path, doing: str, flag: str = "", waits: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside a path, to make in it what is then moved to the path.

    It is removed at the end. Its name is the same each time, so that what a killed process left
    there doesn't stay. The other arguments, and what is raised, are as in `locked`.
    """
    outer = output_dir(_partial(path))
    with locked(outer, doing, flag, waits):
        try:
            inner = outer / "whole"
            shutil.rmtree(inner, ignore_errors=True)
            inner.mkdir()
            yield inner
        finally:
            shutil.rmtree(outer, ignore_errors=True)
