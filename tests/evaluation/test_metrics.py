"""Average precision under weights is that of images repeated; thresholds and calibration."""

import numpy as np
import pytest
from scored import random_case, score_by_pycocotools, small_case

from lowlight.evaluation.matching import match_areas, rank_detections
from lowlight.evaluation.metrics import (
    COCO_METRICS,
    Curve,
    accumulate,
    calibrate,
    format_table,
    trace_curves,
)
from lowlight.evaluation.results import make_found
from lowlight.evaluation.truth import TrueBox, make_truth

METRICS = {name: number / 100 for number, name in enumerate(COCO_METRICS)}


def test_the_twelve_numbers_have_tfods_names_in_pycocotools_order():
    assert list(COCO_METRICS) == [
        "DetectionBoxes_Precision/mAP",
        "DetectionBoxes_Precision/mAP@.50IOU",
        "DetectionBoxes_Precision/mAP@.75IOU",
        "DetectionBoxes_Precision/mAP (small)",
        "DetectionBoxes_Precision/mAP (medium)",
        "DetectionBoxes_Precision/mAP (large)",
        "DetectionBoxes_Recall/AR@1",
        "DetectionBoxes_Recall/AR@10",
        "DetectionBoxes_Recall/AR@100",
        "DetectionBoxes_Recall/AR@100 (small)",
        "DetectionBoxes_Recall/AR@100 (medium)",
        "DetectionBoxes_Recall/AR@100 (large)",
    ]


def test_the_table_has_a_line_a_number():
    lines = format_table(METRICS).split("\n")
    assert len(lines) == 12
    assert lines[1] == (
        "  DetectionBoxes_Precision/mAP@.50IOU     0.010000  average precision at IoU 0.50"
    )
    assert [line[41:50].strip() for line in lines] == [f"{n / 100:.6f}" for n in range(12)]


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_size_that_no_object_has_is_none_and_no_number(value):
    metrics = {**METRICS, "DetectionBoxes_Precision/mAP (small)": value}
    line = format_table(metrics).split("\n")[3]
    assert line == (
        "  DetectionBoxes_Precision/mAP (small)      none    objects under 32x32 pixels"
    )


def scores_of(truth, found, weights):
    ranked = rank_detections(truth, found)
    return accumulate(ranked, match_areas(ranked).ranges(0, 1), weights)


def repeat(truth, found, times):
    """Each image as often as `times` says, the copies after each other."""
    images, boxes, rows = [], [], []
    for image, count in enumerate(times):
        for _ in range(count):
            number = len(images) + 1
            images.append((number, f"{number}.jpg", 640, 480))
            for box in np.flatnonzero(truth.images == image):
                label = truth.class_ids[truth.labels[box]]
                boxes.append(TrueBox(number, label, truth.ltwh[box], crowd=truth.crowd[box]))
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
    scores = scores_of(truth, found, times.T.astype(dtype))
    for column, row in enumerate(times):
        theirs = score_by_pycocotools(*repeat(truth, found, row))
        means = [np.nanmean(part[..., column]) for part in scores]
        assert means == pytest.approx([theirs[0], theirs[8]], abs=1e-6)


def test_a_class_without_boxes_has_no_score_and_one_without_detections_scores_zero():
    truth, found = small_case([(0, 0, 5, 5, 9, 9)], [(0, 1, 5, 5, 9, 9, 0.9)])
    scores = scores_of(truth, found, np.ones((1, 1)))
    assert scores.precision[0, :, 0, 0].tolist() == pytest.approx([0, np.nan, np.nan], nan_ok=True)
    assert scores.recall[0, :, 0, 0].tolist() == pytest.approx([0, np.nan, np.nan], nan_ok=True)


def test_a_weight_of_nothing_leaves_an_image_out():
    boxes = [(0, 0, 5, 5, 50, 50), (1, 0, 5, 5, 50, 50)]
    truth, found = small_case(boxes, [(0, 0, 5, 5, 50, 50, 0.9)], images=2)
    scores = scores_of(truth, found, np.array([[1.0, 1, 0], [0.0, 1, 0]]))
    assert scores.recall[0, 0, 0].tolist() == pytest.approx([1, 0.5, np.nan], nan_ok=True)
    assert scores.precision[0, 0, 0, :2].tolist() == pytest.approx([1, 51 / 101])


def curve(boxes, *detections):
    scores, correct = zip(*detections, strict=True) if detections else ((), ())
    return Curve("Cat", boxes, np.array(scores, float), np.array(correct, bool))


def test_the_best_threshold_is_where_f1_is_highest():
    best = curve(4, (0.9, True), (0.8, True), (0.7, False), (0.6, True), (0.5, False)).best()
    assert best == pytest.approx((0.6, 2 * 3 / (4 + 4), 3 / 4, 3 / 4))


def test_detections_of_one_score_stand_or_fall_together():
    assert curve(1, (0.5, True), (0.5, False), (0.5, False)).best()[:2] == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("one", [curve(0, (0.9, False)), curve(3), curve(3, (0.9, False))])
def test_where_nothing_is_right_no_threshold_is_best(one):
    assert one.best() == pytest.approx((np.nan,) * 4, nan_ok=True)


def test_calibration_is_the_gap_between_scores_and_the_share_of_right_ones():
    found = calibrate(curve(9, (0.95, True), (0.95, False), (0.15, False), (0.15, False)))
    assert found.counts.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.error == pytest.approx((2 * 0.45 + 2 * 0.15) / 4)


def test_a_score_of_one_is_in_the_last_bin_and_nothing_has_no_error():
    assert calibrate(curve(1, (1.0, True))).counts[-1] == 1
    assert np.isnan(calibrate(curve(1)).error)


def test_curves_are_of_all_classes_and_of_each():
    truth, found = random_case(31)
    ranked = rank_detections(truth, found)
    curves = trace_curves(ranked, match_areas(ranked))
    assert [one.name for one in curves] == ["All", *truth.names]
    assert sum(one.boxes for one in curves[1:]) == curves[0].boxes == truth.boxes
    assert sum(one.correct.sum() for one in curves[1:]) == curves[0].correct.sum()
    assert all(np.all(np.diff(one.scores) <= 0) for one in curves)
