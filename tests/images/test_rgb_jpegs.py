"""RGB JPEGs keep their bytes, all else is encoded; a JPEG's markers say whether it is whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode, gradient, outcome
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.images.reading import open_image, to_rgb
from lowlight.images.rgb_jpegs import end_of_image, is_of_common_form, to_rgb_jpeg

NOISE = Image.effect_noise((48, 32), 60).convert("RGB")
BASELINE, PROGRESSIVE = encode(NOISE, "JPEG"), encode(NOISE, "JPEG", progressive=True)
# An APP1 segment that holds a thumbnail, which has an end marker of its own.
THUMBNAIL = b"\xff\xe1" + (2 + 6 + len(BASELINE)).to_bytes(2, "big") + b"Exif\0\0" + BASELINE
RGB, GREY = encode(gradient(), "JPEG"), encode(gradient("L"), "JPEG")

DONE = {
    "RGB JPEG": (RGB, "kept"),
    "progressive": (encode(gradient(), "JPEG", progressive=True), "kept"),
    "bytes after the end": (RGB + b"more", "kept"),
    "1 MiB after the end": (RGB + bytes(2**20), "kept"),
    "a camera's MPO": (
        encode(gradient(), "MPO", save_all=True, append_images=[gradient()]),
        "kept",
    ),
    "no end marker": (RGB[:-2], "completed"),
    "grey JPEG": (GREY, "encoded"),
    "grey, no end marker": (GREY[:-2], "encoded"),
    "CMYK JPEG": (encode(gradient("CMYK"), "JPEG"), "encoded"),
    "a faulty profile": (encode(gradient(), "PNG", icc_profile=b"no profile"), "encoded"),
    "GIF": (encode(gradient("P"), "GIF"), "encoded"),
    **{form: (encode(gradient(), form), "encoded") for form in ("PNG", "WEBP", "TIFF", "BMP")},
}


@pytest.mark.parametrize(("data", "done"), DONE.values(), ids=DONE)
def test_only_what_is_no_rgb_jpeg_is_encoded(data, done):
    made = to_rgb_jpeg(data, "a.jpg")
    image = open_image(made.data, "a.jpg")
    assert (made.how, image.mode, image.size) == (done, "RGB", (24, 16))
    assert (made.data == data) == (done == "kept")
    if done == "encoded":  # with colour at full resolution
        assert [layer[1:3] for layer in image.layer] == [(1, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize("data", [RGB, encode(gradient(), "JPEG", progressive=True)])
def test_what_fills_a_file_behind_the_image_is_cut_off(data):
    made = to_rgb_jpeg(data + bytes(2**20 + 1), "a.jpg")
    assert (made.how, made.data) == ("cut", data)


@pytest.mark.parametrize("name", ["Boat/2015_00002.png", "Bottle/2015_00003.png"])
def test_an_encoded_image_differs_from_its_source_by_little(tiny_exdark, name):
    data = (tiny_exdark / "ExDark" / name).read_bytes()
    before = np.asarray(to_rgb(open_image(data, name)), int)
    after = np.asarray(open_image(to_rgb_jpeg(data, name).data, name), int)
    assert np.abs(after - before).mean() < 1.5


def test_a_jpeg_with_an_exif_rotation_that_must_be_encoded_keeps_its_pixels_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.linear_gradient("L").resize((24, 16))
    made = to_rgb_jpeg(encode(grey, "JPEG", exif=exif), "a.jpg")
    image = open_image(made.data, "a.jpg")
    assert (made.how, image.size) == ("encoded", (24, 16))
    assert 0x0112 not in image.getexif()


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


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(b"", "not an image", id="empty"),
        pytest.param(b"Bicycle 4 5 20 15\n", "not an image", id="text"),
        pytest.param(WHOLE["PNG"][:80], "damaged or cut short", id="PNG cut"),
        pytest.param(RGB[:-40], "damaged or cut short", id="JPEG cut"),
        pytest.param(RGB[:400], "damaged or cut short", id="no JPEG pixel"),
        pytest.param(WHOLE["BMP"][:-40], "damaged or cut short", id="BMP cut"),
    ],
)
def test_what_cannot_be_decoded_in_full_is_refused_by_name(data, found):
    with pytest.raises(DataError, match=rf"(?s)^Boat/a\.jpg: {found}.*remove it\."):
        to_rgb_jpeg(data, "Boat/a.jpg")


def test_an_image_too_wide_for_jpeg_is_refused_by_name():
    with pytest.raises(DataError, match=r"^Boat/a\.png: "):
        to_rgb_jpeg(encode(Image.new("L", (65_536, 1)), "PNG"), "Boat/a.png")


ENDS = {
    "ends in it": (BASELINE, True),
    "progressive": (PROGRESSIVE, True),
    "zero bytes after it": (BASELINE + bytes(100), True),
    "other bytes after it": (BASELINE + b"\r\nmore", True),
    "a cut image after it": (BASELINE + BASELINE[:-2], True),
    "filled before a marker": (BASELINE[:2] + b"\xff\xff" + BASELINE[2:], True),
    "bytes between segments": (BASELINE[:20] + b"\0\7" + BASELINE[20:], True),
    "missing": (BASELINE[:-2], False),
    "missing, progressive": (PROGRESSIVE[:-2], False),
    "half of it": (BASELINE[:-1], False),
    "missing, zero bytes instead": (BASELINE[:-2] + bytes(100), False),
    "cut, a whole image after it": (BASELINE[:-200] + BASELINE, False),
    "with a thumbnail": (BASELINE[:2] + THUMBNAIL + BASELINE[2:], True),
    "only a thumbnail's": (BASELINE[:2] + THUMBNAIL + BASELINE[2:-2], False),
    "no scan": (BASELINE[:2] + THUMBNAIL, False),
    "no segment": (b"\xff\xd8\xff\xd9", False),
    "no JPEG": (b"\x89PNG" + BASELINE, False),
    "empty": (b"", False),
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
def test_baseline_and_progressive_are_the_common_forms(frame, common):
    assert is_of_common_form(BASELINE.replace(b"\xff\xc0", bytes([0xFF, frame]), 1)) == common


PIECES = [b"\xff", b"\xd8", b"\xd9", b"\xe1", b"\xda", b"\0", b"\0\x08", b"Exif\0\0", b"II*\0"]
PIECES += [b"\xff\xd8\xff\xe1\0\x30Exif\0\0II*\0\x08\0\0\0", b"\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"]


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=12).map(b"".join))
def test_no_bytes_are_too_odd_to_walk_through(data):
    for some in (data, b"\xff\xd8" + data):
        assert end_of_image(some) <= len(some)
        assert is_of_common_form(some) in (True, False)
