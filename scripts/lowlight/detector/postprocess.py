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


def suppress(
    boxes: Callable, scores: np.ndarray, window: tuple, settings: Suppression, wanted: float = 0.0
) -> tuple:
    """Returns the detections of an image.

    Greedy, best first; a box is left out where one of its class that was kept overlaps it more than
    allowed. Then boxes are clipped to the image, and those that have nothing left are dropped, as
    in TFOD's `multiclass_non_max_suppression`. A better box never depends on a worse one, so that
    the worse ones needn't be looked at once there are enough.

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
    kept = _Kept(boxes, window, settings)
    above = np.inf
    lowest = max(wanted, settings.least_score)
    for level in (*(level for level in _LEVELS if level > lowest), lowest):
        chosen = np.flatnonzero((scores >= level) & (scores > settings.least_score))
        values = scores.reshape(-1)[chosen]
        fresh = values < above
        (places, classes), values = np.divmod(chosen[fresh], scores.shape[1]), values[fresh]
        # Of equal scores the first class comes first, then the first box.
        order = np.lexsort((places, classes, -values))
        kept.add(places[order], classes[order], values[order])
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

    def add(self, places, classes, scores):
        """Looks at further boxes, best first, none better than those before."""
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
        fresh = boxes[alive], classes[alive], scores[alive]
        self._all = tuple(np.concatenate(pair) for pair in zip(self._all, fresh, strict=True))

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


def _ordered(boxes):
    """Returns boxes whose second corner isn't before the first, as TensorFlow's operation does."""
    first, second = boxes[:, :2], boxes[:, 2:]
    return np.hstack([np.minimum(first, second), np.maximum(first, second)])
