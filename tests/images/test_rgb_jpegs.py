"""RGB JPEGs keep their bytes, all else is encoded; a JPEG's markers say whether it is whole."""

import contextlib
import io

import numpy as np
import pytest
from checks import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode, gradient, outcome, rotation
from PIL import ExifTags, Image, ImageFile, ImageOps

from lowlight.core.errors import DataError
from lowlight.images.reading import open_image, to_rgb
from lowlight.images.rgb_jpegs import end_of_image, is_of_common_form, to_rgb_jpeg


def jpeg(mode="RGB", **options):
    return encode(gradient(mode), "JPEG", **options)


RGB, GREY, TURNED = jpeg(), jpeg("L"), jpeg(exif=rotation())
MPO = encode(gradient(), "MPO", save_all=True, append_images=[gradient()])
NOISE = Image.effect_noise((48, 32), 60).convert("RGB")
BASELINE, PROGRESSIVE = encode(NOISE, "JPEG"), encode(NOISE, "JPEG", progressive=True)


@pytest.fixture
def decoded(monkeypatch):
    """A list that grows with each image that is decoded whole."""
    calls = []
    original = ImageFile.ImageFile.load

    def spy(image):
        if image.tile:
            calls.append(image.size)
        return original(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", spy)
    return calls


# What is done with an image, and how often it is decoded whole for that.
DONE = {
    "RGB JPEG": (RGB, "kept", 0),
    "progressive": (jpeg(progressive=True), "kept", 0),
    "bytes after the end": (RGB + b"more", "kept", 0),
    "1 MiB after the end": (RGB + bytes(2**20), "kept", 0),
    "odd gaps": (RGB.replace(b"\xff\xdb", b"\0\xff\xff\xdb", 1), "kept", 0),
    "rotated": (TURNED, "kept", 0),
    "a camera's MPO": (MPO, "kept", 0),
    "a JPEG's faulty profile": (jpeg(icc_profile=b"no profile"), "kept", 0),
    "no end marker": (RGB[:-2], "completed", 4),
    "grey JPEG": (GREY, "encoded", 1),
    "grey, no end marker": (GREY[:-2], "encoded", 4),
    "CMYK JPEG": (jpeg("CMYK"), "encoded", 1),
    "a PNG's faulty profile": (encode(gradient(), "PNG", icc_profile=b"no"), "encoded", 1),
    "GIF": (encode(gradient("P"), "GIF"), "encoded", 1),
    **{form: (encode(gradient(), form), "encoded", 1) for form in ("PNG", "WEBP", "TIFF", "BMP")},
}


@pytest.mark.parametrize(("data", "how", "times"), DONE.values(), ids=DONE)
def test_only_what_is_no_rgb_jpeg_is_decoded_and_encoded(decoded, data, how, times):
    made = to_rgb_jpeg(data, "a.jpg")
    assert (made.how, len(decoded)) == (how, times)
    assert (made.data == data) == (how == "kept")
    decoded.clear()
    assert to_rgb_jpeg(data, "a.jpg", verify=True) == made
    assert len(decoded) == max(times, 1)
    image = open_image(made.data, "a.jpg")
    assert (image.mode, image.size) == ("RGB", (24, 16))
    if how == "encoded":  # with colour at full resolution
        assert [layer[1:3] for layer in image.layer] == [(1, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize("data", [RGB, jpeg(progressive=True)])
def test_what_fills_a_file_behind_the_image_is_cut_off(data):
    made = to_rgb_jpeg(data + bytes(2**20 + 1), "a.jpg")
    assert (made.how, made.data) == ("cut", data)


def test_a_rotated_jpeg_keeps_its_bytes_and_the_rotation_is_told():
    assert to_rgb_jpeg(TURNED, "a.jpg") == (TURNED, "kept", 6)
    assert to_rgb_jpeg(TURNED[:-2], "a.jpg") == (TURNED, "completed", 6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG", "AVIF"])
def test_every_form_keeps_its_stored_pixels_or_is_turned(form, orientation):
    image = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    data = encode(image, form, exif=rotation(orientation), quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    for is_turned, expected in ((False, image), (True, upright)):
        made = to_rgb_jpeg(data, "a", upright=is_turned)
        assert made.orientation == orientation
        assert (made.how == "turned") is (is_turned and orientation > 1)
        found = open_image(made.data, "a")
        assert made.how == "kept" or ExifTags.Base.Orientation not in found.getexif()
        found = np.asarray(found.convert("L"), int)
        assert found.shape == expected.size[::-1]
        assert np.abs(found - np.asarray(expected.convert("L"), int)).max() <= 6


WHOLE = {
    **{form: encode(gradient(), form) for form in ("PNG", "JPEG", "BMP")},
    "GIF": encode(gradient("P"), "GIF"),
    "WebP": encode(gradient(), "WEBP", lossless=True),
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_an_image_cut_anywhere_is_read_in_full_or_refused(data):
    whole = np.asarray(to_rgb(open_image(data, "a")), int)
    for length in range(0, len(data), 7):
        made, refused = outcome(to_rgb_jpeg, data[:length], "a")
        if made is None:
            assert refused.startswith("a: ")
        else:
            assert made.how != "kept"
            assert np.abs(np.asarray(open_image(made.data, "a")) - whole).mean() < 1.5


BAD = {
    "empty": (b"", "not an image"),
    "text": (b"Bicycle 4 5 20 15\n", "not an image"),
    "PNG cut": (WHOLE["PNG"][:80], "damaged or cut short"),
    "JPEG cut": (RGB[:-40], "damaged or cut short"),
    "no JPEG pixel": (RGB[:400], "damaged or cut short"),
    "BMP cut": (WHOLE["BMP"][:-40], "damaged or cut short"),
    "too wide": (encode(Image.new("L", (65_536, 1)), "PNG"), "65536x1 pixels; a JPEG's sides"),
}


@pytest.mark.parametrize(("data", "found"), BAD.values(), ids=BAD)
def test_what_cannot_be_decoded_in_full_is_refused_by_name(data, found):
    with refused(f"Boat/a.jpg: {found}"):
        to_rgb_jpeg(data, "Boat/a.jpg")


# Markers. -----------------------------------------------------------------------------------------

# An APP1 segment that holds a thumbnail, which has an end marker of its own.
THUMBNAIL = b"\xff\xe1" + (2 + 6 + len(BASELINE)).to_bytes(2, "big") + b"Exif\0\0" + BASELINE
ENDS = {
    "ends in it": (BASELINE, True),
    "progressive": (PROGRESSIVE, True),
    "zero bytes after it": (BASELINE + bytes(100), True),
    "other bytes after it": (BASELINE + b"\r\nmore", True),
    "a cut image after it": (BASELINE + BASELINE[:-2], True),
    "filled before a marker": (BASELINE[:2] + b"\xff\xff" + BASELINE[2:], True),
    "bytes between segments": (BASELINE[:20] + b"\0\7" + BASELINE[20:], True),
    "missing, zero bytes instead": (BASELINE[:-2] + bytes(100), False),
    "cut, a whole image after it": (BASELINE[:-200] + BASELINE, False),
    "with a thumbnail": (BASELINE[:2] + THUMBNAIL + BASELINE[2:], True),
    "only a thumbnail's": (BASELINE[:2] + THUMBNAIL + BASELINE[2:-2], False),
    "no scan": (BASELINE[:2] + THUMBNAIL, False),
    "no segment": (b"\xff\xd8\xff\xd9", False),
    "no JPEG": (b"\x89PNG" + BASELINE, False),
}


@pytest.mark.parametrize(("data", "whole"), ENDS.values(), ids=ENDS)
def test_an_end_marker_counts_where_it_ends_the_image(data, whole):
    assert bool(end_of_image(data)) == whole


@pytest.mark.parametrize("data", [BASELINE, PROGRESSIVE], ids=["baseline", "progressive"])
def test_no_part_of_a_jpeg_passes_for_a_whole_one(data):
    assert [n for n in range(len(data)) if end_of_image(data[:n])] == []


@pytest.mark.parametrize(
    ("frame", "common"),
    [(0xC0, True), (0xC1, True), (0xC2, True), (0xC3, False), (0xC9, False)],
    ids=["baseline", "extended", "progressive", "lossless", "arithmetic"],
)
def test_a_jpeg_of_an_uncommon_form_is_decoded_or_refused(decoded, frame, common):
    data = BASELINE.replace(b"\xff\xc0", bytes([0xFF, frame]), 1)
    assert is_of_common_form(data) == common
    with contextlib.suppress(DataError):
        to_rgb_jpeg(data, "a.jpg")
    assert bool(decoded) != common


PIECES = [b"\xff", b"\xd8", b"\xd9", b"\xe1", b"\xda", b"\0", b"\0\x08", b"Exif\0\0", b"II*\0"]
PIECES += [b"\xff\xd8\xff\xe1\0\x30Exif\0\0II*\0\x08\0\0\0", b"\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"]


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=12).map(b"".join))
def test_no_bytes_are_too_odd_to_walk_through(data):
    for some in (data, b"\xff\xd8" + data):
        assert end_of_image(some) <= len(some)
        assert is_of_common_form(some) in (True, False)
