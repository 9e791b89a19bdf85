"""Draws the parts of an evaluation's report on errors, curves, thresholds and calibration."""

import numpy as np

from lowlight.evaluation.metrics import BINS
from lowlight.evaluation.mistakes import MEANINGS
from lowlight.pages.charts import Html, draw_bar, draw_lines, to_html
from lowlight.pages.document import Cell, format_table

_MOST_POINTS = 150  # of a drawn curve
_SMALL = 240, 170


def error_table(costs):
    """Returns the table of TIDE's errors, {kind: (count, cost)}."""
    most = max((cost for _, cost in costs.values()), default=0)
    rows = [
        (
            f"{kind}: {MEANINGS[kind]}",
            Cell(f"{count:,}", count),
            Cell(f"{cost:.4f}", cost),
            draw_bar(cost, most),
        )
        for kind, (count, cost) in costs.items()
    ]
    head = "Kind", "Errors", "AP50 lost", ""
    return format_table(head, rows, sortable=True)


def confusion_table(names, confusion):
    """Returns the confusion matrix as a table, darker where more of a row's objects are."""
    columns = [*names, "nothing"]
    sums = confusion.matrix.sum(axis=1)
    body = []
    for place, name in enumerate((*names, "nothing")):
        cells = "".join(
            _heat(confusion.matrix[place, column], sums[place], place == column)
            for column in range(len(columns))
        )
        body.append(f'<tr><th scope="row">{to_html(name)}</th>{cells}</tr>\n')
    head = "".join(f'<th scope="col">{to_html(name)}</th>' for name in ("", *columns))
    return (
        f"<p>Detections with a score of {confusion.threshold:.2f} or more, where F1 is highest. A "
        "row is what is there, a column what it was taken for; the last row holds detections of "
        "nothing, the last column objects that weren't found.</p>\n"
        f'<div class="scroll"><table class="heat">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{''.join(body)}</tbody></table></div>\n"
    )


def _heat(count, whole, own):
    share = count / whole if whole else 0
    hue = "--s2" if own else "--s1"
    style = f"background:color-mix(in srgb, var({hue}) {70 * share:.0f}%, transparent)"
    kind = ' class="own"' if own else ""
    return f'<td{kind} style="{style}">{int(count) or ""}</td>'


def curve_figures(curves):
    """Returns a small figure of precision against recall for each class that has boxes."""
    parts = []
    for curve in curves:
        if curve.boxes:
            recall, precision = curve.recall(), curve.precision()
            points = _thin(np.column_stack([recall, precision]))
            _, _, at_precision, at_recall = curve.best()
            marks = [] if np.isnan(at_recall) else [(at_recall, at_precision)]
            label = f"Precision against recall of {curve.name}"
            drawing = draw_lines([(points, "line")], label, ("recall", "precision"), _SMALL, marks)
            count = f"{curve.boxes:,} boxes"
            parts.append(
                f"<div><h4>{to_html(curve.name)} <span>{count}</span></h4>{drawing}</div>\n"
            )
    return f'<div class="small">\n{"".join(parts)}</div>\n'


def _thin(points):
    """Returns some of a curve's points, evenly, with the first and the last."""
    if len(points) <= _MOST_POINTS:
        return points
    return points[np.unique(np.linspace(0, len(points) - 1, _MOST_POINTS).astype(int))]


def f1_figure(curve):
    """Returns the figure of F1, precision and recall against the threshold."""
    thresholds = np.linspace(0, 1, 101)
    counts = np.searchsorted(-curve.scores, -thresholds, "right")
    lines = []
    for values, kind in (
        (curve.recall(), "second"),
        (curve.precision(), "guide"),
        (curve.f1(), "line"),
    ):
        known = counts > 0
        lines.append((np.column_stack([thresholds[known], values[counts[known] - 1]]), kind))
    best = curve.best()
    marks = [] if np.isnan(best[0]) else [best[:2]]
    drawing = draw_lines(lines, "F1 against the threshold", ("threshold", ""), marks=marks)
    legend = Html(
        '<p class="legend"><span><i class="s0"></i>F1</span><span><i class="s1"></i>recall</span>'
        "<span>- - precision</span></p>"
    )
    told = (
        "Nothing is right at any threshold."
        if np.isnan(best[0])
        else f"F1 is highest, {best[1]:.3f}, at {best[0]:.2f}: precision {best[2]:.3f}, "
        f"recall {best[3]:.3f}."
    )
    return (
        f"<figure><h3>Scores as a threshold</h3>\n{drawing}\n{legend}"
        f"<figcaption>All classes together, at IoU 0.50. {told}</figcaption></figure>\n"
    )


def calibration_figure(calibration):
    """Returns the reliability diagram."""
    known = calibration.counts > 0
    points = np.column_stack([calibration.scores, calibration.correct])[known]
    lines = [(np.array([[0, 0], [1, 1]]), "guide"), (points, "line")]
    axes = "score", "share that is right"
    drawing = draw_lines(lines, "Reliability diagram", axes, marks=points)
    error = calibration.error
    told = (
        "There are no detections."
        if np.isnan(error)
        else f"Expected calibration error {error:.3f} over all {calibration.counts.sum():,} "
        f"detections, {calibration.counts[0]:,} of them with a score under {1 / BINS:g}."
    )
    return (
        f"<figure><h3>Scores as a probability</h3>\n{drawing}\n"
        "<figcaption>Detections in bins by their score; on the dashed line a score of 0.7 would "
        f"be right seven times in ten. Under it, scores promise too much. {told}</figcaption>"
        "</figure>\n"
    )


def threshold_table(curves):
    """Returns the table of the best threshold of each class."""
    rows = []
    for curve in curves:
        numbers = curve.best()
        cells = [Cell("" if np.isnan(n) else f"{n:.3f}", n) for n in numbers]
        rows.append((curve.name, Cell(f"{curve.boxes:,}", curve.boxes), *cells))
    head = "Class", "Boxes", "Threshold", "F1", "Precision", "Recall"
    return format_table(head, rows, sortable=True)
