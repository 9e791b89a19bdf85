"""Writes report.html: a detector's score, and where and how it fails, with pictures."""

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from lowlight.core.files import write_text
from lowlight.dataset.classes import CLASSES
from lowlight.evaluation.metrics import BINS, COCO_METRICS, Calibration, Curve
from lowlight.evaluation.mistakes import IGNORED, MEANINGS, RIGHT
from lowlight.evaluation.scoring import Score
from lowlight.images.boxes import pixel_ltwh_to_pixel_xyxy
from lowlight.images.drawing import brightened, draw_frame, encode_thumbnail
from lowlight.images.reading import open_reduced
from lowlight.pages.figures import SMALL, draw_lines
from lowlight.pages.rendering import decimals, render

_ORIGINAL_AP = 0.369  # of the project that this one rebuilds, on its own quarter of ExDark
_MOST_POINTS = 150  # of a drawn curve
_WITH_INTERVALS = [*COCO_METRICS][:3] + ["DetectionBoxes_Recall/AR@100"]  # as slices' METRICS
_MOST_PICTURES = 12  # of the worst images, and of the most confident mistakes
_SIDE = 360  # pixels of a picture's longer side
_TRUE, _RIGHT, _WRONG = (255, 255, 255), (0, 200, 140), (255, 110, 70)
COLOURS = {"what is there": _TRUE, "found, and right": _RIGHT, "found, and wrong": _WRONG}


def write_report(path: Path, score: Score, title: str, about: dict, pictures: Callable) -> None:
    """Writes the page.

    Args:
        title: what was scored on what.
        about: {name: JSON value}; score_threshold, max_detections, bootstrap and seed are shown.
        pictures: called with filenames, returns {filename: bytes} of those it has.
    """
    page = render(
        "report.html",
        title="Evaluation",
        facts=_facts(score),
        notes=score.notes,
        scored=title,
        about=about,
        metrics=_metrics(score),
        summary=_summarize(score),
        families=_families(score.slices[1:]),
        costs=score.costs,
        meanings=MEANINGS,
        class_names=list(score.truth.names),
        confusion=score.confusion,
        curves=score.curves,
        precision_drawings=[draw_precision(curve) for curve in score.curves],
        calibration=draw_calibration(score.calibration),
        f1=draw_f1(score.curves[0]),
        colours=COLOURS,
        groups=_picture_groups(score, pictures),
    )
    write_text(path, page)


def _facts(score):
    whole = score.slices[0]
    facts = {
        "AP": decimals(whole.scores[0], unknown="none"),
        "AP at IoU 0.50": decimals(whole.scores[1], unknown="none"),
        "Images": len(score.truth.filenames),
        "Objects": score.truth.boxes,
    }
    if set(score.truth.names) == set(CLASSES):
        facts["The original's AP"] = f"{_ORIGINAL_AP:.3f}"
    return facts


def name_metric(name: str) -> str:
    """Returns what one of COCO's numbers says, for the first cell of a row."""
    words = COCO_METRICS[name]
    if words.startswith("objects"):
        return f"{'Precision' if 'Precision' in name else 'Recall'}, {words}"
    return words[0].upper() + words[1:]


def _metrics(score):
    """Returns (meaning, value, the ends of its interval) of COCO's numbers."""
    ends = dict(zip(_WITH_INTERVALS, score.slices[0].intervals(), strict=True))
    return [
        (name_metric(name), value, *ends.get(name, (np.nan, np.nan)))
        for name, value in score.metrics.items()
    ]


def _families(slices):
    return {name: [*of] for name, of in itertools.groupby(slices, lambda part: part.family)}


def _summarize(score):
    """Returns what stands out, [(subject, remark)]."""
    lines = []
    for family, slices in _families(score.slices).items():
        parts = [part for part in slices if not part.remark]
        if len(parts) > 1 and family != "Box size, COCO's":
            low, high = (pick(parts, key=lambda p: p.scores[0]) for pick in (min, max))
            apart = low.intervals()[0, 1] < high.intervals()[0, 0]
            remark = (
                f": lowest AP {decimals(low.scores[0])} for {low.name}, highest "
                f"{decimals(high.scores[0])} for {high.name}"
            )
            lines.append((family, remark + ("." if apart else "; their intervals overlap.")))
    costs = {kind: cost for kind, (count, cost) in score.costs.items() if count}
    if costs:
        worst = max(costs, key=costs.get)
        gain = f"correcting all of them would add {costs[worst]:.3f} to AP at IoU 0.50."
        lines.append(("The costliest error", f" is {worst}: {gain}"))
    return lines


def draw_precision(curve: Curve) -> str:
    """Returns the figure of precision against recall of one class."""
    recall, best = curve.recall(), curve.best()
    points = np.column_stack([recall, curve.precision()])
    if len(points) > _MOST_POINTS:
        # Even in recall: even in rank nearly all would lie in the tail of wrong detections.
        chosen = np.searchsorted(recall, np.linspace(0, 1, _MOST_POINTS))
        points = points[np.unique([*chosen[chosen < len(points)], len(points) - 1])]
    marks = [] if np.isnan(best.recall) else [(best.recall, best.precision)]
    label = f"Precision against recall of {curve.name}"
    return draw_lines([(points, "line")], label, ("recall", "precision"), SMALL, marks)


def draw_f1(curve: Curve) -> dict:
    """Returns the figure of F1, precision and recall against the threshold, with a remark."""
    thresholds = np.linspace(0, 1, 101)
    counts = np.searchsorted(-curve.scores, -thresholds, "right")
    known = counts > 0
    parts = {"second": curve.recall(), "guide": curve.precision(), "line": curve.f1()}
    lines = [
        (np.column_stack([thresholds[known], values[counts[known] - 1]]), kind)
        for kind, values in parts.items()
    ]
    best = curve.best()
    marks, remark = [], "Nothing is right at any threshold."
    if not np.isnan(best.threshold):
        marks = [(best.threshold, best.f1)]
        remark = (
            f"F1 is highest, {best.f1:.3f}, at {best.threshold:.2f}: precision "
            f"{best.precision:.3f}, recall {best.recall:.3f}."
        )
    drawing = draw_lines(lines, "F1 against the threshold", ("threshold", ""), marks=marks)
    return {"drawing": drawing, "remark": remark}


def draw_calibration(calibration: Calibration) -> dict:
    """Returns the reliability diagram, with a remark."""
    known = calibration.counts > 0
    points = np.column_stack([calibration.scores, calibration.correct])[known]
    lines = [(np.array([[0, 0], [1, 1]]), "guide"), (points, "line")]
    axes = "score", "share that is right"
    remark = "There are no detections."
    if known.any():
        remark = (
            f"Expected calibration error {calibration.error:.3f} over all "
            f"{calibration.counts.sum():,} detections, {calibration.counts[0]:,} of them with a "
            f"score under {1 / BINS:g}."
        )
    drawing = draw_lines(lines, "Reliability diagram", axes, marks=points)
    return {"drawing": drawing, "remark": remark}


class _Chosen(NamedTuple):
    """An image of the report."""

    image: int  # its place
    remark: str
    rows: np.ndarray  # int, the detections to draw


def _picture_groups(score, pictures):
    """Returns the groups of pictures, {heading: pictures}; none where no image is there."""
    groups = {
        "The worst images": _worst_images(score),
        "The most confident mistakes": _confident_mistakes(score),
    }
    filenames = score.truth.filenames
    sources = pictures(sorted({filenames[c.image] for chosen in groups.values() for c in chosen}))
    return {
        heading: [_show(score, one, sources) for one in chosen if filenames[one.image] in sources]
        for heading, chosen in groups.items()
        if sources
    }


def _worst_images(score):
    """Returns the images with the lowest F1 that are wrong about something."""
    confusion = score.confusion
    right, wrong, missed = confusion.correct, confusion.wrong, confusion.missed
    order = np.lexsort((-wrong - missed, confusion.f1()))
    chosen = []
    for image in order[(wrong + missed)[order] > 0][:_MOST_PICTURES]:
        remark = f"{right[image]} right, {wrong[image]} wrong, {missed[image]} missed"
        chosen.append(_Chosen(int(image), remark, confident_rows(score, image)))
    return chosen


def confident_rows(score: Score, image: int) -> np.ndarray:
    """Returns the detections of an image, by its place, whose score is the best threshold's."""
    found = score.found
    return np.flatnonzero((found.images == image) & (found.scores >= score.confusion.threshold))


def _confident_mistakes(score):
    """Returns the images of the wrong detections with the highest scores."""
    errors, found, truth = score.errors, score.found, score.truth
    wrong = np.flatnonzero(~np.isin(errors.kinds, (RIGHT, IGNORED)))
    order = wrong[np.argsort(-found.scores[errors.rows[wrong]], kind="stable")]
    _, first = np.unique(found.images[errors.rows[order]], return_index=True)
    chosen = []
    for place in order[np.sort(first)][:_MOST_PICTURES]:
        row, kind, box = errors.rows[place], str(errors.kinds[place]), errors.boxes[place]
        remark = f"{truth.names[found.labels[row]]} {found.scores[row]:.2f}: {MEANINGS[kind]}"
        if box >= 0:
            remark += f" ({truth.names[truth.labels[box]]}, IoU {errors.ious[place]:.2f})"
        chosen.append(_Chosen(int(found.images[row]), remark, np.array([row])))
    return chosen


def draw_found(
    score: Score, place: int, rows: np.ndarray, data: bytes
) -> tuple[Image.Image, float]:
    """Returns (an image brightened, with its boxes and some detections; its mean luma).

    The image is given by its place and its bytes, the detections to draw by their rows, int.
    """
    truth = score.truth
    image = open_reduced(data, truth.filenames[place], "RGB", _SIDE)
    image.thumbnail((_SIDE, _SIDE))
    brightness = np.asarray(image.convert("L")).mean()
    image = brightened(image, brightness)
    scale = np.tile(np.divide(image.size, truth.sizes[place]), 2)
    boxes = [(ltwh, _TRUE) for ltwh in truth.ltwh[truth.images == place]]
    right = set(score.errors.rows[score.errors.kinds == RIGHT].tolist())
    for row in rows[np.argsort(score.found.scores[rows])]:
        boxes.append((score.found.ltwh[row], _RIGHT if int(row) in right else _WRONG))
    for ltwh, colour in boxes:
        corners = np.clip(pixel_ltwh_to_pixel_xyxy(ltwh) * scale, -_SIDE, 2 * _SIDE)
        draw_frame(image, corners, colour, line=2)
    return image, brightness


def _show(score, chosen, sources):
    """Returns what the report shows of an image, whose bytes are in {filename: bytes}."""
    truth, found = score.truth, score.found
    name = truth.filenames[chosen.image]
    image, brightness = draw_found(score, chosen.image, chosen.rows, sources[name])
    facts = [values[chosen.image] for values in score.facts.columns.values()]
    counts = Counter(truth.names[label] for label in truth.labels[truth.images == chosen.image])
    there = [f"{count}\u00a0{what}" for what, count in counts.items()]
    best = chosen.rows[np.argsort(-found.scores[chosen.rows])][:8]
    names = [f"{truth.names[found.labels[row]]}\u00a0{found.scores[row]:.2f}" for row in best]
    return {
        "name": name,
        "jpeg": encode_thumbnail(image),
        "facts": [*filter(None, facts), f"brightness {brightness:.0f}"],
        "remark": chosen.remark,
        "there": there,
        "found": names,
    }
