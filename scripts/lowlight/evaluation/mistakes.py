"""Names what is wrong with each detection, as TIDE does, and counts what is taken for what.

The kinds and their repair are those of Bolya et al., TIDE: A General Toolbox for Identifying Object
Detection Errors (ECCV 2020, https://arxiv.org/abs/2008.08115); the numbers are tidecv's.
"""

from typing import NamedTuple

import numpy as np

from lowlight.evaluation.matching import pair_boxes, rows_by_image
from lowlight.evaluation.results import Found
from lowlight.evaluation.truth import Truth
from lowlight.images.boxes import ltwh_iou_with_crowds

_FOREGROUND, _BACKGROUND = 0.5, 0.1  # IoU that makes a detection right, and that of background
_MOST = 100  # detections of an image
_RECALLS = np.arange(101) / 100  # tidecv's, which differ from pycocotools' in the last digit
MEANINGS = {
    "Cls": "the place is right, the class is wrong",
    "Loc": "the class is right, the box fits badly",
    "Both": "class and box are wrong",
    "Dupe": "the object was found already",
    "Bkg": "there is nothing",
    "Miss": "the object isn't found at all",
}
RIGHT, IGNORED = "", "ignored"


class Errors(NamedTuple):
    """What is right and wrong; detections are those of the 100 best of each image."""

    rows: np.ndarray  # int [D], places in Found, image by image, best score first
    kinds: np.ndarray  # str [D], of MEANINGS, RIGHT or IGNORED
    boxes: np.ndarray  # int [D], the box it is right or wrong about, -1 for none
    repairs: np.ndarray  # bool [D], whether correcting it would find its box
    ious: np.ndarray  # float [D], with the box
    missed: np.ndarray  # bool [G], not found, nor by correcting a detection


def find_errors(truth: Truth, found: Found) -> Errors:
    """Returns the Errors of detections; those in a crowd of their class are ignored."""
    count = len(truth.filenames)
    by_score = np.argsort(-found.scores, kind="stable")
    best = [by_score[of[:_MOST]] for of in rows_by_image(found.images[by_score], count)]
    rows, taken = np.concatenate(best), np.zeros(len(truth.images), bool)
    judged = [
        _judge(truth, found, mine, boxes, taken)
        for mine, boxes in zip(best, rows_by_image(truth.images, count), strict=True)
    ]
    kinds, about, ious = map(np.concatenate, zip(*judged, strict=True))
    repairs = _best_repairs(found.scores[rows], kinds, about, taken)
    findable = np.zeros(len(taken), bool)
    findable[about[repairs]] = True
    missed = ~(taken | findable | truth.crowd)
    return Errors(rows=rows, kinds=kinds, boxes=about, repairs=repairs, ious=ious, missed=missed)


def _judge(truth, found, rows, boxes, taken):
    """Returns (kinds, boxes, IoUs) of an image's detections; marks the boxes that are found."""
    crowds, boxes = boxes[truth.crowd[boxes]], boxes[~truth.crowd[boxes]]
    count = len(rows)
    if count and len(boxes):
        kinds, about, ious = _name_errors(truth, found, rows, boxes, taken)
    else:
        kinds, about, ious = np.full(count, "Bkg", "U7"), np.full(count, -1), np.zeros(count)
    if len(crowds):
        share = ltwh_iou_with_crowds(found.ltwh[rows, np.newaxis], truth.ltwh[crowds], True)
        same = found.labels[rows, np.newaxis] == truth.labels[crowds]
        inside = ((share > _FOREGROUND) & same).any(axis=1)
        kinds[inside & (kinds != RIGHT)] = IGNORED
    return kinds, about, ious


def _name_errors(truth, found, rows, boxes, taken):
    """As `_judge`, without crowds; there are detections and boxes."""
    iou = ltwh_iou_with_crowds(found.ltwh[rows, np.newaxis], truth.ltwh[boxes], False)
    same = found.labels[rows, np.newaxis] == truth.labels[boxes]
    of_class, of_others = iou * same, iou * ~same
    free = of_class.copy()
    matched = np.full(len(rows), -1)
    for row in np.flatnonzero(of_class.max(axis=1) >= _FOREGROUND):
        box = free[row].argmax()
        if free[row, box] >= _FOREGROUND:
            matched[row], taken[boxes[box]] = box, True
            free[:, box] = 0
    of_taken, best = of_class * taken[boxes], of_class.max(axis=1)
    tests = {  # in TIDE's order; the first that holds names the detection, and its box
        RIGHT: (matched >= 0, matched),
        "Loc": ((best >= _BACKGROUND) & (best <= _FOREGROUND), of_class.argmax(axis=1)),
        "Cls": (of_others.max(axis=1) >= _FOREGROUND, of_others.argmax(axis=1)),
        "Dupe": (of_taken.max(axis=1) >= _FOREGROUND, of_taken.argmax(axis=1)),
        "Bkg": (iou.max(axis=1) <= _BACKGROUND, iou.argmax(axis=1)),
    }
    holds, places = zip(*tests.values(), strict=True)
    kinds = np.select(holds, list(tests), "Both").astype("U7")
    place = np.select(holds, places, iou.argmax(axis=1))
    about = np.where(kinds == "Bkg", -1, boxes[place])
    return kinds, about, iou[np.arange(len(rows)), place]


def _best_repairs(scores, kinds, boxes, taken):
    """Says which errors of class or place would, corrected, find a box: of each box's the best."""
    repairs = np.zeros(len(kinds), bool)
    able = np.flatnonzero(np.isin(kinds, ("Cls", "Loc")))
    able = able[~taken[boxes[able]]]
    order = able[np.lexsort((-scores[able], boxes[able]))]
    repairs[order[np.diff(boxes[order], prepend=-1) != 0]] = True
    return repairs


def cost_errors(truth: Truth, found: Found, errors: Errors) -> dict:
    """Returns {kind: (how many, the average precision at IoU 0.5 that correcting them all gains)}.

    Corrected, a wrong class or place finds its box where nothing better does, any other wrong
    detection is gone, and a missed object isn't asked for.
    """
    positives = np.bincount(truth.labels[~truth.crowd], minlength=len(truth.names))
    right = errors.kinds == RIGHT
    counted = errors.kinds != IGNORED
    kept = found.at(errors.rows[counted])
    before = _mean_precision(kept.labels, kept.scores, right[counted], positives)
    # Of equal scores the right ones come last once something is corrected, as in tidecv.
    order = np.concatenate([np.flatnonzero(counted & ~right), np.flatnonzero(right)])
    kinds, boxes, ordered = errors.kinds[order], errors.boxes[order], found.at(errors.rows[order])
    costs = {}
    for kind in MEANINGS:
        of_kind = kinds == kind
        now_found = of_kind & errors.repairs[order]
        kept = ~of_kind | now_found
        labels, wanted = ordered.labels.copy(), positives
        labels[now_found] = truth.labels[boxes[now_found]]
        if kind == "Miss":
            missed = truth.labels[errors.missed]
            wanted = positives - np.bincount(missed, minlength=len(positives))
        correct = (kinds == RIGHT) | now_found
        after = _mean_precision(labels[kept], ordered.scores[kept], correct[kept], wanted)
        count = int(errors.missed.sum() if kind == "Miss" else of_kind.sum())
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


class Confusion(NamedTuple):
    """Detections over a threshold, each beside the box that it stands on."""

    threshold: float
    matrix: np.ndarray  # int [K + 1, K + 1], true class by detected class; the last is background
    correct: np.ndarray  # int [N], boxes of each image found with their class
    wrong: np.ndarray  # int [N], detections that are of no box, or of another class
    missed: np.ndarray  # int [N], boxes not found with their class

    def f1(self) -> np.ndarray:
        """Returns each image's F1, [N]; 1 where nothing is there and nothing was found."""
        total = 2 * self.correct + self.wrong + self.missed
        return np.where(total > 0, 2 * self.correct / np.maximum(total, 1), 1.0)


def confuse(truth: Truth, found: Found, threshold: float) -> Confusion:
    """Pairs detections of this score or more with boxes at IoU 0.5, one to one.

    Pairs of the same class come first, then those that overlap most. A detection that has only a
    crowd of its class to stand on is left out.
    """
    found = found.at(found.scores >= threshold)
    pairs = pair_boxes(truth, found, within_class=False)
    same = found.labels[pairs.detections] == truth.labels[pairs.boxes]
    in_crowd = np.zeros(len(found.images), bool)
    in_crowd[pairs.detections[same & truth.crowd[pairs.boxes]]] = True
    box_of = _pair_off(truth, found, pairs, same)
    matched = box_of >= 0
    counted = matched | ~in_crowd
    missed = ~truth.crowd
    missed[box_of[matched]] = False
    background = len(truth.names)
    truths = np.full(len(box_of), background)
    truths[matched] = truth.labels[box_of[matched]]
    matrix = np.zeros((background + 1, background + 1), int)
    np.add.at(matrix, (truths[counted], found.labels[counted]), 1)
    np.add.at(matrix, (truth.labels[missed], background), 1)
    right = truths == found.labels
    of_images = found.images[right], found.images[counted & ~right], truth.images[~truth.crowd]
    correct, wrong, boxes = (
        np.bincount(part, minlength=len(truth.filenames)) for part in of_images
    )
    return Confusion(threshold, matrix, correct=correct, wrong=wrong, missed=boxes - correct)


def _pair_off(truth, found, pairs, same):
    """Returns the box of each detection, -1 for none."""
    box_of, taken = np.full(len(found.images), -1), truth.crowd.copy()
    for pair in np.lexsort((-pairs.ious, ~same)):
        detection, box = pairs.detections[pair], pairs.boxes[pair]
        if box_of[detection] < 0 and not taken[box]:
            box_of[detection], taken[box] = box, True
    return box_of
