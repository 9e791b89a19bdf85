"""Reads the members of a zip archive, and refuses an archive that could do harm."""

import copy
import lzma
import re
import stat
import zipfile
import zlib
from pathlib import PurePosixPath

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
        return (
            f"expands to {info.file_size / 2**20:,.0f} MiB, "
            f"more than the {MAX_MEMBER_BYTES / 2**20:,.0f} of any image"
        )
    return ""


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
