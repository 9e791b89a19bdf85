"""Reads the files below a folder and a zip archive's members alike; refuses harmful archives."""

import copy
import functools
import lzma
import os
import posixpath
import re
import stat
import sys
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lowlight.core.errors import DataError, join_errors

# What expands to more than this was made to fill a memory, not to show an image.
MAX_MEMBER_BYTES = 512 * 2**20
_STEP = 4096  # bytes; bzip2 and LZMA expand all that they are given at once


def open_archive(path, flag):
    """Opens a zip archive and looks at every member's name, kind and size.

    Args:
        path: the archive; flag: the flag that names it, for the messages.

    Returns:
        (zipfile.ZipFile, its members that are no folders as zipfile.ZipInfo).

    Raises:
        DataError: not a whole zip archive; members that lead out of the archive, are links, or
            expand beyond MAX_MEMBER_BYTES, all of them named.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not a whole zip archive ({error}).\n"
            f"  Give --{flag} a folder or a zip archive, or fetch the archive again."
        ) from error
    harms = [(info, _harm_of(info)) for info in archive.infolist()]
    errors = [
        DataError(f"{path}: {info.orig_filename!r} {harm}.\n  Remove it from the archive.")
        for info, harm in harms
        if harm
    ]
    if errors:
        raise join_errors(errors, "Nothing was read or written.")
    return archive, [info for info in archive.infolist() if not info.is_dir()]


def _harm_of(info):
    """Returns what is wrong with a member, "" where nothing is."""
    name = info.orig_filename  # before Python cuts it at a NUL
    if "\\" in name or "\0" in name:
        return "has a name with a backslash or NUL, which systems read differently"
    if ".." in PurePosixPath(name).parts or name.startswith("/") or re.match("[A-Za-z]:", name):
        return "leads out of the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a symbolic link"
    if info.file_size > MAX_MEMBER_BYTES:
        return f"expands to {_too_large(info.file_size)}"
    return ""


def _too_large(size):
    most = f"{MAX_MEMBER_BYTES / 2**20:,.0f}"
    return f"{size / 2**20:,.0f} MiB, more than the {most} of any image"


def read_member(archive, info):
    """Returns a member's bytes, and stops where it exceeds its declared size.

    Raises:
        DataError: a member that can't be read, or has another size than the archive declares.
    """
    beyond = copy.copy(info)
    beyond.file_size = info.file_size + _STEP + 1  # at it zipfile stops and says nothing
    place = f"{archive.filename}: {info.filename}"
    try:
        with archive.open(beyond) as member:
            data = bytearray()
            while len(data) <= info.file_size and (more := member.read(_STEP)):
                data += more
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        raise _unreadable(place, error) from error
    except OSError as error:
        if error.errno:
            raise  # The operating system's, not bzip2's.
        raise _unreadable(place, error) from error
    if len(data) != info.file_size:
        held = "more" if len(data) > info.file_size else f"{len(data)}"
        raise _unreadable(place, f"{info.file_size} bytes declared, {held} found")
    return bytes(data)


def _unreadable(place, reason):
    return DataError(
        f"{place}: can't be read ({reason}).\n"
        "  Fetch the archive again, or unpack it and give the folder."
    )


class SourceFile(NamedTuple):
    """A file below a folder or inside an archive."""

    name: str  # its path inside, parts divided by "/"
    place: str  # how a message names it
    read: Callable[[], bytes]  # raises DataError where it can't be read
    crc: int | None = None  # of an archive's member, as the archive says
    size: int = 0  # bytes, as the folder or the archive says

    @property
    def folder(self):
        """The name of the folder it lies in, "" at the top."""
        return posixpath.basename(posixpath.dirname(self.name))


def list_files(source: str | Path, flag: str) -> list[SourceFile]:
    """Lists the files below a folder or in a zip archive, sorted by name.

    Args:
        source: a folder or a .zip file.
        flag: the flag that names it, for the messages.

    Returns:
        At least one file. Several threads or forks may read at a time.

    Raises:
        DataError: no such folder or archive, or there is no file in it; an archive that could do
            harm, as `open_archive`.
    """
    source = Path(source)
    if source.is_dir():
        paths = _paths_below(source, ())
        files = [file_on_disk(path, path.relative_to(source).as_posix()) for path in paths]
    elif source.is_file():
        files = _in_archive(source, flag)
    else:
        raise DataError(f"{source}: no such folder or zip archive.\n  Check --{flag}.")
    if not files:
        raise DataError(f"{source}: holds no file.\n  Check --{flag}.")
    return sorted(files, key=lambda file: file.name)


def name_key(name: str) -> str:
    """Returns what names have in common that differ in case, or in how Unicode makes up a letter.

    macOS hands out e and an accent where other systems have one letter.
    """
    return unicodedata.normalize("NFC", name).lower()


def file_on_disk(path: str | Path, name: str) -> SourceFile:
    """Returns a file, perhaps a missing one, by its path.

    What can't be read (a pipe, a device, a link to nothing, a name that isn't UTF-8) is refused
    when it is read, so that it stops no other file.
    """
    place = str(path)
    if is_text(place) and is_text(name):
        size = os.stat(place).st_size if os.path.exists(place) else 0
        return SourceFile(name, place, functools.partial(_read_plain, place), size=size)
    place = _printable(place)
    return SourceFile(_printable(name), place, functools.partial(_refuse_name, place))


def is_text(name: str) -> bool:
    """Says whether a name can be written down as UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def _printable(name):
    return os.fsencode(name).decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _refuse_name(place):
    raise DataError(f"{place}: a name that isn't UTF-8.\n  Rename it, by hand or with convmv.")


def _read_plain(path):
    """Returns a file's bytes; raises DataError for what isn't a plain file, before it is opened."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
            kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
            raise DataError(f"{path}: no plain file, but {kind}.\n  Remove it.")
        if status.st_size > MAX_MEMBER_BYTES:
            raise DataError(f"{path}: {_too_large(status.st_size)}.\n  Replace or remove it.")
        return Path(path).read_bytes()
    except OSError as error:
        found = "a link without a file" if os.path.islink(path) else error.strerror
        raise DataError(f"{path}: {found}.\n  Check the file and its permissions.") from error


def is_stray(name):
    """Says whether a file is one that an operating system or an editor left.

    Args:
        name: its path inside the source, parts divided by "/".
    """
    parts = [part for part in name.split("/") if part != "."]
    return name.endswith("~") or any(p.startswith(".") or p == "__MACOSX" for p in parts)


def _paths_below(folder, above):
    """Yields the paths of all that is no folder, but links to a folder that they lie in.

    Args:
        folder: where to look; above: (device, inode) of the folders that it lies in.
    """
    try:
        status = folder.stat()
        here = status.st_dev, status.st_ino
        entries = [] if here in above else list(os.scandir(folder))
    except OSError as error:
        print(f"warning: {folder}: {error.strerror}; it is left out.", file=sys.stderr)
        return
    for entry in entries:
        path = folder / entry.name
        if path.is_dir():
            yield from _paths_below(path, (*above, here))
        else:
            yield path


def _in_archive(path, flag):
    archive, members = open_archive(path, flag)
    read = _Reader(archive)
    return [
        SourceFile(
            info.filename,
            f"{path}: {info.filename}",
            functools.partial(read, info),
            info.CRC,
            info.file_size,
        )
        for info in members
    ]


class _Reader:
    """Reads members of an archive, in a forked process as well."""

    def __init__(self, archive):
        self._archive, self._process = archive, os.getpid()

    def __call__(self, info):
        """Returns a member's bytes; raises as `read_member`."""
        if self._process != os.getpid():  # forks share the place in an open file
            self._archive, self._process = zipfile.ZipFile(self._archive.filename), os.getpid()
        return read_member(self._archive, info)
