"""Scores a model on records: detects, continues where it was interrupted, and keeps the numbers."""

import glob
import json
import re
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.core.files import existing_dir, output_dir
from lowlight.core.log import LOG, DetectionLog, fingerprint
from lowlight.dataset.classes import read_label_map
from lowlight.dataset.records import count_records
from lowlight.detector.runs import (
    CONFIG,
    check_classes,
    checkpoint_step,
    find_checkpoint,
    find_model,
    latest_checkpoint,
)
from lowlight.evaluation.record_detection import detect_records, gather
from lowlight.evaluation.scoring import Options, finish_score
from lowlight.evaluation.truth import ids_of_tables, truth_of_records
from lowlight.evaluation.truth_source import pick_encoded, read_columns

_POLL = 5.0  # seconds between two looks


def watch_checkpoints(run_dir, timeout, poll=_POLL):
    """Yields the prefix of a run's newest checkpoint, then of each newer one.

    Ends when the newest has been yielded and the training has ended: run.json says so, or the
    step is the last of the config's. Checkpoints that come while the caller works on another are
    skipped but for the newest.

    Args:
        run_dir: the run's folder, whose first checkpoint may be still to come.
        timeout: seconds without a new checkpoint after which it ends all the same.
        poll: seconds between two looks.
    """
    run_dir, seen, waited = Path(run_dir), None, time.monotonic()
    while True:
        # Asked first: what is saved between the two looks is then still found.
        ended = _has_ended(run_dir)
        prefix = latest_checkpoint(run_dir)
        if prefix is not None and prefix != seen:
            yield prefix
            seen, waited = prefix, time.monotonic()
            continue
        if seen is not None and (ended or checkpoint_step(seen) >= _last_step(run_dir)):
            print(f"{run_dir}: the training has ended")
            return
        if time.monotonic() - waited >= timeout:
            print(f"{run_dir}: no new checkpoint for {timeout:g} s")
            return
        time.sleep(poll)


def _has_ended(run_dir):
    """Says whether run.json tells of an end, which a training that is gone on with takes back."""
    try:
        return json.loads((run_dir / "run.json").read_text("utf-8"))["sessions"][-1]["ended"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _last_step(run_dir):
    """Returns the config's num_steps, read as text; infinity where there is none."""
    path = run_dir / CONFIG
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(r"^\s*num_steps:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else float("inf")


class Source(NamedTuple):
    """What a model is scored on."""

    records: list  # paths of TFRecord files, in order
    label_map_path: str
    eval_dir: Path
    detector: dict = {}  # how the model is run, as `detector.Detector` takes it


def evaluate_each_checkpoint(checkpoint_dir, timeout, **options):
    """Scores a run's newest checkpoint, and then each new one.

    Args:
        checkpoint_dir: the run's folder.
        timeout: seconds to wait for a next checkpoint before it ends; 0 scores one.
        options: as `evaluate_model` takes them.

    Raises:
        DataError: no checkpoint there yet, or as `evaluate_model`.
    """
    find_checkpoint(checkpoint_dir)
    for _ in tf.train.checkpoints_iterator(str(checkpoint_dir), timeout=timeout):
        evaluate_model(checkpoint_dir, **options)


def watch_run(model_dir, timeout, *inputs, **options):
    """Scores each new checkpoint of a training until it ends.

    Args:
        model_dir: the run's folder.
        timeout: as `watching.watch_checkpoints` takes it.
        inputs: records, label_map_path, eval_dir and sample_1_of_n as `evaluate_model` takes them.
        options: options and detector as `evaluate_model` takes them.
    """
    for _ in watch_checkpoints(existing_dir(model_dir, "model_dir"), timeout):
        evaluate_model(model_dir, *inputs, **options)


def evaluate_model(
    model_dir,
    records=None,
    label_map_path=None,
    eval_dir=None,
    sample_1_of_n=1,
    on_train_data=False,
    config_path=None,
    on_image=None,
    options=None,
    detector=None,
):
    """Scores the model that a folder holds, on the records that its config names or on others.

    Args:
        model_dir: as `runs.find_model` takes it.
        records: TFRecord files or globs; None for those of the config.
        label_map_path: None for the config's.
        eval_dir: the output folder; None for one in the run's folder: eval/ for the config's test
            records, eval_<name>/ for other records, so that their numbers don't mix.
        sample_1_of_n: score only every n-th image.
        on_train_data: take the config's training records instead of its test records.
        config_path: the config that names records and label map; None for the model's own.
        on_image: as in `evaluate`.
        options: score_files.Options; None for the twelve numbers without intervals and report.
        detector: how the model is run, as `detector.Detector` takes it; None as TFOD runs it.

    Returns:
        ({TFOD's metric name: number}, the path of the model that was scored).

    Raises:
        DataError: as `evaluate`; no such model, records or label map, or no pipeline.config where
            one is needed.
    """
    model, are_others = find_model(model_dir), bool(records)
    if not (records and label_map_path):
        config_path = config_path or model.config_path
        theirs = _inputs_of_config(config_path, on_train_data)
        records, label_map_path = records or theirs[0], label_map_path or theirs[1]
    paths = sorted({path for pattern in records for path in glob.glob(pattern)})
    if not paths:
        raise DataError(
            f"{', '.join(records)}: no such record file (relative to {Path.cwd()}).\n"
            "  Give --records, or run the command from the project's folder."
        )
    if eval_dir is None:
        others = f"eval_{Path(paths[0]).stem}"
        eval_dir = model.run_dir / (others if on_train_data or are_others else "eval")
    source = Source(paths, label_map_path, Path(eval_dir), detector or {})
    return evaluate(model, source, sample_1_of_n, on_image, options or Options()), model.path


def _inputs_of_config(config_path, on_train_data):
    """Returns (globs of records, path of the label map) that a pipeline config names."""
    from lowlight.tfod import model as tfod

    config = tfod.read_config(config_path)
    if not (on_train_data or config.eval_input_reader):
        raise DataError(
            f"{config_path}: no eval_input_reader.\n"
            "  Add one, or give --records and --label_map_path."
        )
    reader = config.train_input_reader if on_train_data else config.eval_input_reader[0]
    return list(reader.tf_record_input_reader.input_path), reader.label_map_path


def evaluate(model, source, sample_1_of_n, on_image, options):
    """Scores a model on every image of the records, but for those it has scored before.

    Args:
        model: what `runs.find_model` found.
        source: Source.
        sample_1_of_n: score only every n-th image.
        on_image: called with each image that is run, uint8 [H, W, 3], its Detections, and its true
            boxes, pixel xyxy [M, 4], and class ids [M]; or None.
        options: score_files.Options.

    Returns:
        {TFOD's metric name: number}, the twelve of COCO.

    Raises:
        DataError: no image in the records, a label map that isn't the model's, or as
            `finish_score`.
    """
    names = read_label_map(source.label_map_path)
    check_classes(model, names, source.label_map_path)
    output_dir(source.eval_dir)
    step, began = model.step(), time.monotonic()
    total = -(-count_records(source.records) // sample_1_of_n)
    total = min(total, options.limit or total)
    if not total:
        raise DataError(
            f"{source.records[0]}: holds no image.\n  make_tfrecords.py writes records."
        )
    with DetectionLog(source.eval_dir / LOG, _identity(model, source)) as log:
        part = sample_1_of_n, total
        rows = detect_records(model, source, names, part, on_image, log)
        lines = [log.images[row[0]] for row in rows]
    data_dir = options.data_dir or Path(source.records[0]).parent
    truth = truth_of_records(rows, names, source.records[0], ids_of_tables(data_dir))
    lines.sort(key=lambda line: line["file"])
    found, brightness = gather(lines, truth)
    facts = read_columns(Path(data_dir) / "images.csv", truth.filenames)
    facts = facts._replace(
        brightness=np.array([line["brightness"] for line in lines]),
        box_brightness=np.array([value for line in lines for value in line["boxes"]], float),
    )
    about = {
        "step": step,
        "model": str(model.path),
        "records": [str(path) for path in source.records],
        "detector": source.detector,
        "seconds": round(time.monotonic() - began, 1),
    }
    title = f"{model.path} (step {step}) on {{}} of {', '.join(map(str, source.records))}"
    score = finish_score(
        (truth, found, facts, brightness),
        source.eval_dir,
        about,
        title,
        options,
        lambda wanted: pick_encoded(source.records, wanted),
    )
    _write_events(source.eval_dir, score, step)
    return score.metrics


def _identity(model, source):
    """Returns what tells one evaluation from another: model, records and label map."""
    prefix = Path(model.path)
    if model.is_exported:
        files = [path for path in sorted(prefix.rglob("*")) if path.is_file()]
    else:
        files = sorted(prefix.parent.glob(f"{prefix.name}.*"))
    return {
        "model": str(model.path),
        "files": fingerprint(files),
        "records": fingerprint(source.records),
        "label_map": fingerprint([source.label_map_path]),
        **({"detector": source.detector} if source.detector else {}),
    }


def _write_events(eval_dir, score, step):
    """Writes the numbers, and the AP of each slice, as TensorBoard scalars at a training step."""
    writer = tf.summary.create_file_writer(str(eval_dir))
    with writer.as_default(step=step):
        for name, value in score.metrics.items():
            tf.summary.scalar(name, value)
        for part in score.slices[1:]:
            if not part.remark:
                tf.summary.scalar(f"AP by {part.family}/{part.name}", part.scores[0])
    writer.close()
