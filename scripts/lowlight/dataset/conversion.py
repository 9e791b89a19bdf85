"""Converts the images of a folder or archive to RGB JPEGs, and continues where it was stopped."""

import contextlib
import errno
import functools
import hashlib
import time
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError, raise_any, say_others
from lowlight.core.files import locked, output_dir, whole_file, write_texts
from lowlight.core.parallel import Progress, map_in_processes
from lowlight.core.sources import is_stray, list_files, name_key
from lowlight.dataset.tables import (
    CONVERTED,
    ConvertedRow,
    ProblemRow,
    converted_name,
    format_table,
    read_converted,
)
from lowlight.images.reading import grey_thumbnail, is_image_name
from lowlight.images.rgb_jpegs import HOWS, blank_colour, to_rgb_jpeg

PROBLEMS = "problems.csv"
_WRITTEN_EACH = 10.0  # seconds between what is kept of an unfinished conversion
_CHUNK = 4  # images that a process takes at a time; one that is encoded takes many times others

FLAT = "flat"
_LEAST_CONTRAST = 1.0  # standard deviation of a thumbnail's grey levels, of 255
_SIDE = 32  # of the thumbnail that is hashed, pixels
_WAVES = 16  # a side of the block of lowest frequencies that become bits
# Rows are cosines of growing frequency. In integers, so that a hash is the same on every machine.
_COSINES = np.cos(np.pi * np.outer(np.arange(_WAVES), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))
_DCT = np.rint(1024 * _COSINES).astype(np.int64)  # [16, 32]


class ConversionOptions(NamedTuple):
    """How images are converted."""

    verify: bool = False  # convert all again, and decode each whole, as `to_rgb_jpeg`
    upright: bool = False  # turn the pixels as EXIF says
    flatten: bool = False  # keep the folders in the names


_AS_STORED = ConversionOptions()


class Converted(NamedTuple):
    """What `convert_images` did with each file."""

    rows: list  # of ConvertedRow, sorted by file
    strays: list  # names of files that a system or an editor left, left alone
    others: list  # names of other files that are no images, left alone
    problems: list  # of ProblemRow, sorted
    found: int  # how many of the rows an earlier conversion had already made


def convert_images(
    source: str | Path,
    folder: str | Path,
    jobs: int | None = None,
    options: ConversionOptions = _AS_STORED,
) -> Converted:
    """Writes each image of a folder or zip archive as `<stem>.jpg` into one flat folder.

    Beside them it writes converted.csv, what was done with each, and problems.csv, what was out of
    the ordinary. An image isn't converted again where converted.csv, perhaps of an interrupted
    conversion, says by SHA-256 that this source became what is there. `jobs` images are converted
    at a time, one a core by default.

    Raises:
        DataError: no image; two images with one name (before anything is written); images that
            can't be decoded, all of them named, after the others are written; another process
            writes the folder.
    """
    images, strays, others = _list_images(source, folder, options.flatten)
    folder = output_dir(folder)
    with locked(folder, "written", "output_dir"):
        results, problems = _convert_all(images, folder, jobs, options)
        rows = [row for row, _ in results if isinstance(row, ConvertedRow)]
        problems += [ProblemRow(name, "stray file", "left alone") for name in strays]
        problems += [ProblemRow(name, "not an image's extension", "left alone") for name in others]
        problems.sort()
        write_texts(
            {
                folder / CONVERTED: format_table(rows, ConvertedRow),
                folder / PROBLEMS: format_table(problems, ProblemRow),
            }
        )
    errors = [error for error, _ in results if isinstance(error, DataError)]
    raise_any(errors, say_others(len(rows), f"in {folder}"))
    found = sum(was_there for _, was_there in results)
    return Converted(rows, strays, others, problems, found)


def _convert_all(images, folder, jobs, options):
    """Returns (what `_convert` gives of each image, ProblemRows).

    An interruption leaves what was done in converted.csv; a process that was killed without a
    warning loses what it did in the last seconds.
    """
    known = {} if options.verify else read_converted(folder)
    convert = functools.partial(_convert, folder=folder, known=known, options=options)
    results, problems, rows, written = [], [], dict(known), time.monotonic()

    def write_rows():
        table = format_table([rows[name] for name in sorted(rows)], ConvertedRow)
        write_texts({folder / CONVERTED: table})

    try:
        with Progress(len(images), "image") as progress:
            converted = map_in_processes(convert, images, jobs, _CHUNK)
            for file, (result, was_there) in zip(images, converted, strict=True):
                results.append((result, was_there))
                if isinstance(result, ConvertedRow):
                    rows[result.file] = result
                problems.extend(_problems_of(file, result, folder, options))
                if time.monotonic() - written > _WRITTEN_EACH:
                    write_rows()
                    written = time.monotonic()
                progress.update()
    except BaseException:
        with contextlib.suppress(OSError):
            write_rows()
        raise
    return results, problems


def _convert(file, folder, known, options):
    """Writes one image, where it isn't there; returns (ConvertedRow or DataError, was there)."""
    path = folder / converted_name(file.name, options.flatten)
    try:
        data = file.read()
        sha256 = _sha256(data)
        row = known.get(file.name)
        if row and row.source_sha256 == sha256 and _holds(path, row, options.upright):
            return row, True
        jpeg = to_rgb_jpeg(data, file.place, options.verify, options.upright)
        with whole_file(path, durable=False) as partial:
            partial.write_bytes(jpeg.data)
    except DataError as error:
        return error, False
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return DataError(f"{file.place}: {path.name} is too long a name.\n  Rename it."), False
    try:
        phash = hash_image(jpeg.data, file.place)
    except DataError:  # a damage that only a decoder finds
        phash = ""
    row = ConvertedRow(
        file=file.name,
        how=jpeg.how,
        orientation=jpeg.orientation,
        source_sha256=sha256,
        sha256=sha256 if jpeg.data == data else _sha256(jpeg.data),
        phash=phash,
    )
    return row, False


def _holds(path, row, upright):
    """Says whether a path holds what a ConvertedRow says, made as it is to be made now."""
    is_turned = upright and row.orientation > 1
    is_so = row.how in HOWS and (row.how == "turned") == is_turned
    return is_so and path.is_file() and _sha256(path.read_bytes()) == row.sha256


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def hash_image(data: bytes, place: object) -> str:
    """Returns an image's pHash: 64 hexadecimal digits, or "flat" where it has no contrast.

    Its first 255 bits say, of the lowest 16 x 16 frequencies of a thumbnail but the mean, whether
    the amplitude is over their median.

    Raises:
        DataError: not an image, or a damaged one.
    """
    grey = grey_thumbnail(data, place, _SIDE)  # uint8 [32, 32]
    if grey.std() < _LEAST_CONTRAST:
        return FLAT
    waves = (_DCT @ grey.astype(np.int64) @ _DCT.T).ravel()[1:]
    return np.packbits(np.append(waves > np.median(waves), False)).tobytes().hex()


def _problems_of(file, result, folder, options):
    """Yields the ProblemRows of one image."""
    if isinstance(result, DataError):
        reason = str(result).removeprefix(f"{file.place}: ").splitlines()[0]
        yield ProblemRow(file.name, "not converted", reason)
        return
    if result.how == "completed":
        yield ProblemRow(file.name, "no end marker", "added")
    if result.how == "cut":
        yield ProblemRow(file.name, "over 1 MiB behind the image", "cut off")
    if result.orientation > 1:
        done = "turned upright" if result.how == "turned" else "not applied"
        yield ProblemRow(file.name, "EXIF rotation", f"{result.orientation}, {done}")
    if result.phash == FLAT:
        path = folder / converted_name(file.name, options.flatten)
        if colour := blank_colour(path.read_bytes(), path):
            yield ProblemRow(file.name, f"all {colour}", "kept")


def _list_images(source, folder, flatten):
    """Returns (images, names of strays, of others); raises DataError as `convert_images`."""
    images, strays, others = [], [], []
    for file in list_files(source, "input_dir"):
        if is_stray(file.name):
            strays.append(file.name)
        elif is_image_name(file.name):
            images.append(file)
        else:
            others.append(file.name)
    if not images:
        there = f", but {count_extensions(others)}" if others else ""
        raise DataError(
            f"{source}: holds no image{there}.\n"
            "  --input_dir is the folder with ExDark's class folders, or of your own photographs."
        )
    if Path(folder).resolve().is_relative_to(Path(source).resolve()):
        raise DataError(
            f"{folder}: lies in --input_dir, whose images would be written over.\n"
            "  Choose another --output_dir."
        )
    _check_names(images, flatten)
    return images, strays, others


def count_extensions(names: list[str]) -> str:
    """Returns how many names there are of each extension, most first: "5 .txt, 2 .pdf"."""
    kinds = Counter(PurePosixPath(name).suffix.lower() or "without extension" for name in names)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def _check_names(images, flatten):
    """Raises DataError where two images would be converted to one name."""
    by_name = {}
    for file in images:
        name = converted_name(file.name, flatten)
        other = by_name.setdefault(name_key(name), file)
        if other is not file:
            flat, other_flat = (converted_name(one.name, True) for one in (file, other))
            remedy = "Rename or remove one"
            if name_key(flat) != name_key(other_flat):
                remedy = f"Rename one, or give --flatten ({flat})"
            raise DataError(
                f"{file.place}: has the same stem as {other.name}, and both would become {name}.\n"
                f"  {remedy}; nothing was written."
            )
