"""Shows a comparison of detectors on one HTML page."""

from pathlib import Path

import numpy as np

from lowlight.core.files import write_text
from lowlight.evaluation.comparison import LEVEL, changed_images
from lowlight.evaluation.metrics import COCO_METRICS
from lowlight.evaluation.mistakes import MEANINGS
from lowlight.evaluation.report import name_metric
from lowlight.evaluation.report_pictures import COLOURS, Chosen, draw_found
from lowlight.evaluation.truth_source import read_pictures
from lowlight.images.drawing import encode_thumbnail
from lowlight.pages.rendering import render


def write_comparison(path, evaluated: list, differences: list) -> None:
    """Writes the page.

    Args:
        path: the HTML file.
        evaluated: [comparison.Evaluated]; the others are compared with the first.
        differences: [[comparison.Difference]] of each of the others.
    """
    first, *others = evaluated
    scores = [one.score for one in evaluated]
    page = render(
        "comparison.html",
        title="Comparison",
        facts={one.name: f"AP {one.score.slices[0].scores[0]:.3f}" for one in evaluated},
        notes=first.score.notes,
        names=[one.name for one in evaluated],
        image_count=len(first.score.truth.filenames),
        metrics=[(name_metric(name), [s.metrics[name] for s in scores]) for name in COCO_METRICS],
        meanings=MEANINGS,
        costs=[score.costs for score in scores],
        level=LEVEL,
        colours=COLOURS,
        pairs=[
            {"name": other.name, "differences": found, **_changed(first, other)}
            for other, found in zip(others, differences, strict=True)
        ],
    )
    write_text(path, page)


def _changed(first, other):
    """Returns the images that changed most, with what each of the two found in them."""
    better, worse = changed_images(first.score, other.score)
    names = sorted({first.score.truth.filenames[place] for place in (*better, *worse)})
    records = first.about["records"]
    records = records if all(Path(path).is_file() for path in records) else []
    sources = read_pictures(records, first.about["images_dir"], names)
    groups = {"Gained most": better, "Lost most": worse}
    return {
        "pictures_there": bool(sources),
        "changed": {
            heading: [_show_both(first, other, place, sources) for place in places]
            for heading, places in groups.items()
        },
    }


def _show_both(first, other, place, sources):
    """Returns an image with what each of two detectors found in it, and their F1."""
    name = first.score.truth.filenames[place]
    jpegs, scores = {}, []
    for one in (first, other):
        confusion, found = one.score.confusion, one.score.found
        scores.append(f"{one.name}: F1 {confusion.f1()[place]:.2f}")
        if name in sources:
            over = (found.images == place) & (found.scores >= confusion.threshold)
            chosen = Chosen(place, "", np.flatnonzero(over))
            jpegs[one.name] = encode_thumbnail(draw_found(one.score, chosen, sources[name])[0])
    return {"name": name, "jpegs": jpegs, "scores": scores}
