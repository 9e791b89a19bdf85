"""Compares evaluations of several detectors on the same ground truth, slice by slice, on a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lowlight.core.errors import DataError
from lowlight.core.files import write_text
from lowlight.core.json_files import parse_json
from lowlight.evaluation.metrics import COCO_METRICS
from lowlight.evaluation.mistakes import MEANINGS
from lowlight.evaluation.report import COLOURS, confident_rows, draw_found, name_metric
from lowlight.evaluation.results import read_results
from lowlight.evaluation.scoring import Score, ScoringOptions, score_detections
from lowlight.evaluation.slices import centred_intervals
from lowlight.evaluation.truth import read_truth_of_coco
from lowlight.evaluation.truth_source import gather_facts, read_pictures
from lowlight.images.drawing import encode_thumbnail
from lowlight.pages.rendering import render

_LEVEL = 0.05  # of significance, over all slices together
_TRUTH = "ground_truth.json"
_REMEDY = "Run evaluate.py again: it writes the file again."
_SAME = 0.02  # pixels by which boxes that are the same may differ
_MOST_CHANGED = 8  # images that are shown


class Evaluated(NamedTuple):
    """A detector's evaluation, scored again for the comparison."""

    name: str
    score: Score
    records: list[str]  # where its images were
    images_dir: str  # the same, of no records; "" for nowhere


class Difference(NamedTuple):
    """How much better the second detector is than the first in one slice, by AP."""

    name: str  # of the slice, with its family
    before: float
    after: float
    low: float  # ends of the 95% interval of after - before
    high: float
    p: float  # two-sided, from the paired bootstrap; nan with too little data
    remark: str
    adjusted: float = np.nan  # p after Holm's correction for the number of slices

    @property
    def gain(self) -> float:
        """After - before."""
        return self.after - self.before

    @property
    def reach(self) -> float:
        """How far from 0 the gain or its interval reaches; 0 where there is none."""
        return max((abs(end) for end in (self.low, self.high, self.gain) if end == end), default=0)

    @property
    def is_significant(self) -> bool:
        """Whether the difference is more than chance, all slices considered."""
        return bool(self.adjusted < _LEVEL)


def read_evaluations(folders: Sequence, samples: int, seed: int) -> list[Evaluated]:
    """Reads what evaluate.py wrote and scores all with the same bootstrap samples.

    Args:
        folders: runs, or folders that hold an evaluation; two at least.
        samples, seed: of the bootstrap.

    Raises:
        DataError: a folder without an evaluation, or with one on other ground truth than the
            first's.
    """
    if len(folders) < 2:
        raise DataError(
            "two evaluations at least are needed to compare.\n"
            "  Give their folders: python scripts/compare_runs.py RUN_A RUN_B"
        )
    options, evaluated = ScoringOptions(samples=samples, seed=seed), []
    places = [_eval_dir(Path(folder)) for folder in folders]
    first, facts = read_truth_of_coco(places[0] / _TRUTH), _read_facts(places[0] / _TRUTH)
    for place, name in zip(places, _names(folders), strict=True):
        truth = read_truth_of_coco(place / _TRUTH)
        _check_same(truth, first, place, places[0])
        found, _ = read_results(place / "detections.json", truth, ids_only=True)
        score = score_detections(first, found, facts, options)
        evaluated.append(Evaluated(name, score, *_read_sources(place / "metrics.json")))
    return evaluated


def _names(folders):
    """Returns the shortest ends of the paths that tell them apart."""
    parts = [Path(folder).resolve().parts for folder in folders]
    depths = range(1, max(map(len, parts)) + 1)
    names = (["/".join(part[-depth:]) for part in parts] for depth in depths)
    return next((n for n in names if len(set(n)) == len(n)), [str(folder) for folder in folders])


def _eval_dir(folder):
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder.\n  Give runs that evaluate.py has evaluated.")
    needed = "detections.json", _TRUTH, "metrics.json"
    for place in (folder, folder / "eval"):
        if all((place / name).is_file() for name in needed):
            return place
    raise DataError(
        f"{folder}: holds no evaluation ({', '.join(needed)}).\n"
        "  Run evaluate.py on it, or give the folder that it wrote."
    )


def _read_sources(path):
    """Returns (records, folder) of the images, as metrics.json says."""
    about = parse_json(path.read_bytes(), path, _REMEDY)
    if not isinstance(about, dict):
        raise DataError(f"{path}: holds no JSON object.\n  {_REMEDY}")
    records, folder = about.get("records") or [], about.get("images_dir") or ""
    if not (isinstance(records, list) and all(isinstance(p, str) for p in (*records, folder))):
        raise DataError(f"{path}: its records or images_dir are no paths.\n  {_REMEDY}")
    return records, folder


def _read_facts(path):
    """Returns the Facts that stand in a ground_truth.json, in the order of its Truth."""
    images = parse_json(path.read_bytes(), path, _REMEDY)["images"]
    return gather_facts([i.get("facts") for i in sorted(images, key=lambda image: image["id"])])


def _check_same(truth, first, eval_dir, first_dir):
    """Raises DataError unless both are the same images with the same boxes."""
    images, first_images = len(truth.filenames), len(first.filenames)
    boxes, first_boxes = len(truth.images), len(first.images)
    checks = {
        f"{images} images against {first_images}": images == first_images,
        "other images": truth.filenames == first.filenames,
        "other classes": truth.names == first.names,
        f"{boxes} boxes against {first_boxes}": boxes == first_boxes,
        "other boxes": np.array_equal(truth.images, first.images)
        and np.array_equal(truth.labels, first.labels)
        and np.allclose(truth.ltwh, first.ltwh, rtol=0, atol=_SAME),
    }
    difference = next((text for text, holds in checks.items() if not holds), None)
    if difference:
        raise DataError(
            f"{eval_dir}: scored on other ground truth than {first_dir} ({difference}).\n"
            "  Evaluate both on the same records, or on the same --data_dir and --split."
        )


def compare(first: Score, second: Score) -> list[Difference]:
    """Returns the Differences of two Scores: of all images, then by slice.

    The slices get Holm's correction for their number; all images are one question alone. Each
    sample is the same images for both, so what makes an image hard for both drops out.
    """
    found = list(map(_test, first.slices, second.slices))
    adjusted = [found[0].p, *holm([one.p for one in found[1:]])]
    return [one._replace(adjusted=p) for one, p in zip(found, adjusted, strict=True)]


def _test(before, after):
    """Returns the Difference of two Slices, without Holm's correction."""
    low = high = p = np.nan
    if not before.remark and before.samples.shape[1]:
        samples = after.samples[:1] - before.samples[:1]
        gain = after.scores[:1] - before.scores[:1]
        low, high = centred_intervals(samples, gain)[0]
        spread = np.abs(samples - np.nanmean(samples))
        hits = np.sum(spread >= np.abs(gain[0]) - 1e-12)
        p = (hits + 1) / (np.sum(~np.isnan(spread)) + 1)
    return Difference(
        name=f"{before.family}: {before.name}",
        before=float(before.scores[0]),
        after=float(after.scores[0]),
        low=float(low),
        high=float(high),
        p=float(p),
        remark=before.remark,
    )


def holm(values: list[float]) -> list[float]:
    """Returns p values corrected for their number by Holm's step-down method, nan left out."""
    known = pd.Series(values, dtype=float).dropna().sort_values(kind="stable")
    adjusted = (known * np.arange(len(known), 0, -1)).cummax().clip(upper=1)
    return adjusted.reindex(range(len(values))).tolist()


def changed_images(first: Score, second: Score) -> tuple[list[int], list[int]]:
    """Returns (places that gained most, places that lost most) by F1 at each one's threshold."""
    gains = second.confusion.f1() - first.confusion.f1()
    boxes = np.bincount(first.truth.images, minlength=len(gains))
    better, worse = (
        [int(place) for place in np.lexsort((-boxes, -change))[:_MOST_CHANGED] if change[place] > 0]
        for change in (gains, -gains)
    )
    return better, worse


def format_differences(first_name: str, second_name: str, differences: Sequence[Difference]) -> str:
    """Returns the differences as lines of a table for a terminal; * marks what isn't chance."""
    lines = [f"AP of {second_name} against {first_name}:"]
    width = max(len(one.name) for one in differences)
    lines.append(f"  {'':<{width}}  before   after  difference  95% interval      p (Holm)")
    for one in differences:
        head = f"  {one.name:<{width}}"
        if one.remark:
            lines.append(f"{head}  {one.remark}")
            continue
        line = f"{head}  {one.before:6.3f}  {one.after:6.3f}  {one.gain:+10.3f}"
        if not np.isnan(one.p):
            line += f"  {one.low:+.3f} to {one.high:+.3f}  {one.adjusted:6.3f}"
            line += " *" if one.is_significant else ""
        lines.append(line)
    return "\n".join(lines)


def write_comparison(
    path: Path, evaluated: Sequence[Evaluated], differences: Sequence[list[Difference]]
) -> None:
    """Writes an HTML page; all but the first have Differences from it."""
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
        level=_LEVEL,
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
    records = first.records if all(Path(path).is_file() for path in first.records) else []
    sources = read_pictures(records, first.images_dir, names)
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
        scores.append(f"{one.name}: F1 {one.score.confusion.f1()[place]:.2f}")
        if name in sources:
            rows = confident_rows(one.score, place)
            jpegs[one.name] = encode_thumbnail(draw_found(one.score, place, rows, sources[name])[0])
    return {"name": name, "jpegs": jpegs, "scores": scores}
