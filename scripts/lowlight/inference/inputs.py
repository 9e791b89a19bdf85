"""What a command names: images in a folder, an archive, a pattern or a list, or a video."""

import contextlib
import glob
import os
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from PIL import Image

from lowlight.core.errors import DataError, name_some
from lowlight.core.sources import SourceFile, file_on_disk, is_stray, list_files
from lowlight.images.reading import (
    EXTENSIONS,
    is_image_name,
    open_image,
    read_upright,
    room_to_decode,
)

_STANDARD_INPUT = "-"
_VIDEOS = frozenset(
    (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts")
    + (".3gp", ".3g2", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".vob", ".mxf", ".m2v", ".dv")
)
_URL = re.compile(r"(rtsps?|rtmps?|https?|udp|rtp|srt|tcp)://", re.IGNORECASE)


def find_images(
    source: Path | str,
    recursive: bool = False,
    lines: Iterable[str] | None = None,
    flag: str = "images_folder_dir",
) -> list[SourceFile]:
    """Lists the images that a command names.

    Args:
        source: a folder, a file, a zip archive, a pattern with * or ?, or "-": a list of paths, one
            a line, on standard input, or in `lines`.
        recursive: search a folder's folders too; in a pattern, ** does.
        flag: the flag that names the source, for the messages.

    Returns:
        At least one, sorted, in a list's order for "-". A file's name is its path in the folder or
        archive, or below the deepest folder that all of a pattern's or list's files lie in.

    Raises:
        DataError: no such source, or no image in it; two images of one name.
    """
    if source == _STANDARD_INPUT:
        found, videos = _of_list(sys.stdin if lines is None else lines), []
    else:
        found, videos = _of_source(source, recursive, flag), _videos_near(source)
    if not found:
        raise _no_image(source, recursive, flag, videos)
    twice = [name for name, count in Counter(file.name for file in found).items() if count > 1]
    if twice:
        raise DataError(
            f"{name_some(twice)}: given twice, so that two inputs would write the same output.\n"
            "  Name each image once."
        )
    if videos:
        note = f"videos left out: {len(videos)} ({name_some(videos)}). Give each by itself."
        print(note, file=sys.stderr)
    return found


def _of_source(source, recursive, flag):
    path = Path(source)
    if path.is_dir() and not recursive:
        paths = sorted(p for p in path.iterdir() if _is_image(p.name) and not os.path.isdir(p))
        return [file_on_disk(p, p.name) for p in paths]
    if path.is_dir() or (path.exists() and path.suffix.lower() == ".zip"):
        return [file for file in list_files(path, flag) if _is_image(file.name)]
    if path.exists():
        return [file_on_disk(path, path.name)]
    if glob.has_magic(str(source)):
        paths = glob.glob(str(source), recursive=True)
        return _of_paths(sorted(p for p in paths if _is_image(os.path.basename(p))))
    raise DataError(f"{source}: no such folder, file or archive.\n  Check --{flag}.")


def _is_image(name):
    return is_image_name(name) and not is_stray(name)


@contextlib.contextmanager
def opened_upright(file: SourceFile) -> Iterator[Image.Image]:
    """Yields an image as people look at it: RGB, with its EXIF rotation applied.

    Of several pictures in a file it is the first. Levels of 16 and 32 bits become 8,
    CMYK becomes RGB, and transparency lies on black. As long as it is open, it takes some of the
    room to decode others.

    Raises:
        DataError: it can't be read or isn't an image.
    """
    data = file.read()
    with room_to_decode(open_image(data, file.place, whole=False)):
        yield read_upright(data, file.place)


def _of_list(lines):
    names = [line.rstrip("\r\n") for line in lines]
    if any("\0" in name for name in names):
        raise DataError(
            "standard input: paths divided by NUL.\n  Give one a line: find without -print0."
        )
    return _of_paths([name for name in names if name.strip()])


def _of_paths(paths):
    """Returns files by their paths, named below the deepest folder that holds them all."""
    full = [os.path.abspath(path) for path in paths]
    top = os.path.commonpath([os.path.dirname(path) for path in full]) if full else ""
    names = [Path(os.path.relpath(path, top)).as_posix() for path in full]
    return [file_on_disk(Path(path), name) for path, name in zip(paths, names, strict=True)]


def _no_image(source, recursive, flag, videos):
    if source == _STANDARD_INPUT:
        return DataError(
            "standard input: names no image.\n  Give paths, one a line: find photos | ..."
        )
    kinds = ", ".join(sorted(kind[1:] for kind in EXTENSIONS))
    where = ""
    if Path(source).is_dir() and not recursive:
        where = "; its folders aren't searched without --recursive"
    if videos:
        where += "; a video is given by itself"
    return DataError(f"{source}: holds no image ({kinds}){where}.\n  Check --{flag}.")


def _videos_near(source):
    """Returns the paths of the videos in a folder, or of a pattern, which is no file's name."""
    if Path(source).is_file():
        return []
    near = Path(source).iterdir() if Path(source).is_dir() else glob.glob(str(source))
    return sorted(str(path) for path in near if _is_video_name(path))


def is_archive(source: str) -> bool:
    """Says whether a command's input is a zip archive; what is no plain file isn't opened."""
    return os.path.isfile(source) and zipfile.is_zipfile(source)


def is_video(source: Path | str) -> bool:
    """Says whether what a command is given is a video file, a camera or a stream."""
    if is_url(source) or is_device(source):
        return True
    return _is_video_name(source) and Path(source).is_file()


def _is_video_name(name: Path | str) -> bool:
    """Says whether a file's extension is that of a video, in either case."""
    return PurePosixPath(name).suffix.lower() in _VIDEOS


def name_of(source: Path | str) -> str:
    """Returns what a video is called without its extension: "street" of "films/street.mp4"."""
    path = urlsplit(source).path if is_url(source) else str(source)
    return PurePosixPath(path).stem or urlsplit(source).hostname or "video"


def is_url(source: Path | str) -> bool:
    """Says whether a video comes from an address."""
    return _URL.match(str(source)) is not None


def is_device(source: Path | str) -> bool:
    """Says whether a video comes from a camera."""
    with contextlib.suppress(OSError, ValueError):
        return Path(source).is_char_device() and str(source) != "/dev/null"
    return False
