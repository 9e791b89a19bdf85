"""Errors are named and priced as TIDE does; confusions can be counted by hand."""

from dataclasses import replace

import pytest
from scored import random_case, small_case

from lowlight.evaluation.mistakes import MEANINGS, confuse, cost_errors, find_errors

BOX = (0, 0, 100, 100, 100, 100)
# What tidecv 1.0.1 counts and prices with its defaults (IoU 0.5 and 0.1, 100 detections).
TIDECV = {
    "random": (
        {"seed": 11},
        (11, 25, 6, 31, 0, 6),
        (0.047184298, 0.144450231, 0.00455116, 0.031122013, 0, 0.061183745),
    ),
    "more images": (
        {"seed": 12, "images": 30},
        (32, 60, 12, 95, 6, 20),
        (0.036649183, 0.124092712, 0.009935767, 0.040170578, 0.007061257, 0.06811899),
    ),
    "over 100 detections an image": (
        {"seed": 13, "images": 6, "most_found": 40},
        (53, 113, 14, 260, 13, 1),
        (0.011910738, 0.106974037, 0.004833452, 0.050102677, 0.003300751, 0.005320964),
    ),
    "ties in score": (
        {"seed": 14, "images": 20, "ties": True},
        (20, 41, 3, 64, 5, 9),
        (0.165046675, 0.107874054, 0, 0.017109158, 0, 0.027729942),
    ),
    "one class": (
        {"seed": 15, "images": 30, "classes": 1},
        (0, 95, 0, 142, 9, 23),
        (0, 0.178658054, 0, 0.099064576, 0.005881815, 0.08264622),
    ),
}


@pytest.mark.parametrize(("options", "counts", "costs"), TIDECV.values(), ids=TIDECV)
def test_counts_and_costs_are_tidecvs(options, counts, costs):
    truth, found = random_case(**options)
    priced = cost_errors(truth, found, find_errors(truth, found))
    assert list(priced) == list(MEANINGS)
    assert tuple(count for count, _ in priced.values()) == counts
    assert [cost for _, cost in priced.values()] == pytest.approx(costs, abs=2e-9)


ONE_ERROR = {
    "another class": ((0, 1, 100, 100, 100, 100), "Cls", 1.0),
    "a shifted box": ((0, 0, 150, 100, 100, 100), "Loc", 1.0),
    "shifted, and another class": ((0, 1, 150, 100, 100, 100), "Both", 0),
    "nothing there": ((0, 0, 300, 200, 50, 50), "Bkg", 0),
}


@pytest.mark.parametrize(("row", "kind", "cost"), ONE_ERROR.values(), ids=ONE_ERROR)
def test_one_wrong_detection_is_named(row, kind, cost):
    truth, found = small_case([BOX], [(*row, 0.9)])
    errors = find_errors(truth, found)
    assert errors.kinds.tolist() == [kind]
    assert errors.missed.tolist() == [cost == 0]
    assert cost_errors(truth, found, errors)[kind] == (1, pytest.approx(cost))


def test_the_second_detection_of_an_object_is_a_duplicate():
    truth, found = small_case([BOX], [(*BOX, 0.9), (0, 0, 105, 100, 100, 100, 0.8)])
    assert find_errors(truth, found).kinds.tolist() == ["", "Dupe"]


def test_what_lies_in_a_crowd_of_its_class_is_no_error():
    truth, found = small_case([BOX], [(0, 0, 120, 120, 20, 20, 0.9), (0, 1, 120, 120, 20, 20, 0.8)])
    truth = replace(truth, crowd=~truth.crowd)
    errors = find_errors(truth, found)
    assert errors.kinds.tolist() == ["ignored", "Bkg"]
    assert not errors.missed.any()


def test_without_detections_everything_is_missed():
    truth, found = small_case([BOX, (0, 2, 5, 5, 9, 9)], [])
    errors = find_errors(truth, found)
    assert errors.missed.tolist() == [True, True]
    assert cost_errors(truth, found, errors)["Miss"] == (2, 0.0)


AT = (50, 50, 60, 60)


def test_a_confusion_counts_right_misnamed_missed_and_invented():
    boxes = [(0, 0, *AT), (0, 1, 200, 50, 60, 60), (1, 2, *AT)]
    found = [
        (0, 0, *AT, 0.9),
        (0, 2, 202, 50, 60, 60, 0.8),
        (1, 2, 300, 200, 20, 20, 0.7),
        (1, 2, *AT, 0.2),
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
    truth = replace(truth, crowd=~truth.crowd)
    assert confuse(truth, found, 0.5).matrix.sum() == 0
