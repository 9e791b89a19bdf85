"""Precision and recall against the score, the best threshold, and how far scores can be trusted."""

from typing import NamedTuple

import numpy as np

BINS = 10  # of scores in a calibration


class Curve(NamedTuple):
    """One class's detections at IoU 0.5, or all classes' pooled, best score first."""

    name: str
    boxes: int
    scores: np.ndarray  # float [D], descending
    correct: np.ndarray  # bool [D]

    def precision(self):
        """Returns the share of right ones among each detection and the better ones, [D]."""
        return np.cumsum(self.correct) / np.arange(1, len(self.correct) + 1)

    def recall(self):
        """Returns the share of the boxes found up to each detection, [D]; nan without boxes."""
        return np.cumsum(self.correct) / (self.boxes or np.nan)

    def f1(self):
        """Returns 2 * right / (detections + boxes) up to each detection, [D]."""
        count = np.arange(1, len(self.correct) + 1)
        return 2 * np.cumsum(self.correct) / (count + self.boxes)

    def best(self):
        """Returns (threshold, F1, precision, recall) where F1 is highest, nans where none is.

        Detections of one score stand or fall together.
        """
        last = np.flatnonzero(np.diff(self.scores, append=-1))
        if not self.boxes or not len(last) or not self.correct.any():
            return (np.nan,) * 4
        place = last[np.argmax(self.f1()[last])]
        parts = self.scores, self.f1(), self.precision(), self.recall()
        return tuple(float(part[place]) for part in parts)


class Calibration(NamedTuple):
    """Scores against the share of right detections, in bins of equal width from 0 to 1."""

    counts: np.ndarray  # int [BINS]
    scores: np.ndarray  # float [BINS], mean; nan in an empty bin
    correct: np.ndarray  # float [BINS], share

    @property
    def error(self):
        """The expected calibration error: the mean gap, weighted by counts; nan of nothing."""
        if not self.counts.sum():
            return float("nan")
        gaps = np.abs(self.scores - self.correct)
        return float(np.nansum(gaps * self.counts) / self.counts.sum())


def trace_curves(truth, ranked, matches):
    """Returns the Curve of all classes pooled, then of each class.

    Args:
        truth: truth.Truth.
        ranked: matching.Ranked.
        matches: their Matches; the first range and IoU count.
    """
    told = ~matches.ignored[:, 0, 0]
    scores, correct = ranked.scores[told], matches.correct[told, 0, 0]
    labels, images = ranked.labels[told], ranked.images[told]
    boxes = np.bincount(truth.labels[matches.counted[:, 0]], minlength=len(truth.names))
    order = np.lexsort((images, -scores))
    curves = [Curve("All", int(boxes.sum()), scores[order], correct[order])]
    for label, name in enumerate(truth.names):
        of_class = labels == label
        curves.append(Curve(name, int(boxes[label]), scores[of_class], correct[of_class]))
    return curves


def calibrate(curve):
    """Returns the Calibration of a Curve's detections."""
    bins = np.minimum((curve.scores * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    known = np.where(counts > 0, counts, np.nan)
    sums = (np.bincount(bins, weights, BINS) for weights in (curve.scores, curve.correct))
    return Calibration(counts, *(total / known for total in sums))
