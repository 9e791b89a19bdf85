"""Counts average precision and recall from matches, for any weights of the images."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

RECALLS = np.linspace(0, 1, 101)  # pycocotools' own
_CELLS = 1 << 18  # numbers worked on at a time, which a core's cache holds


class Tally(NamedTuple):
    """Detections and boxes of several groups; a group is a class, or one in a slice."""

    groups: int  # how many
    group: np.ndarray  # int [E], each detection's, ascending; in a group the best score is first
    image: np.ndarray  # int [E]
    correct: np.ndarray  # bool [E, T]
    ignored: np.ndarray  # bool [E, T]
    box_group: np.ndarray  # int [C], of each box that is to be found
    box_image: np.ndarray  # int [C]


class Scores(NamedTuple):
    """Numbers of each group, IoU and weighting; nan where the group has no box."""

    precision: np.ndarray  # float [groups, T, B], average precision
    recall: np.ndarray  # float [groups, T, B], share of the boxes found


def accumulate(tally, weights):
    """Returns the Scores of a Tally where image n counts weights[n] times.

    With weights of 1 they are pycocotools' to the last digits. Only where a detection is correct
    can a curve of precision reach a new height, so the curve is followed at these places alone: the
    work grows with the correct detections and, by one sparse product, with all of them.

    Args:
        tally: Tally.
        weights: float [N, B], a column for each weighting. float32 is twice as fast and precise to
            about 1e-6; float64 is exact.
    """
    edges = np.searchsorted(tally.group, np.arange(tally.groups + 1))
    order = np.argsort(tally.box_group, kind="stable")
    box_edges = np.searchsorted(tally.box_group[order], np.arange(tally.groups + 1))
    shape = tally.groups, tally.correct.shape[1], weights.shape[1]
    scores = Scores(np.full(shape, np.nan), np.full(shape, np.nan))
    for group in range(tally.groups):
        rows = slice(edges[group], edges[group + 1])
        boxes = tally.box_image[order[box_edges[group] : box_edges[group + 1]]]
        if len(boxes):
            part = _Curve(tally.image[rows], tally.correct[rows], tally.ignored[rows])
            step = max(_CELLS // max(part.most, 1), 1)
            for start in range(0, weights.shape[1], step):
                columns = slice(start, start + step)
                found = part.scores(boxes, np.ascontiguousarray(weights[:, columns]))
                scores.precision[group, :, columns], scores.recall[group, :, columns] = found
    return scores


class _Curve:
    """The detections of one group, best first, reduced to what its curves of precision need."""

    def __init__(self, images, correct, ignored):
        self._places = [np.flatnonzero(column) for column in correct.T]
        self._images = images
        self._union = np.flatnonzero(correct.any(axis=1))
        self.most = max((len(places) for places in self._places), default=0)
        always = ~ignored.any(axis=1)
        self._always = np.flatnonzero(always)
        at_times = ~ignored & ~always[:, np.newaxis]
        self._at_times = [np.flatnonzero(column) for column in at_times.T]

    def scores(self, boxes, weights):
        """Returns (average precision [T, B], recall [T, B])."""
        wanted = weights[boxes].sum(axis=0)
        totals = self._totals(self._always, self._union, weights)
        precision = np.zeros((len(self._places), weights.shape[1]))
        recall = np.zeros_like(precision)
        for iou, places in enumerate(self._places):
            if len(places):
                total = totals[np.searchsorted(self._union, places)]
                if len(self._at_times[iou]):
                    total += self._totals(self._at_times[iou], places, weights)
                right = np.cumsum(weights[self._images[places]], axis=0)
                precision[iou], recall[iou] = _area(right, total, wanted)
        precision[:, wanted == 0] = recall[:, wanted == 0] = np.nan
        return precision, recall

    def _totals(self, detections, places, weights):
        """Returns the weight of these detections up to each place, [places, B]."""
        parts = np.searchsorted(places, detections)
        inside = parts < len(places)
        parts, images = parts[inside], self._images[detections[inside]]
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
