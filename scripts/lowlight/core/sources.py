"""Reads the files below a folder and the members of a zip archive alike."""

import functools
import os
import posixpath
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lowlight.core.archives import open_archive, read_member
from lowlight.core.errors import DataError


class SourceFile(NamedTuple):
    """A file below a folder or inside an archive."""

    name: str  # its path inside, parts divided by "/"
    place: str  # how a message names it
    read: Callable[[], bytes]

    @property
    def folder(self):
        """The name of the folder it lies in, "" at the top."""
        return posixpath.basename(posixpath.dirname(self.name))


def list_files(source, flag):
    """Lists the files below a folder or in a zip archive, sorted by name.

    Args:
        source: a folder or a .zip file.
        flag: the flag that names it, for the messages.

    Returns:
        A list of SourceFile, at least one. Several threads or forks may read at a time.

    Raises:
        DataError: no such folder or archive, or there is no file in it; an archive that could do
            harm, as `open_archive`.
    """
    source = Path(source)
    if source.is_dir():
        files = _on_disk(source)
    elif source.is_file():
        files = _in_archive(source, flag)
    else:
        raise DataError(f"{source}: no such folder or zip archive.\n  Check --{flag}.")
    if not files:
        raise DataError(f"{source}: holds no file.\n  Check --{flag}.")
    return sorted(files, key=lambda file: file.name)


def is_stray(name):
    """Says whether a file is one that an operating system or an editor left.

    Args:
        name: its path inside the source, parts divided by "/".
    """
    parts = [part for part in name.split("/") if part != "."]
    return name.endswith("~") or any(p.startswith(".") or p == "__MACOSX" for p in parts)


def _on_disk(folder):
    paths = (
        Path(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
    )
    return [
        SourceFile(path.relative_to(folder).as_posix(), str(path), path.read_bytes)
        for path in paths
        if path.is_file()
    ]


def _in_archive(path, flag):
    archive, members = open_archive(path, flag)
    read = _Reader(archive)
    return [
        SourceFile(info.filename, f"{path}: {info.filename}", functools.partial(read, info))
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
