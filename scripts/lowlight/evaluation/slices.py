"""Scores parts of the data: by class, image facts, box size, brightness and crowding."""

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import format_count
from lowlight.dataset.classes import LIGHTINGS, LOCATIONS
from lowlight.evaluation.matching import AREAS, Matches, Ranked, match
from lowlight.evaluation.metrics import accumulate
from lowlight.evaluation.truth_source import Facts

METRICS = "AP", "AP50", "AP75", "AR"
_ENDS = 50 * (1 - 0.95), 50 * (1 + 0.95)  # of an interval, in per cent of the samples
_LEAST = 10  # images and boxes that a slice needs for its numbers to mean something
_MOST_VALUES = 24  # that a column may have and still be sliced by
_OWN_HEADINGS = "All", "Class", "Image brightness", "Box brightness", "Crowding"
# {name: the least boxes of an image}.
_CROWDING = {"0 or 1 box": 0, "2 or 3 boxes": 2, "4 to 7 boxes": 4, "8 boxes or more": 8}


class Family(NamedTuple):
    """A way to part the images, or the boxes, into slices."""

    heading: str
    names: list  # of its slices
    match: Callable  # returns Matches with a range for each slice


def make_families(ranked: Ranked, matches: Matches, facts: Facts) -> tuple[list[Family], list[str]]:
    """Returns the families that the facts allow, and sentences on what is left out.

    The matches are those of COCO's areas. The first family is "All", one slice.
    """
    truth, found = ranked.truth, ranked.found
    families, notes = [Family("All", ["all images"], partial(matches.ranges, 0, 1))], [*facts.notes]

    def part_images(heading, names, members):  # each image's place in the names, -1 for none
        chosen = members[:, np.newaxis] == np.arange(len(names))
        inside = chosen[truth.images], chosen[found.images]
        families.append(Family(heading, names, partial(matches.parted, *inside)))

    def part_boxes(heading, of_boxes, of_detections, unit):
        edges, names = _quartiles(of_boxes, unit)
        parts = (np.searchsorted(edges, values, "right") for values in (of_boxes, of_detections))
        inside = (part[:, np.newaxis] == np.arange(len(names)) for part in parts)
        families.append(Family(heading, names, partial(match, ranked, *inside)))

    for column, values in facts.columns.items():
        names, members = _part_column(column, values)
        heading = column[:1].upper() + column[1:]
        if heading in _OWN_HEADINGS:
            heading += " (column)"
        if names is None:
            notes.append(f"The column {column} has too many different values for slices.")
        else:
            part_images(heading, names, members)
    sizes = partial(matches.ranges, 1, len(AREAS))
    families.append(Family("Box size, COCO's", list(AREAS)[1:], sizes))
    if len(truth.images):
        part_boxes("Box size, quartiles", np.sqrt(truth.areas), np.sqrt(found.areas), "px")
    if facts.brightness is None:
        notes.append("The images aren't there to measure, so brightness is left out.")
    else:
        part_images("Image brightness", *_part_numbers(facts.brightness))
    lumas = facts.box_brightness, found.brightness
    if len(truth.images) and all(luma is not None for luma in lumas):
        part_boxes("Box brightness", *lumas, "luma")
    counts = np.bincount(truth.images[~truth.crowd], minlength=len(truth.filenames))
    members = np.searchsorted(list(_CROWDING.values()), counts, "right") - 1
    part_images("Crowding", list(_CROWDING), members)
    return families, notes


def _part_column(column, values):
    """Returns (names, each image's place in them, -1 for none) of a column's values.

    They are quartiles where there are many numbers; of many texts both are None.
    """
    known = sorted({value for value in values if value})
    if len(known) > _MOST_VALUES:
        try:
            return _part_numbers(np.array([float(value or "nan") for value in values]))
        except ValueError:
            return None, None
    order = {"lighting": LIGHTINGS, "location": LOCATIONS}.get(column, ())
    names = [n for n in order if n in known] + [n for n in known if n not in order]
    return names, np.array([names.index(value) if value else -1 for value in values])


def _part_numbers(values):
    """Returns (names of the quartiles, each number's place in them, -1 for nan)."""
    edges, names = _quartiles(values)
    return names, np.where(np.isnan(values), -1, np.searchsorted(edges, values, "right"))


def _quartiles(values, unit=""):
    """Returns (the inner edges, the names of the parts); equal edges become one."""
    known = values[~np.isnan(values)]
    if not len(known):
        return [], ["all"]
    edges = np.unique(np.round(np.quantile(known, [0.25, 0.5, 0.75]), 1))
    unit = f" {unit}" if unit else ""
    texts = [f"{edge:g}" for edge in edges]
    between = [f"{low} to {high}{unit}" for low, high in itertools.pairwise(texts)]
    return edges, [f"under {texts[0]}{unit}", *between, f"{texts[-1]}{unit} and more"]


class Slice(NamedTuple):
    """The score of one slice."""

    family: str
    name: str
    images: int  # with a box of the slice
    boxes: int
    scores: np.ndarray  # float [4], of METRICS; nan without boxes
    samples: np.ndarray  # float [4, B], the same of each bootstrap sample

    @property
    def remark(self) -> str:
        """Says why the numbers mean nothing, "" where they do."""
        if not self.boxes:
            return "no boxes"
        counts = (self.images, "image"), (self.boxes, "box")
        few = [format_count(number, what) for number, what in counts if number < _LEAST]
        return f"too little data: {' with '.join(few)}" if few else ""

    def intervals(self) -> np.ndarray:
        """Returns the 95% intervals, [4, 2]; nan where there are no samples or too little data.

        Resampled images repeat, which lifts average precision; so the samples are moved until their
        mean is the score.
        """
        if self.remark or not self.samples.shape[1]:
            return np.full((len(METRICS), 2), np.nan)
        return np.clip(centred_intervals(self.samples, self.scores), 0, 1)


def centred_intervals(samples: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns 95% intervals [K, 2] of values [K] by bootstrap samples [K, B], nan left out."""
    centred = samples - np.nanmean(samples, axis=1, keepdims=True) + values[:, np.newaxis]
    return np.nanpercentile(centred, _ENDS, axis=1).T


def draw_weights(images: int, samples: int, seed: int) -> np.ndarray:
    """Returns how often each image is in each bootstrap sample, float32 [images, samples]."""
    chance = np.random.default_rng(seed)
    return chance.multinomial(images, np.full(images, 1 / images), samples).T.astype(np.float32)


def score_slices(ranked: Ranked, families: Iterable[Family], weights: np.ndarray) -> list[Slice]:
    """Scores each slice of the families and, behind the first, each class.

    The families are those of `make_families`, the weights of `draw_weights`, [N, B]; B may be 0.
    """
    truth, slices = ranked.truth, []
    once = np.ones((len(truth.filenames), 1))
    for family in families:
        matches = family.match()
        numbers = [_numbers(accumulate(ranked, matches, each)) for each in (once, weights)]
        for place, name in enumerate(family.names):
            images = truth.images[matches.counted[:, place]]
            means = (_mean(part[:, place]) for part in numbers)
            slices.append(_slice(family.heading, name, images, *means))
        if len(slices) == 1:
            for label, name in enumerate(truth.names):
                images = truth.images[matches.counted[:, 0] & (truth.labels == label)]
                of_class = (part[:, 0, label] for part in numbers)
                slices.append(_slice("Class", name, images, *of_class))
    return slices


def _slice(heading, name, images, scores, samples):
    """Returns the Slice of some boxes, whose images are given; scores [4, 1], samples [4, B]."""
    return Slice(heading, name, len(np.unique(images)), len(images), scores[:, 0], samples)


def _numbers(scores):
    """Returns METRICS of each range of boxes and class, [4, R, K, B]."""
    precision, recall = (np.moveaxis(part, 2, 0) for part in scores)  # the IoUs come first
    return np.stack([precision.mean(axis=0), precision[0], precision[5], recall.mean(axis=0)])


def _mean(values):
    """Returns the means over the classes that have boxes, [4, K, B] to [4, B]; nan of none."""
    return np.ma.masked_invalid(values).mean(axis=1).filled(np.nan)
