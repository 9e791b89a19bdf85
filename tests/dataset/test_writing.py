"""A data set's records: split, dealt to shards, cleared of what is stale, and verified."""

import csv

import numpy as np
import pytest
from checks import CLASS_IDS, contents, message_of, refused, write_tables
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset import writing
from lowlight.dataset.classes import CLASSES, format_label_map, read_label_map
from lowlight.dataset.records import read_records
from lowlight.dataset.tables import AnnotationRow, ImageRow, SplitRow, format_table
from lowlight.dataset.writing import verify_records, write_dataset, write_records

TEST = 2, 4  # the images of the test part


@pytest.fixture
def entries(tmp_path):
    """Seven images of 80x40, 0.jpg to 6.jpg in images/, each with another box; 6.jpg has none.

    0.jpg, which is officially for training, and 6.jpg, which is to test, are copies.
    """
    (tmp_path / "images").mkdir()
    rng, found = np.random.default_rng(0), []
    for number in range(7):
        name, boxes = f"{number}.jpg", int(number < 6)
        forms = Image.fromarray(rng.integers(0, 60, (10, 20, 3), np.uint8)).resize((80, 40))
        forms.save(tmp_path / "images" / name)
        row = AnnotationRow(name, 80, 40, CLASSES[number], number, 1, 10 + 3 * number, 33)
        part = "test" if number in (*TEST, 6) else "train"
        image = ImageRow(name, f"Cat/{name}", 80, 40, "Cat", "Low", "Indoor", part, boxes)
        found.append((image, [row] * boxes))
    (tmp_path / "images/6.jpg").write_bytes((tmp_path / "images/0.jpg").read_bytes())
    return found


@pytest.fixture
def write(tmp_path, entries):
    """Writes five images into train and two into test; returns the summary's lines."""
    rows = [SplitRow(f"{n}.jpg", "test" if n in TEST else "train") for n in range(7)]

    def run(**options):
        options = {"rows": rows, "images_dir": tmp_path / "images"} | options
        return write_dataset(tmp_path, entries, classes=CLASSES, **options)

    return run


@pytest.fixture
def make_records(tmp_path, entries, run_script):
    """Runs make_tfrecords.py on the entries; flags given come last and win."""
    boxes = [box for _, boxes in entries for box in boxes]
    write_tables(tmp_path, [image for image, _ in entries], boxes)

    def run(*flags):
        folders = [f"--{name}={tmp_path}" for name in ("data_dir", "output_dir")]
        return run_script("make_tfrecords.py", *folders, f"--images_dir={tmp_path}/images", *flags)

    return run


def record_files(folder):
    return sorted(path.name for path in folder.glob("*tfrecord*"))


def names_in(*paths):
    return [record.filename for record in read_records(paths, CLASS_IDS)]


def split_in(folder):
    with open(folder / "split.csv", newline="") as file:
        return dict(csv.reader(file))


def test_images_are_dealt_to_shards_of_about_one_size(tmp_path, write):
    lines = write(shards=2)
    assert record_files(tmp_path) == [
        "test.tfrecord-00000-of-00002",
        "test.tfrecord-00001-of-00002",
        "train.tfrecord-00000-of-00002",
        "train.tfrecord-00001-of-00002",
    ]
    assert names_in(tmp_path / "train.tfrecord-00000-of-00002") == ["0.jpg", "3.jpg", "6.jpg"]
    assert names_in(tmp_path / "train.tfrecord-00001-of-00002") == ["1.jpg", "5.jpg"]
    assert lines == [
        f"{tmp_path}/train.tfrecord-?????-of-00002: 5 images, 4 boxes in 2 files",
        f"{tmp_path}/test.tfrecord-?????-of-00002: 2 images, 2 boxes in 2 files",
        f"{tmp_path}/label_map.txt: 12 classes",
    ]


def test_files_of_another_number_of_shards_are_removed_and_told(tmp_path, write):
    write()
    lines = write(shards=2)
    assert lines[3:] == [
        f"{tmp_path}/train.tfrecord: removed, since train is in other files now",
        f"{tmp_path}/test.tfrecord: removed, since test is in other files now",
    ]
    (tmp_path / "val.tfrecord-00000-of-00003").touch()
    (tmp_path / "train.tfrecord-00007-of-00009").touch()
    (tmp_path / "train.tfrecord.old").touch()
    (tmp_path / ".train.tfrecord-00000-of-00004.partial").touch()  # of a killed run
    assert write()[3:] == [
        f"{tmp_path}/train.tfrecord-?????-of-00002: removed, since train is in other files now",
        f"{tmp_path}/train.tfrecord-?????-of-00009: removed, since train is in other files now",
        f"{tmp_path}/val.tfrecord-?????-of-00003: removed, since this split has no such part",
        f"{tmp_path}/test.tfrecord-?????-of-00002: removed, since test is in other files now",
    ]
    assert record_files(tmp_path) == ["test.tfrecord", "train.tfrecord", "train.tfrecord.old"]
    assert not list(tmp_path.glob(".*"))


def test_more_shards_than_images_are_refused_and_nothing_is_written(tmp_path, write):
    with pytest.raises(DataError, match=r"--shards=3: test has 2 images, .*\n.*--shards=2 or less"):
        write(shards=3)
    assert record_files(tmp_path) == []


@pytest.mark.slow
def test_tfods_input_reader_reads_shards_by_a_glob(tmp_path, write, entries):
    from google.protobuf import text_format
    from object_detection.builders import dataset_builder
    from object_detection.protos import input_reader_pb2

    write(shards=2)
    (tmp_path / "label_map.txt").write_text(format_label_map())
    reader = text_format.Parse(
        f"""
        label_map_path: "{tmp_path}/label_map.txt"
        shuffle: false
        num_epochs: 1
        tf_record_input_reader {{ input_path: "{tmp_path}/train.tfrecord-?????-of-?????" }}
        """,
        input_reader_pb2.InputReader(),
    )
    found = {}
    for image in dataset_builder.build(reader).as_numpy_iterator():
        assert image["image"].shape == (40, 80, 3)
        found[image["filename"].decode()] = (
            image["groundtruth_classes"].tolist(),
            (image["groundtruth_boxes"] * [40, 80, 40, 80]).round().astype(int).tolist(),
        )
    assert found == {
        image.filename: (
            [CLASS_IDS[box.class_name] for box in boxes],
            [[box.ymin, box.xmin, box.ymax, box.xmax] for box in boxes],
        )
        for image, boxes in entries
        if image.filename not in ("2.jpg", "4.jpg")
    }


def change_box(entries, images):
    entries[1][1][0] = entries[1][1][0]._replace(xmax=12)


def change_class(entries, images):
    entries[1][1][0] = entries[1][1][0]._replace(class_name="Cup")


def change_size(entries, images):
    entries[1] = (entries[1][0]._replace(width=81), entries[1][1])


def change_image(entries, images):
    Image.new("RGB", (80, 40)).save(images / "3.jpg")


CHANGES = {
    "a box": (change_box, "record 2: differs from 1.jpg in boxes"),
    "a class": (change_class, "record 2: differs from 1.jpg in classes"),
    "a size": (change_size, "record 2: differs from 1.jpg in size, boxes"),
    "an image": (change_image, "record 4: differs from 3.jpg in file"),
    "no box": (lambda e, _: e[1][1].clear(), "record 2: differs from 1.jpg in classes, boxes"),
    "another order": (lambda e, _: e.reverse(), "record 1: differs from 6.jpg in name, "),
    "one missing": (lambda e, _: e.append(e[0]), "ends before the record of 0.jpg"),
    "one too many": (lambda e, _: e.pop(), "record 7: one too many"),
    "none expected": (lambda e, _: e.clear(), "record 1: one too many"),
}


@pytest.mark.parametrize(("change", "found"), CHANGES.values(), ids=CHANGES)
def test_a_record_that_differs_from_the_tables_is_named(tmp_path, entries, change, found):
    images = tmp_path / "images"
    given = entries, images, CLASS_IDS, lambda: None
    write_records(tmp_path / "x", *given)
    verify_records(tmp_path / "x", "train.tfrecord", *given)
    change(entries, images)
    with refused(f"train.tfrecord: {found}", "the disk fails. Run this step again."):
        verify_records(tmp_path / "x", "train.tfrecord", *given)


def test_records_that_fail_the_check_do_not_get_their_names(tmp_path, write, monkeypatch):
    write()
    before = (tmp_path / "train.tfrecord").read_bytes()
    original = writing.pixel_xyxy_to_unit_yxyx
    monkeypatch.setattr(
        writing, "pixel_xyxy_to_unit_yxyx", lambda box, *size: np.add(original(box, *size), 0.1)
    )
    with pytest.raises(
        DataError, match=r"/train\.tfrecord: record 1: differs from 0\.jpg in boxes"
    ):
        write(verify=True)
    assert (tmp_path / "train.tfrecord").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


# The command. -------------------------------------------------------------------------------------


def test_the_step_writes_the_same_bytes_each_time(tmp_path, make_records):
    made = []
    for folder in ("one", "two words"):
        run = make_records(f"--output_dir={tmp_path / folder}", "--shards=2", "--verify")
        assert run.returncode == 0, run.stderr
        assert "train.tfrecord-?????-of-00002: 5 images" in run.stdout
        assert "test.tfrecord-?????-of-00002: 2 images" in run.stdout
        assert "verified: 7 records" in run.stdout
        made.append(contents(tmp_path / folder))
    assert sorted(made[0]) == ["label_map.txt", "split.csv", *record_files(tmp_path / "one")]
    assert made[0] == made[1]


@pytest.mark.parametrize("together", [True, False])
def test_near_duplicates_stay_in_one_part_of_a_random_split(tmp_path, make_records, together):
    flags = () if together else ("--nokeep_duplicates_together",)
    run = make_records("--seed=0", *flags)
    told = "near-duplicates: 1 group of 2 images, each in one part\n"
    assert (told in run.stdout, "near-duplicates" in run.stdout) == (together, together)
    split_of = split_in(tmp_path)
    assert (split_of["0.jpg"] == split_of["6.jpg"]) is together


def test_an_official_split_stays_and_its_leaks_are_told(tmp_path, make_records):
    run = make_records("--split=official")
    found = [number for number in range(7) if split_in(tmp_path)[f"{number}.jpg"] == "test"]
    assert found == [2, 4, 6]
    assert (
        "near-duplicates: 1 group of 2 images, 1 of them in several parts\n"
        "  0.jpg (train), 6.jpg (test)\n"
    ) in run.stdout


def test_ones_own_classes_get_the_ids_of_their_lines(tmp_path, entries, make_records):
    (tmp_path / "classes.txt").write_text("Street lamp\nCat\n")
    names = "Cat", "Street lamp"
    boxes = [box[0]._replace(class_name=names[n % 2]) for n, (_, box) in enumerate(entries[:6])]
    (tmp_path / "annotations.csv").write_text(format_table(boxes, AnnotationRow))
    run = make_records("--split=official")
    assert "label_map.txt: 2 classes\n" in run.stdout
    label_map = read_label_map(tmp_path / "label_map.txt")
    assert label_map == {1: "Street lamp", 2: "Cat"}
    records = list(read_records([tmp_path / "train.tfrecord"], label_map.ids))
    assert [record.classes.tolist() for record in records] == [[2], [1], [1], [1]]


def test_an_error_in_the_middle_leaves_the_earlier_files_as_they_were(tmp_path, make_records):
    (tmp_path / "test.tfrecord").write_bytes(b"earlier")
    (tmp_path / "images/6.jpg").unlink()
    assert message_of(make_records("--nokeep_duplicates_together")) == (
        f"error: {tmp_path}/images/6.jpg: no such file.\n"
        "  Run convert_images.py, or check --images_dir.\n"
    )
    assert (tmp_path / "test.tfrecord").read_bytes() == b"earlier"
    assert not list(tmp_path.glob(".*"))
    assert not (tmp_path / "train.tfrecord").exists()
