"""Matches detections to ground truth as COCO does, once for every IoU and range of boxes."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from lowlight.evaluation.results import Found
from lowlight.evaluation.truth import Truth
from lowlight.images.boxes import ltwh_iou_with_crowds

# pycocotools' own: 0.50 to 0.95 (https://github.com/cocodataset/cocoapi, Params.setDetParams).
IOUS = np.linspace(0.5, 0.95, 10)
_LEAST_IOUS = np.minimum(IOUS, 1 - 1e-10)  # as pycocotools bounds them
_MOST_DETECTIONS = 100  # of an image and class
# Areas in square pixels, both ends included: TFOD's and pycocotools'.
AREAS = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}


class Pairs(NamedTuple):
    """Each detection beside each box of its image that it overlaps by IOUS[0] or more."""

    detections: np.ndarray  # int [P]
    boxes: np.ndarray  # int [P], ascending for a detection
    ious: np.ndarray  # float [P]


class Ranked(NamedTuple):
    """The detections that COCO counts, in its order, beside the boxes that they may match."""

    truth: Truth
    found: Found  # by class, best score first; of equal scores the first image's is first
    ranks: np.ndarray  # int [D], the place in its image and class, from 0
    pairs: Pairs  # within a class


class Matches(NamedTuple):
    """What became of each detection, for R ranges of boxes and T IoUs."""

    correct: np.ndarray  # bool [D, R, T]
    ignored: np.ndarray  # bool [D, R, T], neither right nor wrong
    counted: np.ndarray  # bool [G, R], whether a box is one to be found

    def ranges(self, first: int, end: int) -> "Matches":
        """Returns the Matches of some of the ranges."""
        return Matches(*(part[:, first:end] for part in self))

    def parted(self, of_boxes: np.ndarray, of_detections: np.ndarray) -> "Matches":
        """Returns the Matches of the first range in P parts of the images.

        Bool [G, P] and [D, P] say which boxes and detections are on the images of each part.
        """
        ignored = self.ignored[:, :1] | ~of_detections[:, :, np.newaxis]
        correct = np.broadcast_to(self.correct[:, :1], ignored.shape)
        return Matches(correct, ignored, self.counted[:, :1] & of_boxes)


def rank_detections(truth: Truth, found: Found) -> Ranked:
    """Returns Ranked: of every image and class the best, in the order that COCO counts in."""
    found = found.at(np.lexsort((found.images, -found.scores, found.labels)))
    ranks = places_in_group(_group_keys(truth, found))
    best = ranks < _MOST_DETECTIONS
    found = found.at(best)
    return Ranked(truth, found, ranks[best], pair_boxes(truth, found))


def _group_keys(truth, part, within_class=True):
    """Returns a number for the image, and class, of each box or detection."""
    return part.images * len(truth.names) + part.labels if within_class else part.images


def places_in_group(keys: np.ndarray) -> np.ndarray:
    """Returns each key's place, from 0, among its equals, int [K]."""
    return pd.Series(keys).groupby(keys, sort=False).cumcount().to_numpy()


def rows_by_image(images: np.ndarray, count: int) -> list[np.ndarray]:
    """Returns the rows of each of `count` images, a list of int arrays, from each row's image."""
    order = np.argsort(images, kind="stable")
    return np.split(order, np.searchsorted(images[order], np.arange(1, count)))


def pair_boxes(truth: Truth, found: Found, within_class: bool = True) -> Pairs:
    """Returns the Pairs of detections and boxes of the same image with an IoU of 0.5 or more."""
    theirs = _group_keys(truth, truth, within_class)
    mine = _group_keys(truth, found, within_class)
    boxes_by_key = np.argsort(theirs, kind="stable")
    first, last = (
        np.searchsorted(theirs, mine, side, sorter=boxes_by_key) for side in ("left", "right")
    )
    counts = last - first
    detections = np.repeat(np.arange(len(mine)), counts)
    boxes = boxes_by_key[np.repeat(first, counts) + places_in_group(detections)]
    ious = ltwh_iou_with_crowds(found.ltwh[detections], truth.ltwh[boxes], truth.crowd[boxes])
    near = ious >= IOUS[0]
    return Pairs(detections[near], boxes[near], ious[near])


def match(ranked: Ranked, boxes_inside: np.ndarray, detections_inside: np.ndarray) -> Matches:
    """Matches as pycocotools' COCOeval.evaluateImg does, for all ranges and IoUs at once.

    In an image and class the detections choose in turn, the best first, each the free box that it
    overlaps most; of equal ones the later. Boxes outside the range, and crowds, are chosen only
    where no other is left, and make the detection ignored, as does lying outside itself unmatched.
    All images and classes take their turns together, so there are as many turns as one of them
    has detections at most.

    Bool [G, R] and [D, R] say which boxes and detections lie in each range.
    """
    off = ~boxes_inside | ranked.truth.crowd[:, np.newaxis]
    shape = off.shape[1], len(IOUS)
    correct = np.zeros((len(ranked.ranks), *shape), bool)
    ignored = np.zeros_like(correct)
    taken = np.zeros((len(off), *shape), bool)
    for detections, candidates in _turns(ranked):
        best, best_off = _choose(candidates, ranked, off, taken)
        correct[detections] = best >= 0
        ignored[detections] = (best < 0) & (best_off >= 0)
        chosen = np.where(best >= 0, best, best_off)
        which, area, iou = np.nonzero(chosen >= 0)
        taken[chosen[which, area, iou], area, iou] = True
    ignored |= ~(correct | detections_inside[:, :, np.newaxis])
    return Matches(correct, ignored, ~off)


def match_areas(ranked: Ranked) -> Matches:
    """Returns the Matches of COCO's ranges of areas: all, small, medium and large."""
    low, high = np.array(list(AREAS.values())).T
    areas = (part.areas[:, np.newaxis] for part in (ranked.truth, ranked.found))
    return match(ranked, *((area >= low) & (area <= high) for area in areas))


def _turns(ranked):
    """Yields (detections [n], [their first pairs [n], second pairs [<= n], ...]) turn by turn.

    Detections with more candidates come first, so that those with a j-th are the first of them.
    """
    detections, first, counts = np.unique(
        ranked.pairs.detections, return_index=True, return_counts=True
    )
    turns = places_in_group(_group_keys(ranked.truth, ranked.found.at(detections)))
    by_turn = np.lexsort((-counts, turns))
    ends = np.cumsum(np.bincount(turns))
    for chosen in np.split(by_turn, ends[:-1]) if len(ends) else ():
        most = counts[chosen[0]]
        yield (
            detections[chosen],
            [first[chosen[: np.sum(counts[chosen] > n)]] + n for n in range(most)],
        )


def _choose(candidates, ranked, off, taken):
    """Returns the best free box in each range, and outside it, int [n, R, T], or -1."""
    shape = len(candidates[0]), *taken.shape[1:]
    best, best_off = np.full(shape, -1), np.full(shape, -1)
    top, top_off = (np.broadcast_to(_LEAST_IOUS, shape).copy() for _ in range(2))
    for rows in candidates:
        boxes = ranked.pairs.boxes[rows]
        ious = ranked.pairs.ious[rows][:, np.newaxis, np.newaxis]
        free = ~taken[boxes] | ranked.truth.crowd[boxes, np.newaxis, np.newaxis]
        is_off = off[boxes][:, :, np.newaxis]
        for place, limit, allowed in ((best, top, ~is_off), (best_off, top_off, is_off)):
            better = free & allowed & (ious >= limit[: len(rows)])
            np.copyto(place[: len(rows)], boxes[:, np.newaxis, np.newaxis], where=better)
            np.copyto(limit[: len(rows)], ious, where=better)
    return best, best_off
