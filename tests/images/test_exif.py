"""A JPEG's rotation is switched off by its one value, and malformed EXIF stays as it is."""

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lowlight.images.exif import switch_rotation_off

XMP = b"http://ns.adobe.com/xap/1.0/\0"


def segment(content):
    return b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content


def jpeg(*contents, **options):
    """Returns a JPEG of 8x4 pixels that begins with APP1 segments of these contents."""
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((8, 4)).convert("RGB").save(stream, "JPEG", **options)
    data = stream.getvalue()
    return data[:2] + b"".join(map(segment, contents)) + data[2:]


def exif(order, orientation, kind=3, count=1, magic=42):
    """Returns EXIF data: ISO 100, the orientation, and a resolution's offset."""
    form = {1: "B3x", 3: "H2x", 4: "I"}.get(kind, "I")
    entries = [
        struct.pack(f"{order}HHIH2x", 0x0100, 3, 1, orientation),
        struct.pack(f"{order}HHI{form}", 0x0112, kind, count, orientation),
        struct.pack(f"{order}HHII", 0x011A, 5, 1, 62),
    ]
    mark = {"<": b"II", ">": b"MM"}[order]
    header = mark + struct.pack(f"{order}HI", magic, 8) + struct.pack(f"{order}H", len(entries))
    return b"Exif\0\0" + header + b"".join(entries) + bytes(4) + b"\0\0\0\x48\0\0\0\1"


def changed_places(before, after):
    assert len(before) == len(after)
    return [n for n, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]


@pytest.mark.parametrize("order", ["<", ">"], ids=["Intel", "Motorola"])
@pytest.mark.parametrize("kind", [1, 3, 4], ids=["byte", "short", "long"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_only_the_orientations_value_changes(order, kind, orientation):
    data = jpeg(exif(order, orientation, kind))
    switched, was = switch_rotation_off(data)
    assert was == orientation
    width = {1: 1, 3: 2, 4: 4}[kind]
    last = 0 if order == "<" else width - 1
    place = data.index(b"Exif\0\0") + 6 + 10 + 12 + 8 + last
    assert changed_places(data, switched) == [place]
    assert switched[place] == 1


@pytest.mark.parametrize("orientation", [6, 8])
def test_no_reader_turns_what_was_switched_off(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    data = jpeg(exif=tags)
    with Image.open(io.BytesIO(data)) as image:
        assert ImageOps.exif_transpose(image).size == (4, 8)
    with Image.open(io.BytesIO(switch_rotation_off(data)[0])) as image:
        assert image.getexif()[0x0112] == 1
        assert ImageOps.exif_transpose(image).size == (8, 4)


@pytest.mark.parametrize(
    "text",
    [b'<x tiff:Orientation="6">', b"<tiff:Orientation>6</tiff:Orientation>"],
    ids=["attribute", "element"],
)
def test_an_orientation_in_xmp_is_switched_off_too(text):
    data = jpeg(XMP + text)
    with Image.open(io.BytesIO(data)) as image:
        assert ImageOps.exif_transpose(image).size == (4, 8)
    switched, was = switch_rotation_off(data)
    assert (was, len(changed_places(data, switched))) == (6, 1)
    with Image.open(io.BytesIO(switched)) as image:
        assert ImageOps.exif_transpose(image).size == (8, 4)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(jpeg(), id="no EXIF"),
        pytest.param(jpeg(exif("<", 1)), id="as stored already"),
        pytest.param(jpeg(exif("<", 0)), id="0"),
        pytest.param(jpeg(exif("<", 9)), id="9"),
        pytest.param(jpeg(exif("<", 6, kind=2)), id="a text"),
        pytest.param(jpeg(exif("<", 6, count=2)), id="two values"),
        pytest.param(jpeg(exif("<", 6, magic=43)), id="no TIFF"),
        pytest.param(jpeg(b"Exif\0\0XX" + exif("<", 6)[8:]), id="no byte order"),
        pytest.param(jpeg(exif("<", 6)[:16]), id="cut before the tags"),
        pytest.param(jpeg(exif("<", 6)[:36]), id="cut in the tag"),
        pytest.param(jpeg(b"Exif\0\0II*\0\xff\xff\xff\xff"), id="a directory outside"),
        pytest.param(jpeg(b"Exif\0\0"), id="empty"),
        pytest.param(jpeg(b"Exif\0\0" + bytes(40) + exif("<", 6)), id="zero bytes"),
        pytest.param(jpeg() + segment(exif("<", 6)), id="behind the image"),
        pytest.param(jpeg(b'tiff:Orientation="6"'), id="no XMP"),
        pytest.param(jpeg(XMP + b'tiff:Orientation="66"'), id="XMP of two digits"),
        pytest.param(b"\x89PNG" + exif("<", 6), id="no JPEG"),
        pytest.param(b"", id="no bytes"),
    ],
)
def test_what_says_no_rotation_stays_as_it_is(data):
    assert switch_rotation_off(data) == (data, 1)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.sampled_from("<>"), st.lists(st.tuples(st.integers(0, 69), st.integers(0, 255))))
def test_damaged_exif_loses_no_byte_outside_it(order, changes):
    content = bytearray(exif(order, 6))
    for place, value in changes:
        content[place % len(content)] = value
    data = jpeg(bytes(content))
    switched, _ = switch_rotation_off(data)
    start = data.index(b"\xff\xe1") + 4
    assert all(start <= n < start + len(content) for n in changed_places(data, switched))
