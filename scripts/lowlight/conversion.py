"""Turns any image that ExDark holds into an RGB JPEG, losing nothing that can be kept."""

import functools
import io
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from lowlight.errors import DataError, join_errors
from lowlight.exif import switch_rotation_off
from lowlight.files import output_dir, whole_file, write_text
from lowlight.images import is_image_name, open_image, thread_pool, to_rgb
from lowlight.jpegs import holds_end_marker, is_of_common_form
from lowlight.progress import Progress
from lowlight.sources import is_stray, list_files
from lowlight.tables import ProblemRow, format_table

# What is not yet an RGB JPEG is encoded at this quality with no chroma subsampling.
JPEG_QUALITY = 95
PROBLEMS = "problems.csv"
_END_MARKER = b"\xff\xd9"
_MAX_JPEG_SIDE = 65500  # pixels, of the JPEG library


class RgbJpeg(NamedTuple):
    """An image as an RGB JPEG."""

    data: bytes
    how: str  # "kept", "unrotated", "completed" or "encoded", as in Converted
    orientation: int  # EXIF's, 2 to 8, where it was switched off, otherwise 1


class Converted(NamedTuple):
    """What `convert_images` did with each file, in names of source files."""

    kept: list  # RGB JPEGs, whose bytes are the same
    unrotated: list  # RGB JPEGs whose EXIF rotation was switched off, the other bytes the same
    completed: list  # RGB JPEGs that lacked their end marker
    encoded: list  # all other images
    strays: list  # no images, left alone
    problems: list  # of ProblemRow, sorted

    @property
    def images(self):
        """How many images there are now."""
        return len(self.kept) + len(self.unrotated) + len(self.completed) + len(self.encoded)


def to_rgb_jpeg(data, place, verify=False):
    """Returns an image file's bytes as those of an RGB JPEG, and what was done to them.

    An RGB JPEG is "kept" as it is, or "completed" with an end marker where only that is missing,
    since TensorFlow reads none without. Anything else is "encoded". An EXIF rotation is not
    applied, since ExDark's boxes are in the stored pixels; in a JPEG that stays as it is otherwise
    the tag is set to no rotation ("unrotated", or "completed" too), lest a later reader apply it.

    Args:
        data: the file's bytes; place: how a message names it.
        verify: decode even a baseline or progressive RGB JPEG that holds its end marker, of which
            otherwise only the header is read.

    Returns:
        RgbJpeg.

    Raises:
        DataError: as `open_image`; an image too large for a JPEG.
    """
    how = "kept"
    is_whole = verify or not (is_of_common_form(data) and holds_end_marker(data))
    try:
        image = open_image(data, place, is_whole)
    except DataError:
        if not _lacks_only_its_end(data):
            raise
        how, data = "completed", data.rstrip(b"\xff") + _END_MARKER
        image = open_image(data, place)
    if image.format in ("JPEG", "MPO") and image.mode == "RGB":
        data, orientation = switch_rotation_off(data)
        is_turned = orientation > 1 and how == "kept"
        return RgbJpeg(data, "unrotated" if is_turned else how, orientation)
    image = image if is_whole else open_image(data, place)
    return RgbJpeg(_encode(image, place), "encoded", 1)


def _encode(image, place):
    if max(image.size) > _MAX_JPEG_SIDE:
        raise DataError(
            f"{place}: {image.width}x{image.height} pixels; a JPEG's sides hold {_MAX_JPEG_SIDE}.\n"
            "  Make it smaller."
        )
    stream = io.BytesIO()
    to_rgb(image).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return stream.getvalue()


def _lacks_only_its_end(data):
    """Says whether these are a JPEG's bytes that hold every pixel, but no end marker.

    Any bytes may then follow and change no pixel; where pixels are missing, they become some.
    """
    if not data.startswith(b"\xff\xd8"):
        return False
    try:
        plain, padded = (
            np.asarray(open_image(data.rstrip(b"\xff") + padding + _END_MARKER, ""))
            for padding in (b"", b"\x55\xaa" * 64)
        )
    except DataError:
        return False
    return np.array_equal(plain, padded)


def convert_images(source, folder, jobs=None, verify=False):
    """Writes each image of a folder or zip archive as `<stem>.jpg` into one flat folder.

    Beside them it writes problems.csv, which names what was out of the ordinary. The images that
    were only encoded aren't in it.

    Args:
        source: ExDark's folder of class folders, or its archive.
        folder: the output folder, made where it is missing.
        jobs: how many images are converted at a time; one a core by default.
        verify: as `to_rgb_jpeg`.

    Returns:
        Converted.

    Raises:
        DataError: no image; two images with one stem (before anything is written); images that
            can't be decoded, all of them named, after the others are written.
    """
    images, strays = _list_images(source, folder)
    folder = output_dir(folder)
    done = Converted([], [], [], [], [file.name for file in strays], [])
    done.problems.extend(ProblemRow(name, "stray file", "left alone") for name in done.strays)
    errors = []
    convert = functools.partial(_convert, folder=folder, verify=verify)
    with Progress(len(images), "image") as progress, thread_pool(jobs) as pool:
        for file, result in zip(images, pool.map(convert, images), strict=True):
            if isinstance(result, DataError):
                errors.append(result)
            else:
                getattr(done, result.how).append(file.name)
            done.problems.extend(_problems_of(file, result))
            progress.update()
    done.problems.sort()
    write_text(folder / PROBLEMS, format_table(done.problems, ProblemRow))
    if errors:
        raise join_errors(errors, f"The other {done.images} images are in {folder}.")
    return done


def _convert(file, folder, verify):
    """Writes one image and returns its RgbJpeg without the bytes, or the DataError against it."""
    try:
        jpeg = to_rgb_jpeg(file.read(), file.place, verify)
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"{file.place}: {error.strerror}.\n  Check the file's permissions.")
    with whole_file(folder / f"{PurePosixPath(file.name).stem}.jpg") as partial:
        partial.write_bytes(jpeg.data)
    return jpeg._replace(data=b"")


def _problems_of(file, result):
    """Yields the ProblemRows of one image."""
    if isinstance(result, DataError):
        reason = str(result).removeprefix(f"{file.place}: ").splitlines()[0]
        yield ProblemRow(file.name, "not converted", reason)
        return
    if result.how == "completed":
        yield ProblemRow(file.name, "no end marker", "added")
    if result.orientation > 1:
        yield ProblemRow(file.name, "EXIF rotation", f"{result.orientation}, switched off")


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
        other = by_stem.setdefault(PurePosixPath(file.name).stem.casefold(), file)
        if other is not file:
            raise DataError(
                f"{file.place}: has the same stem as {other.name}, and both would become "
                f"{PurePosixPath(file.name).stem}.jpg.\n"
                "  Rename or remove one; nothing was written."
            )
