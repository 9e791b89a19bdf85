"""Counts what is taken for what at one threshold, by class and by image."""

from typing import NamedTuple

import numpy as np

from lowlight.evaluation.matching import pair_boxes

_IOU = 0.5


class Confusion(NamedTuple):
    """Detections over a threshold, each beside the box that it stands on."""

    threshold: float
    matrix: np.ndarray  # int [K + 1, K + 1], true class by detected class; the last is background
    correct: np.ndarray  # int [N], boxes of each image found with their class
    wrong: np.ndarray  # int [N], detections that are of no box, or of another class
    missed: np.ndarray  # int [N], boxes not found with their class

    def f1(self):
        """Returns each image's F1, [N]; 1 where nothing is there and nothing was found."""
        total = 2 * self.correct + self.wrong + self.missed
        return np.where(total > 0, 2 * self.correct / np.maximum(total, 1), 1.0)


def confuse(truth, found, threshold):
    """Pairs detections of a score with boxes at IoU 0.5, one to one, whatever their classes.

    Pairs of the same class come first, then those that overlap most. A detection that has only a
    crowd of its class to stand on is left out.

    Args:
        truth: truth.Truth.
        found: results.Found.
        threshold: the least score that counts.

    Returns:
        Confusion.
    """
    found = found.at(found.scores >= threshold)
    box_of, detection_of = _pair_off(truth, found)
    told = (box_of >= 0) | ~_in_crowds(truth, found)
    real = ~truth.crowd
    kinds = len(truth.names)
    truths = np.where(box_of >= 0, _at(truth.labels, box_of), kinds)
    matrix = np.zeros((kinds + 1, kinds + 1), int)
    np.add.at(matrix, (truths[told], found.labels[told]), 1)
    missed = real & (detection_of < 0)
    np.add.at(matrix, (truth.labels[missed], kinds), 1)
    right = (box_of >= 0) & (truths == found.labels)
    count = len(truth.filenames)
    correct = np.bincount(found.images[right], minlength=count)
    wrong = np.bincount(found.images[told & ~right], minlength=count)
    boxes = np.bincount(truth.images[real], minlength=count)
    return Confusion(threshold, matrix, correct, wrong, boxes - correct)


def _at(values, places):
    """Returns values at places, anything where a place is -1."""
    return values[places] if len(values) else np.zeros(len(places), int)


def _pair_off(truth, found):
    """Returns (the box of each detection, the detection of each box), -1 for none."""
    pairs = pair_boxes(truth, found.images, found.ltwh, least_iou=_IOU)
    same = found.labels[pairs.detections] == truth.labels[pairs.boxes]
    box_of, detection_of = np.full(len(found.images), -1), np.full(len(truth.images), -1)
    for pair in np.lexsort((-pairs.ious, ~same)):
        detection, box = pairs.detections[pair], pairs.boxes[pair]
        if box_of[detection] < 0 and detection_of[box] < 0 and not truth.crowd[box]:
            box_of[detection], detection_of[box] = box, detection
    return box_of, detection_of


def _in_crowds(truth, found):
    pairs = pair_boxes(truth, found.images, found.ltwh, found.labels, _IOU)
    inside = np.zeros(len(found.images), bool)
    inside[pairs.detections[truth.crowd[pairs.boxes]]] = True
    return inside
