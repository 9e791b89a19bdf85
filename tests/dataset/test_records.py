"""Records hold what the tables and the images say, in the keys that TFOD reads."""

import csv
import gzip
import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.core.tfrecords import frame_record
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.records import ImageNames, name_images, read_records
from lowlight.dataset.tables import AnnotationRow, ImageRow, format_table
from lowlight.dataset.writing import make_example, write_records

CLASS_IDS = {name: number for number, name in enumerate(CLASSES, 1)}
IMAGE = ImageRow("a.jpg", "Cat/a.jpg", 80, 40, "Cat", "Low", "Indoor", "train", 2)
BOXES = [
    AnnotationRow("a.jpg", 80, 40, "Cat", 8, 10, 40, 20),
    AnnotationRow("a.jpg", 80, 40, "Table", 0, 0, 80, 40),
]


def jpeg(width=80, height=40):
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (30, 20, 10)).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def images_dir(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(jpeg())
    return tmp_path / "images"


@pytest.fixture
def record_path(tmp_path, images_dir):
    path = tmp_path / "train.tfrecord"
    write_records(path, [(IMAGE, BOXES)], images_dir, CLASS_IDS, lambda: None)
    return path


def write_tables(folder, images=(IMAGE,), boxes=BOXES):
    (folder / "images.csv").write_text(format_table(images, ImageRow))
    (folder / "annotations.csv").write_text(format_table(boxes, AnnotationRow))


def test_an_example_has_tfods_keys_with_edges_as_fractions_and_ids_from_1():
    features = make_example(IMAGE, BOXES, b"jpeg bytes", CLASS_IDS).features.feature
    floats = {key: list(value.float_list.value) for key, value in features.items()}
    ints = {key: list(value.int64_list.value) for key, value in features.items()}
    texts = {key: list(value.bytes_list.value) for key, value in features.items()}
    assert sorted(features) == [
        "image/encoded",
        "image/filename",
        "image/format",
        "image/height",
        "image/key/sha256",
        "image/object/bbox/xmax",
        "image/object/bbox/xmin",
        "image/object/bbox/ymax",
        "image/object/bbox/ymin",
        "image/object/class/label",
        "image/object/class/text",
        "image/source_id",
        "image/width",
    ]
    assert floats["image/object/bbox/ymin"] == [0.25, 0.0]
    assert floats["image/object/bbox/xmin"] == pytest.approx([0.1, 0.0])
    assert floats["image/object/bbox/ymax"] == [0.5, 1.0]
    assert floats["image/object/bbox/xmax"] == [0.5, 1.0]
    assert ints["image/object/class/label"] == [6, 12]
    assert texts["image/object/class/text"] == [b"Cat", b"Table"]
    assert (ints["image/height"], ints["image/width"]) == ([40], [80])
    assert texts["image/encoded"] == [b"jpeg bytes"]


def test_what_is_read_is_what_was_written(record_path):
    (record,) = read_records([record_path], CLASS_IDS)
    assert (record.filename, record.width, record.height) == ("a.jpg", 80, 40)
    assert record.encoded == jpeg()
    assert record.sha256 == hashlib.sha256(jpeg()).hexdigest()
    assert record.classes.tolist() == [6, 12]
    np.testing.assert_allclose(record.unit_yxyx, [[0.25, 0.1, 0.5, 0.5], [0, 0, 1, 1]])


@pytest.mark.slow
def test_tfods_own_decoder_reads_a_record(record_path, tmp_path):
    import tensorflow as tf
    from object_detection.data_decoders.tf_example_decoder import TfExampleDecoder

    from lowlight.dataset.classes import format_label_map

    (tmp_path / "label_map.txt").write_text(format_label_map())
    decoder = TfExampleDecoder(label_map_proto_file=str(tmp_path / "label_map.txt"))
    (serialized,) = tf.data.TFRecordDataset(str(record_path))
    decoded = decoder.decode(serialized)
    assert decoded["image"].shape == (40, 80, 3)
    assert decoded["groundtruth_classes"].numpy().tolist() == [6, 12]
    np.testing.assert_allclose(decoded["groundtruth_boxes"], [[0.25, 0.1, 0.5, 0.5], [0, 0, 1, 1]])


@pytest.fixture
def write(tmp_path):
    """Writes records of a.jpg with Cat and Table, each with some keys changed; None leaves one out.

    Returns the path.
    """

    def run(*changes):
        path, frames = tmp_path / "theirs.record", []
        for changed in changes:
            example = make_example(IMAGE, BOXES, jpeg(), CLASS_IDS)
            for key, values in changed.items():
                feature = example.features.feature[key]
                feature.Clear()
                if values is None:
                    del example.features.feature[key]
                else:
                    kind = {bytes: "bytes", int: "int64", float: "float"}[type(values[0])]
                    getattr(feature, f"{kind}_list").value.extend(values)
            frames.append(frame_record(example.SerializeToString()))
        path.write_bytes(b"".join(frames))
        return path

    return run


@pytest.mark.parametrize(
    "key",
    [
        *("image/filename", "image/source_id", "image/format", "image/key/sha256"),
        *("image/height", "image/width", "image/object/class/label", "image/object/class/text"),
    ],
)
def test_what_tfod_has_a_default_for_may_be_missing(write, key):
    (record,) = read_records([write({key: None})], CLASS_IDS)
    assert (record.width, record.height, record.classes.tolist()) == (80, 40, [6, 12])


def test_the_text_says_the_class_where_text_and_label_differ(write):
    path = write({"image/object/class/label": [1, 2]})
    (record,) = read_records([path], CLASS_IDS)
    assert (record.classes.tolist(), record.labels) == ([6, 12], (1, 2))


def test_crowds_and_areas_are_read_and_a_pixel_outside_is_clipped(write):
    given = {"is_crowd": [0, 1], "area": [7.0, 9.0], "bbox/xmax": [1.0125, 1.5]}
    given["bbox/ymin"] = [-0.0001, -0.1]
    path = write({f"image/object/{key}": values for key, values in given.items()}, {})
    record, plain = read_records([path], CLASS_IDS)
    assert (record.crowd.tolist(), record.areas.tolist()) == ([False, True], [7, 9])
    assert record.unit_yxyx[:, [0, 3]].tolist() == [[0, 1], [pytest.approx(-0.1), 1.5]]
    assert (plain.crowd.tolist(), plain.areas) == ([False, False], None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"class/text": [b"Cat", b"Owl"]}, "class 'Owl' .* isn't in the label map .it has Bicycle"),
        ({"class/text": [b"Cat"]}, "class/text or class/label has 1 values for 2 boxes"),
        ({"bbox/xmin": [0.1]}, "bbox/xmin has 1 values for 2 boxes"),
        ({"is_crowd": [1]}, "is_crowd has 1 values for 2 boxes"),
        ({"bbox/ymin": [b"0", b"1"]}, "bbox/ymin is a bytes_list, not a float_list"),
    ],
    ids=["text unknown", "one class", "one edge", "one crowd", "edges as text"],
)
def test_what_tfod_would_stumble_over_is_named(write, changed, message):
    path = write({}, {f"image/object/{key}": values for key, values in changed.items()})
    with pytest.raises(DataError, match=rf"theirs\.record: record 2: .*{message}"):
        list(read_records([path], CLASS_IDS))


def test_a_compressed_record_file_is_named_as_that(write):
    path = write({})
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match=r"theirs\.record: compressed with GZIP.*\n.*gunzip"):
        list(read_records([path], CLASS_IDS))


@pytest.mark.parametrize(
    ("filenames", "source_ids", "names", "numbers"),
    [
        ("ab", "ab", ["a", "b"], None),
        ("aa", ["x/a", "y/a"], ["x/a", "y/a"], None),
        ("ab", "xx", ["a", "b"], None),
        ("ab", ["7", "139"], ["a", "b"], [7, 139]),
        ("aa", ["7", "139"], ["7", "139"], [7, 139]),
        (["", ""], ["", ""], ["theirs.record: record 1", "theirs.record: record 2"], None),
    ],
    ids=["alike", "two cameras", "one source", "COCO's", "numbers alone", "none"],
)
def test_images_are_named_by_source_else_by_file_else_by_place(
    write, filenames, source_ids, names, numbers
):
    pairs = zip(filenames, source_ids, strict=True)
    path = write(
        *(
            {"image/filename": [name.encode()], "image/source_id": [source.encode()]}
            for name, source in pairs
        )
    )
    assert name_images([path]) == ImageNames(names, numbers)


def test_an_image_without_boxes_is_kept_with_none(tmp_path, images_dir):
    path = tmp_path / "none.tfrecord"
    write_records(path, [(IMAGE, [])], images_dir, CLASS_IDS, lambda: None)
    (record,) = read_records([path], CLASS_IDS)
    assert (record.unit_yxyx.shape, record.classes.shape) == ((0, 4), (0,))


def test_a_record_file_that_is_cut_short_is_named_with_the_place(record_path):
    record_path.write_bytes((record_path.read_bytes() * 2)[:-5])
    with pytest.raises(DataError, match=r"train\.tfrecord: damaged after record 1"):
        list(read_records([record_path], CLASS_IDS))


@pytest.mark.slow
def test_a_record_of_something_else_is_named(tmp_path):
    import tensorflow as tf

    path = tmp_path / "other.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"no example")
    with pytest.raises(DataError, match=r"other\.tfrecord: record 1: no tf\.train\.Example"):
        list(read_records([path], CLASS_IDS))


def test_an_image_of_another_size_than_its_row_is_refused(tmp_path, images_dir):
    (images_dir / "a.jpg").write_bytes(jpeg(40, 40))
    with pytest.raises(DataError, match=r"a\.jpg: 40x40 pixels, but images\.csv has 80x40"):
        write_records(tmp_path / "x", [(IMAGE, BOXES)], images_dir, CLASS_IDS, lambda: None)


def test_the_step_writes_the_same_bytes_each_time(tmp_path, images_dir, run_script):
    rows = []
    for number in range(8):
        name = f"{number}.jpg"
        (images_dir / name).write_bytes(jpeg())
        rows.append(IMAGE._replace(filename=name, boxes=1))
    boxes = [BOXES[0]._replace(filename=row.filename) for row in rows]
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
        outputs.append({p.name: p.read_bytes() for p in sorted((tmp_path / folder).iterdir())})
    assert list(outputs[0]) == ["label_map.txt", "split.csv", "test.tfrecord", "train.tfrecord"]
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
    from lowlight.dataset.classes import read_label_map

    (tmp_path / "classes.txt").write_text("Street lamp\nCat\n")
    boxes = [
        BOXES[0]._replace(filename=f"{name}.jpg", class_name=class_name)
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
    write_tables(tmp_path, [IMAGE, IMAGE._replace(filename="b.jpg")], BOXES)
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
