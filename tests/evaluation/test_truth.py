"""Ground truth is the same from tables, records and COCO's JSON."""

import dataclasses
import json

import numpy as np
import pytest
from checks import write_tables
from scored import random_case

from lowlight.core.errors import DataError
from lowlight.dataset.records import ImageNames, Record
from lowlight.dataset.tables import AnnotationRow, ImageRow, SplitRow, format_table
from lowlight.evaluation.truth import (
    format_truth,
    read_truth_of_coco,
    read_truth_of_tables,
    truth_of_records,
)
from lowlight.evaluation.truth_source import TruthSource, gather_facts

IMAGES = [
    ImageRow(name, name, 401, 299, "Cat", "Low", "Indoor", "test", boxes)
    for name, boxes in (("a.jpg", 1), ("b.jpg", 2), ("c.jpg", 0))
]
BOXES = [
    AnnotationRow("b.jpg", 401, 299, "Dog", 3, 7, 200, 299),
    AnnotationRow("a.jpg", 401, 299, "Cat", 0, 0, 33, 35),
    AnnotationRow("b.jpg", 401, 299, "Cat", 1, 1, 401, 298),
]


@pytest.fixture
def data_dir(tmp_path):
    write_tables(tmp_path, IMAGES, BOXES)
    splits = [SplitRow("a.jpg", "train"), SplitRow("b.jpg", "test"), SplitRow("c.jpg", "test")]
    (tmp_path / "split.csv").write_text(format_table(splits, SplitRow))
    return tmp_path


def test_tables_give_a_split_with_the_ids_of_the_whole_set(data_dir):
    truth = read_truth_of_tables(data_dir, "test")
    assert truth.filenames == ("b.jpg", "c.jpg")
    assert truth.image_ids.tolist() == [2, 3]
    assert truth.other_ids == {1}
    assert [truth.names[label] for label in truth.labels] == ["Dog", "Cat"]
    assert truth.ltwh.tolist() == [[3, 7, 197, 292], [1, 1, 400, 297]]
    assert truth.images.tolist() == [0, 0]
    assert truth.boxes == 2


def test_all_images_need_no_split_file(data_dir):
    (data_dir / "split.csv").unlink()
    assert len(read_truth_of_tables(data_dir).filenames) == 3


def test_a_split_without_images_is_named_with_those_that_there_are(data_dir):
    with pytest.raises(DataError, match=r"no image is in 'val'; there are: test, train"):
        read_truth_of_tables(data_dir, "val")


def test_records_give_what_tables_give_though_they_hold_float32_fractions(data_dir):
    truth = read_truth_of_tables(data_dir)
    numbers = {name: number for number, name in zip(truth.class_ids, truth.names, strict=True)}
    records = []
    for image in reversed(IMAGES):
        of_image = [box for box in BOXES if box.filename == image.filename]
        unit = [(b.ymin / 299, b.xmin / 401, b.ymax / 299, b.xmax / 401) for b in of_image]
        ids = [numbers[box.class_name] for box in of_image]
        records.append(record(image.filename, unit, ids, size=(401, 299)))
    names = dict(zip(truth.class_ids, truth.names, strict=True))
    found = truth_of_records(records, names_of(records), names, "test.tfrecord")
    assert found.filenames == truth.filenames
    assert found.ltwh.tolist() == truth.ltwh.tolist()
    assert found.labels.tolist() == truth.labels.tolist()


def record(filename, unit_yxyx, ids, size=(100, 50), **given):
    """Returns a Record whose boxes are single objects without areas."""
    given = {"areas": None, "crowd": np.zeros(len(ids), bool)} | given
    unit_yxyx = np.array(unit_yxyx, np.float32).reshape(-1, 4)
    ids = np.array(ids, np.int64)
    image = {"filename": filename, "encoded": b"", "width": size[0], "height": size[1]}
    boxes = {"unit_yxyx": unit_yxyx, "classes": ids, "labels": tuple(ids)}
    return Record(place="x.tfrecord: record 1", sha256="", **image, **boxes, **given)


def names_of(records):
    return ImageNames([one.filename for one in records], None)


def test_records_keep_crowds_and_the_areas_that_they_give():
    areas, crowd = np.float32([7, 2048]), np.array([False, True])
    boxes = [[0, 0, 0.5, 0.5], [0.5, 0, 1, 1]]
    records = [
        record("a.jpg", boxes, [1, 1], areas=areas, crowd=crowd),
        record("b.jpg", boxes, [1, 1]),
    ]
    truth = truth_of_records(records, names_of(records), {1: "Cat"}, "test.tfrecord")
    assert truth.areas.tolist() == [7, 2048, 1250, 2500]
    assert truth.crowd.tolist() == [False, True, False, False]
    assert truth.boxes == 3


def test_numbers_in_the_records_are_the_images_ids():
    records = [record("b.jpg", [], []), record("a.jpg", [], [])]
    images = ImageNames(["b.jpg", "a.jpg"], [139, 7])
    truth = truth_of_records(records, images, {1: "Cat"}, "x", {"a.jpg": 1, "b.jpg": 2})
    assert (truth.filenames, truth.image_ids.tolist()) == (("a.jpg", "b.jpg"), [7, 139])


def test_records_whose_class_the_label_map_lacks_are_named():
    records = [record("a.jpg", [[0, 0, 1, 1]], [5])]
    with pytest.raises(DataError, match=r"record 1 \(a.jpg\) has class 5, which the label map"):
        truth_of_records(records, names_of(records), {1: "Cat"}, "x.tfrecord")


def test_records_without_images_are_named():
    with pytest.raises(DataError, match=r"x.tfrecord: holds no image"):
        truth_of_records([], names_of([]), {1: "Cat"}, "x.tfrecord")


def test_what_is_written_as_coco_reads_back_with_crowds_areas_and_facts(tmp_path):
    truth, _ = random_case(4, crowds=0.2)
    truth = dataclasses.replace(truth, areas=truth.areas / 2)
    facts = [{"lighting": "Low", "measured brightness": 3.5}] * len(truth.filenames)
    path = tmp_path / "truth.json"
    path.write_text(format_truth(truth, facts))
    back = read_truth_of_coco(path)
    for field in dataclasses.fields(truth):
        assert np.array_equal(getattr(truth, field.name), getattr(back, field.name)), field.name
    kept = gather_facts([image["facts"] for image in json.loads(path.read_text())["images"]])
    assert kept.columns == {"lighting": ("Low",) * len(truth.filenames)}
    assert kept.brightness.tolist() == [3.5] * len(truth.filenames)


def test_a_coco_file_without_images_is_named(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(DataError, match="holds no image"):
        read_truth_of_coco(path)


@pytest.mark.parametrize(
    ("image", "category", "message"),
    [
        ({"id": 1}, 1, r"images\[0\], id 1: no 'width'"),
        ({"id": "a", "width": 4, "height": 4}, 1, "the id 'a' is a text"),
        ({"id": 1, "width": 4, "height": 4}, "b", "the id 'b' is a text"),
    ],
)
def test_a_coco_file_that_can_be_imported_but_not_scored_says_so(
    tmp_path, image, category, message
):
    categories = [{"id": category, "name": "Cat"}]
    whole = {"images": [{**image, "file_name": "a.jpg"}], "annotations": []}
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({**whole, "categories": categories}))
    with pytest.raises(DataError, match=f"{message}.*\n.*import_labels"):
        read_truth_of_coco(path)


def test_a_name_in_a_coco_file_leads_to_no_picture_out_of_the_images_folder(tmp_path):
    (tmp_path / "images/cam1").mkdir(parents=True)
    names = "a.jpg", "cam1/b.jpg", "../secret.jpg", f"{tmp_path}/secret.jpg"
    for name in names:
        (tmp_path / "images" / name).write_bytes(b"jpeg")
    pictures = TruthSource(coco="truth.json", images_dir=tmp_path / "images").pictures(names)
    assert pictures == {"a.jpg": b"jpeg", "cam1/b.jpg": b"jpeg"}
