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
    found = gather_annotations(
        exdark_root / "ExDark_Annno.zip",
        data / "images",
        exdark_root / "imageclasslist.txt",
        allow_missing=True,
    )
    found.write(data)
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
def score(data_dir, truth):
    """Scores detections with the facts of images.csv."""
    facts = read_columns(data_dir / "images.csv", truth.filenames)
    return lambda found: score_detections(truth, found, facts)


def counts(score):
    return {kind: count for kind, (count, _) in score.costs.items()}


def recalls(score, family):
    return {p.name: p.scores[3] for p in score.slices if p.family == family and p.boxes}


def test_perfect_detections_show_no_defect(score, truth, perfect):
    found = score(perfect)
    assert found.slices[0].scores.tolist() == pytest.approx([1, 1, 1, 1])
    assert counts(found) == NO_ERRORS
    assert np.trace(found.confusion.matrix) == found.confusion.matrix.sum() == truth.boxes


def test_shifted_boxes_are_errors_of_place(score, truth, perfect):
    # Boxes that are alone in their image and class move by 0.4 of their width: an IoU of 0.6 / 1.4.
    alone = [
        box
        for box in range(len(truth.images))
        if np.sum((truth.images == truth.images[box]) & (truth.labels == truth.labels[box])) == 1
    ]
    moved = perfect.ltwh.copy()
    moved[alone, 0] += 0.4 * moved[alone, 2]
    found = score(perfect._replace(ltwh=moved))
    assert len(alone) > 20
    assert counts(found) == {**NO_ERRORS, "Loc": len(alone)}
    costs = {kind: cost for kind, (_, cost) in found.costs.items()}
    assert max(costs, key=costs.get) == "Loc"
    assert costs["Loc"] == pytest.approx(1 - found.slices[0].scores[1], abs=1e-9)


def test_a_swapped_class_is_an_error_of_class(score, truth, perfect):
    cat, dog = truth.names.index("Cat"), truth.names.index("Dog")
    labels = perfect.labels.copy()
    labels[perfect.labels == cat] = dog
    cats = int(np.sum(truth.labels == cat))
    found = score(perfect._replace(labels=labels))
    assert counts(found) == {**NO_ERRORS, "Cls": cats}
    assert found.confusion.matrix[cat, dog] == cats
    assert np.sum(found.confusion.matrix) - np.trace(found.confusion.matrix) == cats
    assert recalls(found, "Class") == {
        name: 0 if name == "Cat" else 1 for name in recalls(found, "Class")
    }


def test_what_is_not_found_in_one_lighting_shows_as_its_recall(score, truth, perfect):
    lighting = np.array(score(perfect).facts.columns["lighting"])
    dark = lighting[perfect.images] == "Low"
    found = score(perfect.at(~dark))
    assert counts(found) == {**NO_ERRORS, "Miss": int(dark.sum())}
    by_lighting = recalls(found, "Lighting")
    assert by_lighting == {name: 0 if name == "Low" else 1 for name in by_lighting}
    assert len(by_lighting) > 5


def test_real_images_and_boxes_have_a_brightness(data_dir, truth, perfect):
    brightness, of_boxes, of_found = measure_images(data_dir / "images", truth, perfect)
    assert 0 <= brightness.min() < 20 < brightness.max() <= 255
    assert not np.isnan(of_boxes).any()
    assert np.array_equal(of_boxes, of_found)
