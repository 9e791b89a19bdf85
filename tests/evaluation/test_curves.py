"""Thresholds, calibration and confusions, on cases that can be counted by hand."""

import numpy as np
import pytest
from scored import random_case, small_case

from lowlight.evaluation.matching import rank_detections
from lowlight.evaluation.metrics import Curve, calibrate, match_areas, trace_curves
from lowlight.evaluation.mistakes import confuse

BOX = (50, 50, 60, 60)


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
    ranked = rank_detections(found)
    curves = trace_curves(truth, ranked, match_areas(truth, ranked))
    assert [one.name for one in curves] == ["All", *truth.names]
    assert sum(one.boxes for one in curves[1:]) == curves[0].boxes == truth.boxes
    assert sum(one.correct.sum() for one in curves[1:]) == curves[0].correct.sum()
    assert all(np.all(np.diff(one.scores) <= 0) for one in curves)


def test_a_confusion_counts_right_misnamed_missed_and_invented():
    boxes = [(0, 0, *BOX), (0, 1, 200, 50, 60, 60), (1, 2, *BOX)]
    found = [
        (0, 0, *BOX, 0.9),
        (0, 2, 202, 50, 60, 60, 0.8),
        (1, 2, 300, 200, 20, 20, 0.7),
        (1, 2, *BOX, 0.2),
    ]
    confusion = confuse(*small_case(boxes, found, images=2), 0.5)
    assert confusion.matrix.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    assert confusion.correct.tolist() == [1, 0]
    assert confusion.wrong.tolist() == [1, 1]
    assert confusion.missed.tolist() == [1, 1]
    assert confusion.f1().tolist() == [0.5, 0]


def test_a_box_of_the_same_class_is_taken_before_one_that_overlaps_more():
    boxes = [(0, 0, 50, 50, 60, 60), (0, 1, 55, 50, 60, 60)]
    confusion = confuse(*small_case(boxes, [(0, 0, 55, 50, 60, 60, 0.9)]), 0.5)
    assert confusion.matrix[0, 0] == 1
    assert confusion.matrix[1, 3] == 1


def test_a_detection_in_a_crowd_of_its_class_is_left_out():
    truth, found = small_case([(0, 0, 0, 0, 300, 300)], [(0, 0, 9, 9, 30, 30, 0.9)])
    truth = truth._replace(crowd=~truth.crowd)
    assert confuse(truth, found, 0.5).matrix.sum() == 0
