"""The frames of a video are read upright, in order and in time, and what is no video is named."""

import os
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from videos import COUNT, RED, SIZE, detect, json_of, make_video, read_frames, shade_of

from lowlight.core.errors import DataError
from lowlight.inference import video
from lowlight.inference.inputs import find_images, is_video, name_of
from lowlight.inference.video import Video, apply_display_matrix

pytest.importorskip("av", reason="needs requirements/video.txt")


VIDEOS = ["street.MP4", "my film.webm", "/dev/zero"]
VIDEOS += ["rtsp://10.0.0.2:554/live", f"https://example.org/{300 * 't'}.mp4"]
OTHERS = ["a.jpg", "frames.mp4", "missing.mp4", "*.MP4", "-", os.devnull]


@pytest.mark.parametrize("source", VIDEOS + OTHERS)
def test_a_video_is_a_file_by_its_name_an_address_or_a_device(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames.mp4").mkdir()
    for name in ("street.MP4", "my film.webm", "a.jpg"):
        (tmp_path / name).touch()
    assert is_video(source) is (source in VIDEOS)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("films/my film.mp4", "my film"),
        ("/dev/video0", "video0"),
        ("http://example.org/cam/street.m3u8?key=a.b", "street"),
        ("rtsp://10.0.0.2:554", "10.0.0.2"),
    ],
)
def test_a_video_has_a_name_without_extension(source, expected):
    assert name_of(source) == expected


@pytest.mark.parametrize(
    ("codec", "kind"),
    [("libx264", "mp4"), ("libx264", "mkv"), ("libx264", "ts"), ("mpeg4", "mov"), ("mpeg4", "avi")]
    + [("libvpx", "webm"), ("mpeg2video", "mpg")],
)
def test_each_form_is_read_and_becomes_an_mp4_of_the_same_rate(tmp_path, out, kind, codec):
    path = make_video(tmp_path / f"a.{kind}", COUNT, codec=codec, rate=25)
    counts, output = detect(path, out)
    assert counts.frames == COUNT
    frames, stream = read_frames(output)
    assert [round(frame.time * 25) for frame in frames] == list(range(COUNT))
    assert stream.codec_context.name == "h264"
    assert stream.codec_context.pix_fmt == "yuv420p"
    assert float(stream.average_rate) == pytest.approx(25, abs=0.02)


def test_frames_are_rgb_in_order_with_numbers_and_times(film):
    with Video(film) as opened:
        frames = list(opened.frames())
        assert (opened.rate, opened.count, opened.is_live) == (10, COUNT, False)
        assert opened.damage() == ""
    assert [frame.number for frame in frames] == list(range(COUNT))
    assert [round(frame.time, 3) for frame in frames] == [n / 10 for n in range(COUNT)]
    pixels = frames[7].to_rgb()
    assert (pixels.shape, pixels.dtype) == ((SIZE[1], SIZE[0], 3), np.uint8)
    assert np.abs(pixels[4, 4].astype(int) - RED).max() < 12
    assert abs(int(pixels[-4, -4, 0]) - shade_of(7)) < 6


@pytest.mark.parametrize(
    ("degrees", "mirrors", "corner", "size"),
    [
        (0, {}, (0, 0), SIZE),
        (90, {}, (0, -1), SIZE[::-1]),  # counterclockwise: what was at the top is at the left
        (180, {}, (-1, -1), SIZE),
        (270, {}, (-1, 0), SIZE[::-1]),
        (0, {"hflip": True}, (-1, 0), SIZE),
        (0, {"vflip": True}, (0, -1), SIZE),
    ],
)
def test_frames_are_upright(tmp_path, degrees, mirrors, corner, size, out):
    path = make_video(tmp_path / "a.mp4", 3, degrees=degrees, **mirrors)
    with Video(path) as opened:
        pixels = next(opened.frames()).to_rgb()
    assert pixels.shape[1::-1] == size
    x, y = (4 if edge == 0 else -5 for edge in corner)
    assert np.abs(pixels[y, x].astype(int) - RED).max() < 12
    _, output = detect(path, out)
    frames, _ = read_frames(output)
    assert ((frames[0].width, frames[0].height), frames[0].rotation) == (size, 0)
    assert json_of(out)["frames"][0]["width"] == size[0]


TURNS = {
    (1, 0, 0, 1): [[1, 2], [3, 4]],
    (0, 1, -1, 0): [[3, 1], [4, 2]],
    (-1, 0, 0, -1): [[4, 3], [2, 1]],
    (0, -1, 1, 0): [[2, 4], [1, 3]],
    (-1, 0, 0, 1): [[2, 1], [4, 3]],
    (1, 0, 0, -1): [[3, 4], [1, 2]],
    (0, 1, 1, 0): [[1, 3], [2, 4]],
    (0, -1, -1, 0): [[4, 2], [3, 1]],
    (0.9, 0.1, -0.1, 0.9): [[1, 2], [3, 4]],  # slanted: to the nearest side
    None: [[1, 2], [3, 4]],
}


@pytest.mark.parametrize(("abcd", "expected"), TURNS.items(), ids=str)
def test_a_display_matrix_is_one_of_eight_turns(abcd, expected):
    matrix = None
    if abcd:
        a, b, c, d = (round(65536 * value) for value in abcd)
        matrix = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32).tobytes()
    pixels = np.repeat(np.array([[1, 2], [3, 4]], np.uint8)[:, :, np.newaxis], 3, axis=2)
    assert apply_display_matrix(pixels, matrix)[:, :, 0].tolist() == expected


def test_a_first_time_stamp_above_zero_is_the_beginning(tmp_path):
    path = make_video(tmp_path / "a.mkv", 4, times=[100.0, 100.1, 100.2, 100.3])
    with Video(path) as opened:
        assert opened.count == 4
        assert [round(f.time, 3) for f in opened.frames()] == [0, 0.1, 0.2, 0.3]
        assert opened.damage() == ""  # though Matroska gives the end as the length: 100.4 s


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param([0.0, 0.1, None, 0.3], [0.0, 0.1, 0.2, 0.3], id="missing"),
        pytest.param([0.0, 0.1, 0.05, 0.3], [0.0, 0.1, 0.2, 0.3], id="backwards"),
        pytest.param([0.0, 0.0, 0.0, 0.0], [0.0, 0.1, 0.2, 0.3], id="alike"),
        pytest.param([None, 5.0, 5.1, 5.2], [0.0, 5.0, 5.1, 5.2], id="a late first"),
    ],
)
def test_times_always_rise(film, monkeypatch, times, expected):
    with Video(film) as opened:
        pictures = [SimpleNamespace(time=time, is_corrupt=False) for time in times]
        packet = SimpleNamespace(stream=opened.stream)
        monkeypatch.setattr(opened, "_packets", lambda: iter([packet]))
        monkeypatch.setattr(opened, "_decode", lambda packet: pictures)
        assert [round(f.time, 3) for f in opened.frames()] == expected


def without_index(path):
    make_video(path, COUNT)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGED = "not a video, or one that is damaged from its beginning"
NO_VIDEOS = {
    "empty": (lambda path: path.write_bytes(b""), DAMAGED),
    "text": (lambda path: path.write_bytes(b"what a day\n" * 99), DAMAGED),
    "missing": (lambda path: None, "No such file"),
    "without its index": (without_index, DAMAGED),
    "sound": (lambda path: make_video(path, 0, sound="aac"), "holds sound or text alone"),
}


@pytest.mark.parametrize(("make", "message"), NO_VIDEOS.values(), ids=NO_VIDEOS)
def test_what_is_no_video_is_named(tmp_path, make, message):
    make(tmp_path / "a.mp4")
    with pytest.raises(DataError, match=rf"a\.mp4: {message}"):
        Video(tmp_path / "a.mp4")


def test_without_the_package_the_command_is_told(film, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"pip install -r requirements/video\.txt"):
        Video(film)


def test_a_folder_or_pattern_of_videos_says_how_they_are_given(film):
    for source in (film.parent, f"{film.parent}/*.mp4"):
        with pytest.raises(DataError, match="a video is given by itself"):
            find_images(source)


@pytest.mark.parametrize(("rate", "expected"), [(1000, 25), (None, 25), (240, 240)])
def test_a_rate_that_cannot_be_is_the_usual_one(film, monkeypatch, rate, expected):
    class Film:
        average_rate, guessed_rate, disposition, time_base = None, rate, 0, None

    class Opened:
        streams = type("Streams", (), {"video": [Film], "audio": []})
        duration, start_time = None, None
        format = type("Format", (), {"name": "matroska"})

    monkeypatch.setattr(video, "_open", lambda av, source: Opened)
    assert Video(film).rate == expected


def test_a_stream_that_says_nothing_is_given_up_with_the_time_that_was_waited(monkeypatch):
    monkeypatch.setattr(video, "_TIMEOUT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/street.mp4"
        with pytest.raises(DataError, match="no video comes from there .no sign of it for 1 s"):
            Video(address)
