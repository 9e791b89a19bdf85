"""Reads images of any form, whole or only what is needed of them.

What decodes an image raises DataError, beginning with the place by which a message names it, where
it is no image, or one that is cut short, damaged or too large.
"""

import contextlib
import importlib
import io
import multiprocessing
import posixpath
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file
from lowlight.core.sources import is_stray

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".gif", ".tif", ".tiff")
) | {".webp", ".avif", ".heic", ".heif"}
# What shows where an image is transparent.
BACKGROUND = "black"
MAX_PIXELS = 120_000_000  # of an image, by default: more than a telephone's 108 million
# Pillow's others may start a program (EPS), or raise anything on a file of another kind.
_FORMATS = "JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "AVIF"
# What may be decoded at a time, over all threads and forks, to bound the memory.
_UNIT = 4_000_000  # pixels
_UNITS = MAX_PIXELS // _UNIT
_FORK = multiprocessing.get_context("fork")
_ROOM, _DOOR = _FORK.Semaphore(_UNITS), _FORK.Lock()
_HEIC_BRANDS = b"heic", b"heix", b"hevc", b"mif1"
# One text of a PNG, which may tell at length how it was made, may be as long as all of them.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


def is_image_name(name: str) -> bool:
    """Says whether a file's extension is that of an image, in either case."""
    return posixpath.splitext(name)[1].lower() in EXTENSIONS


def set_max_pixels(most: int) -> None:
    """Sets how many pixels an image may have; Pillow itself refuses twice its MAX_IMAGE_PIXELS."""
    Image.MAX_IMAGE_PIXELS = -(-most // 2)


def open_image(data: bytes | str | Path, place: object, whole: bool = True) -> Image.Image:
    """Decodes an image, a file's bytes or a path, pixels as stored; of several, the first.

    Where it isn't to be whole, only its header is read.
    """
    with plain_errors(place):
        is_read = isinstance(data, bytes)
        formats = (*_FORMATS, *_heif(data, place)) if is_read else _FORMATS
        try:
            image = Image.open(io.BytesIO(data) if is_read else data, formats=formats)
        except Image.UnidentifiedImageError as error:
            _check_form(data if is_read else Path(data).read_bytes(), formats, place, error)
            raise
        if image.format == "TIFF":
            _keep_stored(image)
        if whole:
            image.load()
    return image


@contextlib.contextmanager
def plain_errors(place: object) -> Iterator[None]:
    """Turns whatever Pillow raises on a file that it can't decode into a DataError."""
    try:
        yield
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{place}: more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels.\n"
            "  Make it smaller, or raise --max_pixels where it is converted or detected on."
        ) from error
    except Image.UnidentifiedImageError as error:
        raise DataError(
            f"{place}: not an image, whatever its name says.\n  Replace or remove it."
        ) from error
    except Exception as error:
        if getattr(error, "errno", None):
            raise  # The operating system's, not the decoder's.
        raise DataError(
            f"{place}: damaged or cut short ({type(error).__name__}: {error}).\n"
            "  Fetch it again or remove it."
        ) from error


def _check_form(data, formats, place, cause):
    """Raises DataError where what Pillow can't read begins as one of the formats all the same."""
    for name in formats:
        factory, accepts = Image.OPEN[name]
        if accepts(data[:16]) is not True:
            continue
        try:
            factory(io.BytesIO(data), "")
        except SyntaxError as error:
            raise DataError(
                f"{place}: of format {name}, but damaged at its beginning or of a form that isn't "
                f"read ({error}).\n  Fetch it again, or save it as JPEG or PNG with 8 bits a "
                "colour, by the program that made it."
            ) from cause


def _keep_stored(image):
    """Keeps Pillow from turning a TIFF, as it does with no other format, when it loads it."""
    image.info["orientation"] = orientation_of(image)
    image._size = image._tile_size
    tags = image.getexif()
    for tag in list(tags):
        del tags[tag]


def _heif(data, place):
    """Returns the name of the format where data are HEIC's, and teaches Pillow to read it."""
    brands = data[8:64] if data[4:8] == b"ftyp" else b""
    if b"avif" in brands or not any(brand in brands for brand in _HEIC_BRANDS):
        return ()
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError as error:
        raise DataError(
            f"{place}: HEIC needs Pillow's plug-in.\n"
            "  pip install pillow-heif, or convert it to JPEG."
        ) from error
    return ("HEIF",)


def orientation_of(image: Image.Image) -> int:
    """Returns how a viewer should turn the stored pixels, EXIF's 1 to 8; 1 where nothing says."""
    try:
        value = image.info.get("orientation") or image.getexif().get(ExifTags.Base.Orientation)
        return value if value in range(1, 9) else 1
    except Exception:  # EXIF data may be damaged in any way, and the image still be good
        return 1


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Returns the image as a viewer shows it."""
    if orientation == 1:
        return image
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns the image as RGB: grey repeated, transparency laid over BACKGROUND.

    Grey levels of 16 and 32 bits are scaled by what their type holds, fractions from 0 to 1. Of
    what else the file says only the colour profile stays.
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I") or image.mode == "F":
        image = _grey_of_numbers(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(canvas, image)
    image = image if image.mode == "RGB" else image.convert("RGB")
    image.info = {"icc_profile": profile} if profile else {}
    return image


def _grey_of_numbers(image):
    """Returns an image of 8 bits from one whose pixels are larger numbers."""
    values = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values)
        top = next((top for top in (1, 255, 65535) if values.max(initial=0) <= top), 65535)
        return Image.fromarray(np.clip(values * (255 / top), 0, 255).astype(np.uint8))
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
    is_signed = tags.get(ExifTags.Base.SampleFormat, (1,))[0] == 2  # noqa: PLR2004 - TIFF 6.0's
    if bits == 32 and not is_signed:  # noqa: PLR2004
        values = values.view(np.uint32)
    levels = np.maximum(values, 0) >> max(bits - is_signed - 8, 0)
    return Image.fromarray(np.minimum(levels, 255).astype(np.uint8))


@contextlib.contextmanager
def room_to_decode(image: Image.Image) -> Iterator[None]:
    """Waits, before an image is decoded, until other threads and forks leave room for its pixels.

    Images of MAX_PIXELS together have room, of more pixels one. Not to be nested.
    """
    units = min(-(-image.width * image.height // _UNIT), _UNITS)
    with _DOOR:  # one gathers at a time, as two that have half of it would wait for each other
        for _ in range(units):
            _ROOM.acquire()
    try:
        yield
    finally:
        for _ in range(units):
            _ROOM.release()


def read_upright(data: bytes, place: object) -> Image.Image:
    """Decodes an image as RGB, turned as EXIF says; the same pixels for every command."""
    image = open_image(data, place)
    orientation = orientation_of(image)
    with plain_errors(place):
        return turn_upright(to_rgb(image), orientation)


def image_size(path: Path) -> tuple[int, int]:
    """Returns (width, height) in stored pixels, from the file's header."""
    with open_image(path, path, whole=False) as image:
        return image.size


def read_jpeg(path: Path) -> bytes:
    """Returns the bytes of a converted image; raises DataError where there is no such file."""
    return existing_file(path, "Run convert_images.py, or check --images_dir.").read_bytes()


def read_image(path: Path, width: int, height: int) -> bytes:
    """Returns the bytes of a converted image; raises DataError unless it has images.csv's size."""
    data = read_jpeg(path)
    found = open_image(data, path, whole=False).size
    if found != (width, height):
        raise DataError(
            f"{path}: {found[0]}x{found[1]} pixels, but images.csv has {width}x{height}.\n"
            "  Run make_annotations_csv.py again."
        )
    return data


def open_reduced(data: bytes, place: object, mode: str, side: int) -> Image.Image:
    """Decodes an image in a mode, as small as a decoder gives it with sides >= `side` pixels.

    A JPEG comes at an eighth at least, and fast: what is left out is never computed.
    """
    image = open_image(data, place, whole=False)
    with plain_errors(place):
        image.draft(mode, (side, side))
        return image.convert(mode)


def grey_thumbnail(data: bytes, place: object, side: int) -> np.ndarray:
    """Returns the image's grey levels, squeezed to a square, uint8 [side, side].

    A JPEG is decoded only as large as that needs.
    """
    image = open_reduced(data, place, "L", 4 * side)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def list_jpegs(folder: Path) -> list[Path]:
    """Returns the paths of the converted images in a folder, sorted."""
    return sorted(path for path in Path(folder).glob("*.jpg") if not is_stray(path.name))
