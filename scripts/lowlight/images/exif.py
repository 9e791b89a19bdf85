"""Switches off a JPEG's rotation, which is a number in its EXIF data, and changes nothing else."""

import re
import struct

from lowlight.images.jpegs import app1_segments

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ORIENTATION = 0x0112
_AS_STORED, _LAST = 1, 8
# Struct's letters for the types of a TIFF tag that can hold the value: BYTE, SHORT and LONG.
_FORMATS = {1: "B", 3: "H", 4: "I"}
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([2-8])(?=[\"'<])")


def switch_rotation_off(data):
    """Returns a JPEG's bytes with its orientation as stored, and the orientation it had.

    Orientation, 1 to 8, tells a viewer how to turn and mirror the pixels. ExDark's boxes are in the
    pixels as stored, so a reader that applies it shows the boxes in the wrong place. The value
    becomes 1, in EXIF and in XMP (where Pillow looks too), and no other byte changes. What isn't
    well formed stays as it is, since readers make nothing of it.

    Args:
        data: the file's bytes.

    Returns:
        (bytes of the same length, the first orientation that was switched off or 1).
    """
    found = []
    for start, end in app1_segments(data):
        if data.startswith(_EXIF, start, end):
            found += _in_exif(data, start + len(_EXIF), end)
        elif data.startswith(_XMP, start, end):
            found += _in_xmp(data, start, end)
    if not found:
        return data, _AS_STORED
    changed = bytearray(data)
    for place, _, value in found:
        changed[place : place + len(value)] = value
    return bytes(changed), found[0][1]


def _in_exif(data, start, end):
    """Returns (place, orientation, bytes to write there) for each tag of the first directory.

    TIFF 6.0: byte order, 42, the directory's offset; there a count, then entries of 12 bytes: tag,
    type, how many values, and the value itself at the left of the last four bytes.
    """
    tiff = memoryview(data)[start:end]
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    found = []
    try:
        magic, directory = struct.unpack_from(f"{order or '<'}HI", tiff, 2)
        if order is None or magic != 42:
            return []
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(f"{order}HHI", tiff, entry)
            if tag != _ORIENTATION or count != 1 or kind not in _FORMATS:
                continue
            form = order + _FORMATS[kind]
            (value,) = struct.unpack_from(form, tiff, entry + 8)
            if _AS_STORED < value <= _LAST:
                found.append((start + entry + 8, value, struct.pack(form, _AS_STORED)))
    except struct.error:  # an offset or a count that leads out of the segment
        return found
    return found


def _in_xmp(data, start, end):
    matches = _XMP_ORIENTATION.finditer(data, start, end)
    return [(match.start(1), int(match[1]), b"%d" % _AS_STORED) for match in matches]
