"""Records hold what the tables and the images say, in the keys that TFOD reads."""

import gzip
import hashlib

import numpy as np
import pytest
from checks import write_examples
from pictures import encode
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.records import ImageNames, name_images, read_records
from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.dataset.writing import make_example, write_records

CLASS_IDS = {name: number for number, name in enumerate(CLASSES, 1)}
IMAGE = ImageRow("a.jpg", "Cat/a.jpg", 80, 40, "Cat", "Low", "Indoor", "train", 2)
BOXES = [
    AnnotationRow("a.jpg", 80, 40, "Cat", 8, 10, 40, 20),
    AnnotationRow("a.jpg", 80, 40, "Table", 0, 0, 80, 40),
]


def jpeg(width=80, height=40):
    return encode(Image.new("RGB", (width, height), (30, 20, 10)), "JPEG")


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
        examples = []
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
            examples.append(example)
        return write_examples(tmp_path / "theirs.record", *examples)

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
