"""Writes report.html: a detector's score beside others', and where and how it fails."""

import numpy as np

from lowlight.core.files import write_text
from lowlight.dataset.classes import CLASSES
from lowlight.evaluation.metrics import COCO_METRICS
from lowlight.evaluation.published import RESULTS
from lowlight.evaluation.report_figures import (
    calibration_figure,
    confusion_table,
    curve_figures,
    error_table,
    f1_figure,
    threshold_table,
)
from lowlight.evaluation.report_pictures import picture_section
from lowlight.evaluation.slices import METRICS
from lowlight.pages.charts import draw_interval, to_html
from lowlight.pages.document import Cell, format_document, format_table, sort_script

_IN_WORDS = {
    "AP": "average precision, mean over IoU 0.50 to 0.95",
    "AR": "average recall with 100 detections an image",
}


def write_report(path, score, title, about, pictures):
    """Writes the page.

    Args:
        path: the HTML file.
        score: scoring.Score.
        title: what was scored on what.
        about: {name: JSON value}; its score_threshold, max_detections, bootstrap and seed are told.
        pictures: called with filenames, returns {filename: bytes} of those it has.
    """
    sections = {
        "Score": _score_section(score),
        "Where it fails": _slice_section(score, about),
        "What goes wrong": _error_section(score),
        "How far scores can be trusted": _threshold_section(score),
        "Pictures": picture_section(score, pictures),
    }
    whole = score.slices[0]
    facts = {
        "AP": _three(whole.scores[0]),
        "AP at IoU 0.50": _three(whole.scores[1]),
        "Images": len(score.truth.filenames),
        "Objects": score.truth.boxes,
    }
    if _is_exdark(score):
        facts["The original's AP"] = f"{RESULTS[0].ap:.3f}"
    sections["Score"] = f"<p>{to_html(title)}.</p>\n{_settings(about)}{sections['Score']}"
    page = format_document("Evaluation", facts, score.notes, sections, sort_script())
    write_text(path, page)


def _is_exdark(score):
    return set(score.truth.names) == set(CLASSES)


def _settings(about):
    parts = []
    if about["score_threshold"]:
        parts.append(f"Detections with a score under {about['score_threshold']:g} are left out.")
    if about["max_detections"]:
        parts.append(f"Only the best {about['max_detections']} detections of an image count.")
    return f"<p>{' '.join(parts)}</p>\n" if parts else ""


def _three(value):
    return "none" if np.isnan(value) else f"{value:.3f}"


def _summary(score):
    """Returns what stands out, in sentences."""
    lines = []
    for family in dict.fromkeys(part.family for part in score.slices):
        parts = [p for p in score.slices if p.family == family and not p.remark]
        if len(parts) > 1 and family != "Box size, COCO's":
            low, high = (pick(parts, key=lambda p: p.scores[0]) for pick in (min, max))
            apart = low.intervals()[0, 1] < high.intervals()[0, 0]
            lines.append(
                f"<b>{to_html(family)}</b>: lowest AP {_three(low.scores[0])} for "
                f"{to_html(low.name)}, highest {_three(high.scores[0])} for {to_html(high.name)}"
                + ("." if apart else "; their intervals overlap.")
            )
    costs = {kind: cost for kind, (count, cost) in score.costs.items() if count}
    if costs:
        worst = max(costs, key=costs.get)
        lines.append(
            f"<b>The costliest error</b> is {worst}: mending all of them would add "
            f"{costs[worst]:.3f} to AP at IoU 0.50."
        )
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f'<ul class="summary">{items}</ul>\n' if items else ""


def _score_section(score):
    low_high = dict(zip(METRICS, score.slices[0].intervals(), strict=True))
    keys = dict(zip(COCO_METRICS, ("AP", "AP50", "AP75", *[""] * 5, "AR"), strict=False))
    rows = []
    for name, words in COCO_METRICS.items():
        value = score.metrics[name]
        low, high = low_high.get(keys.get(name), (np.nan, np.nan))
        number = "none" if value < 0 else f"{value:.4f}"
        between = "" if np.isnan(low) else f"{low:.3f} to {high:.3f}"
        bar = draw_interval(low, max(value, 0), high)
        kind = "Precision" if "Precision" in name else "Recall"
        meaning = (
            f"{kind}, {words}" if words.startswith("objects") else words[0].upper() + words[1:]
        )
        rows.append((meaning, number, between, bar))
    head = "COCO's twelve numbers", "", "95% interval", ""
    body = format_table(head, rows)
    if _is_exdark(score):
        body += _published_table(score)
    return body


def _published_table(score):
    whole = score.slices[0]
    rows = [
        ("<b>This one</b>", "this report", _three(whole.scores[0]), _three(whole.scores[1]), "")
    ]
    for result in RESULTS:
        numbers = (f"{n:.3f}" if n is not None else "" for n in (result.ap, result.ap50))
        link = f'<a href="{result.url}">{to_html(result.source)}</a>' if result.url else ""
        link = link or to_html(result.source)
        rows.append((to_html(result.detector), to_html(result.split), *numbers, link))
    body = "".join(
        f'<tr><th scope="row">{r[0]}</th><td>{r[2]}</td><td>{r[3]}</td>'
        f'<td class="words">{r[1]}</td><td class="words">{r[4]}</td></tr>\n'
        for r in rows
    )
    head = "".join(f'<th scope="col">{n}</th>' for n in ("Detector", "AP", "AP50"))
    head += "".join(f'<th scope="col" class="words">{n}</th>' for n in ("Split", "Source"))
    return (
        "<h3>Beside published results on ExDark</h3>\n"
        "<p>A split is named by its shares of training and testing. Numbers on different splits "
        "can't be ranked against each other: other images were trained on and tested. AP50 is what "
        "most papers call mAP. On other images than ExDark's, such as drawn ones, the comparison "
        "says nothing.</p>\n"
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>'
        "</table></div>\n"
    )


def _slice_section(score, about):
    samples = about["bootstrap"]
    how = (
        f" The marks are 95% intervals from {samples:,} bootstrap samples of the images "
        f"(seed {about['seed']})."
        if samples
        else ""
    )
    parts = [
        _summary(score),
        f"<p>AP is the {_IN_WORDS['AP']}; AR is the {_IN_WORDS['AR']}. A slice with fewer than ten "
        "images or boxes gets no interval, and its numbers mean little. Of fewer images AP is a "
        "little higher, all else equal, as there is less to take for the object; so compare slices "
        f"of about one size.{how} A click on a column's name sorts by it.</p>\n",
    ]
    for family in dict.fromkeys(part.family for part in score.slices[1:]):
        slices = [part for part in score.slices if part.family == family]
        parts.append(f"<h3>{to_html(family)}</h3>\n{slice_table(slices)}")
    return "".join(parts)


def slice_table(slices):
    """Returns a sortable table of slices of one family."""
    rows = []
    for part in slices:
        ap, ap50, ap75, ar = part.scores
        low, high = part.intervals()[0]
        between = part.remark or ("" if np.isnan(low) else f"{low:.3f} to {high:.3f}")
        numbers = [Cell("" if np.isnan(n) else f"{n:.3f}", n) for n in (ap, ap50, ap75, ar)]
        counts = Cell(f"{part.images:,}", part.images), Cell(f"{part.boxes:,}", part.boxes)
        bar = draw_interval(low, ap, high) if not np.isnan(ap) else ""
        rows.append((part.name, *counts, numbers[0], Cell(between, low), bar, *numbers[1:]))
    head = "Slice", "Images", "Boxes", "AP", "95% interval", "", "AP50", "AP75", "AR"
    return format_table(head, rows, sortable=True)


def _error_section(score):
    return (
        "<h3>What each kind of error costs</h3>\n"
        "<p>After TIDE: each wrong detection is named by what would mend it, at IoU 0.50, and each "
        "kind is priced by the average precision that mending all of it would add.</p>\n"
        + error_table(score.costs)
        + "<h3>What is taken for what</h3>\n"
        + confusion_table(score.truth.names, score.confusion)
        + "<h3>Precision against recall</h3>\n"
        "<p>At IoU 0.50. The mark is where F1 is highest.</p>\n" + curve_figures(score.curves)
    )


def _threshold_section(score):
    return (
        '<div class="columns">\n'
        + calibration_figure(score.calibration)
        + f1_figure(score.curves[0])
        + "</div>\n<h3>The best threshold of each class</h3>\n"
        "<p>The score at which F1, the harmonic mean of precision and recall, is highest at IoU "
        "0.50: a fair choice where misses and false alarms weigh the same.</p>\n"
        + threshold_table(score.curves)
    )
