"""Scores parts of the data: by class, image facts, box size, brightness and crowding."""

from typing import NamedTuple

import numpy as np

from lowlight.evaluation.average_precision import Tally, accumulate
from lowlight.evaluation.matching import match, pair_boxes
from lowlight.evaluation.slice_families import Family

METRICS = "AP", "AP50", "AP75", "AR"
LEAST = 10  # images and boxes that a slice needs for its numbers to mean something


class Slice(NamedTuple):
    """The score of one slice."""

    family: str
    name: str
    images: int  # with a box of the slice
    boxes: int
    scores: np.ndarray  # float [4], AP, AP50, AP75 and AR; nan without boxes
    samples: np.ndarray  # float [4, B], the same of each bootstrap sample

    @property
    def remark(self):
        """Says why the numbers mean nothing, "" where they do."""
        if not self.boxes:
            return "no boxes"
        images = f"{self.images} image" + ("s" if self.images != 1 else "")
        boxes = f"{self.boxes} box" + ("es" if self.boxes != 1 else "")
        few = [text for text, n in ((images, self.images), (boxes, self.boxes)) if n < LEAST]
        return f"too little data: {' with '.join(few)}" if few else ""

    def intervals(self):
        """Returns the 95% intervals, [4, 2]; nan where there are no samples or too little data.

        Resampled images repeat, which lifts average precision; so the samples are moved until their
        mean is the score. The interval is then one for the score that as many other images of the
        same kind would give.
        """
        if self.remark or not self.samples.shape[1]:
            return np.full((len(METRICS), 2), np.nan)
        return np.clip(centred_intervals(self.samples, self.scores), 0, 1)


def centred_intervals(samples, values, level=0.95):
    """Returns intervals [K, 2] of values [K] from their bootstrap samples [K, B], nan left out."""
    centred = samples - np.nanmean(samples, axis=1, keepdims=True) + values[:, np.newaxis]
    ends = 50 * (1 - level), 50 * (1 + level)
    return np.nanpercentile(centred, ends, axis=1).T


def draw_weights(images, samples, seed):
    """Returns how often each image is in each bootstrap sample, float32 [images, samples]."""
    chance = np.random.default_rng(seed)
    return chance.multinomial(images, np.full(images, 1 / images), samples).T.astype(np.float32)


def score_slices(truth, ranked, matches, families, weights):
    """Scores everything, each class, and each slice of the families.

    Args:
        truth: truth.Truth.
        ranked: matching.Ranked.
        matches: their Matches of COCO's areas.
        families: of `slice_families.make_families`.
        weights: of `draw_weights`, [N, B]; B may be 0.

    Returns:
        [Slice], "All" first.
    """
    whole = Family("All", ["all images"], np.zeros(len(truth.filenames), int))
    pairs = pair_boxes(truth, ranked.images, ranked.ltwh, ranked.labels)
    slices, of_classes = [], []
    for family in (whole, *families):
        if family.of_images is not None:
            tally = _tally_images(truth, ranked, matches, family)
        else:
            tally = _tally_boxes(truth, ranked, pairs, family)
        both = [_numbers(accumulate(tally, each)) for each in (_once(truth), weights)]
        for place, name in enumerate(family.names):
            rows = slice(place * len(truth.names), (place + 1) * len(truth.names))
            scores, samples = ([_mean(part) for part in _parts(number, rows)] for number in both)
            inside = tally.box_image[_is_within(tally.box_group, rows)]
            counts = len(np.unique(inside)), len(inside)
            slices.append(
                Slice(family.heading, name, *counts, np.array(scores)[:, 0], np.array(samples))
            )
        if family is whole:
            of_classes = _class_slices(truth, tally, both)
    return [slices[0], *of_classes, *slices[1:]]


def _once(truth):
    return np.ones((len(truth.filenames), 1))


def _is_within(values, rows):
    return (values >= rows.start) & (values < rows.stop)


def _tally_images(truth, ranked, matches, family):
    """Returns the Tally of the classes in each part of the images."""
    kinds, inside = len(truth.names), family.of_images[ranked.images] >= 0
    detections = np.flatnonzero(inside)
    group = family.of_images[ranked.images[detections]] * kinds + ranked.labels[detections]
    detections = detections[np.argsort(group, kind="stable")]
    boxes = np.flatnonzero(matches.counted[:, 0] & (family.of_images[truth.images] >= 0))
    return Tally(
        len(family.names) * kinds,
        np.sort(group, kind="stable"),
        ranked.images[detections],
        matches.correct[detections, 0],
        matches.ignored[detections, 0],
        family.of_images[truth.images[boxes]] * kinds + truth.labels[boxes],
        truth.images[boxes],
    )


def _tally_boxes(truth, ranked, pairs, family):
    """Returns the Tally of the classes in each part of the boxes, the others being ignored."""
    matches = match(truth, ranked, pairs, ~family.of_boxes, ~family.of_detections)
    kinds = len(truth.names)
    part, rows = np.nonzero(~matches.ignored.all(axis=2).T)
    group = part * kinds + ranked.labels[rows]
    order = np.argsort(group, kind="stable")
    part, rows = part[order], rows[order]
    box_part, boxes = np.nonzero(matches.counted.T)
    return Tally(
        len(family.names) * kinds,
        group[order],
        ranked.images[rows],
        matches.correct[rows, part],
        matches.ignored[rows, part],
        box_part * kinds + truth.labels[boxes],
        truth.images[boxes],
    )


def _numbers(scores):
    """Returns AP, AP50, AP75 and AR of each group, [4, groups, B]."""
    precision, recall = scores
    means = precision.mean(axis=1), precision[:, 0], precision[:, 5], recall.mean(axis=1)
    return np.stack(means)


def _parts(numbers, rows):
    return [part[rows] for part in numbers]


def _mean(values):
    """Returns the mean over the groups that have boxes, [groups, B] to [B]; nan without any."""
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0).sum(axis=0), known.sum(axis=0)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _class_slices(truth, tally, both):
    slices = []
    for place, name in enumerate(truth.names):
        inside = tally.box_image[tally.box_group == place]
        counts = len(np.unique(inside)), len(inside)
        scores, samples = (number[:, place] for number in both)
        slices.append(Slice("Class", name, *counts, scores[:, 0], samples))
    return slices
