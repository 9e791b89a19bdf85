"""Scores parts of the data: by class, image facts, box size, brightness and crowding."""

from typing import NamedTuple

import numpy as np

from lowlight.dataset.classes import LIGHTINGS, LOCATIONS
from lowlight.evaluation.matching import AREAS, match, pair_boxes
from lowlight.evaluation.metrics import Tally, accumulate

_MOST_VALUES = 24  # that a column may have and still be sliced by
_OWN_HEADINGS = "All", "Class", "Image brightness", "Box brightness", "Crowding"
_CROWDING = (("0 or 1 box", 0), ("2 or 3 boxes", 2), ("4 to 7 boxes", 4), ("8 boxes or more", 8))


class Family(NamedTuple):
    """A way to part the images, or the boxes, into slices."""

    heading: str
    names: list  # of its slices
    of_images: np.ndarray | None = None  # int [N], each image's slice, -1 for none
    of_boxes: np.ndarray | None = None  # bool [G, slices]; None where images are parted
    of_detections: np.ndarray | None = None  # bool [D, slices]


def make_families(truth, ranked, facts, found_brightness=None):
    """Returns the families that the facts allow.

    Args:
        truth: truth.Truth.
        ranked: matching.Ranked.
        facts: facts.Facts.
        found_brightness: of each of the ranked detections, float [D]; None where not measured.

    Returns:
        ([Family], sentences on what is left out).
    """
    families, notes = [], list(facts.notes)
    for column, values in facts.columns.items():
        family = _of_column(column, values)
        if family:
            families.append(family)
        else:
            notes.append(f"The column {column} has too many different values for slices.")
    sides = [np.sqrt(areas) for areas in (truth.areas, ranked.ltwh[:, 2] * ranked.ltwh[:, 3])]
    families.append(_of_areas(truth, ranked))
    if len(truth.images):
        families.append(_of_quartiles("Box size, quartiles", *sides, "px"))
    if facts.brightness is None:
        notes.append("The images aren't there to measure, so nothing is said of brightness.")
    else:
        families.append(_of_numbers("Image brightness", facts.brightness))
    if len(truth.images) and facts.box_brightness is not None and found_brightness is not None:
        values = facts.box_brightness, found_brightness
        families.append(_of_quartiles("Box brightness", *values, "luma"))
    counts = np.bincount(truth.images[~truth.crowd], minlength=len(truth.filenames))
    limits = [least for _, least in _CROWDING]
    members = np.searchsorted(limits, counts, "right") - 1
    families.append(Family("Crowding", [name for name, _ in _CROWDING], members))
    return families, notes


def _of_column(column, values):
    """Returns the Family of a column, quartiles where it is of many numbers; None of many texts."""
    known = sorted({value for value in values if value})
    if len(known) > _MOST_VALUES:
        try:
            return _of_numbers(
                _heading(column), np.array([float(v) if v else np.nan for v in values])
            )
        except ValueError:
            return None
    order = {"lighting": LIGHTINGS, "location": LOCATIONS}.get(column, ())
    names = [n for n in order if n in known] + [n for n in known if n not in order]
    members = [names.index(value) if value else -1 for value in values]
    return Family(_heading(column), names, np.array(members))


def _heading(column):
    """Returns a column's name as a heading that no other family has."""
    heading = column[:1].upper() + column[1:]
    return f"{heading} (column)" if heading in _OWN_HEADINGS else heading


def _of_numbers(heading, values):
    """Returns the Family of images by quartiles of a number, nan in none."""
    edges, names = _quartiles(values)
    members = np.searchsorted(edges, values, "right")
    return Family(heading, names, np.where(np.isnan(values), -1, members))


def _quartiles(values, unit=""):
    """Returns (the inner edges, the names of the parts); equal edges become one."""
    known = values[~np.isnan(values)]
    edges = np.unique(np.round(np.quantile(known, [0.25, 0.5, 0.75]), 1)) if len(known) else []
    unit = f" {unit}" if unit else ""
    texts = [f"{edge:g}" for edge in edges]
    between = [f"{low} to {high}{unit}" for low, high in zip(texts, texts[1:], strict=False)]
    if not texts:
        return np.array(edges), ["all"]
    return np.array(edges), [f"under {texts[0]}{unit}", *between, f"{texts[-1]}{unit} and more"]


def _of_quartiles(heading, of_boxes, of_detections, unit):
    edges, names = _quartiles(of_boxes, unit)
    parts = [np.searchsorted(edges, values, "right") for values in (of_boxes, of_detections)]
    masks = [part[:, np.newaxis] == np.arange(len(names)) for part in parts]
    return Family(heading, names, None, *masks)


def _of_areas(truth, ranked):
    names, limits = zip(*list(AREAS.items())[1:], strict=True)
    low, high = np.array(limits).T
    masks = [
        (areas[:, np.newaxis] >= low) & (areas[:, np.newaxis] <= high)
        for areas in (truth.areas, ranked.ltwh[:, 2] * ranked.ltwh[:, 3])
    ]
    return Family("Box size, COCO's", list(names), None, *masks)


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
