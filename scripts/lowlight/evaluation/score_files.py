"""Ends an evaluation: scores what was found, writes numbers and report, prints the table."""

from pathlib import Path
from typing import NamedTuple

from lowlight.core.files import output_dir, write_text
from lowlight.evaluation.metrics import format_table
from lowlight.evaluation.results import keep, read_results
from lowlight.evaluation.scoring import score_detections, write_score


class Options(NamedTuple):
    """How detections are scored."""

    score_threshold: float = 0.0  # leave out detections with a lower score
    max_detections: int | None = None  # of an image, the best
    limit: int | None = None  # the first images alone
    samples: int = 0  # of the bootstrap
    seed: int = 0
    report: bool = False  # write report.html
    data_dir: str | None = None  # where images.csv is


def finish_score(scored, eval_dir, about, title, options, pictures):
    """Scores what was found, writes everything to a folder and prints the table.

    Args:
        scored: (Truth, Found, Facts, brightness of each detection or None).
        eval_dir: an existing folder.
        about: {name: JSON value} for metrics.json.
        title: the table's, with "{}" for the numbers of images and boxes.
        options: Options.
        pictures: called with filenames, returns {filename: bytes} of those it has.

    Returns:
        scoring.Score.
    """
    truth, found, facts, brightness = scored
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
    counts = f"{len(truth.filenames)} images with {truth.boxes} boxes"
    title = title.format(counts)
    table = f"{title}:\n{format_table(score.metrics)}"
    write_text(eval_dir / "metrics.txt", table + "\n")
    print(table)
    if options.report:
        from lowlight.evaluation.report import write_report

        write_report(eval_dir / "report.html", score, title, about, pictures)
    print(f"wrote {eval_dir / ('report.html' if options.report else 'metrics.json')}")
    return score


def score_file(path, source, eval_dir, options):
    """Scores a detector's results, read from a file, without loading TensorFlow.

    Args:
        path: a JSON file in COCO's results form.
        source: truth_source.TruthSource.
        eval_dir: the output folder, made where it is missing; None for one beside the file.
        options: Options.

    Returns:
        scoring.Score.

    Raises:
        DataError: as the readers of detections and ground truth.
    """
    path = Path(path)
    truth = source.read().limited_to(options.limit)
    found, left_out = read_results(path, truth)
    if left_out:
        print(f"{path}: {left_out} detections on images that aren't scored are left out")
    eval_dir = output_dir(eval_dir or path.with_name(f"{path.stem}_eval"))
    facts, brightness = source.facts(truth, found)
    about = {"step": None, "model": str(path), **source.names()}
    title = f"{path} on {{}} of {source.place}"
    scored = truth, found, facts, brightness
    return finish_score(scored, eval_dir, about, title, options, source.pictures)
