"""Many images go through all steps; what was found is kept whole, whatever happens."""

import csv
import errno
import io
import json
import os
import struct
import time
import zipfile

import numpy as np
import pytest
import videos
from checks import contents
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.detector.detections import Detections
from lowlight.images import reading
from lowlight.inference import pictures, steps
from lowlight.inference.folder import COLUMNS, detect_files, format_csv
from lowlight.inference.inputs import find_images
from lowlight.inference.pictures import LOG, Pictures

FILES = ["a.jpg", "b.png", "c.gif", "d.webp", "deep er/e.tif", "f.bmp"]
FOUND = Detections(
    np.array([[1, 2, 9, 8], [2, 2, 6, 7], [0, 0, 3, 3]], np.float32),
    np.array([2, 1, 3]),
    np.array([0.75, 0.5, 0.25], np.float32),
)


class FakeDetector(videos.FakeDetector):
    """Finds FOUND in each image, and remembers those it saw."""

    def __init__(self, stop_at=None):
        """Takes the width of the image at which Ctrl-C is to be pressed."""
        super().__init__()
        self._stop_at = stop_at

    def prepare(self, image):
        if image.shape[1] == 1:
            raise ValueError("1x9 pixels can't be resized for the model")
        return image

    def finish(self, raw, prepared):
        if prepared.shape[1] == self._stop_at:
            raise KeyboardInterrupt
        return FOUND


@pytest.fixture
def folder(tmp_path):
    """Six images, each a pixel wider than the one before."""
    folder = tmp_path / "in"
    (folder / "deep er").mkdir(parents=True)
    for number, name in enumerate(FILES):
        Image.new("RGB", (20 + number, 10), (9, 9, 9)).save(folder / name)
    return folder


def run(source, out, detector=None, thresholds=None, **options):
    options |= {"source": str(source)}
    job = videos.job_of(out, detector or FakeDetector(), thresholds, **options)
    return detect_files(find_images(source, recursive=True), job)


def run_until_ctrl_c(source, out, **options):
    with pytest.raises(KeyboardInterrupt):
        run(source, out, FakeDetector(stop_at=24), **options)


def seen_again(source, out, **options):
    """Returns how many images the next run looks at."""
    detector = FakeDetector()
    run(source, out, detector, **options)
    return len(detector.seen)


def images_of(out):
    return json.loads((out / "detections.json").read_text())["images"]


def test_every_image_has_its_picture_its_entry_and_its_rows(folder, out):
    assert run(folder, out) == (12, 0)
    assert [one["file"] for one in images_of(out)] == FILES
    assert images_of(out)[4] == {
        "file": "deep er/e.tif",
        "width": 24,
        "height": 10,
        "detections": [
            {"class": "Boat", "class_id": 2, "score": 0.75, "box": [1.0, 2.0, 9.0, 8.0]},
            {"class": "Bicycle", "class_id": 1, "score": 0.5, "box": [2.0, 2.0, 6.0, 7.0]},
        ],
    }
    for number, name in enumerate(FILES):
        with Image.open(out / name) as picture, Image.open(folder / name) as image:
            assert picture.size == (20 + number, 10)
            assert picture.format == image.format
    rows = list(csv.reader((out / "detections.csv").open()))
    assert len(rows) == 13
    assert rows[1] == ["a.jpg", "Boat", "2", "0.75", "1.0", "2.0", "9.0", "8.0"]
    assert not (out / LOG).exists()


def test_without_a_folder_what_is_found_is_printed(folder, capsys):
    run(folder, None, thresholds={2: 0.7})
    assert capsys.readouterr().out.startswith(
        "a.jpg (20x10):\n  Boat       0.75  x 1 to 9, y 2 to 8\nb.png (21x10):\n"
    )
    run(folder, None, thresholds={2: 0.9})
    assert "a.jpg (20x10):\n  nothing\n" in capsys.readouterr().out


def test_coco_results_name_files_and_hold_widths(folder, out):
    run(folder, out, format="coco")
    assert json.loads((out / "coco_results.json").read_text())[0] == {
        "image_id": "a.jpg",
        "category_id": 2,
        "bbox": [1.0, 2.0, 8.0, 6.0],
        "score": 0.75,
    }


def test_crops_hold_what_lies_in_the_boxes(folder, out):
    run(folder, out, pictures=Pictures(crops=True))
    with Image.open(out / "crops" / "Boat" / "deep er" / "e.tif_1.jpg") as crop:
        assert crop.size == (8, 6)
    assert len(list((out / "crops" / "Bicycle").rglob("*.jpg"))) == 6


def test_a_brightened_copy_is_drawn_on_and_the_detector_sees_the_original(folder, out):
    run(folder, out, pictures=Pictures(brightened=True))
    with Image.open(out / "b.png") as picture:
        assert picture.getpixel((20, 9))[0] > 50


def test_each_class_has_a_threshold_of_its_own(folder, out):
    run(folder, out, thresholds={2: 0.8, 3: 0.2})
    assert {d["class"] for one in images_of(out) for d in one["detections"]} == {"Bottle"}


def test_a_broken_image_is_named_and_the_others_are_done(folder, out):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:50])
    Image.new("RGB", (1, 9)).save(folder / "thin.png")
    with pytest.raises(DataError) as error:
        run(folder, out)
    lines = str(error.value).splitlines()
    assert lines[0].startswith(f"{folder}/b.png: damaged or cut short")
    assert lines[2].startswith(f"{folder}/thin.png: 1x9 pixels can't be resized for the model")
    assert lines[-1] == "The other 5 images are done."
    assert len(images_of(out)) == 5


def test_a_pipe_is_refused_and_not_waited_for(tmp_path, out):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match=r"pipe\.jpg: no plain file, but a pipe"):
        run(tmp_path / "pipe.jpg", out)


def test_ctrl_c_leaves_what_is_done_and_the_next_run_goes_on(folder, out):
    run_until_ctrl_c(folder, out)
    assert len(images_of(out)) == 4
    detector = FakeDetector()
    assert run(folder, out, detector) == (12, 4)
    assert [image.shape[1] for image in detector.seen] == [24, 25]
    assert len(images_of(out)) == 6


SINCE = {
    "nothing": (lambda folder, out: None, {}, 2),
    "a picture is gone": (lambda folder, out: (out / "a.jpg").unlink(), {}, 3),
    "another image": (lambda folder, out: Image.new("L", (9, 9)).save(folder / "a.jpg"), {}, 3),
    "another threshold": (lambda folder, out: None, {"thresholds": {1: 0.4, 2: 0.4}}, 6),
    "another model in its place": (lambda folder, out: None, {"model_files": "another"}, 6),
}


@pytest.mark.parametrize(("change", "options", "again"), SINCE.values(), ids=SINCE)
def test_what_has_changed_since_is_done_again(folder, out, change, options, again):
    run_until_ctrl_c(folder, out)
    change(folder, out)
    assert seen_again(folder, out, **options) == again


def pack(path, shade):
    """Writes an archive of six images of a shade, each a pixel wider than the one before."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(6):
            with archive.open(f"{number}.png", "w") as file:
                Image.new("RGB", (20 + number, 10), (shade,) * 3).save(file, "PNG")
    return path


@pytest.mark.parametrize(
    ("second", "shade", "again"),
    [
        pytest.param("a.zip", None, 2, id="the same archive"),
        pytest.param("b.zip", 9, 6, id="another of the same names"),
        pytest.param("a.zip", 200, 6, id="one in the first one's place"),
    ],
)
def test_results_of_one_archive_are_not_taken_for_another_s(tmp_path, out, second, shade, again):
    run_until_ctrl_c(pack(tmp_path / "a.zip", 9), out)
    if shade:
        pack(tmp_path / second, shade)
    assert seen_again(tmp_path / second, out) == again


def test_large_images_are_held_one_at_a_time_and_come_out_the_same(folder, out, monkeypatch):
    run(folder, out)
    before = contents(out)
    monkeypatch.setattr(reading, "_UNIT", 1)
    monkeypatch.setattr(steps, "_MOST_HELD", 0)
    held, most = [], []

    class Watching(FakeDetector):
        def prepare(self, image):
            held.append(1)
            most.append(len(held))
            time.sleep(0.01)
            held.pop()
            return image

    run(folder, out, Watching())
    assert max(most) == 1
    assert contents(out) == before


def test_few_images_are_held_however_many_there_are(tmp_path, out):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(60):
        Image.new("RGB", (8, 8)).save(folder / f"{number:02}.png")
    began, ended, most = [], [], []

    class SlowDetector(FakeDetector):
        def prepare(self, image):
            began.append(1)
            most.append(len(began) - len(ended))
            return image

        def finish(self, raw, prepared):
            time.sleep(0.01)
            ended.append(1)
            return FOUND

    run(folder, out, SlowDetector())
    assert len(ended) == 60
    assert max(most) <= 2 * (2 * os.cpu_count() + 1) + 3


@pytest.mark.parametrize("kind", [OSError, ValueError, struct.error, MemoryError])
def test_a_picture_that_cannot_be_written_is_its_image_s_error(folder, out, monkeypatch, kind):
    save = pictures._save_picture

    def fail(image, path, name):
        if name == "b.png":
            raise kind("encoder error -2")
        save(image, path, name)

    monkeypatch.setattr(pictures, "_save_picture", fail)
    with pytest.raises(DataError, match=rf"b\.png: its picture can't be written \({kind.__name__}"):
        run(folder, out)
    assert len(images_of(out)) == 5


def test_a_full_disk_ends_the_run(folder, out, monkeypatch):
    def fail(image, path, name):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(pictures, "_save_picture", fail)
    with pytest.raises(OSError, match="No space left"):
        run(folder, out)


@pytest.mark.parametrize("name", [LOG, ".lock"])
def test_a_log_or_lock_that_is_a_link_is_refused(folder, out, tmp_path, name):
    (tmp_path / "precious").write_text("dear")
    (out / name).symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=f"symbolic links: .*{name}"):
        run(folder, out)
    assert (tmp_path / "precious").read_text() == "dear"


def test_the_animation_shows_each_picture(folder, out):
    (folder / "broken.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="The other 6 images are done"):
        run(folder, out, pictures=Pictures(gif=True))
    with Image.open(out / "detections.gif") as animation:
        assert animation.n_frames >= 5


def test_a_name_with_a_carriage_return_is_read_back_from_the_table():
    found = [{"class": "Cat", "class_id": 6, "score": 0.5, "box": [1, 2, 3, 4]}]
    text = format_csv([{"file": "a\r.jpg", "detections": found}], ["file", *COLUMNS])
    row = next(csv.DictReader(io.StringIO(text, newline="")))
    assert (row["file"], row["class"], row["xmax"]) == ("a\r.jpg", "Cat", "3")
