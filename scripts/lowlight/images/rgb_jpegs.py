"""Turns any image that ExDark holds into an RGB JPEG, losing nothing that can be kept."""

import io
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError
from lowlight.images.exif import switch_rotation_off
from lowlight.images.jpegs import holds_end_marker, is_of_common_form
from lowlight.images.reading import open_image, to_rgb

# What is not yet an RGB JPEG is encoded at this quality with no chroma subsampling.
JPEG_QUALITY = 95
_END_MARKER = b"\xff\xd9"
_MAX_JPEG_SIDE = 65500  # pixels, of the JPEG library


class RgbJpeg(NamedTuple):
    """An image as an RGB JPEG."""

    data: bytes
    how: str  # "kept", "unrotated", "completed" or "encoded"
    orientation: int  # EXIF's, 2 to 8, where it was switched off, otherwise 1


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
