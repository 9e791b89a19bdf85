"""Reads images of any form, whole or only what is needed of them."""

import contextlib
import io
import posixpath
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file
from lowlight.core.sources import is_stray
from lowlight.images.jpegs import cut_to_first_waves, rgb_size

EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"))
# What shows where an image is transparent.
BACKGROUND = "black"
_HEADER = 4096  # bytes, which hold a JPEG's header where it has no thumbnail

# Of tags and profiles, which have no say in the pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")


def is_image_name(name):
    """Says whether a file's extension is that of an image, in either case."""
    return posixpath.splitext(name)[1].lower() in EXTENSIONS


def open_image(data, place, whole=True):
    """Decodes an image and returns it as Pillow does, pixels as stored.

    Args:
        data: the file's bytes, or a path.
        place: how a message names it.
        whole: decode it at once; otherwise only its header is read.

    Raises:
        DataError: not an image, or one that is cut short or damaged.
    """
    with _plain_errors(place):
        image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
        if whole:
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


def image_size(path):
    """Returns (width, height) in stored pixels, from the file's header; raises as `open_image`."""
    with open(path, "rb") as file:
        size = _common_size(file.read(_HEADER))
    if size is None:
        with _plain_errors(path), Image.open(path) as image:
            size = image.size
    return size


def _common_size(data):
    """Returns the size of a common RGB JPEG by its first bytes, None where Pillow has to look."""
    size = rgb_size(data)
    is_small = size is not None and size[0] * size[1] <= (Image.MAX_IMAGE_PIXELS or 0)
    return size if is_small else None


def read_jpeg(path):
    """Returns the bytes of a converted image; raises DataError where there is no such file."""
    try:
        return Path(path).read_bytes()
    except OSError:
        existing_file(path, "Run convert_images.py, or check --images_dir.")
        raise


def read_image(path, width, height):
    """Returns the bytes of an image file that has the size that images.csv gives it.

    Raises:
        DataError: no such file, not an image, or one of another size.
    """
    data = read_jpeg(path)
    found = _common_size(data) or open_image(data, path, whole=False).size
    if found != (width, height):
        raise DataError(
            f"{path}: {found[0]}x{found[1]} pixels, but images.csv has {width}x{height}.\n"
            "  Run make_annotations_csv.py again."
        )
    return data


def open_reduced(data, place, mode, side):
    """Decodes an image in a mode, as small as a decoder gives it with sides >= `side`.

    A JPEG comes at an eighth at least, and fast: what is left out is never computed. The arguments
    are those of `open_image`, which it raises as.
    """
    image = open_image(data, place, whole=False)
    with _plain_errors(place):
        image.draft(mode, (side, side))
        return image.convert(mode)


def grey_thumbnail(data, place, side):
    """Returns the image's grey levels, squeezed to a square, uint8 [side, side].

    A JPEG is decoded only as large and as sharp as that needs. Raises as `open_image`.

    Args:
        data: the file's bytes; place: how a message names it; side: pixels.
    """
    image = open_reduced(cut_to_first_waves(data), place, "L", 4 * side)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def list_jpegs(folder):
    """Returns the paths of the converted images in a folder, sorted."""
    names = sorted(path.name for path in Path(folder).glob("*.jpg"))
    return [Path(folder, name) for name in names if not is_stray(name)]
