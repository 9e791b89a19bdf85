"""make_tfrecords.py splits a data set and writes its records, all files or none."""

import csv

import numpy as np
import pytest
from checks import contents, write_tables
from pictures import encode
from PIL import Image

from lowlight.dataset.classes import read_label_map
from lowlight.dataset.records import read_records
from lowlight.dataset.tables import AnnotationRow, ImageRow, format_table

IMAGE = ImageRow("a.jpg", "Cat/a.jpg", 80, 40, "Cat", "Low", "Indoor", "train", 1)
BOX = AnnotationRow("a.jpg", 80, 40, "Cat", 8, 10, 40, 20)
JPEG = encode(Image.new("RGB", (80, 40), (30, 20, 10)), "JPEG")


@pytest.fixture
def images_dir(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(JPEG)
    return tmp_path / "images"


def test_the_step_writes_the_same_bytes_each_time(tmp_path, images_dir, run_script):
    rows = []
    for number in range(8):
        name = f"{number}.jpg"
        (images_dir / name).write_bytes(JPEG)
        rows.append(IMAGE._replace(filename=name))
    boxes = [BOX._replace(filename=row.filename) for row in rows]
    write_tables(tmp_path, rows, boxes)
    outputs = []
    for folder in ("one", "two words"):
        done = run_script(
            "make_tfrecords.py",
            f"--data_dir={tmp_path}",
            f"--images_dir={images_dir}",
            f"--output_dir={tmp_path / folder}",
        )
        assert done.returncode == 0, done.stderr
        assert "train.tfrecord: 6 images, 6 boxes" in done.stdout
        assert "test.tfrecord: 2 images, 2 boxes" in done.stdout
        outputs.append(contents(tmp_path / folder))
    assert sorted(outputs[0]) == ["label_map.txt", "split.csv", "test.tfrecord", "train.tfrecord"]
    assert outputs[0] == outputs[1]


@pytest.fixture
def make_records(tmp_path, images_dir, run_script):
    """Runs the step on a.jpg to d.jpg; a and d, in two official parts, are alike."""
    rng = np.random.default_rng(0)
    rows = []
    for name, part in zip("abc", ("train", "test", "test"), strict=True):
        forms = Image.fromarray(rng.integers(0, 60, (10, 20, 3), np.uint8)).resize((80, 40))
        forms.save(images_dir / f"{name}.jpg")
        rows.append(IMAGE._replace(filename=f"{name}.jpg", official_split=part, boxes=0))
    (images_dir / "d.jpg").write_bytes((images_dir / "a.jpg").read_bytes())
    rows.append(rows[1]._replace(filename="d.jpg"))
    write_tables(tmp_path, rows, [])

    def run(*arguments):
        folders = f"--data_dir={tmp_path}", f"--images_dir={images_dir}", f"--output_dir={tmp_path}"
        done = run_script("make_tfrecords.py", *folders, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout, dict(csv.reader((tmp_path / "split.csv").open()))

    return run


def test_near_duplicates_stay_in_one_part_of_a_random_split(make_records):
    for seed in range(3):
        printed, split_of = make_records(f"--seed={seed}", "--train_fraction=0.5")
        assert split_of["a.jpg"] == split_of["d.jpg"]
        assert "near-duplicates: 1 group of 2 images, each in one part\n" in printed


def test_an_official_split_stays_and_its_leaks_are_told(make_records):
    printed, split_of = make_records("--split=official")
    assert [split_of[f"{name}.jpg"] for name in "abcd"] == ["train", "test", "test", "test"]
    assert (
        "near-duplicates: 1 group of 2 images, 1 of them in several parts\n"
        "  a.jpg (train), d.jpg (test)\n"
    ) in printed


def test_near_duplicates_are_not_looked_for_where_that_is_turned_off(make_records):
    printed, _ = make_records("--nokeep_duplicates_together")
    assert "near-duplicates" not in printed


def test_ones_own_classes_get_the_ids_of_their_lines(tmp_path, images_dir, make_records):
    (tmp_path / "classes.txt").write_text("Street lamp\nCat\n")
    boxes = [
        BOX._replace(filename=f"{name}.jpg", class_name=class_name)
        for name, class_name in zip("abcd", ("Cat", "Street lamp", "Cat", "Cat"), strict=True)
    ]
    (tmp_path / "annotations.csv").write_text(format_table(boxes, AnnotationRow))
    printed, _ = make_records("--split=official")
    assert "label_map.txt: 2 classes\n" in printed
    assert read_label_map(tmp_path / "label_map.txt") == {1: "Street lamp", 2: "Cat"}
    ids = {"Street lamp": 1, "Cat": 2}
    records = list(read_records([tmp_path / "test.tfrecord"], ids))
    assert [record.classes.tolist() for record in records] == [[1], [2], [2]]


def test_an_error_in_the_middle_leaves_the_earlier_files_as_they_were(
    tmp_path, images_dir, run_script
):
    write_tables(tmp_path, [IMAGE, IMAGE._replace(filename="b.jpg", boxes=0)], [BOX])
    (tmp_path / "test.tfrecord").write_bytes(b"earlier")
    done = run_script(
        "make_tfrecords.py",
        f"--data_dir={tmp_path}",
        f"--images_dir={images_dir}",
        f"--output_dir={tmp_path}",
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        f"error: {images_dir / 'b.jpg'}: no such file.",
        "  Run convert_images.py, or check --images_dir.",
    ]
    assert (tmp_path / "test.tfrecord").read_bytes() == b"earlier"
    assert not list(tmp_path.glob(".*"))
    assert not (tmp_path / "train.tfrecord").exists()
