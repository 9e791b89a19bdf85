"""Writes report.html: a detector's score, and where and how it fails."""

from collections.abc import Callable

import numpy as np

from lowlight.core.files import write_text
from lowlight.dataset.classes import CLASSES
from lowlight.evaluation.metrics import BINS, COCO_METRICS, Calibration, Curve
from lowlight.evaluation.mistakes import MEANINGS
from lowlight.evaluation.report_pictures import COLOURS, confident_mistakes, show, worst_images
from lowlight.evaluation.slices import METRICS
from lowlight.pages.figures import SMALL, draw_lines
from lowlight.pages.rendering import decimals, render

_ORIGINAL_AP = 0.369  # of the project that this one rebuilds, on its own quarter of ExDark
_MOST_POINTS = 150  # of a drawn curve
_INTERVALS = dict(zip(COCO_METRICS, ("AP", "AP50", "AP75", *[""] * 5, "AR"), strict=False))


def write_report(path, score, title: str, about: dict, pictures: Callable) -> None:
    """Writes the page.

    Args:
        path: the HTML file.
        score: scoring.Score.
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
    intervals = dict(zip(METRICS, score.slices[0].intervals(), strict=True))
    rows = []
    for name, value in score.metrics.items():
        low, high = intervals.get(_INTERVALS.get(name), (np.nan, np.nan))
        rows.append({"meaning": name_metric(name), "value": value, "low": low, "high": high})
    return rows


def _families(slices):
    families = {}
    for part in slices:
        families.setdefault(part.family, []).append(part)
    return families


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
        remark = f" is {worst}: mending all of them would add {costs[worst]:.3f} to AP at IoU 0.50."
        lines.append(("The costliest error", remark))
    return lines


def draw_precision(curve: Curve) -> str:
    """Returns the figure of precision against recall of one class."""
    points = np.column_stack([curve.recall(), curve.precision()])
    if len(points) > _MOST_POINTS:
        points = points[np.unique(np.linspace(0, len(points) - 1, _MOST_POINTS).astype(int))]
    _, _, precision, recall = curve.best()
    marks = [] if np.isnan(recall) else [(recall, precision)]
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
    threshold, f1, precision, recall = curve.best()
    marks, remark = [], "Nothing is right at any threshold."
    if not np.isnan(threshold):
        marks = [(threshold, f1)]
        remark = (
            f"F1 is highest, {f1:.3f}, at {threshold:.2f}: precision {precision:.3f}, recall "
            f"{recall:.3f}."
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


def _picture_groups(score, pictures):
    """Returns the groups of pictures; none where no image is there."""
    groups = {
        "The worst images": (
            "By F1 at the threshold that is best over all; of equals, those with more errors.",
            worst_images(score),
        ),
        "The most confident mistakes": (
            "The wrong detections with the highest scores, one an image.",
            confident_mistakes(score),
        ),
    }
    names = {score.truth.filenames[one.image] for _, chosen in groups.values() for one in chosen}
    sources = pictures(sorted(names))
    shown = []
    for heading, (note, chosen) in groups.items():
        here = [one for one in chosen if score.truth.filenames[one.image] in sources]
        if here:
            figures = [show(score, one, sources) for one in here]
            shown.append({"heading": heading, "note": note, "pictures": figures})
    return shown
