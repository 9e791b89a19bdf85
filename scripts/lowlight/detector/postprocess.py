"""Turns a network's encodings into boxes, and chooses among them as TFOD does."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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


# How many of the best scores are looked at, before all are; only the speed depends on it.
_COUNTS = 1000, 10_000


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
    boxes: Callable,
    scores: np.ndarray,
    window: Sequence,
    settings: Suppression,
    wanted: float = 0,
) -> tuple:
    """Returns the detections of an image.

    The boxes of `best_first` are clipped to the image, and those that have nothing left are
    dropped, as in TFOD's `multiclass_non_max_suppression`. A better box never depends on a worse
    one, so that the worse ones needn't be looked at once there are enough.

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
    least = max(wanted, settings.least_score)
    possible = np.flatnonzero((scores >= least) & (scores > settings.least_score))
    values = scores.reshape(-1)[possible]
    for count in (*_COUNTS, len(values)):
        level = least if count >= len(values) else np.partition(values, -count)[-count]
        places, classes = np.divmod(possible[values >= level], scores.shape[1])
        # Of equal scores the first class comes first, then the first box.
        order = np.argsort(classes, kind="stable")
        places, classes = places[order], classes[order]
        corners = _ordered(boxes(places))
        clipped = clip_corners(corners, window)
        is_box = (clipped[:, 2:] > clipped[:, :2]).all(1)
        ranked = best_first(corners, classes, scores[places, classes], settings, level)
        found = list(itertools.islice((one for one in ranked if is_box[one[0]]), settings.most))
        if len(found) == settings.most or count >= len(values):
            break
    chosen = [place for place, _ in found]
    units = np.minimum(clipped[chosen] / np.tile(np.float32(window), 2), 1)
    return units, classes[chosen], np.array([score for _, score in found], np.float32)


def best_first(
    boxes: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray,
    settings: Suppression,
    wanted: float = 0,
) -> Iterator[tuple[int, float]]:
    """Yields (place, score) of the boxes that remain, best first.

    A box is left out where a better one of its class that was yielded overlaps it more than allowed
    or, with Soft-NMS, scores less: by exp(-IoU^2 / (2 sigma)), as TensorFlow's operation has it.

    Args:
        boxes: corners, float32 [N, 4]; classes, int [N], and scores, float32 [N], are theirs.
        settings: of which `most` has no say.
        wanted: leave out boxes with a lower score.
    """
    scores, counts = scores.copy(), Counter()
    while len(scores):
        best = scores.argmax()
        score, number = scores[best], classes[best]
        if score < wanted or score <= settings.least_score:
            return
        yield best, score
        counts[number] += 1
        scores[best] = -np.inf
        rivals = np.flatnonzero((classes == number) & (scores >= wanted))
        overlaps = iou(boxes[rivals], boxes[best][np.newaxis])[:, 0]
        if counts[number] == settings.most_each:
            scores[rivals] = -np.inf
        elif settings.sigma:
            scores[rivals] *= np.exp(overlaps**2 * np.float32(-0.5 / settings.sigma))
        else:
            scores[rivals[overlaps > np.float32(settings.most_iou)]] = -np.inf


def _ordered(boxes):
    """Returns boxes whose second corner isn't before the first, as TensorFlow's operation does."""
    first, second = boxes[:, :2], boxes[:, 2:]
    return np.hstack([np.minimum(first, second), np.maximum(first, second)])
