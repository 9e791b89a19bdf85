"""Whether a JPEG's image is whole is told by its markers."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lowlight.images.rgb_jpegs import holds_end_marker, is_of_common_form


def jpeg(mode="RGB", **options):
    stream = io.BytesIO()
    Image.effect_noise((48, 32), 60).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


BASELINE, PROGRESSIVE = jpeg(), jpeg(progressive=True)
# An APP1 segment that holds a thumbnail, which has an end marker of its own.
THUMBNAIL = b"\xff\xe1" + (2 + 6 + len(BASELINE)).to_bytes(2, "big") + b"Exif\0\0" + BASELINE


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        pytest.param(BASELINE, True, id="ends in it"),
        pytest.param(PROGRESSIVE, True, id="progressive"),
        pytest.param(BASELINE + bytes(100), True, id="zero bytes after it"),
        pytest.param(BASELINE + b"\r\nmore", True, id="other bytes after it"),
        pytest.param(BASELINE + BASELINE[:-2], True, id="a cut image after it"),
        pytest.param(BASELINE[:2] + b"\xff\xff" + BASELINE[2:], True, id="filled before a marker"),
        pytest.param(BASELINE[:20] + b"\0\7" + BASELINE[20:], True, id="bytes between segments"),
        pytest.param(BASELINE[:-2], False, id="missing"),
        pytest.param(PROGRESSIVE[:-2], False, id="missing, progressive"),
        pytest.param(BASELINE[:-1], False, id="half of it"),
        pytest.param(BASELINE[:-2] + bytes(100), False, id="missing, zero bytes instead"),
        pytest.param(BASELINE[:-200] + BASELINE, False, id="cut, a whole image after it"),
        pytest.param(BASELINE[:2] + THUMBNAIL + BASELINE[2:], True, id="with a thumbnail"),
        pytest.param(BASELINE[:2] + THUMBNAIL + BASELINE[2:-2], False, id="only a thumbnail's"),
        pytest.param(BASELINE[:2] + THUMBNAIL, False, id="no scan"),
        pytest.param(b"\xff\xd8\xff\xd9", False, id="no segment"),
        pytest.param(b"\x89PNG" + BASELINE, False, id="no JPEG"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_an_end_marker_counts_where_it_ends_the_image(data, whole):
    assert holds_end_marker(data) == whole


@pytest.mark.parametrize("data", [BASELINE, PROGRESSIVE], ids=["baseline", "progressive"])
def test_no_part_of_a_jpeg_passes_for_a_whole_one(data):
    assert [n for n in range(len(data)) if holds_end_marker(data[:n])] == []


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
        assert holds_end_marker(some) in (True, False)
        assert is_of_common_form(some) in (True, False)
