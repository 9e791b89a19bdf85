"""Whether a JPEG's image is whole is told by its markers."""

import io

import pytest
from PIL import Image

from lowlight.jpegs import app1_segments, holds_end_marker


def jpeg(**options):
    stream = io.BytesIO()
    Image.effect_noise((48, 32), 60).convert("RGB").save(stream, "JPEG", **options)
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


def test_app1_segments_are_found_before_the_scan():
    data = BASELINE[:2] + THUMBNAIL + THUMBNAIL + BASELINE[2:]
    contents = [data[start:end] for start, end in app1_segments(data)]
    assert contents == [THUMBNAIL[4:], THUMBNAIL[4:]]
    assert app1_segments(BASELINE) == []
