"""A video goes through all steps, a few frames at a time; whatever ends it, the files are whole."""

import itertools
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from checks import contents
from videos import (
    COUNT,
    SIZE,
    FakeDetector,
    detect,
    job_of,
    json_of,
    make_video,
    number_of,
    read_frames,
    shade_of,
)

from lowlight.core.errors import DataError, Interrupted
from lowlight.inference import video, video_inference
from lowlight.inference.pictures import Pictures
from lowlight.inference.video import Video
from lowlight.inference.video_inference import detect_frames

av = pytest.importorskip("av", reason="needs requirements/video.txt")


def test_frames_between_show_the_last_boxes(film, out, monkeypatch):
    drawn = {}

    def note(image, found, names):
        drawn[number_of(np.asarray(image))] = float(found.boxes[0, 0])

    monkeypatch.setattr(video_inference, "draw_detections", note)
    detector = FakeDetector()
    counts, output = detect(film, out, detector, every=6)
    assert (counts.frames, counts.seen, counts.objects) == (COUNT, 4, 8)
    assert len(detector.seen) == 4
    assert [one["frame"] for one in json_of(out)["frames"]] == [0, 6, 12, 18]
    assert drawn == {n: float(n // 6 * 6) for n in range(COUNT)}
    assert len(read_frames(output)[0]) == COUNT


@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("every", [1, 3, 50])
def test_batches_and_steps_give_the_same_frames(film, out, batch, every):
    counts, _ = detect(film, out, FakeDetector(batch), every)
    numbers = [one["frame"] for one in json_of(out)["frames"]]
    assert numbers == list(range(0, COUNT, every))
    assert counts.frames == COUNT


def test_without_a_folder_what_is_found_is_printed(film, capsys):
    with Video(film) as opened:
        counts = detect_frames(opened, job_of(None), 10)
    assert (counts.frames, counts.seen) == (COUNT, 2)
    assert capsys.readouterr().out.splitlines() == [
        "frame 0, 0.000 s (96x64):",
        "  Boat       0.75  x 0 to 40, y 8 to 30",
        "  Bicycle    0.50  x 2 to 60, y 2 to 40",
        "frame 10, 1.000 s (96x64):",
        "  Boat       0.75  x 10 to 50, y 8 to 30",
        "  Bicycle    0.50  x 2 to 60, y 2 to 40",
    ]


def test_few_frames_are_held_however_long_the_video_is(tmp_path, monkeypatch, out):
    path = make_video(tmp_path / "long.mp4", 300, rate=30)
    began, ended, most = [], [], []
    to_rgb, write = video.Frame.to_rgb, video.Film.write

    def begin(frame):
        began.append(1)
        most.append(len(began) - len(ended))
        return to_rgb(frame)

    monkeypatch.setattr(video.Frame, "to_rgb", begin)
    monkeypatch.setattr(video.Film, "write", lambda *given: (write(*given), ended.append(1)))
    detect(path, out)
    assert len(ended) == 300
    threads = min(os.cpu_count(), 4)
    assert max(most) <= 3 * 2 * threads + 2 * 2 + 8


def test_a_brightened_copy_is_drawn_on_and_light_changes_slowly(film, out):
    pictures = Pictures(brightened=True)
    _, output = detect(film, out, thresholds={2: 0.99}, pictures=pictures)
    levels = [f.to_ndarray(format="rgb24")[-4, -4, 0] for f in read_frames(output)[0]]
    assert levels[0] > shade_of(0) + 25
    assert max(abs(int(b) - int(a)) for a, b in itertools.pairwise(levels)) < 12


def test_a_video_that_is_cut_short_is_kept_as_far_as_it_goes(tmp_path, out):
    path = make_video(tmp_path / "a.mp4", 60, noise=True, faststart=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"a\.mp4: cut short: it ends at .* of 6\.0 s\.\n") as error:
        detect(path, out)
    frames, _ = read_frames(out / "a.mp4")
    assert 25 <= len(frames) <= 32
    assert f"The {len(frames)} frames that can be read are done and kept in" in str(error.value)
    assert len(json_of(out)["frames"]) == len(frames)


@pytest.mark.parametrize("file", ["a.mp4", "a.mkv", "a.avi"])
def test_a_damaged_place_is_left_out_and_told(tmp_path, file, out):
    path = make_video(tmp_path / file, 60, codec="mpeg4", noise=True, gop=5)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 9000] = np.random.default_rng(0).bytes(9000)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"Fetch it again\. The \d+ frames that can be read are"):
        detect(path, out)
    assert 30 <= len(read_frames(out / "a.mp4")[0]) <= 60
    json_of(out)


def test_a_video_without_frames_is_an_error_and_leaves_nothing(film, out, monkeypatch):
    monkeypatch.setattr(Video, "frames", lambda self: iter([]))
    with pytest.raises(DataError, match=r"my film\.mp4: no frame of it can be read"):
        detect(film, out)
    assert list(out.iterdir()) == []


def test_a_frame_that_the_model_cannot_take_is_named(film, out):
    class Choosy(FakeDetector):
        def prepare(self, image):
            raise ValueError("96x64 pixels can't be resized for the model")

    with pytest.raises(DataError, match=r"my film\.mp4: frame 0: 96x64 pixels can't be resized"):
        detect(film, out, Choosy())
    assert list(out.iterdir()) == []


def test_a_full_disk_leaves_the_files_as_they_were(film, out, monkeypatch):
    detect(film, out)
    before = contents(out)

    def write(self, *given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video.Film, "write", write)
    with pytest.raises(OSError, match="No space left") as error:
        detect(film, out)
    assert error.value.filename == str(out)
    assert contents(out) == before


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
def test_a_signal_leaves_whole_files(tmp_path, number, out):
    path = make_video(tmp_path / "a.mp4", 300, sound="aac")
    with pytest.raises(Interrupted) as stop:
        detect(path, out, Stopped(number))
    frames, _ = read_frames(out / "a.mp4")
    assert 1 <= len(frames) < 200
    assert len(json_of(out)["frames"]) == len(frames)
    assert stop.value.number == number
    assert f"The first {len(frames)} frames are done and kept in" in str(stop.value)
    assert "begin from the start" in stop.value.again


def test_a_second_ctrl_c_leaves_the_files_as_they_were_and_says_so(tmp_path, out, monkeypatch):
    def write(film, image, frame):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(video.Film, "write", write)
    path = make_video(tmp_path / "a.mp4", 10)
    with pytest.raises(Interrupted) as stop:
        detect(path, out)
    assert "No frame of this run was kept." in str(stop.value)
    assert "begin from the start" in stop.value.again
    assert list(out.iterdir()) == []


@pytest.fixture
def camera(monkeypatch):
    """A camera that never ends: FFmpeg's own test picture, at 30 frames a second."""
    picture = f"testsrc=size={SIZE[0]}x{SIZE[1]}:rate=30"
    monkeypatch.setattr(video, "_open", lambda av, source: av.open(picture, format="lavfi"))
    return "/dev/video0"


def test_ctrl_c_is_how_a_camera_ends(camera, out):
    counts, output = detect(camera, out, Stopped(signal.SIGINT))
    assert output.name == "video0.mp4"
    frames, stream = read_frames(output)
    assert len(frames) == counts.frames >= 1
    assert stream.average_rate == 30
    assert len(json_of(out)["frames"]) == counts.frames


def test_a_camera_has_no_end_and_sigterm_is_no_ctrl_c(camera, out):
    with Video(camera) as opened:
        assert (opened.count, opened.is_live) == (None, True)
    with pytest.raises(Interrupted):
        detect(camera, out, Stopped(signal.SIGTERM))


def test_a_camera_that_is_unplugged_is_an_error_after_what_was_seen(camera, out, monkeypatch):
    opened = Video(camera)
    real = opened._container

    def demux(streams):
        yield from itertools.islice(real.demux(streams), 12)
        raise av.error.OSError(5, "Input/output error")

    monkeypatch.setattr(opened, "_container", SimpleNamespace(demux=demux, close=real.close))
    with pytest.raises(DataError, match=r"/dev/video0: broke off \(Input/output error\)"):
        detect_frames(opened, job_of(out))
    assert len(read_frames(out / "video0.mp4")[0]) == 12
