"""Turns any image into an RGB JPEG, losing nothing that can be kept."""

import io
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError
from lowlight.images.reading import (
    open_image,
    orientation_of,
    plain_errors,
    room_to_decode,
    to_rgb,
    turn_upright,
)

# What is not yet an RGB JPEG is encoded at this quality with no chroma subsampling.
JPEG_QUALITY = 95
_MOST_BEHIND = 2**20  # bytes behind a JPEG's end marker that are kept; cameras put thumbnails there
_MAX_JPEG_SIDE = 65500  # pixels, of the JPEG library
_START, _END = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN = 0xDA
_START_OR_END = re.compile(rb"\xff[\xd8\xd9]")
_COMMON_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended and progressive Huffman
_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD8)))  # no marker, TEM, RST0 to RST7: no content
_ENDS = frozenset((0xD8, 0xD9))  # what can't come before the first scan


# What may be done to an image, as `to_rgb_jpeg` says.
HOWS = "kept", "completed", "cut", "encoded", "turned"


class RgbJpeg(NamedTuple):
    """An image as an RGB JPEG."""

    data: bytes
    how: str  # one of HOWS
    orientation: int  # EXIF's, 2 to 8, otherwise 1


def to_rgb_jpeg(data: bytes, place: object, verify: bool = False, upright: bool = False) -> RgbJpeg:
    """Returns an image file's bytes as those of an RGB JPEG, and what was done to them.

    An RGB JPEG is "kept" as it is, or "completed" with an end marker where only that is missing,
    since TensorFlow reads none without, or "cut" where over 1 MiB follows the end marker, which
    would only fill the records. Anything else is "encoded", forms of JPEG that TensorFlow doesn't
    read among them. An EXIF rotation is not applied unless asked for ("turned"), since
    ExDark's boxes are in the stored pixels, and TensorFlow ignores the tag.

    Args:
        data: the file's bytes; place: how a message names it.
        verify: decode even a baseline or progressive RGB JPEG that holds its end marker; otherwise
            only its header is read.
        upright: turn the pixels as EXIF says.

    Raises DataError as `open_image`, and where an image is too large for a JPEG.
    """
    image = open_image(data, place, whole=False)
    with room_to_decode(image):
        is_rgb_jpeg = image.format in ("JPEG", "MPO") and image.mode == "RGB"
        can_be_kept = is_rgb_jpeg and is_of_common_form(data)
        how = "kept"
        if verify or not can_be_kept or not end_of_image(data):
            image, how, data = _decode(image, data, place)
        orientation = orientation_of(image)
        is_turned = upright and orientation > 1
        if can_be_kept and not is_turned:
            whole = _cut_behind(data, place)
            return RgbJpeg(whole, how if whole is data else "cut", orientation)
        with plain_errors(place):
            image.load()
            image = turn_upright(to_rgb(image), orientation if is_turned else 1)
            return RgbJpeg(_encode(image, place), "turned" if is_turned else "encoded", orientation)


def _decode(image, data, place):
    """Decodes an image; returns it, "kept" or "completed", and its bytes with an end marker."""
    try:
        with plain_errors(place):
            image.load()
        return image, "kept", data
    except DataError:
        if not _lacks_only_its_end(data):
            raise
    data = data.rstrip(b"\xff") + _END
    return open_image(data, place), "completed", data


def _cut_behind(data, place):
    """Returns a JPEG's bytes without what follows its end marker, where that is much."""
    end = end_of_image(data)
    if not end or len(data) - end <= _MOST_BEHIND:
        return data
    whole, cut = (np.asarray(open_image(one, place)) for one in (data, data[:end]))
    return data[:end] if np.array_equal(whole, cut) else data


def _encode(image, place):
    if max(image.size) > _MAX_JPEG_SIDE:
        raise DataError(
            f"{place}: {image.width}x{image.height} pixels; a JPEG's sides hold {_MAX_JPEG_SIDE}.\n"
            "  Make it smaller."
        )
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return stream.getvalue()


def _lacks_only_its_end(data):
    """Says whether these are a JPEG's bytes that hold every pixel, but no end marker.

    Any bytes may then follow and change no pixel; where pixels are missing, they become some.
    """
    if not data.startswith(_START):
        return False
    try:
        plain, padded = (
            np.asarray(open_image(data.rstrip(b"\xff") + padding + _END, ""))
            for padding in (b"", b"\x55\xaa" * 64)
        )
    except DataError:
        return False
    return np.array_equal(plain, padded)


def blank_colour(data: bytes, place: object) -> str:
    """Returns "black" or "white" where an image is nothing else, otherwise ""."""
    extremes = set(open_image(data, place).getextrema())
    return {((0, 0),): "black", ((255, 255),): "white"}.get(tuple(extremes), "")


def end_of_image(data: bytes) -> int:
    """Returns where a JPEG's bytes end with the marker that ends its image, 0 where it isn't there.

    In the data of a scan 0xFF stands only before 0x00 and a few markers, so the first end marker
    behind the scan's start is the image's own, whatever follows it: padding, or a second image of a
    camera's MPO. One in the thumbnail that EXIF holds comes before the scan and says nothing. Where
    a start marker comes first, the image was cut short and another follows.
    """
    scan = next((start for marker, start in _segments(data) if marker == _START_OF_SCAN), None)
    if scan is None:
        return 0
    found = _START_OR_END.search(data, scan)
    return found.end() if found and found[0] == _END else 0


def is_of_common_form(data: bytes) -> bool:
    """Says whether a JPEG is baseline or progressive, which every decoder reads.

    Others, such as lossless and arithmetic-coded ones, may have a header that a decoder reads and
    pixels that it can't.
    """
    return any(marker in _COMMON_FRAMES for marker, _ in _segments(data))


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yields (marker, where its content starts) of each segment, up to the first scan's header.

    What stands between segments is passed over, as libjpeg does. It ends at a segment that is cut.
    """
    place = len(_START) if data.startswith(_START) else len(data)
    while (place := data.find(b"\xff", place)) >= 0:
        while data[place : place + 1] == b"\xff":  # any number may fill the gap
            place += 1
        marker = data[place] if place < len(data) else 0
        place += 1
        if marker in _ENDS:
            return
        if marker in _ALONE:
            continue
        end = place + int.from_bytes(data[place : place + 2], "big")
        if not place + 2 <= end <= len(data):
            return
        yield marker, place + 2
        if marker == _START_OF_SCAN:
            return
        place = end
