"""Converts the images of a folder or archive to RGB JPEGs, and continues where it was stopped."""

import contextlib
import functools
import hashlib
import time
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lowlight.core.errors import DataError, join_errors
from lowlight.core.files import output_dir, whole_file, write_texts
from lowlight.core.parallel import Progress, map_in_processes
from lowlight.core.sources import is_stray, list_files, name_key
from lowlight.dataset.duplicates import hash_image
from lowlight.dataset.tables import (
    CONVERTED,
    ConvertedRow,
    ProblemRow,
    converted_name,
    format_table,
    read_converted,
)
from lowlight.images.reading import is_image_name
from lowlight.images.rgb_jpegs import HOWS, to_rgb_jpeg

PROBLEMS = "problems.csv"
_WRITTEN_EACH = 10.0  # seconds between what is kept of an unfinished conversion
_CHUNK = 4  # images that a process takes at a time; one that is encoded takes many times others


class Converted(NamedTuple):
    """What `convert_images` did with each file."""

    rows: list  # of ConvertedRow, sorted by file
    strays: list  # names of files that are no images, left alone
    problems: list  # of ProblemRow, sorted
    found: int  # how many of the rows an earlier conversion had already made

    @property
    def rotated(self):
        """The names of the source files that EXIF says to turn."""
        return [row.file for row in self.rows if row.orientation > 1]

    def names(self, how):
        """Returns the names of the source files with which this was done (see ConvertedRow)."""
        return [row.file for row in self.rows if row.how == how]


def convert_images(source, folder, jobs=None, verify=False):
    """Writes each image of a folder or zip archive as `<stem>.jpg` into one flat folder.

    Beside them it writes converted.csv, what was done with each, and problems.csv, what was out of
    the ordinary. An image isn't converted again where converted.csv, perhaps of an interrupted
    conversion, says by SHA-256 that this source became what is there.

    Args:
        source: ExDark's folder of class folders, or its archive.
        folder: the output folder, made where it is missing.
        jobs: how many images are converted at a time; one a core by default.
        verify: convert all again, and decode each whole, as `to_rgb_jpeg`.

    Returns:
        Converted.

    Raises:
        DataError: no image; two images with one stem (before anything is written); images that
            can't be decoded, all of them named, after the others are written.
    """
    images, strays = _list_images(source, folder)
    folder = output_dir(folder)
    known = {} if verify else read_converted(folder)
    convert = functools.partial(_convert, folder=folder, known=known, verify=verify)
    rows, errors, found = [], [], 0
    problems = [ProblemRow(file.name, "stray file", "left alone") for file in strays]
    with _kept_rows(folder, known) as keep, Progress(len(images), "image") as progress:
        results = map_in_processes(convert, images, jobs, _CHUNK)
        for file, (result, was_there) in zip(images, results, strict=True):
            if isinstance(result, DataError):
                errors.append(result)
            else:
                rows.append(result)
                found += was_there
                keep(result)
            problems.extend(_problems_of(file, result))
            progress.update()
    write_texts(
        {
            folder / CONVERTED: format_table(rows, ConvertedRow),
            folder / PROBLEMS: format_table(sorted(problems), ProblemRow),
        }
    )
    if errors:
        raise join_errors(errors, f"The other {len(rows)} images are in {folder}.")
    return Converted(rows, [file.name for file in strays], sorted(problems), found)


@contextlib.contextmanager
def _kept_rows(folder, known):
    """Yields a function that takes a ConvertedRow; converted.csv has them when it is interrupted.

    One that was killed without a warning loses what it did in the last seconds.
    """
    rows, written = dict(known), time.monotonic()

    def write():
        table = format_table([rows[name] for name in sorted(rows)], ConvertedRow)
        write_texts({folder / CONVERTED: table})

    def keep(row):
        nonlocal written
        rows[row.file] = row
        if time.monotonic() - written > _WRITTEN_EACH:
            write()
            written = time.monotonic()

    try:
        yield keep
    except BaseException:
        with contextlib.suppress(OSError):
            write()
        raise


def _convert(file, folder, known, verify):
    """Writes one image, where it isn't there; returns (ConvertedRow or DataError, was there)."""
    path = folder / converted_name(file.name)
    try:
        data = file.read()
        sha256 = _sha256(data)
        row = known.get(file.name)
        if row and row.how in HOWS and row.source_sha256 == sha256 and _holds(path, row.sha256):
            return row, True
        jpeg = to_rgb_jpeg(data, file.place, verify)
    except DataError as error:
        return error, False
    except OSError as error:
        text = f"{file.place}: {error.strerror}.\n  Check the file's permissions."
        return DataError(text), False
    with whole_file(path, durable=False) as partial:
        partial.write_bytes(jpeg.data)
    written = sha256 if jpeg.data == data else _sha256(jpeg.data)
    phash = _hash(jpeg.data, file.place)
    row = ConvertedRow(file.name, jpeg.how, jpeg.orientation, sha256, written, phash)
    return row, False


def _hash(data, place):
    """Returns the pHash, "" of an image whose damage only a decoder would find."""
    try:
        return hash_image(data, place)
    except DataError:
        return ""


def _holds(path, sha256):
    return path.is_file() and _sha256(path.read_bytes()) == sha256


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _problems_of(file, result):
    """Yields the ProblemRows of one image."""
    if isinstance(result, DataError):
        reason = str(result).removeprefix(f"{file.place}: ").splitlines()[0]
        yield ProblemRow(file.name, "not converted", reason)
        return
    if result.how == "completed":
        yield ProblemRow(file.name, "no end marker", "added")
    if result.orientation > 1:
        yield ProblemRow(file.name, "EXIF rotation", f"{result.orientation}, not applied")


def _list_images(source, folder):
    """Returns (images, other files) of the source; raises DataError as `convert_images`."""
    images, strays = [], []
    for file in list_files(source, "input_dir"):
        found = is_image_name(file.name) and not is_stray(file.name)
        (images if found else strays).append(file)
    if not images:
        raise DataError(
            f"{source}: holds no image.\n  --input_dir is the folder with ExDark's class folders."
        )
    if Path(folder).resolve().is_relative_to(Path(source).resolve()):
        raise DataError(
            f"{folder}: lies in --input_dir, whose images would be written over.\n"
            "  Choose another --output_dir."
        )
    _check_stems(images)
    return images, strays


def _check_stems(images):
    """Raises DataError where two images would be converted to one name."""
    by_stem = {}
    for file in images:
        other = by_stem.setdefault(name_key(PurePosixPath(file.name).stem), file)
        if other is not file:
            raise DataError(
                f"{file.place}: has the same stem as {other.name}, and both would become "
                f"{converted_name(file.name)}.\n"
                "  Rename or remove one; nothing was written."
            )
