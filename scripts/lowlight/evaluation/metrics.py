"""Counts COCO's numbers from matches, and precision, recall and calibration against the score."""

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from lowlight.evaluation.matching import IOUS, Matches, Ranked

RECALLS = np.linspace(0, 1, 101)  # pycocotools' own
_CELLS = 1 << 18  # numbers worked on at a time, which a core's cache holds


class Scores(NamedTuple):
    """Numbers of each range of boxes, class, IoU and weighting; nan where there is no box."""

    precision: np.ndarray  # float [R, K, T, B], average precision
    recall: np.ndarray  # float [R, K, T, B], share of the boxes found


def accumulate(ranked: Ranked, matches: Matches, weights: np.ndarray) -> Scores:
    """Returns the Scores of some Matches where image n counts weights[n] times.

    With weights of 1 they are pycocotools' to the last digits. Only where a detection is correct
    can a curve of precision reach a new height, so the curve is followed at these places alone: the
    work grows with the correct detections and, by one sparse product, with all of them.

    Args:
        weights: [N, B], a column for each weighting; float32 is twice as fast and precise to about
            1e-6, float64 is exact.
    """
    truth, found = ranked.truth, ranked.found
    shape = matches.counted.shape[1], len(truth.names), len(IOUS), weights.shape[1]
    scores = Scores(np.full(shape, np.nan), np.full(shape, np.nan))
    ends = np.searchsorted(found.labels, range(len(truth.names) + 1))
    for part, label in np.ndindex(shape[:2]):
        boxes = truth.images[matches.counted[:, part] & (truth.labels == label)]
        if len(boxes):
            rows = np.arange(ends[label], ends[label + 1])
            rows = rows[~matches.ignored[rows, part].all(axis=1)]
            found_there = matches.correct[rows, part], matches.ignored[rows, part]
            numbers = _score_class(found.images[rows], *found_there, boxes, weights)
            scores.precision[part, label], scores.recall[part, label] = numbers
    return scores


def _score_class(images, correct, ignored, boxes, weights):
    """Returns (average precision [T, B], recall [T, B]) of a class's detections, best first.

    The images are the detections', and the boxes are given by theirs.
    """
    wanted = weights[boxes].sum(axis=0)
    precision, recall = np.zeros((2, len(IOUS), weights.shape[1]))
    union, always = np.flatnonzero(correct.any(axis=1)), ~ignored.any(axis=1)
    step = max(_CELLS // correct.sum(axis=0).max(initial=1), 1)
    for start in range(0, weights.shape[1], step):
        columns = slice(start, start + step)
        some = np.ascontiguousarray(weights[:, columns])
        totals = _totals(images, np.flatnonzero(always), union, some)
        for iou in range(len(IOUS)):
            places = np.flatnonzero(correct[:, iou])
            at_times = np.flatnonzero(~ignored[:, iou] & ~always)
            if len(places):
                total = totals[np.searchsorted(union, places)]
                if len(at_times):
                    total += _totals(images, at_times, places, some)
                right = np.cumsum(some[images[places]], axis=0)
                numbers = _area(right, total, wanted[columns])
                precision[iou, columns], recall[iou, columns] = numbers
    precision[:, wanted == 0] = recall[:, wanted == 0] = np.nan
    return precision, recall


def _totals(images, detections, places, weights):
    """Returns the weight of these detections up to each place, [places, B]."""
    parts = np.searchsorted(places, detections)
    inside = parts < len(places)
    parts, images = parts[inside], images[detections[inside]]
    counts = np.ones(len(parts), weights.dtype)
    shape = len(places), len(weights)
    return np.cumsum(csr_matrix((counts, (parts, images)), shape) @ weights, axis=0)


def _area(right, total, wanted):
    """Returns (average precision [B], recall [B]) of a curve at its correct detections.

    Args:
        right: weight of the correct detections up to each of them, [n, B].
        total: weight of all detections up to there, [n, B].
        wanted: weight of the boxes, [B].
    """
    precision = np.divide(right, total, out=np.zeros_like(right), where=total > 0)
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    recall = np.divide(right, wanted, out=np.zeros_like(right), where=wanted > 0)
    if recall.dtype == np.float64:
        reached = np.searchsorted(RECALLS, recall, "right")
    else:
        reached = np.floor(recall * 100 + 2e-5) + 1
    steps = np.diff(reached, axis=0, prepend=0)
    return np.einsum("nb,nb->b", precision, steps, dtype=float) / len(RECALLS), recall[-1]


# TFOD's names, in pycocotools' order, with what each one says.
COCO_METRICS = {
    "DetectionBoxes_Precision/mAP": "average precision, mean over IoU 0.50 to 0.95",
    "DetectionBoxes_Precision/mAP@.50IOU": "average precision at IoU 0.50",
    "DetectionBoxes_Precision/mAP@.75IOU": "average precision at IoU 0.75",
    "DetectionBoxes_Precision/mAP (small)": "objects under 32x32 pixels",
    "DetectionBoxes_Precision/mAP (medium)": "objects of 32x32 to 96x96 pixels",
    "DetectionBoxes_Precision/mAP (large)": "objects over 96x96 pixels",
    "DetectionBoxes_Recall/AR@1": "average recall, 1 detection an image",
    "DetectionBoxes_Recall/AR@10": "average recall, 10 detections an image",
    "DetectionBoxes_Recall/AR@100": "average recall, 100 detections an image",
    "DetectionBoxes_Recall/AR@100 (small)": "objects under 32x32 pixels",
    "DetectionBoxes_Recall/AR@100 (medium)": "objects of 32x32 to 96x96 pixels",
    "DetectionBoxes_Recall/AR@100 (large)": "objects over 96x96 pixels",
}


def count_metrics(ranked: Ranked, matches: Matches) -> dict:
    """Returns COCO's twelve numbers, {TFOD's name: number}; -1 where nothing has the size.

    They are pycocotools' COCOeval.summarize's: means over IoUs and over the classes that have
    boxes. The matches are those of `match_areas`.
    """
    once = np.ones((len(ranked.truth.filenames), 1))
    scores = accumulate(ranked, matches, once)
    whole, *sizes = scores.precision[..., 0]
    correct, ignored, counted = matches.ranges(0, 1)
    recalls = []
    for most in (1, 10):  # detections of an image and class
        best = ranked.ranks < most
        few = ranked._replace(found=ranked.found.at(best))
        theirs = Matches(correct[best], ignored[best], counted)
        recalls.append(accumulate(few, theirs, once).recall[0, ..., 0])
    numbers = [whole, whole[:, 0], whole[:, 5], *sizes, *recalls, *scores.recall[..., 0]]
    return dict(zip(COCO_METRICS, map(_mean, numbers), strict=True))


def _mean(values):
    return float(np.nanmean(values)) if np.any(~np.isnan(values)) else -1.0


def format_table(metrics: dict) -> str:
    """Returns the twelve numbers as lines of text; "none" where no object has the size."""
    lines = []
    for name, meaning in COCO_METRICS.items():
        value = metrics[name]
        shown = "  none  " if value < 0 or math.isnan(value) else f"{value:8.6f}"
        lines.append(f"  {name:<39} {shown}  {meaning}")
    return "\n".join(lines)


BINS = 10  # of scores in a calibration


class Best(NamedTuple):
    """The score at which F1 is highest, with what it gives; all nan where nothing is right."""

    threshold: float = np.nan
    f1: float = np.nan
    precision: float = np.nan
    recall: float = np.nan


class Curve(NamedTuple):
    """One class's detections at IoU 0.5, or all classes' pooled, best score first."""

    name: str
    boxes: int
    scores: np.ndarray  # float [D], descending
    correct: np.ndarray  # bool [D]

    def precision(self) -> np.ndarray:
        """Returns the share of right ones among each detection and the better ones, [D]."""
        return np.cumsum(self.correct) / np.arange(1, len(self.correct) + 1)

    def recall(self) -> np.ndarray:
        """Returns the share of the boxes found up to each detection, [D]; nan without boxes."""
        return np.cumsum(self.correct) / (self.boxes or np.nan)

    def f1(self) -> np.ndarray:
        """Returns 2 * right / (detections + boxes) up to each detection, [D]."""
        count = np.arange(1, len(self.correct) + 1)
        return 2 * np.cumsum(self.correct) / (count + self.boxes)

    def best(self) -> Best:
        """Returns the Best, where detections of one score stand or fall together."""
        last = np.flatnonzero(np.diff(self.scores, append=-1))
        if not self.boxes or not self.correct.any():
            return Best()
        place = last[np.argmax(self.f1()[last])]
        parts = self.scores, self.f1(), self.precision(), self.recall()
        return Best(*(float(part[place]) for part in parts))


class Calibration(NamedTuple):
    """Scores against the share of right detections, in bins of equal width from 0 to 1."""

    counts: np.ndarray  # int [BINS]
    scores: np.ndarray  # float [BINS], mean; nan in an empty bin
    correct: np.ndarray  # float [BINS], share

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap, weighted by counts; nan of nothing."""
        if not self.counts.sum():
            return float("nan")
        gaps = np.abs(self.scores - self.correct)
        return float(np.nansum(gaps * self.counts) / self.counts.sum())


def trace_curves(ranked: Ranked, matches: Matches) -> list[Curve]:
    """Returns the Curve of all classes pooled, then of each, by the first range and IoU."""
    counted, truth = ~matches.ignored[:, 0, 0], ranked.truth
    found, correct = ranked.found.at(counted), matches.correct[counted, 0, 0]
    boxes = np.bincount(truth.labels[matches.counted[:, 0]], minlength=len(truth.names))
    order = np.lexsort((found.images, -found.scores))
    curves = [Curve("All", int(boxes.sum()), found.scores[order], correct[order])]
    for label, name in enumerate(truth.names):
        of_class = found.labels == label
        curves.append(Curve(name, int(boxes[label]), found.scores[of_class], correct[of_class]))
    return curves


def calibrate(curve: Curve) -> Calibration:
    """Returns the Calibration of a Curve's detections."""
    bins = np.minimum((curve.scores * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    known = np.where(counts > 0, counts, np.nan)
    sums = (np.bincount(bins, weights, BINS) for weights in (curve.scores, curve.correct))
    return Calibration(counts, *(total / known for total in sums))
