"""An annotated video has the frames, the times, the colours and the sound of its source."""

import csv
from fractions import Fraction

import numpy as np
import pytest
from videos import COUNT, RED, SIZE, detect, job_of, json_of, make_video, read_frames, shade_of

from lowlight.core.errors import DataError
from lowlight.inference import video
from lowlight.inference.video_inference import detect_on_video, prepare_video_path

av = pytest.importorskip("av", reason="needs requirements/video.txt")


def test_every_frame_has_its_entry_its_rows_and_its_drawing(film, out):
    counts, output = detect(film, out)
    assert (counts.objects, counts.frames, counts.seen) == (2 * COUNT, COUNT, COUNT)
    assert output.name == "my film.mp4"
    found = json_of(out)
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
    rows = list(csv.reader((out / "detections.csv").open()))
    head = ["frame", "time", "class", "class_id", "score", "xmin", "ymin", "xmax", "ymax"]
    assert rows[0] == head
    assert rows[15] == ["7", "0.7", "Boat", "2", "0.75", "7.0", "8.0", "47.0", "30.0"]
    assert len(rows) == 1 + 2 * COUNT
    names = sorted(path.name for path in out.iterdir())
    assert names == ["detections.csv", "detections.json", "my film.mp4"]


def test_a_varying_frame_rate_keeps_its_times(tmp_path, out):
    times = [0.0, 0.04, 0.08, 0.5, 0.52, 1.7, 1.9]
    path = make_video(tmp_path / "a.mkv", len(times), times=times)
    _, output = detect(path, out)
    assert [round(frame.time, 3) for frame in read_frames(output)[0]] == times
    assert [one["time"] for one in json_of(out)["frames"]] == times


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), 50])
def test_a_frame_rate_is_kept_exactly(tmp_path, rate, out):
    _, output = detect(make_video(tmp_path / "a.mp4", COUNT, rate=rate), out)
    assert read_frames(output)[1].average_rate == rate


@pytest.mark.parametrize(
    ("file", "sound", "kept"),
    [("a.mp4", "aac", "aac"), ("a.mkv", "libmp3lame", "mp3float"), ("a.ts", "aac", "aac")],
)
def test_the_sound_is_kept_in_time(tmp_path, out, file, sound, kept):
    _, output = detect(make_video(tmp_path / file, COUNT, sound=sound), out)
    with av.open(str(output)) as container:
        assert container.streams.audio[0].codec_context.name == kept
        levels = [
            (frame.time, np.abs(frame.to_ndarray().astype(float)).max())
            for frame in container.decode(audio=0)
        ]
    click = next(time for time, level in levels if level > 0.2)
    assert click == pytest.approx(1.0, abs=0.08)
    assert levels[-1][0] == pytest.approx(2.0, abs=0.1)


def test_sound_that_mp4_cannot_hold_is_left_out_and_named(tmp_path, out):
    path = make_video(tmp_path / "a.avi", COUNT, codec="mpeg4", sound="pcm_s16le")
    text, save_dir = detect_on_video(str(path), job_of, str(out))
    assert text == "40 objects in 20 frames, without its sound (pcm_s16le), which MP4 can't hold"
    with av.open(str(save_dir / "a.mp4")) as container:
        assert len(container.streams.audio) == 0


def test_pixels_that_are_no_squares_are_shown_as_such(tmp_path, out):
    path = make_video(tmp_path / "a.mp4", 3, aspect=Fraction(4, 3))
    _, output = detect(path, out)
    assert read_frames(output)[1].sample_aspect_ratio == Fraction(4, 3)


def test_an_odd_side_gets_one_more_pixel(tmp_path, out):
    path = make_video(tmp_path / "a.mkv", 3, codec="ffv1", size=(65, 49))
    _, output = detect(path, out)
    frames, _ = read_frames(output)
    assert (frames[0].width, frames[0].height) == (66, 50)
    assert json_of(out)["frames"][0]["width"] == 65


def test_without_an_h264_encoder_it_is_mpeg_4(film, tmp_path, monkeypatch, out):
    monkeypatch.setattr(video, "_ENCODERS", ("no such", "mpeg4"))
    for path in (film, make_video(tmp_path / "a.ts", COUNT)):  # units of 1/10240 and 1/90000 s
        _, output = detect(path, out)
        frames, stream = read_frames(output)
        assert (stream.codec_context.name, len(frames)) == ("mpeg4", COUNT)
        assert frames[-1].time == pytest.approx((COUNT - 1) / 10, abs=0.001)


def test_colours_stay_as_they_are(film, out):
    _, output = detect(film, out, thresholds={2: 0.99})
    pixels = read_frames(output)[0][5].to_ndarray(format="rgb24").astype(int)
    assert np.abs(pixels[4, 4] - RED).max() < 12
    assert np.abs(pixels[-4, -4] - shade_of(5)).max() < 6


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


def test_what_mp4_cannot_hold_is_named(film, out, monkeypatch):
    def write(self, *given):
        raise av.error.InvalidDataError(1, "odd sound")

    monkeypatch.setattr(video.Film, "write", write)
    with pytest.raises(DataError, match=r"my film\.mp4: its pictures .* can't be .*odd sound"):
        detect(film, out)
    assert list(out.iterdir()) == []
