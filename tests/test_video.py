"""A video goes through all steps; what comes out is whole, upright and in time."""

import csv
import itertools
import json
import os
import signal
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from videos import RED, SIZE, FakeDetector, job_of, make_video, number_of, read_frames, shade_of

from lowlight import video, video_inference, video_writer
from lowlight.errors import DataError
from lowlight.inputs import find_images
from lowlight.interruption import Interrupted
from lowlight.video import Video, is_video, name_of
from lowlight.video_files import prepare_video_path
from lowlight.video_inference import detect_on_video
from lowlight.video_rotation import Rotation, rotation_of, turn_upright

av = pytest.importorskip("av", reason="needs requirements-video.txt")
COUNT = 20


@pytest.fixture
def film(tmp_path):
    """20 frames at 10 a second with a blank in their name, each a little brighter than the last."""
    return make_video(tmp_path / "my film.mp4", COUNT)


def detect(path, out, detector=None, every=1, **options):
    """Returns (Counts, the annotated video's path)."""
    out.mkdir(exist_ok=True)
    with Video(path) as opened:
        counts = detect_on_video(opened, job_of(out, detector, **options), every)
    return counts, out / f"{name_of(path)}.mp4"


def json_of(out):
    return json.loads((out / "detections.json").read_text())


# Reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("films/street.MP4", True),
        ("a.webm", True),
        ("rtsp://10.0.0.2:554/live", True),
        ("https://example.org/a", True),
        ("a.jpg", False),
        ("photos/*.jpg", False),
        ("-", False),
        (os.devnull, False),
        ("photos", False),
    ],
)
def test_a_video_is_told_by_its_name(source, expected):
    assert is_video(source) is expected


def test_a_character_device_is_a_camera():
    assert is_video("/dev/zero")


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
    ("file", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "mpeg4"),
        ("a.mkv", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.webm", "libvpx"),
        ("a.ts", "libx264"),
        ("a.mpg", "mpeg2video"),
    ],
)
def test_each_form_is_read_and_becomes_an_mp4_of_the_same_rate(tmp_path, file, codec):
    path = make_video(tmp_path / file, COUNT, codec=codec, rate=25)
    counts, output = detect(path, tmp_path / "out")
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
def test_frames_are_upright(tmp_path, degrees, mirrors, corner, size):
    path = make_video(tmp_path / "a.mp4", 3, degrees=degrees, **mirrors)
    with Video(path) as opened:
        pixels = next(opened.frames()).to_rgb()
    assert pixels.shape[1::-1] == size
    x, y = (4 if edge == 0 else -5 for edge in corner)
    assert np.abs(pixels[y, x].astype(int) - RED).max() < 12
    _, output = detect(path, tmp_path / "out")
    frames, _ = read_frames(output)
    assert ((frames[0].width, frames[0].height), frames[0].rotation) == (size, 0)
    assert (json_of(tmp_path / "out")["frames"][0]["width"]) == size[0]


@pytest.mark.parametrize(
    ("abcd", "expected"),
    [
        ((1, 0, 0, 1), [[1, 2], [3, 4]]),
        ((0, 1, -1, 0), [[3, 1], [4, 2]]),
        ((-1, 0, 0, -1), [[4, 3], [2, 1]]),
        ((0, -1, 1, 0), [[2, 4], [1, 3]]),
        ((-1, 0, 0, 1), [[2, 1], [4, 3]]),
        ((1, 0, 0, -1), [[3, 4], [1, 2]]),
        ((0, 1, 1, 0), [[1, 3], [2, 4]]),
        ((0, -1, -1, 0), [[4, 2], [3, 1]]),
    ],
    ids=str,
)
def test_a_display_matrix_is_one_of_eight_turns(abcd, expected):
    a, b, c, d = (65536 * value for value in abcd)
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32).tobytes()
    pixels = np.repeat(np.array([[1, 2], [3, 4]], np.uint8)[:, :, np.newaxis], 3, axis=2)
    assert turn_upright(pixels, rotation_of(matrix))[:, :, 0].tolist() == expected


def test_a_slanted_matrix_turns_to_the_nearest_side_and_none_turns_nothing():
    slanted = np.array([900, 100, 0, -100, 900, 0, 0, 0, 1], np.int32).tobytes()
    assert rotation_of(slanted) == rotation_of(None) == Rotation(False, False, False)


def test_a_first_time_stamp_above_zero_is_the_beginning(tmp_path):
    path = make_video(tmp_path / "a.mkv", 4, times=[3.0, 3.1, 3.2, 3.3])
    with Video(path) as opened:
        assert [round(f.time, 3) for f in opened.frames()] == [0, 0.1, 0.2, 0.3]


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
        packet = SimpleNamespace(stream=opened._film)
        monkeypatch.setattr(opened, "_packets", lambda: iter([packet]))
        monkeypatch.setattr(opened, "_decode", lambda packet: pictures)
        assert [round(f.time, 3) for f in opened.frames()] == expected


# Writing ------------------------------------------------------------------------------------------


def test_every_frame_has_its_entry_its_rows_and_its_drawing(film, tmp_path):
    counts, output = detect(film, tmp_path / "out")
    assert (counts.objects, counts.frames, counts.seen) == (2 * COUNT, COUNT, COUNT)
    assert output.name == "my film.mp4"
    found = json_of(tmp_path / "out")
    assert found["video"] == str(film)
    assert (found["model"], found["every"], found["frame_rate"]) == ("m/exported", 1, 10.0)
    assert len(found["frames"]) == COUNT
    assert found["frames"][7] == {
        "frame": 7,
        "time": 0.7,
        "width": SIZE[0],
        "height": SIZE[1],
        "detections": [
            {"class": "Boat", "class_id": 2, "score": 0.75, "box": [7.0, 8.0, 47.0, 30.0]},
            {"class": "Bicycle", "class_id": 1, "score": 0.5, "box": [2.0, 2.0, 60.0, 40.0]},
        ],
    }
    rows = list(csv.reader((tmp_path / "out" / "detections.csv").open()))
    head = ["frame", "time", "class", "class_id", "score", "xmin", "ymin", "xmax", "ymax"]
    assert rows[0] == head
    assert rows[15] == ["7", "0.7", "Boat", "2", "0.75", "7.0", "8.0", "47.0", "30.0"]
    assert len(rows) == 1 + 2 * COUNT
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["detections.csv", "detections.json", "my film.mp4"]


def test_frames_between_show_the_last_boxes(film, tmp_path, monkeypatch):
    drawn = {}

    def note(image, found, names):
        drawn[number_of(np.asarray(image))] = float(found.boxes[0, 0])

    monkeypatch.setattr(video_inference, "draw_detections", note)
    detector = FakeDetector()
    counts, output = detect(film, tmp_path / "out", detector, every=6)
    assert (counts.frames, counts.seen, counts.objects) == (COUNT, 4, 8)
    assert len(detector.seen) == 4
    assert [one["frame"] for one in json_of(tmp_path / "out")["frames"]] == [0, 6, 12, 18]
    assert drawn == {n: float(n // 6 * 6) for n in range(COUNT)}
    assert len(read_frames(output)[0]) == COUNT


@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("every", [1, 3, 50])
def test_batches_and_steps_give_the_same_frames(film, tmp_path, batch, every):
    counts, _ = detect(film, tmp_path / "out", FakeDetector(batch), every)
    numbers = [one["frame"] for one in json_of(tmp_path / "out")["frames"]]
    assert numbers == list(range(0, COUNT, every))
    assert counts.frames == COUNT


def test_a_varying_frame_rate_keeps_its_times(tmp_path):
    times = [0.0, 0.04, 0.08, 0.5, 0.52, 1.7, 1.9]
    path = make_video(tmp_path / "a.mkv", len(times), times=times)
    _, output = detect(path, tmp_path / "out")
    assert [round(frame.time, 3) for frame in read_frames(output)[0]] == times
    assert [one["time"] for one in json_of(tmp_path / "out")["frames"]] == times


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), 50])
def test_a_frame_rate_is_kept_exactly(tmp_path, rate):
    _, output = detect(make_video(tmp_path / "a.mp4", COUNT, rate=rate), tmp_path / "out")
    assert read_frames(output)[1].average_rate == rate


@pytest.mark.parametrize(
    ("file", "codec", "sound", "kept"),
    [
        pytest.param("a.mp4", "libx264", "aac", "aac", id="copied"),
        pytest.param("a.mkv", "libx264", "libmp3lame", "mp3float", id="mp3 copied"),
        pytest.param("a.avi", "mpeg4", "pcm_s16le", "aac", id="encoded anew"),
        pytest.param("a.ts", "libx264", "aac", "aac", id="of a transport stream"),
    ],
)
def test_the_sound_is_kept_in_time(tmp_path, file, codec, sound, kept):
    path = make_video(tmp_path / file, COUNT, codec=codec, sound=sound)
    _, output = detect(path, tmp_path / "out")
    with av.open(str(output)) as container:
        assert container.streams.audio[0].codec_context.name == kept
        levels = [
            (frame.time, np.abs(frame.to_ndarray().astype(float)).max())
            for frame in container.decode(audio=0)
        ]
    click = next(time for time, level in levels if level > 0.2)
    assert click == pytest.approx(1.0, abs=0.08)
    assert levels[-1][0] == pytest.approx(2.0, abs=0.1)


def test_pixels_that_are_no_squares_are_shown_as_such(tmp_path):
    path = make_video(tmp_path / "a.mp4", 3, aspect=Fraction(4, 3))
    _, output = detect(path, tmp_path / "out")
    assert read_frames(output)[1].sample_aspect_ratio == Fraction(4, 3)


def test_an_odd_side_gets_one_more_pixel(tmp_path):
    path = make_video(tmp_path / "a.mkv", 3, codec="ffv1", size=(65, 49))
    _, output = detect(path, tmp_path / "out")
    frames, _ = read_frames(output)
    assert (frames[0].width, frames[0].height) == (66, 50)
    assert (json_of(tmp_path / "out")["frames"][0]["width"]) == 65


def test_without_an_h264_encoder_it_is_mpeg_4(film, tmp_path, monkeypatch):
    monkeypatch.setattr(video_writer, "_ENCODERS", ("no such", "mpeg4"))
    for path in (film, make_video(tmp_path / "a.ts", COUNT)):  # units of 1/10240 and 1/90000 s
        _, output = detect(path, tmp_path / "out")
        frames, stream = read_frames(output)
        assert (stream.codec_context.name, len(frames)) == ("mpeg4", COUNT)
        assert frames[-1].time == pytest.approx((COUNT - 1) / 10, abs=0.001)


def test_colours_stay_as_they_are(film, tmp_path):
    _, output = detect(film, tmp_path / "out", thresholds={2: 0.99})
    pixels = read_frames(output)[0][5].to_ndarray(format="rgb24").astype(int)
    assert np.abs(pixels[4, 4] - RED).max() < 12
    assert np.abs(pixels[-4, -4] - shade_of(5)).max() < 6


def test_a_brightened_copy_is_drawn_on_and_light_changes_slowly(film, tmp_path):
    options = {"brightened": True}
    _, output = detect(film, tmp_path / "out", thresholds={2: 0.99}, options=options)
    levels = [f.to_ndarray(format="rgb24")[-4, -4, 0] for f in read_frames(output)[0]]
    assert levels[0] > shade_of(0) + 25
    assert max(abs(int(b) - int(a)) for a, b in itertools.pairwise(levels)) < 12


def test_without_a_folder_what_is_found_is_printed(film, capsys):
    with Video(film) as opened:
        counts = detect_on_video(opened, job_of(None), 10)
    assert (counts.frames, counts.seen) == (COUNT, 2)
    assert capsys.readouterr().out.splitlines() == [
        "frame 0, 0.000 s (96x64):",
        "  Boat       0.75  x 0 to 40, y 8 to 30",
        "  Bicycle    0.50  x 2 to 60, y 2 to 40",
        "frame 10, 1.000 s (96x64):",
        "  Boat       0.75  x 10 to 50, y 8 to 30",
        "  Bicycle    0.50  x 2 to 60, y 2 to 40",
    ]


def test_few_frames_are_held_however_long_the_video_is(tmp_path, monkeypatch):
    path = make_video(tmp_path / "long.mp4", 300, rate=30)
    began, ended, most = [], [], []
    to_rgb, keep = video.Frame.to_rgb, video_inference._keep

    def begin(frame):
        began.append(1)
        most.append(len(began) - len(ended))
        return to_rgb(frame)

    monkeypatch.setattr(video.Frame, "to_rgb", begin)
    monkeypatch.setattr(video_inference, "_keep", lambda *given: (keep(*given), ended.append(1)))
    detect(path, tmp_path / "out")
    assert len(ended) == 300
    threads = min(os.cpu_count(), 4)
    assert max(most) <= 3 * 2 * threads + 2 * 2 + 8


# What goes wrong ----------------------------------------------------------------------------------


def test_a_video_that_is_cut_short_is_kept_as_far_as_it_goes(tmp_path):
    path = make_video(tmp_path / "a.mp4", 60, noise=True, faststart=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"a\.mp4: cut short: it ends at .* of 6\.0 s\.\n") as error:
        detect(path, tmp_path / "out")
    frames, _ = read_frames(tmp_path / "out" / "a.mp4")
    assert 25 <= len(frames) <= 32
    assert f"The {len(frames)} frames that can be read are done and kept in" in str(error.value)
    assert len(json_of(tmp_path / "out")["frames"]) == len(frames)


@pytest.mark.parametrize("file", ["a.mp4", "a.mkv", "a.avi"])
def test_a_damaged_place_is_left_out_and_told(tmp_path, file):
    path = make_video(tmp_path / file, 60, codec="mpeg4", noise=True, gop=5)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 9000] = np.random.default_rng(0).bytes(9000)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"Fetch it again\. The \d+ frames that can be read are"):
        detect(path, tmp_path / "out")
    assert 30 <= len(read_frames(tmp_path / "out" / "a.mp4")[0]) <= 60
    json_of(tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "not a video, or one that is damaged", id="empty"),
        pytest.param(b"what a day\n" * 99, "not a video, or one that is damaged", id="text"),
        pytest.param(None, "No such file", id="missing"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, content, message):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.mp4: {message}"):
        Video(path)


def test_a_video_without_its_index_is_named(tmp_path):
    path = make_video(tmp_path / "a.mp4", COUNT)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"a\.mp4: not a video, or one that is damaged"):
        Video(path)


def test_a_video_without_frames_is_an_error_and_leaves_nothing(film, tmp_path, monkeypatch):
    monkeypatch.setattr(Video, "frames", lambda self: iter([]))
    with pytest.raises(DataError, match=r"my film\.mp4: no frame of it can be read"):
        detect(film, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_sound_alone_is_an_error(tmp_path):
    path = make_video(tmp_path / "a.mp4", 0, sound="aac")
    with pytest.raises(DataError, match="holds sound or text alone"):
        Video(path)


def test_without_the_package_the_command_is_told(film, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(DataError, match=r"pip install -r requirements-video\.txt"):
        Video(film)


def test_a_frame_that_the_model_cannot_take_is_named(film, tmp_path):
    class Choosy(FakeDetector):
        def prepare(self, image):
            raise ValueError("96x64 pixels can't be resized for the model")

    with pytest.raises(DataError, match=r"my film\.mp4: frame 0: 96x64 pixels can't be resized"):
        detect(film, tmp_path / "out", Choosy())
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_leaves_the_files_as_they_were(film, tmp_path, monkeypatch):
    detect(film, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def write(self, *given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video_writer.VideoWriter, "write", write)
    with pytest.raises(OSError, match="No space left") as error:
        detect(film, tmp_path / "out")
    assert error.value.filename == str(tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_video_is_never_written_over(film, tmp_path):
    with pytest.raises(DataError, match=r"my film\.mp4: the annotated video would be written over"):
        prepare_video_path(tmp_path, film)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "my film.mp4").symlink_to(film)
    with pytest.raises(DataError, match="would be written over"):
        prepare_video_path(tmp_path / "link", film)
    (tmp_path / "folder" / "my film.mp4").mkdir(parents=True)
    with pytest.raises(DataError, match="a folder is in the way"):
        prepare_video_path(tmp_path / "folder", film)
    assert prepare_video_path(tmp_path / "new" / "out", film).is_dir()


def test_a_folder_or_pattern_of_videos_says_how_they_are_given(film):
    for source in (film.parent, f"{film.parent}/*.mp4"):
        with pytest.raises(DataError, match="a video is given by itself"):
            find_images(source)


# Being told to stop -------------------------------------------------------------------------------


class Stopped(FakeDetector):
    """Sends this process a signal at the tenth frame."""

    def __init__(self, number):
        super().__init__()
        self._number = number

    def prepare(self, image):
        if len(self.seen) >= 10 and self._number:
            os.kill(os.getpid(), self._number)
            self._number = 0
        return super().prepare(image)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_whole_files(tmp_path, number):
    path = make_video(tmp_path / "a.mp4", 300, sound="aac")
    with pytest.raises(Interrupted) as stop:
        detect(path, tmp_path / "out", Stopped(number))
    frames, _ = read_frames(tmp_path / "out" / "a.mp4")
    assert 1 <= len(frames) < 200
    assert len(json_of(tmp_path / "out")["frames"]) == len(frames)
    assert stop.value.number == number
    assert f"The first {len(frames)} frames are done and kept in" in str(stop.value)
    assert "begin anew" in stop.value.again


@pytest.fixture
def camera(monkeypatch):
    """A camera that never ends: FFmpeg's own test picture, at 30 frames a second."""
    picture = f"testsrc=size={SIZE[0]}x{SIZE[1]}:rate=30"
    monkeypatch.setattr(video, "_open", lambda av, source: av.open(picture, format="lavfi"))
    return "/dev/video0"


def test_ctrl_c_is_how_a_camera_ends(camera, tmp_path):
    counts, output = detect(camera, tmp_path / "out", Stopped(signal.SIGINT))
    assert output.name == "video0.mp4"
    frames, stream = read_frames(output)
    assert len(frames) == counts.frames >= 1
    assert stream.average_rate == 30
    assert len(json_of(tmp_path / "out")["frames"]) == counts.frames


def test_a_camera_has_no_end_and_sigterm_is_no_ctrl_c(camera, tmp_path):
    with Video(camera) as opened:
        assert (opened.count, opened.is_live) == (None, True)
    with pytest.raises(Interrupted):
        detect(camera, tmp_path / "out", Stopped(signal.SIGTERM))


def test_a_camera_that_is_unplugged_is_an_error_after_what_was_seen(camera, tmp_path, monkeypatch):
    opened = Video(camera)
    real = opened._container

    def demux(streams):
        yield from itertools.islice(real.demux(streams), 12)
        raise av.error.OSError(5, "Input/output error")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(opened, "_container", SimpleNamespace(demux=demux, close=real.close))
    with pytest.raises(DataError, match=r"/dev/video0: broke off \(Input/output error\)"):
        detect_on_video(opened, job_of(tmp_path / "out"))
    assert len(read_frames(tmp_path / "out" / "video0.mp4")[0]) == 12


# As a user runs it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--crops"], "--crops are for images"),
        (["--gif", "--recursive"], "--gif, --recursive are for images"),
        (["--format=coco"], "--format=coco are for images"),
    ],
    ids=str,
)
def test_what_is_for_images_is_refused(run_script, film, tmp_path, flags, message):
    done = run_script("run_inference.py", *arguments(tmp_path, film), *flags)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {film}: {message}")


def test_every_is_refused_with_images(run_script, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    done = run_script("run_inference.py", *arguments(tmp_path, tmp_path / "a.png"), "--every=2")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --every=2: ")


def arguments(tmp_path, source):
    label_map = tmp_path / "label_map.txt"
    label_map.write_text("item {\n  name: 'Boat'\n  id: 1\n}\n")
    return (
        f"--images_folder_dir={source}",
        f"--model_dir={tmp_path}",
        f"--label_map_path={label_map}",
    )
