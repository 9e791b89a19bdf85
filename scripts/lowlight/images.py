"""Turns any image that ExDark holds into an RGB JPEG, losing nothing that can be kept."""

import contextlib
import io
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from lowlight.errors import DataError, join_errors
from lowlight.files import existing_file, output_dir, whole_file
from lowlight.progress import Progress
from lowlight.sources import is_stray, list_files

EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"))
# What is not yet an RGB JPEG is encoded at this quality with no chroma subsampling.
JPEG_QUALITY = 95
# What shows where an image is transparent.
BACKGROUND = "black"
_END_MARKER = b"\xff\xd9"
_MAX_JPEG_SIDE = 65500  # pixels, of the JPEG library

# Of tags and profiles, which have no say in the pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Converted(NamedTuple):
    """What `convert_images` did, in names of source files."""

    kept: list  # RGB JPEGs, whose bytes are the same
    completed: list  # RGB JPEGs that lacked their end marker and nothing else
    encoded: list  # all others
    strays: list  # no images, left alone


def is_image_name(name):
    """Says whether a file's extension is that of an image, in either case."""
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def open_image(data, place):
    """Decodes an image whole and returns it as Pillow does, pixels as stored.

    Args:
        data: the file's bytes, or a path.
        place: how a message names it.

    Raises:
        DataError: not an image, or one that is cut short or damaged.
    """
    with _plain_errors(place):
        image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
        image.load()
    return image


@contextlib.contextmanager
def _plain_errors(place):
    """Turns what Pillow raises on a file that it can't decode into a DataError."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise DataError(f"{place}: {error}\n  Make it smaller.") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(
            f"{place}: not an image, whatever its name says.\n  Replace or remove it."
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        if getattr(error, "errno", None):
            raise  # The operating system's, not the decoder's.
        raise DataError(
            f"{place}: damaged or cut short ({error}).\n  Fetch it again or remove it."
        ) from error


def to_rgb(image):
    """Returns the image as RGB: grey repeated, transparency laid over BACKGROUND."""
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(canvas, image)
    return image.convert("RGB")


def to_rgb_jpeg(data, place):
    """Returns an image file's bytes as those of an RGB JPEG, and what was done to them.

    An RGB JPEG is "kept" as it is, or "completed" with an end marker where only that is missing,
    since TensorFlow reads none without. Anything else is "encoded". An EXIF rotation is not
    applied, since ExDark's boxes are in the stored pixels.

    Args:
        data: the file's bytes; place: how a message names it.

    Returns:
        (bytes, "kept", "completed" or "encoded").

    Raises:
        DataError: as `open_image`; an image too large for a JPEG.
    """
    done = "kept"
    try:
        image = open_image(data, place)
    except DataError:
        if not _lacks_only_its_end(data):
            raise
        done, data = "completed", data.rstrip(b"\xff") + _END_MARKER
        image = open_image(data, place)
    if image.format in ("JPEG", "MPO") and image.mode == "RGB":
        return data, done
    if max(image.size) > _MAX_JPEG_SIDE:
        raise DataError(
            f"{place}: {image.width}x{image.height} pixels; a JPEG's sides hold {_MAX_JPEG_SIDE}.\n"
            "  Make it smaller."
        )
    stream = io.BytesIO()
    to_rgb(image).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return stream.getvalue(), "encoded"


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


def convert_images(source, folder):
    """Writes each image of a folder or zip archive as `<stem>.jpg` into one flat folder.

    Args:
        source: ExDark's folder of class folders, or its archive.
        folder: the output folder, made where it is missing.

    Returns:
        Converted.

    Raises:
        DataError: no image; two images with one stem (before anything is written); images that
            can't be decoded, all of them named, after the others are written.
    """
    files = list_files(source, "input_dir")
    images, strays = [], []
    for file in files:
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
    folder = output_dir(folder)
    done = Converted([], [], [], [file.name for file in strays])
    errors = []

    def convert(file):
        try:
            jpeg, how = to_rgb_jpeg(file.read(), file.place)
        except DataError as error:
            return error
        with whole_file(folder / f"{PurePosixPath(file.name).stem}.jpg") as partial:
            partial.write_bytes(jpeg)
        return how

    with Progress(len(images), "image") as progress, thread_pool() as pool:
        for file, result in zip(images, pool.map(convert, images), strict=True):
            if isinstance(result, DataError):
                errors.append(result)
            else:
                getattr(done, result).append(file.name)
            progress.update()
    if errors:
        raise join_errors(errors, f"The other {len(images) - len(errors)} images are in {folder}.")
    return done


def image_size(path):
    """Returns (width, height) in stored pixels, from the file's header; raises as `open_image`."""
    with _plain_errors(path), Image.open(path) as image:
        return image.size


def check_image(path, width, height):
    """Raises DataError unless the file is an image of the size that images.csv gives it."""
    found = image_size(existing_file(path, "Run convert_images.py, or check --images_dir."))
    if found != (width, height):
        raise DataError(
            f"{path}: {found[0]}x{found[1]} pixels, but images.csv has {width}x{height}.\n"
            "  Run make_annotations_csv.py again."
        )


def open_reduced(path, mode, side):
    """Decodes an image in a mode, as small as a decoder gives it with sides >= `side`.

    A JPEG comes at an eighth at least, and fast: what is left out is never computed. Raises as
    `open_image`.
    """
    with _plain_errors(path), Image.open(path) as image:
        image.draft(mode, (side, side))
        return image.convert(mode)


def grey_thumbnail(path, side):
    """Returns the image's grey levels, squeezed to a square, uint8 [side, side].

    A JPEG is decoded only as large as that needs. Raises as `open_image`.
    """
    image = open_reduced(path, "L", 4 * side)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def list_jpegs(folder):
    """Returns the paths of the converted images in a folder, sorted."""
    return sorted(p for p in Path(folder).glob("*.jpg") if not is_stray(p.name))


def thread_pool():
    """Returns a pool of a thread a core: Pillow's codecs run without Python's lock."""
    return ThreadPoolExecutor(os.cpu_count())


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
