"""Walks through a JPEG's bytes by its markers, without decoding it."""

import re
import struct

_START, _END = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN = 0xDA
_PROGRESSIVE = 0xC2
_START_OR_END = re.compile(rb"\xff[\xd8\xd9]")
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # one that ends a scan's data
_COMMON_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended and progressive Huffman
_FRAME = struct.Struct(">BHHB")  # bits, height, width, components; of each three bytes follow
_APP1 = 0xE1
_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD8)))  # no marker, TEM, RST0 to RST7: no content
_ENDS = frozenset((0xD8, 0xD9))  # what can't come before the first scan


def holds_end_marker(data):
    """Says whether a JPEG's bytes hold the marker that ends its image.

    In the data of a scan 0xFF stands only before 0x00 and a few markers, so the first end marker
    behind the scan's start is the image's own, whatever follows it: padding, or a second image of a
    camera's MPO. One in the thumbnail that EXIF holds comes before the scan and says nothing. Where
    a start marker comes first, the image was cut short and another follows.

    Args:
        data: the file's bytes.
    """
    scan = next((start for marker, start, _ in _walk(data) if marker == _START_OF_SCAN), None)
    if scan is None:
        return False
    found = _START_OR_END.search(data, scan)
    return found is not None and found[0] == _END


def is_of_common_form(data):
    """Says whether a JPEG is baseline or progressive, which every decoder reads.

    Others, such as lossless and arithmetic-coded ones, may have a header that a decoder reads and
    pixels that it can't.
    """
    return any(marker in _COMMON_FRAMES for marker, _, _ in _walk(data))


def rgb_size(data):
    """Returns (width, height) of a JPEG of three components of 8 bits, in pixels.

    None of any other, and of one whose bytes end before its first scan, or that is damaged before.

    Args:
        data: the file's first bytes; as a rule 4096 are enough.
    """
    size = None
    for marker, start, end in _walk(data):
        if marker in _COMMON_FRAMES and end - start == _FRAME.size + 3 * 3:
            bits, height, width, components = _FRAME.unpack_from(data, start)
            size = (width, height) if (bits, components) == (8, 3) else None
        elif marker == _START_OF_SCAN:
            return size if size and all(size) else None
    return None


def app1_segments(data):
    """Returns (start, end) of the content of each APP1 segment, which hold EXIF and XMP."""
    return [(start, end) for marker, start, end in _walk(data) if marker == _APP1]


def cut_to_first_waves(data):
    """Returns a progressive JPEG cut behind the scan that brings the luma's first waves.

    Its first scans hold each block's mean, and the next one the lowest frequencies of the luma: a
    whole image, only less sharp, in a small part of the bytes. Others, and what doesn't end in its
    end marker, come back as they are.

    Args:
        data: the file's bytes.
    """
    luma, scan = None, None
    for marker, start, end in _walk(data) if data.endswith(_END) else ():
        if marker == _PROGRESSIVE:
            luma = data[start + 6 : start + 7]  # behind precision, height, width and count
        elif marker == _START_OF_SCAN:
            scan = start, end
    while luma and scan:
        header = data[slice(*scan)]  # count of components, two bytes each, first frequency, ...
        found = _MARKER.search(data, scan[1])
        if found is None:
            break
        if header.startswith(b"\x01" + luma) and header[3:4] > b"\0":
            return data[: found.start()] + _END
        scan = _next_scan(data, found.start())
    return data


def _next_scan(data, place):
    """Returns (start, end) of the next scan header's content behind a place, None for none."""
    for marker, start, end in _segments(data, place):
        if marker == _START_OF_SCAN:
            return start, end
    return None


def _walk(data):
    """Yields (marker, start, end) of each segment's content, up to the first scan's header."""
    if data.startswith(_START):
        yield from _segments(data, len(_START))


def _segments(data, place):
    """Yields (marker, start, end) of each segment's content behind a place, up to a scan's header.

    What stands between segments is passed over, as libjpeg does. It ends at a segment that is cut.
    """
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
        yield marker, place + 2, end
        if marker == _START_OF_SCAN:
            return
        place = end
