"""Scores detections in every way the report shows, and writes numbers, table and report."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lowlight.core.errors import DataError
from lowlight.core.files import locked, output_dir, write_text, write_texts
from lowlight.evaluation.matching import match_areas, rank_detections
from lowlight.evaluation.metrics import (
    Calibration,
    Curve,
    calibrate,
    count_metrics,
    format_table,
    trace_curves,
)
from lowlight.evaluation.mistakes import Confusion, Errors, confuse, cost_errors, find_errors
from lowlight.evaluation.results import Found, format_results, keep, read_results
from lowlight.evaluation.slices import METRICS, Slice, draw_weights, make_families, score_slices
from lowlight.evaluation.truth import Truth, format_truth
from lowlight.evaluation.truth_source import Facts, TruthSource, list_facts

_OUTPUTS = (
    *("metrics.json", "metrics.txt", "slices.csv"),
    *("detections.json", "ground_truth.json", "report.html"),
)
_PLAIN_THRESHOLD = 0.3  # where no threshold is best, as nothing is right


@dataclass(frozen=True)
class ScoringOptions:
    """How detections are scored, and made where a model makes them."""

    score_threshold: float = 0.0  # leave out detections with a lower score
    max_detections: int | None = None  # of an image, the best
    limit: int | None = None  # the first images alone
    samples: int = 0  # of the bootstrap; 0 for no intervals
    seed: int = 0
    report: bool = False  # write report.html
    data_dir: str | None = None  # where images.csv is
    sample_1_of_n: int = 1  # every n-th image alone
    raw_weights: bool = False  # not the averages that a model's config asks for
    detector: Mapping = field(default_factory=dict)  # as `detector.Detector` takes it

    def variant(self) -> str:
        """Returns in what a score differs from the plain one on all images, "" in nothing.

        It is the end of a folder's name, as "limit_10_tta".
        """
        numbers = {
            "limit": self.limit,
            "1_of": self.sample_1_of_n if self.sample_1_of_n > 1 else None,
            "score": self.score_threshold or None,
            "most": self.max_detections,
            "tile": self.detector.get("tile"),
        }
        parts = [f"{name}_{number:g}" for name, number in numbers.items() if number is not None]
        precision = self.detector.get("precision", "float32")
        words = {
            "tta": self.detector.get("tta"),
            precision: precision != "float32",
            "raw_weights": self.raw_weights,
        }
        return "_".join([*parts, *(word for word, holds in words.items() if holds)])

    def choose_dir(self, given: Path | str | None, plain: Path) -> Path:
        """Returns the folder to write: the one given, or one named after the plain score's.

        Raises DataError where it is a run's eval/, and this isn't the plain score.
        """
        variant = self.variant()
        if given is None:
            return plain.with_name(f"{plain.name}_{variant}") if variant else plain
        if variant and Path(given).resolve() == plain.with_name("eval").resolve():
            raise DataError(
                f"{given}: is for the plain score on all images, not for {variant}.\n"
                "  Leave --output_dir out, or choose another."
            )
        return Path(given)


@dataclass(frozen=True)
class Score:
    """Everything that is known of some detections."""

    truth: Truth
    found: Found
    facts: Facts
    metrics: dict  # COCO's twelve numbers, {TFOD's name: number}
    slices: list[Slice]  # "All" first
    notes: list[str]  # on what couldn't be said
    curves: list[Curve]  # all classes pooled first
    calibration: Calibration
    confusion: Confusion
    errors: Errors
    costs: dict  # {TIDE's kind: (how many, average precision that correcting them gains)}


def score_detections(
    truth: Truth, found: Found, facts: Facts, options: ScoringOptions | None = None
) -> Score:
    """Scores detections, of which the options leave out some."""
    options = options or ScoringOptions()
    found = found.at(keep(found, options.score_threshold, options.max_detections))
    ranked = rank_detections(truth, found)
    matches = match_areas(ranked)
    families, notes = make_families(ranked, matches, facts)
    weights = draw_weights(len(truth.filenames), options.samples, options.seed)
    curves = trace_curves(ranked, matches)
    threshold = curves[0].best().threshold
    errors = find_errors(truth, found)
    return Score(
        truth=truth,
        found=found,
        facts=facts,
        metrics=count_metrics(ranked, matches),
        slices=score_slices(ranked, families, weights),
        notes=notes,
        curves=curves,
        calibration=calibrate(curves[0]),
        confusion=confuse(truth, found, _PLAIN_THRESHOLD if math.isnan(threshold) else threshold),
        errors=errors,
        costs=cost_errors(truth, found, errors),
    )


def write_score(score: Score, eval_dir: Path, about: dict) -> None:
    """Writes metrics.json, slices.csv, detections.json and ground_truth.json, all or none.

    The facts on the evaluation, {name: JSON value}, stand in metrics.json, beside the scores and
    what goes wrong: errors, thresholds, calibration, confusion.
    """
    numbers = {
        **score.metrics,
        **about,
        "errors": {
            kind: {"count": count, "dAP50": round(cost, 6)}
            for kind, (count, cost) in score.costs.items()
        },
        "best_thresholds": {
            curve.name: {name: _number(value) for name, value in curve.best()._asdict().items()}
            for curve in score.curves
        },
        "expected_calibration_error": _number(score.calibration.error),
        "confusion": {
            "threshold": _number(score.confusion.threshold),
            "classes": [*score.truth.names, "background"],
            "true_by_detected": score.confusion.matrix.tolist(),
        },
    }
    write_texts(
        {
            eval_dir / "metrics.json": json.dumps(numbers, indent=2) + "\n",
            eval_dir / "slices.csv": _format_slices(score.slices),
            eval_dir / "detections.json": format_results(score.found, score.truth),
            eval_dir / "ground_truth.json": format_truth(score.truth, list_facts(score.facts)),
        }
    )


def _number(value):
    """Returns a number rounded for JSON, None for one that isn't known."""
    return None if np.isnan(value) else round(float(value), 6)


def _format_slices(slices):
    """Returns slices.csv's text: a row a slice, its scores with the ends of their intervals."""
    rows = []
    for part in slices:
        row = {"family": part.family, "slice": part.name}
        row |= {"images": part.images, "boxes": part.boxes}
        for name, value, (low, high) in zip(METRICS, part.scores, part.intervals(), strict=True):
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append({**row, "remark": part.remark})
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n", float_format="%.6f")


def finish_score(
    score: Score,
    eval_dir: Path,
    options: ScoringOptions,
    about: dict,
    title: tuple[object, object],
    pictures: Callable,
) -> None:
    """Writes everything to a folder, which exists, and prints the table.

    Args:
        about: {name: JSON value} for metrics.json.
        title: (what is scored, on which ground truth).
        pictures: called with filenames, returns {filename: bytes} of those it has.
    """
    counts = {
        "images": len(score.truth.filenames),
        "boxes": score.truth.boxes,
        "detections": len(score.found.images),
    }
    about = {
        **counts,
        **about,
        "score_threshold": options.score_threshold,
        "max_detections": options.max_detections,
        "bootstrap": options.samples,
        "seed": options.seed,
    }
    write_score(score, eval_dir, about)
    title = "{} on {images} images with {boxes} boxes of {}".format(*title, **counts)
    title = title.encode("utf-8", "backslashreplace").decode("utf-8")  # names that aren't UTF-8
    table = f"{title}:\n{format_table(score.metrics)}"
    write_text(eval_dir / "metrics.txt", table + "\n")
    print(table)
    if options.report:
        from lowlight.evaluation.report import write_report

        write_report(eval_dir / "report.html", score, title, about, pictures)
    print(f"wrote {eval_dir / ('report.html' if options.report else 'metrics.json')}")


def score_file(
    path: Path | str, source: TruthSource, eval_dir: Path | str | None, options: ScoringOptions
) -> None:
    """Scores a detector's results, read from a file, without loading TensorFlow.

    Args:
        path: a JSON file in COCO's results form.
        source: of the ground truth.
        eval_dir: the output folder, made where it is missing; None for one beside the file, whose
            name ends with the options' variant.

    Raises:
        DataError: as the readers of detections and ground truth; an output that is an input.
    """
    path = Path(path)
    name = "_".join(filter(None, (path.stem, "eval", options.variant())))
    eval_dir = Path(eval_dir or path.with_name(name))
    inputs = {Path(given).resolve(): given for given in (path, source.coco) if given}
    over = [inputs[p] for p in ((eval_dir / name).resolve() for name in _OUTPUTS) if p in inputs]
    if over:
        raise DataError(f"{over[0]}: would be written over.\n  Choose another --output_dir.")
    truth = source.read().limited_to(options.limit)
    found, left_out = read_results(path, truth)
    if left_out:
        print(f"{path}: {left_out} detections on images that aren't scored are left out")
    facts, found = source.facts(truth, found)
    about = {
        "step": None,
        "model": str(path),
        "records": source.records,
        "ground_truth": source.place,
        "images_dir": source.folder and str(source.folder),
    }
    with locked(output_dir(eval_dir), "scored", "output_dir", waits=True):
        score = score_detections(truth, found, facts, options)
        finish_score(score, eval_dir, options, about, (path, source.place), source.pictures)
