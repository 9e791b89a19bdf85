"""Writes a comparison of detectors as one HTML page that loads nothing from elsewhere."""

from pathlib import Path

import numpy as np

from lowlight.core.files import write_text
from lowlight.evaluation.comparison import LEVEL, changed_images
from lowlight.evaluation.metrics import COCO_METRICS
from lowlight.evaluation.mistakes import MEANINGS
from lowlight.evaluation.report_pictures import Chosen, draw_found, picture_legend
from lowlight.evaluation.truth_source import pick_encoded
from lowlight.images.drawing import encode_thumbnail
from lowlight.pages.charts import Html, draw_difference, to_html
from lowlight.pages.document import Cell, format_document, format_table, show_jpeg, sort_script


def write_comparison(path, evaluated, differences):
    """Writes the page.

    Args:
        path: the HTML file.
        evaluated: [comparison.Evaluated]; the others are held against the first.
        differences: [[comparison.Difference]] of each of the others.
    """
    first, *others = evaluated
    sections = {"Scores": _scores(evaluated), "Errors": _errors(evaluated)}
    for other, found in zip(others, differences, strict=True):
        heading = to_html(f"{other.name} against {first.name}")
        sections[heading] = _differences(found) + _pictures(first, other)
    facts = {one.name: f"AP {one.score.slices[0].scores[0]:.3f}" for one in evaluated}
    notes = first.score.notes
    page = format_document("Comparison", facts, notes, sections, sort_script())
    write_text(path, page)


def _scores(evaluated):
    rows = []
    for name, words in COCO_METRICS.items():
        values = [one.score.metrics[name] for one in evaluated]
        kind = "Precision" if "Precision" in name else "Recall"
        meaning = f"{kind}, {words}" if words.startswith("objects") else words
        cells = (Cell("none" if v < 0 else f"{v:.4f}", v) for v in values)
        rows.append((meaning[0].upper() + meaning[1:], *cells))
    count = len(evaluated[0].score.truth.filenames)
    note = f"<p>On the same {count:,} images.</p>\n"
    return note + format_table(("COCO's twelve numbers", *(one.name for one in evaluated)), rows)


def _errors(evaluated):
    rows = []
    for kind, meaning in MEANINGS.items():
        costs = [one.score.costs[kind] for one in evaluated]
        cells = (Cell(f"{cost:.4f}", cost) for _, cost in costs)
        rows.append((f"{kind}: {meaning}", *cells))
    head = "AP50 lost to", *(one.name for one in evaluated)
    return format_table(head, rows, sortable=True)


def _differences(differences):
    widest = max(
        (abs(end) for d in differences for end in (d.low, d.high, d.gain) if end == end), default=1
    )
    rows = []
    for one in differences:
        cells = [Cell(f"{n:.3f}", n) if n == n else "" for n in (one.before, one.after)]
        gain = Cell(f"{one.gain:+.3f}", one.gain) if one.gain == one.gain else ""
        between = one.remark or (f"{one.low:+.3f} to {one.high:+.3f}" if one.low == one.low else "")
        p = Cell(_p(one.adjusted), one.adjusted) if one.adjusted == one.adjusted else ""
        told = "yes" if one.is_significant else ""
        drawing = draw_difference(one.low, one.gain, one.high, widest)
        name = f"{one.family}: {one.name}"
        rows.append((name, *cells, gain, Cell(between, one.low), drawing, p, told))
    head = "Slice", "Before", "After", "Gain", "95% interval", "", "p", "Not chance"
    note = (
        "<p>AP before and after, and the gain with its 95% interval from paired bootstrap samples "
        "of the images. p is corrected by Holm's method for the number of slices, that of all "
        f"images apart; a gain is called more than chance where p is under {LEVEL:g}.</p>\n"
    )
    return note + format_table(head, rows, sortable=True)


def _p(value):
    return "under 0.001" if value < 0.001 else f"{value:.3f}"


def _pictures(first, other):
    better, worse = changed_images(first.score, other.score)
    names = sorted({first.score.truth.filenames[place] for place in (*better, *worse)})
    sources = _find_images(first.about, names)
    parts = [picture_legend()] if sources else []
    for heading, places in (("Gained most", better), ("Lost most", worse)):
        figures = [_pair(first, other, place, sources) for place in places]
        if figures:
            parts.append(
                f"<h3>{heading}</h3>\n<p>By F1 of the image at each detector's best threshold: "
                f"left or first {to_html(first.name)}, then {to_html(other.name)}.</p>\n"
                f'<div class="gallery">\n{"".join(figures)}</div>\n'
            )
    return "".join(parts)


def _find_images(about, names):
    """Returns {filename: bytes} of the images where the evaluation had them."""
    records = about.get("records") or []
    if records and all(Path(path).is_file() for path in records):
        return pick_encoded(records, names)
    folder = about.get("images_dir")
    paths = {name: Path(folder) / name for name in names} if folder else {}
    return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}


def _pair(first, other, place, sources):
    name = first.score.truth.filenames[place]
    images, told = [], []
    for one in (first, other):
        confusion, found = one.score.confusion, one.score.found
        told.append(f"{one.name}: F1 {confusion.f1()[place]:.2f}")
        if name in sources:
            over = (found.images == place) & (found.scores >= confusion.threshold)
            chosen = Chosen(place, "", np.flatnonzero(over))
            image, _ = draw_found(one.score, chosen, sources[name])
            images.append(show_jpeg(encode_thumbnail(image), f"{name}, {one.name}"))
    pair = Html(f'<div class="pair">{"".join(images)}</div>') if images else ""
    return (
        f"<figure>{pair}<figcaption><b>{to_html(name)}</b>"
        f"<div>{to_html('; '.join(told))}</div></figcaption></figure>\n"
    )
