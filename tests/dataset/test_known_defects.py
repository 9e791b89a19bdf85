"""On real photographs, detections with a known defect show that defect and no other.

The photographs are the part of ExDark that EXDARK_ROOT holds; detections are made from its boxes.
"""

import numpy as np
import pytest

from lowlight.dataset.annotations import gather_annotations
from lowlight.dataset.conversion import convert_images
from lowlight.evaluation.results import Found
from lowlight.evaluation.scoring import score_detections
from lowlight.evaluation.truth import read_truth_of_tables
from lowlight.evaluation.truth_source import measure_images, read_columns

NO_ERRORS = dict.fromkeys(("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"), 0)


@pytest.fixture(scope="module")
def data_dir(exdark_root, tmp_path_factory):
    data = tmp_path_factory.mktemp("exdark")
    convert_images(exdark_root / "ExDark", data / "images")
    lists = exdark_root / "ExDark_Annno.zip", data / "images", exdark_root / "imageclasslist.txt"
    gather_annotations(*lists, allow_missing=True).write(data)
    return data


@pytest.fixture(scope="module")
def truth(data_dir):
    return read_truth_of_tables(data_dir)


@pytest.fixture(scope="module")
def perfect(truth):
    """Every box, found where it is."""
    scores = np.linspace(0.99, 0.5, len(truth.images))
    return Found(truth.images, truth.labels, truth.ltwh.copy(), scores)


@pytest.fixture(scope="module")
def facts(data_dir, truth):
    """The columns of images.csv."""
    return read_columns(data_dir / "images.csv", truth.filenames)


def counts(score):
    return {kind: count for kind, (count, _) in score.costs.items()}


def unfound(score, family):
    """Returns the slices of a family in which not every box is found, with their recall."""
    slices = [p for p in score.slices if p.family == family and p.boxes]
    return {p.name: p.scores[3] for p in slices if p.scores[3] != 1}


def test_perfect_detections_show_no_defect(truth, facts, perfect):
    found = score_detections(truth, perfect, facts)
    assert found.slices[0].scores.tolist() == pytest.approx([1, 1, 1, 1])
    assert counts(found) == NO_ERRORS
    assert np.trace(found.confusion.matrix) == found.confusion.matrix.sum() == truth.boxes


def test_shifted_boxes_are_errors_of_place(truth, facts, perfect):
    # Boxes that are alone in their image and class move by 0.4 of their width: an IoU of 0.6 / 1.4.
    pairs = list(zip(truth.images, truth.labels, strict=True))
    alone = [box for box, pair in enumerate(pairs) if pairs.count(pair) == 1]
    moved = perfect.ltwh.copy()
    moved[alone, 0] += 0.4 * moved[alone, 2]
    found = score_detections(truth, perfect._replace(ltwh=moved), facts)
    assert len(alone) > 20
    assert counts(found) == {**NO_ERRORS, "Loc": len(alone)}
    costs = {kind: cost for kind, (_, cost) in found.costs.items()}
    assert max(costs, key=costs.get) == "Loc"
    assert costs["Loc"] == pytest.approx(1 - found.slices[0].scores[1], abs=1e-9)


def test_a_swapped_class_is_an_error_of_class(truth, facts, perfect):
    cat, dog = truth.names.index("Cat"), truth.names.index("Dog")
    labels = np.where(perfect.labels == cat, dog, perfect.labels)
    cats = int(np.sum(truth.labels == cat))
    found = score_detections(truth, perfect._replace(labels=labels), facts)
    assert counts(found) == {**NO_ERRORS, "Cls": cats}
    assert found.confusion.matrix[cat, dog] == cats
    assert np.sum(found.confusion.matrix) - np.trace(found.confusion.matrix) == cats
    assert unfound(found, "Class") == {"Cat": 0}


def test_what_is_not_found_in_one_lighting_shows_as_its_recall(truth, facts, perfect):
    weak = np.array(facts.columns["lighting"])[perfect.images] == "Weak"
    found = score_detections(truth, perfect.at(~weak), facts)
    assert counts(found) == {**NO_ERRORS, "Miss": int(weak.sum())}
    assert unfound(found, "Lighting") == {"Weak": 0}


def test_real_images_and_boxes_have_a_brightness(data_dir, truth, perfect):
    brightness, of_boxes, of_found = measure_images(data_dir / "images", truth, perfect)
    assert 0 <= brightness.min() < 20 < brightness.max() <= 255
    assert not np.isnan(of_boxes).any()
    assert np.array_equal(of_boxes, of_found)
