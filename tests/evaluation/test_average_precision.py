"""Average precision under weights is that of images repeated."""

import numpy as np
import pytest
from scored import random_case, score_by_pycocotools, small_case

from lowlight.evaluation.matching import rank_detections
from lowlight.evaluation.metrics import accumulate, match_areas, tally_classes
from lowlight.evaluation.results import make_found
from lowlight.evaluation.truth import make_truth


def tally(truth, found):
    ranked = rank_detections(found)
    everything = (np.ones((len(part.images), 1), bool) for part in (truth, ranked))
    return tally_classes(truth, ranked, match_areas(truth, ranked).parted(*everything))


def repeat(truth, found, times):
    """Each image as often as `times` says, the copies after each other."""
    images, boxes, rows = [], [], []
    for image, count in enumerate(times):
        for _ in range(count):
            number = len(images) + 1
            images.append((number, f"{number}.jpg", 640, 480))
            for box in np.flatnonzero(truth.images == image):
                label = truth.class_ids[truth.labels[box]]
                crowd = bool(truth.crowd[box])
                boxes.append((number, label, tuple(truth.ltwh[box]), None, crowd))
            for row in np.flatnonzero(found.images == image):
                part = found.labels[row], found.ltwh[row], found.scores[row]
                rows.append((number - 1, *part))
    names = dict(zip(truth.class_ids, truth.names, strict=True))
    return make_truth(names, images, boxes), make_found(*zip(*rows, strict=True))


@pytest.mark.parametrize("crowds", [0, 0.2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_count_as_repeated_images(crowds, dtype):
    truth, found = random_case(7, images=20, crowds=crowds)
    times = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), 3)
    scores = accumulate(tally(truth, found), times.T.astype(dtype))
    for column, row in enumerate(times):
        theirs = score_by_pycocotools(*repeat(truth, found, row))
        means = [np.nanmean(part[..., column]) for part in scores]
        assert means == pytest.approx([theirs[0], theirs[8]], abs=1e-6)


def test_a_class_without_boxes_has_no_score_and_one_without_detections_scores_zero():
    truth, found = small_case([(0, 0, 5, 5, 9, 9)], [(0, 1, 5, 5, 9, 9, 0.9)])
    scores = accumulate(tally(truth, found), np.ones((1, 1)))
    assert scores.precision[:, 0, 0].tolist() == pytest.approx([0, np.nan, np.nan], nan_ok=True)
    assert scores.recall[:, 0, 0].tolist() == pytest.approx([0, np.nan, np.nan], nan_ok=True)


def test_a_weight_of_nothing_leaves_an_image_out():
    boxes = [(0, 0, 5, 5, 50, 50), (1, 0, 5, 5, 50, 50)]
    truth, found = small_case(boxes, [(0, 0, 5, 5, 50, 50, 0.9)], images=2)
    scores = accumulate(tally(truth, found), np.array([[1.0, 1, 0], [0.0, 1, 0]]))
    assert scores.recall[0, 0].tolist() == pytest.approx([1, 0.5, np.nan], nan_ok=True)
    assert scores.precision[0, 0, :2].tolist() == pytest.approx([1, 51 / 101])
