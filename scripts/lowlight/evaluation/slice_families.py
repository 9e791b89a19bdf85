"""Decides into which slices the images and boxes are parted."""

from typing import NamedTuple

import numpy as np

from lowlight.dataset.classes import LIGHTINGS, LOCATIONS
from lowlight.evaluation.matching import AREAS

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
