"""Records hold what tables and images say, in TFOD's keys, and are checked before they are used."""

import gzip
import hashlib
import os

import numpy as np
import pytest
from checks import BOXES, CLASS_IDS, IMAGE, refused, write_examples
from pictures import encode
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.core.tensorflow_files import frame_record
from lowlight.dataset.classes import CLASSES, LabelMap
from lowlight.dataset.record_counts import count_and_check
from lowlight.dataset.records import ImageNames, name_images, read_records
from lowlight.dataset.writing import make_example, write_records

NAMES = LabelMap()
NAMES |= dict(enumerate(CLASSES, 1))
NAMES.ids = CLASS_IDS


def picture(form="JPEG", mode="RGB"):
    """Returns the bytes of an image of 80x40 pixels."""
    return encode(Image.new("RGB", (80, 40), (30, 20, 10)).convert(mode), form)


JPEG = picture()


@pytest.fixture
def write(tmp_path):
    """Writes records of a.jpg, each with some keys of image/ changed; None leaves one out."""

    def run(*changes):
        examples = []
        for changed in changes:
            example = make_example(IMAGE, BOXES, JPEG, CLASS_IDS)
            for key, values in changed.items():
                feature = example.features.feature[f"image/{key}"]
                feature.Clear()
                if values is None:
                    del example.features.feature[f"image/{key}"]
                else:
                    kind = {bytes: "bytes", int: "int64", float: "float"}[type(values[0])]
                    getattr(feature, f"{kind}_list").value.extend(values)
            examples.append(example)
        return write_examples(tmp_path / "theirs.record", *examples)

    return run


def test_an_example_has_tfods_keys_with_edges_as_fractions_and_ids_from_1():
    features = make_example(IMAGE, BOXES, b"jpeg bytes", CLASS_IDS).features.feature
    values = {
        key: list(getattr(value, value.WhichOneof("kind")).value) for key, value in features.items()
    }
    assert values == {
        "image/encoded": [b"jpeg bytes"],
        "image/filename": [b"a.jpg"],
        "image/format": [b"jpeg"],
        "image/height": [40],
        "image/key/sha256": [hashlib.sha256(b"jpeg bytes").hexdigest().encode()],
        "image/object/bbox/xmax": [0.5, 1.0],
        "image/object/bbox/xmin": pytest.approx([0.1, 0.0]),
        "image/object/bbox/ymax": [0.5, 1.0],
        "image/object/bbox/ymin": [0.25, 0.0],
        "image/object/class/label": [6, 12],
        "image/object/class/text": [b"Cat", b"Table"],
        "image/source_id": [b"a.jpg"],
        "image/width": [80],
    }


def test_what_is_read_is_what_was_written(tmp_path):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    write_records(tmp_path / "a.tfrecord", [(IMAGE, BOXES)], tmp_path, CLASS_IDS, lambda: None)
    (record,) = read_records([tmp_path / "a.tfrecord"], CLASS_IDS)
    assert (record.filename, record.width, record.height) == ("a.jpg", 80, 40)
    assert record.encoded == JPEG
    assert record.sha256 == hashlib.sha256(JPEG).hexdigest()
    assert record.classes.tolist() == [6, 12]
    np.testing.assert_allclose(record.unit_yxyx, [[0.25, 0.1, 0.5, 0.5], [0, 0, 1, 1]])


def test_an_image_without_boxes_is_kept_with_none(tmp_path):
    path = write_examples(tmp_path / "a", make_example(IMAGE, [], JPEG, CLASS_IDS))
    (record,) = read_records([path], CLASS_IDS)
    assert (record.unit_yxyx.shape, record.classes.shape) == ((0, 4), (0,))


# Records by another hand. -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        *("filename", "source_id", "format", "key/sha256", "height", "width"),
        *("object/class/label", "object/class/text"),
    ],
)
def test_what_tfod_has_a_default_for_may_be_missing(write, key):
    (record,) = read_records([write({key: None})], CLASS_IDS)
    assert (record.width, record.height, record.classes.tolist()) == (80, 40, [6, 12])


def test_the_text_says_the_class_where_text_and_label_differ(write):
    (record,) = read_records([write({"object/class/label": [1, 2]})], CLASS_IDS)
    assert (record.classes.tolist(), record.labels) == ([6, 12], (1, 2))


def test_crowds_and_areas_are_read_and_a_pixel_outside_is_clipped(write):
    given = {"is_crowd": [0, 1], "area": [7.0, 9.0], "bbox/xmax": [1.0125, 1.5]}
    given["bbox/ymin"] = [-0.0001, -0.1]
    path = write({f"object/{key}": values for key, values in given.items()}, {})
    record, plain = read_records([path], CLASS_IDS)
    assert (record.crowd.tolist(), record.areas.tolist()) == ([False, True], [7, 9])
    assert record.unit_yxyx[:, [0, 3]].tolist() == [[0, 1], [pytest.approx(-0.1), 1.5]]
    assert (plain.crowd.tolist(), plain.areas) == ([False, False], None)


STUMBLES = {
    "text unknown": ({"class/text": [b"Cat", b"Owl"]}, "class 'Owl' .* the label map .it has Bic"),
    "one class": ({"class/text": [b"Cat"]}, "class/text or class/label has 1 values for 2 boxes"),
    "one edge": ({"bbox/xmin": [0.1]}, "bbox/xmin has 1 values for 2 boxes"),
    "one crowd": ({"is_crowd": [1]}, "is_crowd has 1 values for 2 boxes"),
    "edges as text": ({"bbox/ymin": [b"0", b"1"]}, "bbox/ymin is a bytes_list, not a float_list"),
}


@pytest.mark.parametrize(("changed", "message"), STUMBLES.values(), ids=STUMBLES)
def test_what_tfod_would_stumble_over_is_named(write, changed, message):
    path = write({}, {f"object/{key}": values for key, values in changed.items()})
    with pytest.raises(DataError, match=rf"theirs\.record: record 2: .*{message}"):
        list(read_records([path], CLASS_IDS))


def test_a_compressed_record_file_is_named_as_that(write):
    path = write({})
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match=r"theirs\.record: compressed with GZIP.*\n.*gunzip"):
        list(read_records([path], CLASS_IDS))


def test_a_record_of_something_else_is_named(tmp_path):
    (tmp_path / "other.tfrecord").write_bytes(frame_record(b"no example"))
    with refused(f"{tmp_path}/other.tfrecord: record 1: no tf.train.Example"):
        list(read_records([tmp_path / "other.tfrecord"], CLASS_IDS))


IDENTITIES = {
    "alike": ("ab", "ab", ["a", "b"], None),
    "two cameras": ("aa", ["x/a", "y/a"], ["x/a", "y/a"], None),
    "one source": ("ab", "xx", ["a", "b"], None),
    "COCO's": ("ab", ["7", "139"], ["a", "b"], [7, 139]),
    "numbers alone": ("aa", ["7", "139"], ["7", "139"], [7, 139]),
    "none": (["", ""], ["", ""], [f"theirs.record: record {number}" for number in (1, 2)], None),
}


@pytest.mark.parametrize(
    ("filenames", "sources", "names", "numbers"), IDENTITIES.values(), ids=IDENTITIES
)
def test_images_are_named_by_source_else_by_file_else_by_place(
    write, filenames, sources, names, numbers
):
    pairs = zip(filenames, sources, strict=True)
    path = write(*({"filename": [f.encode()], "source_id": [s.encode()]} for f, s in pairs))
    assert name_images([path]) == ImageNames(names, numbers)


# What a training or an evaluation checks first. ---------------------------------------------------

LABEL, TEXT, EDGE = "object/class/label", "object/class/text", "object/bbox/"
OUTSIDE = "isn't inside its image"
BAD_RECORDS = {
    "a label above the map's": ({LABEL: [13, 1], TEXT: None}, r"\(a.jpg\): label 13, which the la"),
    "label 0": ({LABEL: [0, 1], TEXT: None}, "label 0, which the label map lacks .it has 1, 2, 3"),
    "a text that the map lacks": ({TEXT: [b"Hare"] * 2}, "class 'Hare' .* isn't in the label map"),
    "text and label": ({LABEL: [2, 12]}, "class/text is that of 'Cat', id 6 .*class/label is 2"),
    "a box turned round": ({f"{EDGE}ymin": [0.7, 0.0]}, OUTSIDE),
    "a box outside": ({f"{EDGE}ymax": [1.2, 1.0]}, OUTSIDE),
    "a box of NaN": ({f"{EDGE}ymin": [float("nan"), 0.0]}, OUTSIDE),
    "another size": ({"width": [81]}, "80x40 pixels, but the record says 81x40"),
    "no image": ({"encoded": [b"dear"]}, "not an image"),
    "a TIFF": ({"encoded": [picture("TIFF")]}, "a TIFF, which TFOD's decoder doesn't read"),
    "a GIF": ({"encoded": [picture("GIF")]}, "a GIF, which TFOD's decoder doesn't read"),
    "a palette": ({"encoded": [picture("BMP", "P")]}, "a BMP with a palette, or cut short"),
    "a cut BMP": ({"encoded": [picture("BMP")[:-1]]}, "a BMP with a palette, or cut short"),
    "a cut JPEG": ({"encoded": [JPEG[:-2]]}, "a JPEG that is cut short"),
    "a cut PNG": ({"encoded": [picture("PNG")[:-14]]}, "a PNG that is cut short"),
}


@pytest.mark.parametrize(("changed", "message"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_record_that_cannot_be_learned_from_is_named(write, changed, message):
    path = write({}, changed)
    with pytest.raises(DataError, match=f"theirs.record: record 2.*{message}"):
        count_and_check([path], NAMES)


@pytest.mark.parametrize(
    ("form", "mode"),
    [("JPEG", "L"), ("JPEG", "CMYK"), ("BMP", "RGB"), ("BMP", "RGBA")]
    + [("PNG", mode) for mode in ("L", "P", "LA")],
)
def test_what_tensorflow_decodes_is_taken(write, form, mode):
    assert count_and_check([write({"encoded": [picture(form, mode)]})], NAMES).images == 1


def test_an_image_that_a_decoder_refuses_is_named(write):
    def decode(encoded):
        raise RuntimeError(f"{len(encoded)} bad bytes")

    with pytest.raises(DataError, match=r"record 1 .*can't be decoded .\d+ bad bytes"):
        count_and_check([write({})], NAMES, decode)


def test_records_that_are_empty_or_cut_short_are_named(write):
    path = write({}, {})
    os.truncate(path, path.stat().st_size - 3)
    with pytest.raises(DataError, match="theirs.record: damaged after record 1"):
        count_and_check([path], NAMES)
    with pytest.raises(DataError, match="theirs.record: holds no record"):
        count_and_check([write()], NAMES)


def test_boxes_and_classes_are_counted_over_all_files(write, tmp_path):
    files = [write({}, {}).rename(tmp_path / name) for name in "ab"]
    counts = count_and_check(files, NAMES)
    assert (counts.files, counts.images, counts.boxes, counts.most) == (2, 4, 8, 2)
    assert set(counts.unseen) == set(CLASSES) - {"Cat", "Table"}
