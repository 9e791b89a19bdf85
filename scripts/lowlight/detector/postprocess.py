"""Turns a network's encodings into boxes, and chooses among them as TFOD does."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lowlight.images.boxes import clip_corners, iou


class BoxDecoder(NamedTuple):
    """TFOD's Faster R-CNN box coder (object_detection/box_coders/faster_rcnn_box_coder.py)."""

    anchors: np.ndarray  # float32 [N, 4]: centre y, centre x, height, width
    scale: tuple  # by which a network's four numbers are larger

    def decode(self, encodings: np.ndarray, places: np.ndarray | slice) -> np.ndarray:
        """Returns the boxes at some places, float32 [M, 4] yxyx, of encodings [N, 4]."""
        anchors = self.anchors[places]
        offsets = encodings[places] / np.float32(self.scale)
        centres = anchors[:, :2] + offsets[:, :2] * anchors[:, 2:]
        halves = np.exp(offsets[:, 2:]) * anchors[:, 2:] / 2
        return np.hstack([centres - halves, centres + halves])


class DecodedBoxes:
    """In place of a BoxDecoder where a network decodes by itself."""

    def decode(self, boxes: np.ndarray, places: np.ndarray | slice) -> np.ndarray:
        """Returns the boxes at some places, float32 [M, 4] yxyx, of boxes [N, 4]."""
        return boxes[places]


# Scores from which boxes are looked at, before those under them are; only the speed depends on it.
_LEVELS = 0.3, 0.03, 0.003
_BLOCK = 512  # boxes that are compared with each other at a time


class Suppression(NamedTuple):
    """Settings of TFOD's multiclass non-maximum suppression."""

    least_score: float  # a box needs more than this
    most_iou: float  # of two boxes of a class that overlap more, the better remains
    most_each: int  # boxes of one class
    most: int  # boxes in all
    # Over 0 it is Soft-NMS (https://arxiv.org/abs/1704.04503): no box is left out for an overlap,
    # its score is lowered by each better box of its class, and most_iou has no say.
    sigma: float = 0.0


def suppress(
    boxes: Callable, scores: np.ndarray, window: tuple, settings: Suppression, wanted: float = 0.0
) -> tuple:
    """Returns the detections of an image.

    Greedy, best first; a box is left out where one of its class that was kept overlaps it more than
    allowed; with Soft-NMS it scores less. Then boxes are clipped to the image, and those that have
    nothing left are dropped, as in TFOD's `multiclass_non_max_suppression`. A better box never
    depends on a worse one, so that the worse ones needn't be looked at once there are enough.

    Args:
        boxes: a function of places, int [M] under N, that returns these boxes, float32 [M, 4], yxyx
            as fractions of the network's square input.
        scores: float32 [N, C].
        window: (height, width) of the image in the square, as fractions of it.
        settings: the model's, or the user's.
        wanted: leave out detections with a lower score.

    Returns:
        (unit_yxyx float32 [M, 4] of the image, classes int64 [M] from 0, scores float32 [M]), best
        first.
    """
    kept = (_SoftlyKept if settings.sigma else _Kept)(boxes, window, settings)
    above = np.inf
    lowest = max(wanted, settings.least_score)
    for level in (*(level for level in _LEVELS if level > lowest), lowest):
        chosen = np.flatnonzero((scores >= level) & (scores > settings.least_score))
        values = scores.reshape(-1)[chosen]
        fresh = values < above
        (places, classes), values = np.divmod(chosen[fresh], scores.shape[1]), values[fresh]
        # Of equal scores the first class comes first, then the first box.
        order = np.lexsort((places, classes, -values))
        kept.add(places[order], classes[order], values[order], level)
        if kept.is_full():
            break
        above = level
    return kept.result()


class _Kept:
    """The detections that were kept so far."""

    def __init__(self, boxes, window, settings):
        self._boxes, self._settings = boxes, settings
        self._window = np.array([*window, *window], np.float32)
        self._all = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32)

    def add(self, places, classes, scores, level):
        """Looks at further boxes: best first, none better than those before, none under a level."""
        for start in range(0, len(places), _BLOCK):
            if self.is_full():
                return
            part = slice(start, start + _BLOCK)
            self._add_block(_ordered(self._boxes(places[part])), classes[part], scores[part])

    def _add_block(self, boxes, classes, scores):
        before, before_classes, _ = self._all
        alive = ~self._overlaps(boxes, classes, before, before_classes).any(1)
        boxes, classes, scores = boxes[alive], classes[alive], scores[alive]
        overlaps = self._overlaps(boxes, classes, boxes, classes)
        alive = np.ones(len(boxes), bool)
        for place in range(len(boxes)):
            if alive[place]:
                alive[place + 1 :] &= ~overlaps[place, place + 1 :]
        self._all = _joined(self._all, (boxes[alive], classes[alive], scores[alive]))

    def _overlaps(self, boxes, classes, others, other_classes):
        """Returns bool [N, M]: of one class, and overlapping more than allowed."""
        same = classes[:, np.newaxis] == other_classes
        if not same.any():
            return same
        return same & (iou(boxes, others) > np.float32(self._settings.most_iou))

    def is_full(self):
        """Says whether no further box can be among the result's."""
        return np.count_nonzero(self._is_within()[1]) >= self._settings.most

    def _is_within(self):
        """Returns the boxes clipped to the window and which of all are detections."""
        boxes, classes, _ = self._all
        clipped = clip_corners(boxes, self._window[:2])
        sides = clipped[:, 2:] - clipped[:, :2]
        ranks = np.zeros(len(classes), np.int64)
        for number in np.unique(classes):
            of_class = classes == number
            ranks[of_class] = np.arange(np.count_nonzero(of_class))
        return clipped, (sides > 0).all(1) & (ranks < self._settings.most_each)

    def result(self):
        """Returns what `suppress` does."""
        clipped, is_within = self._is_within()
        chosen = np.flatnonzero(is_within)[: self._settings.most]
        boxes = np.minimum(clipped[chosen] / self._window, 1)
        return boxes, *(part[chosen] for part in self._all[1:])


class _SoftlyKept(_Kept):
    """The detections that were kept so far by Soft-NMS, and the boxes that may follow.

    A score is lowered as TensorFlow's operation does it, by exp(-IoU^2 / (2 sigma)).
    """

    def __init__(self, boxes, window, settings):
        super().__init__(boxes, window, settings)
        self._left = self._all

    def add(self, places, classes, scores, level):
        fresh = _ordered(self._boxes(places)), classes, scores.copy()
        for box, number in zip(*self._all[:2], strict=True):
            self._lower(fresh, box, number)
        self._left = boxes, classes, scores = _joined(self._left, fresh)
        counts = np.bincount(self._all[1], minlength=classes.max(initial=0) + 1)
        while len(scores) and not self.is_full():
            best = scores.argmax()
            box, number, score = boxes[best], classes[best], scores[best]
            if score < level or score <= self._settings.least_score:
                return
            if counts[number] == self._settings.most_each:
                scores[classes == number] = -np.inf
                continue
            self._all = _joined(self._all, ([box], [number], scores[[best]]))
            counts[number] += 1
            self._lower(self._left, box, number)
            scores[best] = -np.inf

    def _lower(self, candidates, box, number):
        """Lowers the candidates' scores by a box of a class that was kept."""
        boxes, classes, scores = candidates
        same = np.flatnonzero(classes == number)
        squares = iou(boxes[same], box[np.newaxis])[:, 0] ** 2
        scores[same] *= np.exp(squares * np.float32(-0.5 / self._settings.sigma))


def _joined(some, others):
    return tuple(np.concatenate(pair) for pair in zip(some, others, strict=True))


def _ordered(boxes):
    """Returns boxes whose second corner isn't before the first, as TensorFlow's operation does."""
    first, second = boxes[:, :2], boxes[:, 2:]
    return np.hstack([np.minimum(first, second), np.maximum(first, second)])
