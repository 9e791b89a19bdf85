"""Scores a model on records: detects, continues where it was interrupted, and keeps the numbers."""

import glob
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.core.files import locked, output_dir
from lowlight.core.log import LOG, DetectionLog, fingerprint
from lowlight.dataset.classes import read_label_map
from lowlight.dataset.record_checks import count_and_check
from lowlight.dataset.records import ImageNames, name_images, read_encoded
from lowlight.detector.runs import check_classes, find_model
from lowlight.evaluation.record_detection import detect_records, gather
from lowlight.evaluation.scoring import Detected, Options, finish_score, variant_of
from lowlight.evaluation.truth import ids_of_tables, truth_of_records
from lowlight.evaluation.truth_source import read_columns


@dataclass(frozen=True)
class Source:
    """What a model is scored on, and how it is run."""

    records: list  # paths of TFRecord files, in order
    label_map_path: str
    eval_dir: Path
    sample_1_of_n: int = 1  # take every n-th record
    detector: dict = field(default_factory=dict)  # as `detector.Detector` takes it
    variant: str = ""  # of the plain score
    plain_dir: Path | None = None  # where the plain score's log is, which a variant begins with


def evaluate_model(
    model_dir,
    *,
    records: list | None = None,
    label_map_path: str | None = None,
    eval_dir=None,
    run_dir=None,
    sample_1_of_n: int = 1,
    on_train_data: bool = False,
    config_path=None,
    on_image=None,
    options: Options | None = None,
    detector: dict | None = None,
) -> tuple[dict, Path]:
    """Scores the model that a folder holds, on the records that its config names or on others.

    Args:
        model_dir: as `runs.find_model` takes it.
        records: TFRecord files or globs; None for those of the config.
        label_map_path: None for the config's.
        eval_dir: the output folder; None for one in `run_dir`: eval/ for the config's test records,
            eval_<name>/ for other records, and with what `variant_of` says at the end where it says
            something, so that numbers that can't be compared don't mix.
        run_dir: None for the model's.
        sample_1_of_n: score only every n-th image.
        on_train_data: take the config's training records instead of its test records.
        config_path: the config that names records and label map; None for the model's own.
        on_image: as in `evaluate`.
        options: None for the twelve numbers without intervals and report.
        detector: how the model is run, as `detector.Detector` takes it; None as TFOD runs it.

    Returns:
        ({TFOD's metric name: number}, the path of the model that was scored).

    Raises:
        DataError: as `evaluate`; no such model, records or label map, or no pipeline.config where
            one is needed; a variant that would be written where the plain score belongs.
    """
    options = options or Options()
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
    plain = Path(run_dir or model.run_dir) / "eval"
    if on_train_data or are_others:
        plain = plain.with_name(f"eval_{Path(paths[0]).stem}")
    variant = variant_of(options, sample_1_of_n, detector)
    source = Source(
        records=paths,
        label_map_path=label_map_path,
        eval_dir=_choose_eval_dir(eval_dir, plain, variant),
        sample_1_of_n=sample_1_of_n,
        detector=detector or {},
        variant=variant,
        plain_dir=plain,
    )
    return evaluate(model, source, options, on_image), model.path


def _choose_eval_dir(eval_dir, plain, variant):
    """Returns the folder to write; raises DataError where a variant would replace the plain one."""
    if eval_dir is None:
        return plain.with_name(f"{plain.name}_{variant}") if variant else plain
    if variant and Path(eval_dir).resolve() == plain.with_name("eval").resolve():
        raise DataError(
            f"{eval_dir}: is for the plain score on all images, not for {variant}.\n"
            "  Leave --output_dir out, or choose another."
        )
    return Path(eval_dir)


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


def evaluate(model, source: Source, options: Options, on_image=None) -> dict:
    """Scores a model on every image of the records, but for those it has scored before.

    Args:
        model: what `runs.find_model` found.
        source: Source.
        options: Options.
        on_image: called with each image that is run, uint8 [H, W, 3], its Detections, and its true
            boxes, pixel xyxy [M, 4], and class ids [M]; or None.

    Returns:
        {TFOD's metric name: number}, the twelve of COCO.

    Raises:
        DataError: no image in the records, a label map that isn't the model's, or as
            `finish_score`.
    """
    names = read_label_map(source.label_map_path)
    check_classes(model, names, source.label_map_path)
    count_and_check(source.records, names)
    images = name_images(source.records)
    part = slice(None, None, source.sample_1_of_n)
    images = ImageNames(*(texts and texts[part][: options.limit] for texts in images))
    output_dir(source.eval_dir)
    # A watcher and the training itself may score the same run at the same time.
    with locked(source.eval_dir, "scored", "output_dir", waits=True):
        began, path = time.monotonic(), source.eval_dir / LOG
        if source.variant and not path.exists() and (source.plain_dir / LOG).is_file():
            shutil.copyfile(source.plain_dir / LOG, path)
        with DetectionLog(path, _identity(model, source)) as log:
            records = detect_records(model, source, names, images.names, on_image, log)
            lines = [log.images[name] for name in images.names]
        about = {
            "step": model.step(),
            "model": str(model.path),
            "records": [str(path) for path in source.records],
            "detector": source.detector,
            "seconds": round(time.monotonic() - began, 1),
        }
        score = finish_score(
            _detected(records, images, lines, names, source, options.data_dir),
            source.eval_dir,
            about,
            title=(f"{model.path} (step {about['step']})", ", ".join(map(str, source.records))),
            options=options,
            pictures=lambda wanted: read_encoded(source.records, wanted),
        )
        _write_events(source, score, about["step"])
    return score.metrics


def _detected(records, images, lines, names, source, data_dir):
    """Returns the Detected of what was found in records, by the lines of the log."""
    data_dir = Path(data_dir or Path(source.records[0]).parent)
    ids = ids_of_tables(data_dir)
    truth = truth_of_records(records, images, names, source.records[0], ids)
    lines = sorted(lines, key=lambda line: line["file"])
    found, brightness = gather(lines, truth)
    facts = read_columns(data_dir / "images.csv", truth.filenames)._replace(
        brightness=np.array([line["brightness"] for line in lines]),
        box_brightness=np.array([value for line in lines for value in line["boxes"]], float),
    )
    return Detected(truth, found, facts, brightness)


def _identity(model, source):
    """Returns what tells one evaluation from another: model, records and label map."""
    return {
        "model": str(model.path),
        "files": fingerprint(model.files()),
        "records": fingerprint(source.records),
        "label_map": fingerprint([source.label_map_path]),
        **({"detector": source.detector} if source.detector else {}),
    }


def _write_events(source, score, step):
    """Writes the numbers, and the AP of each slice, as TensorBoard scalars at a training step."""
    of = f" ({source.variant})" if source.variant else ""
    writer = tf.summary.create_file_writer(str(source.eval_dir))
    with writer.as_default(step=step):
        for name, value in score.metrics.items():
            tf.summary.scalar(f"{name}{of}", value)
        for part in score.slices[1:]:
            if not part.remark:
                tf.summary.scalar(f"AP by {part.family}/{part.name}{of}", part.scores[0])
    writer.close()
