"""Reads the files below a folder and a zip archive's members alike; refuses harmful archives."""

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
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lowlight.core.errors import DataError, printable, raise_any

# What expands to more than this was made to fill a memory, not to show an image.
MAX_MEMBER_BYTES = 512 * 2**20
_STEP = 4096  # bytes; bzip2 and LZMA expand all that they are given at once
# What zipfile raises of a damaged member.
_DAMAGES = zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError


class SourceFile(NamedTuple):
    """A file below a folder or inside an archive."""

    name: str  # its path inside, parts divided by "/"
    place: str  # how a message names it
    read: Callable[[], bytes]  # raises DataError where it can't be read
    size: int = 0  # bytes, as the folder or the archive says

    @property
    def folder(self) -> str:
        """The name of the folder it lies in, "" at the top."""
        return posixpath.basename(posixpath.dirname(self.name))


def list_files(source: str | Path, flag: str) -> list[SourceFile]:
    """Lists the files below a folder or in a zip archive, which the flag names, sorted by name.

    Returns:
        At least one file. Several threads or forks may read at a time.

    Raises:
        DataError: no such folder or archive, or there is no file in it; not a whole archive, or
            members that lead out of it, are links, or expand beyond MAX_MEMBER_BYTES, all named.
    """
    source = Path(source)
    if source.is_dir():
        paths = _paths_below(source, ())
        files = [file_on_disk(path, path.relative_to(source).as_posix()) for path in paths]
    elif source.is_file():
        files = _list_members(source, flag)
    else:
        raise DataError(f"{source}: no such folder or zip archive.\n  Check --{flag}.")
    if not files:
        raise DataError(f"{source}: holds no file.\n  Check --{flag}.")
    return sorted(files, key=lambda file: file.name)


def is_stray(name: str) -> bool:
    """Says whether a file, by its path inside, is one that a system or an editor left."""
    parts = [part for part in name.split("/") if part != "."]
    return name.endswith("~") or any(p.startswith(".") or p == "__MACOSX" for p in parts)


def name_key(name: str) -> str:
    """Returns what names have in common that differ in case, or in how Unicode makes up a letter.

    macOS hands out e and an accent where other systems have one letter.
    """
    return unicodedata.normalize("NFC", name).lower()


# Folders. -----------------------------------------------------------------------------------------


def _paths_below(folder: Path, above: tuple) -> Iterator[Path]:
    """Yields the paths of what is no folder; links to the folders `above`, (device, inode), end."""
    try:
        status = folder.stat()
        here = status.st_dev, status.st_ino
        entries = [] if here in above else list(os.scandir(folder))
    except OSError as error:
        print(f"warning: {printable(folder)}: {error.strerror}; it is left out.", file=sys.stderr)
        return
    for entry in entries:
        path = folder / entry.name
        if os.path.isdir(path):  # which raises nothing where it may not look
            yield from _paths_below(path, (*above, here))
        else:
            yield path


def file_on_disk(path: str | Path, name: str) -> SourceFile:
    """Returns a file, perhaps a missing one, by its path.

    What can't be read (a pipe, a device, a link to nothing, a name that isn't UTF-8) is refused
    when it is read, so that it stops no other file.
    """
    path, text = str(path), _as_text(str(path))
    place, is_text = printable(text), text == path and _as_text(name) == name
    size = os.stat(path).st_size if is_text and os.path.exists(path) else 0
    read = functools.partial(_read_plain, path, place, is_text)
    return SourceFile(_as_text(name), place, read, size=size)


def _as_text(name):
    """Returns a name with escapes where it can't be written down as UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _read_plain(path, place, is_text):
    """Returns a file's bytes; raises DataError for what isn't a plain file, before it is opened."""
    if not is_text:
        raise DataError(f"{place}: a name that isn't UTF-8.\n  Rename it, by hand or with convmv.")
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
            kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
            raise DataError(f"{place}: no plain file, but {kind}.\n  Remove it.")
        if status.st_size > MAX_MEMBER_BYTES:
            raise DataError(f"{place}: {_too_large(status.st_size)}.\n  Replace or remove it.")
        with open(path, "rb") as file:
            return file.read(status.st_size)  # what a system makes up, as in /proc, may never end
    except OSError as error:
        found = "a link without a file" if os.path.islink(path) else error.strerror
        raise DataError(f"{place}: {found}.\n  Check the file and its permissions.") from error


# Archives. ----------------------------------------------------------------------------------------


def _list_members(path, flag):
    """Returns an archive's files; raises DataError as `list_files`."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not a whole zip archive ({error}).\n"
            f"  Give --{flag} a folder or a zip archive, or fetch the archive again."
        ) from error
    errors = [
        DataError(f"{path}: {info.orig_filename!r} {harm}.\n  Remove it from the archive.")
        for info in archive.infolist()
        if (harm := _harm_of(info))
    ]
    raise_any(errors, "Nothing was read or written.")
    reader = _Reader(archive)
    return [
        SourceFile(
            name=info.filename,
            place=f"{path}: {printable(info.filename)}",
            read=functools.partial(reader.read, info),
            size=info.file_size,
        )
        for info in archive.infolist()
        if not info.is_dir()
    ]


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


class _Reader:
    """Reads members of an archive, in a forked process as well."""

    def __init__(self, archive):
        self._archive, self._process = archive, os.getpid()

    def read(self, info):
        """Returns a member's bytes; raises DataError where they aren't as the archive declares."""
        if self._process != os.getpid():  # forks share the place in an open file
            self._archive, self._process = zipfile.ZipFile(self._archive.filename), os.getpid()
        try:
            with self._archive.open(info) as member:  # which reads no more than is declared
                data = b"".join(iter(functools.partial(member.read, _STEP), b""))
            if len(data) != info.file_size:
                raise zipfile.BadZipFile(f"{info.file_size} bytes declared, {len(data)} found")
            return data
        except _DAMAGES as error:
            if getattr(error, "errno", None):
                raise  # the operating system's, not bzip2's
            raise DataError(
                f"{self._archive.filename}: {printable(info.filename)}: can't be read ({error}).\n"
                "  Fetch the archive again, or unpack it and give the folder."
            ) from error
