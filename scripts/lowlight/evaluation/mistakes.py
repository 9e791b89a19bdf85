"""Names what is wrong with each detection, as TIDE does, and counts what is taken for what.

The kinds and their repair are those of Bolya et al., TIDE: A General Toolbox for Identifying Object
Detection Errors (ECCV 2020, https://arxiv.org/abs/2008.08115); the numbers are tidecv's.
"""

from typing import NamedTuple

import numpy as np

from lowlight.evaluation.matching import pair_boxes, rows_by_image
from lowlight.images.boxes import ltwh_iou_with_crowds

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU that makes a detection right, and that of background
MOST = 100  # detections of an image
_RECALLS = np.arange(101) / 100  # tidecv's, which differ from pycocotools' in the last digit
KINDS = "Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"
MEANINGS = {
    "Cls": "the place is right, the class is wrong",
    "Loc": "the class is right, the box fits badly",
    "Both": "class and box are wrong",
    "Dupe": "the object was found already",
    "Bkg": "there is nothing",
    "Miss": "the object isn't found at all",
}
_RIGHT, _IGNORED = "", "ignored"


class Errors(NamedTuple):
    """What is right and wrong; detections are those of the MOST best of each image."""

    rows: np.ndarray  # int [D], places in Found, image by image, best score first
    kinds: np.ndarray  # str [D], "" for a right one
    boxes: np.ndarray  # int [D], the box it is right or wrong about, -1 for none
    repairs: np.ndarray  # bool [D], whether correcting it would find its box
    ious: np.ndarray  # float [D], with the box
    missed: np.ndarray  # bool [G], not found, nor by correcting a detection


def find_errors(truth, found) -> Errors:
    """Returns the Errors of detections.

    Args:
        truth: truth.Truth; crowds are where detections of their class are ignored.
        found: results.Found.
    """
    count = len(truth.filenames)
    by_score = np.argsort(-found.scores, kind="stable")
    per_image = rows_by_image(found.images[by_score], count)
    taken = np.zeros(len(truth.images), bool)
    parts = []
    for places, boxes in zip(per_image, rows_by_image(truth.images, count), strict=True):
        rows = by_score[places[:MOST]]
        crowd = truth.crowd[boxes]
        if len(rows):
            real = boxes[~crowd]
            parts.append((rows, *_judge(truth, found, rows, real, taken)))
            _ignore_in_crowds(truth, found, rows, boxes[crowd], parts[-1][1])
    if not parts:
        parts = [(np.zeros(0, int), np.zeros(0, "U7"), np.zeros(0, int), np.zeros(0))]
    rows, kinds, boxes, ious = (np.concatenate(part) for part in zip(*parts, strict=True))
    repairs = _best_repairs(found.scores[rows], kinds, boxes, taken)
    findable = np.zeros(len(taken), bool)
    findable[boxes[repairs]] = True
    missed = ~(taken | findable | truth.crowd)
    return Errors(rows=rows, kinds=kinds, boxes=boxes, repairs=repairs, ious=ious, missed=missed)


def _judge(truth, found, rows, boxes, taken):
    """Returns (kinds, boxes, IoUs) of an image's detections; marks the boxes that are found."""
    if not len(boxes):
        return np.full(len(rows), "Bkg", "U7"), np.full(len(rows), -1), np.zeros(len(rows))
    iou = ltwh_iou_with_crowds(found.ltwh[rows, np.newaxis], truth.ltwh[boxes], False)
    same = found.labels[rows, np.newaxis] == truth.labels[boxes]
    of_class, of_others = iou * same, iou * ~same
    free = of_class.copy()
    matched = np.full(len(rows), -1)
    for row in np.flatnonzero(of_class.max(axis=1) >= FOREGROUND):
        box = free[row].argmax()
        if free[row, box] >= FOREGROUND:
            matched[row], taken[boxes[box]] = box, True
            free[:, box] = 0
    of_taken, best = of_class * taken[boxes], of_class.max(axis=1)
    tests = {  # in TIDE's order; the first that holds names the detection, and its box
        _RIGHT: (matched >= 0, matched),
        "Loc": ((best >= BACKGROUND) & (best <= FOREGROUND), of_class.argmax(axis=1)),
        "Cls": (of_others.max(axis=1) >= FOREGROUND, of_others.argmax(axis=1)),
        "Dupe": (of_taken.max(axis=1) >= FOREGROUND, of_taken.argmax(axis=1)),
        "Bkg": (iou.max(axis=1) <= BACKGROUND, iou.argmax(axis=1)),
    }
    holds, places = zip(*tests.values(), strict=True)
    kinds = np.select(holds, list(tests), "Both").astype("U7")
    place = np.select(holds, places, iou.argmax(axis=1))
    about = np.where(kinds == "Bkg", -1, boxes[place])
    return kinds, about, iou[np.arange(len(rows)), place]


def _ignore_in_crowds(truth, found, rows, crowds, kinds):
    share = ltwh_iou_with_crowds(found.ltwh[rows, np.newaxis], truth.ltwh[crowds], True)
    inside = (share > FOREGROUND) & (found.labels[rows, np.newaxis] == truth.labels[crowds])
    kinds[inside.any(axis=1) & (kinds != _RIGHT)] = _IGNORED


def _best_repairs(scores, kinds, boxes, taken):
    """Says which errors of class or place would, corrected, find a box: of each box's the best."""
    repairs = np.zeros(len(kinds), bool)
    able = np.flatnonzero(np.isin(kinds, ("Cls", "Loc")))
    able = able[~taken[boxes[able]]]
    order = able[np.lexsort((able, -scores[able], boxes[able]))]
    repairs[order[np.diff(boxes[order], prepend=-1) != 0]] = True
    return repairs


def cost_errors(truth, found, errors: Errors) -> dict:
    """Returns {kind: (how many, the average precision at IoU 0.5 that correcting them all gains)}.

    Corrected, a wrong class or place finds its box where nothing better does, any other wrong
    detection is gone, and a missed object isn't asked for.
    """
    positives = np.bincount(truth.labels[~truth.crowd], minlength=len(truth.names))
    rows, right = errors.rows, errors.kinds == _RIGHT
    counted = errors.kinds != _IGNORED
    kept = rows[counted]
    before = _mean_precision(found.labels[kept], found.scores[kept], right[counted], positives)
    # Of equal scores the right ones come last once something is corrected, as in tidecv.
    order = np.concatenate([np.flatnonzero(counted & ~right), np.flatnonzero(right)])
    kinds, scores = errors.kinds[order], found.scores[rows[order]]
    labels, correct = found.labels[rows[order]], kinds == _RIGHT
    costs = {}
    for kind in KINDS:
        corrected, repairs = kinds == kind, errors.repairs[order]
        kept, found_now = ~corrected | repairs, corrected & repairs
        theirs = labels.copy()
        theirs[found_now] = truth.labels[errors.boxes[order][found_now]]
        missed = truth.labels[errors.missed] if kind == "Miss" else np.zeros(0, int)
        wanted = positives - np.bincount(missed, minlength=len(positives))
        now_right = correct | found_now
        after = _mean_precision(theirs[kept], scores[kept], now_right[kept], wanted)
        count = int(errors.missed.sum() if kind == "Miss" else corrected.sum())
        costs[kind] = count, max(after - before, 0.0)
    return costs


def _mean_precision(labels, scores, correct, positives):
    """Returns the mean over the classes that have a box or a detection; 0 where none has."""
    parts = []
    for label, wanted in enumerate(positives):
        of_class = labels == label
        if of_class.any() or wanted:
            order = np.argsort(-scores[of_class], kind="stable")
            parts.append(_average_precision(correct[of_class][order], wanted))
    return float(np.mean(parts)) if parts else 0.0


def _average_precision(correct, wanted):
    if not wanted or not len(correct):
        return 0.0
    right = np.cumsum(correct)
    precision = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
    places = np.searchsorted(right / wanted, _RECALLS)
    return float(np.sum(precision[places[places < len(precision)]]) / len(_RECALLS))


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


def confuse(truth, found, threshold: float) -> Confusion:
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
    counted = (box_of >= 0) | ~_in_crowds(truth, found)
    real = ~truth.crowd
    kinds = len(truth.names)
    truths = np.where(box_of >= 0, _at(truth.labels, box_of), kinds)
    matrix = np.zeros((kinds + 1, kinds + 1), int)
    np.add.at(matrix, (truths[counted], found.labels[counted]), 1)
    missed = real & (detection_of < 0)
    np.add.at(matrix, (truth.labels[missed], kinds), 1)
    right = (box_of >= 0) & (truths == found.labels)
    count = len(truth.filenames)
    correct = np.bincount(found.images[right], minlength=count)
    wrong = np.bincount(found.images[counted & ~right], minlength=count)
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
