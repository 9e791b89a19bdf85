"""Scores detections in every way the report shows, and writes the numbers beside it."""

import csv
import io
import json
import math
from typing import NamedTuple

import numpy as np

from lowlight.core.files import write_texts
from lowlight.evaluation.confusion import Confusion, confuse
from lowlight.evaluation.curves import Calibration, calibrate, trace_curves
from lowlight.evaluation.facts import Facts, list_facts
from lowlight.evaluation.matching import rank_detections
from lowlight.evaluation.metrics import count_metrics, match_areas
from lowlight.evaluation.results import Found, format_results
from lowlight.evaluation.slice_families import make_families
from lowlight.evaluation.slices import METRICS, draw_weights, score_slices
from lowlight.evaluation.tide import Errors, cost_errors, find_errors
from lowlight.evaluation.truth import Truth, format_truth

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
    costs: dict  # {TIDE's kind: (how many, average precision that mending them gains)}


def score_detections(truth, found, facts, samples=1000, seed=0, found_brightness=None):
    """Scores detections.

    Args:
        truth: truth.Truth.
        found: results.Found.
        facts: facts.Facts on the truth.
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
        truth,
        found,
        facts,
        count_metrics(truth, ranked, matches),
        score_slices(truth, ranked, matches, families, weights),
        notes,
        curves,
        calibrate(curves[0]),
        confuse(truth, found, _PLAIN_THRESHOLD if math.isnan(threshold) else threshold),
        errors,
        cost_errors(truth, found, errors),
    )


def write_score(score, eval_dir, about):
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


def summarize(score):
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


def format_slices(slices):
    """Returns slices.csv's text: a row a slice, its scores with the ends of their intervals."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    ends = [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
    writer.writerow(["family", "slice", "images", "boxes", *ends, "remark"])
    for part in slices:
        numbers = np.column_stack([part.scores, part.intervals()]).ravel()
        texts = ["" if np.isnan(number) else f"{number:.6f}" for number in numbers]
        writer.writerow([part.family, part.name, part.images, part.boxes, *texts, part.remark])
    return stream.getvalue()
