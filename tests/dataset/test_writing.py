"""A data set's record files: dealt to shards, cleared of what is stale, and verified."""

import numpy as np
import pytest
from checks import refused, write_tables
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.core.files import locked
from lowlight.dataset.classes import CLASSES, format_label_map
from lowlight.dataset.records import read_records
from lowlight.dataset.tables import AnnotationRow, ImageRow, SplitRow
from lowlight.dataset.writing import verify_records, write_dataset, write_records

CLASS_IDS = {name: number for number, name in enumerate(CLASSES, 1)}


@pytest.fixture
def entries(tmp_path):
    """Seven images of 80x40, 0.jpg to 6.jpg in images/, each with another box; 6.jpg has none."""
    (tmp_path / "images").mkdir()
    found = []
    for number in range(7):
        name, boxes = f"{number}.jpg", int(number < 6)
        Image.new("RGB", (80, 40), (number, 20, 10)).save(tmp_path / "images" / name)
        row = AnnotationRow(name, 80, 40, CLASSES[number], number, 1, 10 + 3 * number, 33)
        image = ImageRow(name, f"Cat/{name}", 80, 40, "Cat", "Low", "Indoor", "train", boxes)
        found.append((image, [row] * boxes))
    return found


@pytest.fixture
def write(tmp_path, entries):
    """Writes five images into train and two into test; returns the summary's lines."""
    rows = [SplitRow(image.filename, "train") for image, _ in entries]
    rows[2], rows[4] = (SplitRow(f"{number}.jpg", "test") for number in (2, 4))

    def run(**options):
        options = {"rows": rows, "images_dir": tmp_path / "images"} | options
        return write_dataset(tmp_path, entries, classes=CLASSES, **options)

    return run


def record_files(folder):
    return sorted(path.name for path in folder.glob("*tfrecord*"))


def names_in(*paths):
    return [record.filename for record in read_records(paths, CLASS_IDS)]


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


def test_shards_are_the_same_bytes_each_time(tmp_path, write):
    write(shards=2)
    first = {name: (tmp_path / name).read_bytes() for name in record_files(tmp_path)}
    write(shards=2)
    assert {name: (tmp_path / name).read_bytes() for name in record_files(tmp_path)} == first


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
def test_stock_tf_data_reads_shards_by_a_glob(tmp_path, write):
    import tensorflow as tf

    write(shards=2)
    files = tf.data.Dataset.list_files(f"{tmp_path}/train.tfrecord-?????-of-?????", shuffle=False)
    key = {"image/filename": tf.io.FixedLenFeature([], tf.string)}
    examples = files.interleave(tf.data.TFRecordDataset).map(
        lambda serialized: tf.io.parse_single_example(serialized, key)
    )
    names = [example["image/filename"].decode() for example in examples.as_numpy_iterator()]
    assert sorted(names) == ["0.jpg", "1.jpg", "3.jpg", "5.jpg", "6.jpg"]


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


def test_records_are_verified_where_that_is_asked_for(write):
    line = "verified: 7 records hold what the tables and the images say"
    assert line not in write(shards=2)
    assert line in write(shards=2, verify=True)


def change_box(entries):
    entries[1][1][0] = entries[1][1][0]._replace(xmax=12)


def change_class(entries):
    entries[1][1][0] = entries[1][1][0]._replace(class_name="Cup")


def change_size(entries):
    entries[1] = (entries[1][0]._replace(width=81), entries[1][1])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        pytest.param(change_box, "record 2: the boxes of 1.jpg differ", id="a box"),
        pytest.param(change_class, "record 2: the classes of the boxes of 1.jpg", id="a class"),
        pytest.param(change_size, "record 2: 80x40 pixels, not 81x40", id="a size"),
        pytest.param(lambda e: e[1][1].clear(), "record 2: the classes of the", id="no box"),
        pytest.param(lambda e: e.reverse(), "record 1: is 0.jpg, not 6.jpg", id="another order"),
        pytest.param(lambda e: e.append(e[0]), "ends before the record of 0.jpg", id="one missing"),
        pytest.param(lambda e: e.pop(), "record 7: one too many", id="one too many"),
        pytest.param(lambda e: e.clear(), "record 1: one too many", id="none expected"),
    ],
)
def test_a_record_that_differs_from_the_tables_is_named(tmp_path, entries, change, found):
    path, images = tmp_path / "x", tmp_path / "images"
    write_records(path, entries, images, CLASS_IDS, lambda: None)
    verify_records(path, "train.tfrecord", entries, images, CLASS_IDS, lambda: None)
    change(entries)
    with refused(f"train.tfrecord: {found}", "the disk fails. Run this step again."):
        verify_records(path, "train.tfrecord", entries, images, CLASS_IDS, lambda: None)


def test_a_record_whose_image_differs_from_its_file_is_named(tmp_path, entries):
    path, images = tmp_path / "x", tmp_path / "images"
    write_records(path, entries, images, CLASS_IDS, lambda: None)
    Image.new("RGB", (80, 40)).save(images / "3.jpg")
    with pytest.raises(DataError, match=r"record 4: its image isn't that of 3\.jpg"):
        verify_records(path, "train.tfrecord", entries, images, CLASS_IDS, lambda: None)


def test_records_that_fail_the_check_do_not_get_their_names(tmp_path, write, monkeypatch):
    from lowlight.dataset import writing

    write()
    before = (tmp_path / "train.tfrecord").read_bytes()
    original = writing.pixel_xyxy_to_unit_yxyx
    monkeypatch.setattr(
        writing, "pixel_xyxy_to_unit_yxyx", lambda box, *size: np.add(original(box, *size), 0.1)
    )
    with pytest.raises(DataError, match=r"/train\.tfrecord: record 1: the boxes of 0\.jpg differ"):
        write(verify=True)
    assert (tmp_path / "train.tfrecord").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def flags_of(tmp_path, entries):
    """Writes the tables, and returns the script's flags."""
    boxes = [box for _, boxes in entries for box in boxes]
    write_tables(tmp_path, [image for image, _ in entries], boxes)
    folders = [f"--{name}={tmp_path}" for name in ("data_dir", "output_dir")]
    return [*folders, f"--images_dir={tmp_path}/images", "--nokeep_duplicates_together"]


def test_the_script_deals_and_verifies(tmp_path, entries, run_script):
    folders = flags_of(tmp_path, entries)
    run = run_script("make_tfrecords.py", *folders, "--shards=2", "--verify")
    assert run.returncode == 0, run.stderr
    assert "train.tfrecord-?????-of-00002: 5 images" in run.stdout
    assert "verified: 7 records" in run.stdout
    run = run_script("make_tfrecords.py", *folders, "--shards=0")
    assert run.returncode == 1
    assert run.stderr.startswith("error: flag --shards=0: ")


def test_a_second_writer_of_a_folder_is_refused_and_the_first_loses_nothing(
    tmp_path, entries, run_script
):
    folders = flags_of(tmp_path, entries)
    with locked(tmp_path, "written", "output_dir"):
        run = run_script("make_tfrecords.py", *folders)
    assert run.returncode == 1
    assert f"error: {tmp_path}: is being written already, by process" in run.stderr
    assert record_files(tmp_path) == []
