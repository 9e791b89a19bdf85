"""Crowds and areas of masks go from a COCO file through tables, records and COCO's form again."""

import json

import pytest
from PIL import Image
from scored import score_by_pycocotools

from lowlight.core.errors import DataError
from lowlight.core.json_files import format_coco_results
from lowlight.dataset.coco import import_coco
from lowlight.dataset.label_export import tables_to_coco
from lowlight.dataset.labels import Fitting
from lowlight.dataset.records import read_records
from lowlight.dataset.tables import SplitRow, read_tables
from lowlight.dataset.writing import verify_records, write_dataset
from lowlight.evaluation.results import read_results
from lowlight.evaluation.scoring import ScoringOptions, score_detections
from lowlight.evaluation.truth import read_truth_of_coco
from lowlight.evaluation.truth_source import TruthSource, gather_facts

CLASSES = "Lamp", "Tram"
IDS = {"Lamp": 1, "Tram": 2}
# Image, category, bbox, area, crowd. The Tram of a.jpg is small by its mask, medium by its box.
BOXES = (
    (1, 1, (0, 0, 32, 32), 1024, 0),
    (1, 1, (0, 32, 64, 32), 1500.5, 1),
    (1, 2, (40, 0, 20, 60), 600, 0),
    (2, 2, (6, 6, 51, 51), 2601, 0),
)
# Each single object, then two lamps in the crowd.
FOUND = (*(box[:3] for box in BOXES if not box[4]), *((1, 1, (x, 34, 28, 28)) for x in (2, 34)))


@pytest.fixture
def data_dir(tmp_path):
    """Tables made from theirs.json, and records made from these."""
    (tmp_path / "images").mkdir()
    for name in "ab":
        Image.new("RGB", (64, 64)).save(tmp_path / "images" / f"{name}.jpg")
    sized = {"width": 64, "height": 64}
    keys = "image_id", "category_id", "bbox", "area", "iscrowd"
    whole = {
        "images": [{"id": n, "file_name": f"{' ab'[n]}.jpg", **sized} for n in (1, 2)],
        "categories": [{"id": n, "name": name} for name, n in IDS.items()],
        "annotations": [
            {"id": n, **dict(zip(keys, box, strict=True))} for n, box in enumerate(BOXES, 1)
        ],
    }
    (tmp_path / "theirs.json").write_text(json.dumps(whole))
    found = zip(FOUND, (0.9, 0.8, 0.7, 0.95, 0.85), strict=True)
    rows = [(box[0], box[1], box[2], score) for box, score in found]
    (tmp_path / "found.json").write_text(format_coco_results(rows))
    import_coco(tmp_path / "theirs.json", Fitting(tmp_path / "images", keep_crowds=True)).write(
        tmp_path
    )
    entries = read_tables(tmp_path, CLASSES)
    rows = [SplitRow(f"{name}.jpg", "test") for name in "ab"]
    write_dataset(tmp_path, entries, rows, tmp_path / "images", CLASSES, verify=True)
    return tmp_path


def test_the_tables_have_columns_of_them(data_dir):
    assert (data_dir / "annotations.csv").read_text() == (
        "filename,width,height,class,xmin,ymin,xmax,ymax,is_crowd,area\n"
        "a.jpg,64,64,Lamp,0,0,32,32,0,\n"
        "a.jpg,64,64,Lamp,0,32,64,64,1,1500.5\n"
        "a.jpg,64,64,Tram,40,0,60,60,0,600.0\n"
        "b.jpg,64,64,Tram,6,6,57,57,0,\n"
    )


def test_records_have_tfods_keys_where_an_image_needs_them(data_dir):
    first, second = read_records([data_dir / "test.tfrecord"], IDS)
    assert (first.crowd.tolist(), first.areas.tolist()) == (
        [False, True, False],
        [1024, 1500.5, 600],
    )
    assert (second.crowd.tolist(), second.areas) == ([False], None)


def test_they_are_the_same_in_every_form_and_in_pycocotools(data_dir):
    (data_dir / "ours.json").write_text(
        tables_to_coco(read_tables(data_dir, CLASSES), CLASSES, {"a.jpg", "b.jpg"})
    )
    records = [str(data_dir / "test.tfrecord")]
    truths = {
        "theirs": read_truth_of_coco(data_dir / "theirs.json"),
        "tables": TruthSource(data_dir=str(data_dir)).read(),
        "records": TruthSource(records=records).read(),
        "ours": read_truth_of_coco(data_dir / "ours.json"),
    }
    for truth in truths.values():
        found, _ = read_results(data_dir / "found.json", truth)
        score = score_detections(truth, found, gather_facts([]), ScoringOptions(samples=0))
        numbers = list(score.metrics.values())
        assert numbers == pytest.approx(list(score_by_pycocotools(truth, found)), abs=1e-9)
        assert numbers[:6] == pytest.approx([1, 1, 1, 1, 1, -1])
        assert truth.areas.tolist() == [1024, 1500.5, 600, 2601]


def test_a_verification_compares_them(data_dir):
    entries = read_tables(data_dir, CLASSES)
    path = data_dir / "test.tfrecord"
    for changed, what in (({"is_crowd": 0}, "crowds"), ({"area": 1400.0}, "areas")):
        others = [
            (i, [b._replace(**changed) if b.is_crowd else b for b in bs]) for i, bs in entries
        ]
        with pytest.raises(DataError, match=rf"record 1: differs from a\.jpg in {what}\."):
            verify_records(path, path, others, data_dir / "images", IDS, lambda: None)
