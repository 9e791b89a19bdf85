"""Scores detections in every way the report shows, and writes numbers, table and report."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lowlight.core.errors import DataError
from lowlight.core.files import locked, output_dir, write_text, write_texts
from lowlight.evaluation.matching import rank_detections
from lowlight.evaluation.metrics import (
    Calibration,
    calibrate,
    count_metrics,
    format_table,
    match_areas,
    trace_curves,
)
from lowlight.evaluation.mistakes import Confusion, Errors, confuse, cost_errors, find_errors
from lowlight.evaluation.results import Found, format_results, keep, read_results
from lowlight.evaluation.slices import METRICS, draw_weights, make_families, score_slices
from lowlight.evaluation.truth import Truth, format_truth
from lowlight.evaluation.truth_source import Facts, list_facts

_OUTPUTS = (
    *("metrics.json", "metrics.txt", "slices.csv", "detections.json", "ground_truth.json"),
    "report.html",
)
_PLAIN_THRESHOLD = 0.3  # where no threshold is best, as nothing is right


class Score(NamedTuple):
    """Everything that is known of some detections."""

    truth: Truth
    found: Found
    facts: Facts
    metrics: dict  # COCO's twelve numbers, {TFOD's name: number}
    slices: list  # of slices.Slice, "All" first
    notes: list  # sentences on what couldn't be said
    curves: list  # of curves.Curve, all classes pooled first
    calibration: Calibration
    confusion: Confusion
    errors: Errors
    costs: dict  # {TIDE's kind: (how many, average precision that correcting them gains)}


def score_detections(
    truth: Truth, found: Found, facts: Facts, samples=1000, seed=0, found_brightness=None
) -> Score:
    """Scores detections.

    Args:
        truth: truth.Truth.
        found: results.Found.
        facts: truth_source.Facts on the truth.
        samples: bootstrap samples, 0 for no intervals.
        seed: what the samples come from.
        found_brightness: of each detection, float [D]; None where it isn't measured.

    Returns:
        Score.
    """
    ranked = rank_detections(found)
    matches = match_areas(truth, ranked)
    brightness = None if found_brightness is None else found_brightness[ranked.rows]
    families, notes = make_families(truth, ranked, facts, brightness)
    weights = draw_weights(len(truth.filenames), samples, seed)
    curves = trace_curves(truth, ranked, matches)
    threshold = curves[0].best()[0]
    errors = find_errors(truth, found)
    return Score(
        truth=truth,
        found=found,
        facts=facts,
        metrics=count_metrics(truth, ranked, matches),
        slices=score_slices(truth, ranked, matches, families, weights),
        notes=notes,
        curves=curves,
        calibration=calibrate(curves[0]),
        confusion=confuse(truth, found, _PLAIN_THRESHOLD if math.isnan(threshold) else threshold),
        errors=errors,
        costs=cost_errors(truth, found, errors),
    )


def write_score(score: Score, eval_dir: Path, about: dict) -> None:
    """Writes metrics.json, slices.csv, detections.json and ground_truth.json, all or none.

    Args:
        score: Score.
        eval_dir: an existing folder.
        about: {name: JSON value}, facts on the evaluation that metrics.json ends with.
    """
    numbers = {**score.metrics, **about, **summarize(score)}
    write_texts(
        {
            eval_dir / "metrics.json": json.dumps(numbers, indent=2) + "\n",
            eval_dir / "slices.csv": format_slices(score.slices),
            eval_dir / "detections.json": format_results(score.found, score.truth),
            eval_dir / "ground_truth.json": format_truth(score.truth, list_facts(score.facts)),
        }
    )


def summarize(score: Score) -> dict:
    """Returns what goes wrong as {name: JSON value}: errors, thresholds, calibration, confusion."""
    best = {curve.name: _best(curve) for curve in score.curves}
    return {
        "errors": {
            kind: {"count": count, "dAP50": round(cost, 6)}
            for kind, (count, cost) in score.costs.items()
        },
        "best_thresholds": best,
        "expected_calibration_error": _number(score.calibration.error),
        "confusion": {
            "threshold": _number(score.confusion.threshold),
            "classes": [*score.truth.names, "background"],
            "true_by_detected": score.confusion.matrix.tolist(),
        },
    }


def _best(curve):
    names = "threshold", "f1", "precision", "recall"
    return dict(zip(names, map(_number, curve.best()), strict=True))


def _number(value):
    """Returns a number rounded for JSON, None for one that isn't known."""
    return None if np.isnan(value) else round(float(value), 6)


def format_slices(slices: list) -> str:
    """Returns slices.csv's text: a row a slice, its scores with the ends of their intervals."""
    ends = [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
    rows = [
        (part.family, part.name, part.images, part.boxes)
        + (*np.column_stack([part.scores, part.intervals()]).ravel(), part.remark)
        for part in slices
    ]
    table = pd.DataFrame(rows, columns=["family", "slice", "images", "boxes", *ends, "remark"])
    return table.to_csv(index=False, lineterminator="\n", float_format="%.6f")


@dataclass(frozen=True)
class Options:
    """How detections are scored."""

    score_threshold: float = 0.0  # leave out detections with a lower score
    max_detections: int | None = None  # of an image, the best
    limit: int | None = None  # the first images alone
    samples: int = 0  # of the bootstrap
    seed: int = 0
    report: bool = False  # write report.html
    data_dir: str | None = None  # where images.csv is


def variant_of(options: Options, sample_1_of_n: int = 1, detector: dict | None = None) -> str:
    """Returns in what a score differs from the plain one on all images, "" in nothing.

    It is the end of a folder's name, as "limit_10_tta".
    """
    detector = detector or {}
    numbers = {
        "limit": options.limit,
        "1_of": sample_1_of_n if sample_1_of_n > 1 else None,
        "score": options.score_threshold or None,
        "most": options.max_detections,
        "tile": detector.get("tile"),
    }
    parts = [f"{name}_{number:g}" for name, number in numbers.items() if number is not None]
    if detector.get("tta"):
        parts.append("tta")
    if detector.get("precision", "float32") != "float32":
        parts.append(detector["precision"])
    return "_".join(parts)


class Detected(NamedTuple):
    """Detections beside the ground truth, with what is known of the images."""

    truth: Truth
    found: Found
    facts: Facts
    brightness: np.ndarray | None  # of each detection, float [D]; None where not measured


def finish_score(
    detected: Detected, eval_dir: Path, about: dict, title: tuple, options: Options, pictures
) -> Score:
    """Scores what was found, writes everything to a folder and prints the table.

    Args:
        detected: Detected.
        eval_dir: an existing folder.
        about: {name: JSON value} for metrics.json.
        title: (what is scored, what it is scored on).
        options: Options.
        pictures: called with filenames, returns {filename: bytes} of those it has.
    """
    truth, found, facts, brightness = detected
    chosen = keep(found, options.score_threshold, options.max_detections)
    kept = found.at(chosen)
    brightness = None if brightness is None else brightness[chosen]
    score = score_detections(truth, kept, facts, options.samples, options.seed, brightness)
    about = {
        "images": len(truth.filenames),
        "boxes": truth.boxes,
        "detections": len(kept.images),
        **about,
        "score_threshold": options.score_threshold,
        "max_detections": options.max_detections,
        "bootstrap": options.samples,
        "seed": options.seed,
    }
    write_score(score, eval_dir, about)
    what, place = title
    title = f"{what} on {len(truth.filenames)} images with {truth.boxes} boxes of {place}"
    title = title.encode("utf-8", "backslashreplace").decode("utf-8")  # names that aren't UTF-8
    table = f"{title}:\n{format_table(score.metrics)}"
    write_text(eval_dir / "metrics.txt", table + "\n")
    print(table)
    if options.report:
        from lowlight.evaluation.report import write_report

        write_report(eval_dir / "report.html", score, title, about, pictures)
    print(f"wrote {eval_dir / ('report.html' if options.report else 'metrics.json')}")
    return score


def score_file(path, source, eval_dir, options: Options) -> Score:
    """Scores a detector's results, read from a file, without loading TensorFlow.

    Args:
        path: a JSON file in COCO's results form.
        source: truth_source.TruthSource.
        eval_dir: the output folder, made where it is missing; None for one beside the file, whose
            name ends with what `variant_of` says.
        options: Options.

    Raises:
        DataError: as the readers of detections and ground truth; an output that is an input.
    """
    path = Path(path)
    name = "_".join(filter(None, (path.stem, "eval", variant_of(options))))
    eval_dir = Path(eval_dir or path.with_name(name))
    inputs = {Path(given).resolve(): given for given in (path, source.coco) if given}
    over = [inputs[p] for p in ((eval_dir / name).resolve() for name in _OUTPUTS) if p in inputs]
    if over:
        raise DataError(f"{over[0]}: would be written over.\n  Choose another --output_dir.")
    truth = source.read().limited_to(options.limit)
    found, left_out = read_results(path, truth)
    if left_out:
        print(f"{path}: {left_out} detections on images that aren't scored are left out")
    facts, brightness = source.facts(truth, found)
    about = {"step": None, "model": str(path), **source.names()}
    detected = Detected(truth, found, facts, brightness)
    title = str(path), source.place
    with locked(output_dir(eval_dir), "scored", "output_dir", waits=True):
        return finish_score(detected, eval_dir, about, title, options, source.pictures)
