"""Scores a model on records with TFOD's own COCO evaluator, and keeps the numbers."""

import glob
import time
from pathlib import Path

import tensorflow as tf

from lowlight.boxes import unit_yxyx_to_pixel_xyxy, xyxy_to_yxyx
from lowlight.classes import read_label_map
from lowlight.detector import load_detector
from lowlight.errors import DataError
from lowlight.files import output_dir, write_text
from lowlight.metrics import format_table, write_metrics
from lowlight.progress import Progress
from lowlight.records import count_records, read_records
from lowlight.runs import check_classes, find_checkpoint, find_model


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


def evaluate_model(
    model_dir,
    records=None,
    label_map_path=None,
    eval_dir=None,
    sample_1_of_n=1,
    on_train_data=False,
    config_path=None,
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

    Raises:
        DataError: as `evaluate`; no such model, records or label map, or no pipeline.config where
            one is needed.
    """
    from lowlight import tfod

    model, are_others = find_model(model_dir), bool(records)
    if not (records and label_map_path):
        config = tfod.read_config(config_path or model.config_path)
        if not (on_train_data or config.eval_input_reader):
            raise DataError(
                f"{config_path or model.config_path}: no eval_input_reader.\n"
                "  Add one, or give --records and --label_map_path."
            )
        reader = config.train_input_reader if on_train_data else config.eval_input_reader[0]
        records = records or reader.tf_record_input_reader.input_path
        label_map_path = label_map_path or reader.label_map_path
    paths = sorted({path for pattern in records for path in glob.glob(pattern)})
    if not paths:
        raise DataError(
            f"{', '.join(records)}: no such record file (relative to {Path.cwd()}).\n"
            "  Give --records, or run the command from the project's folder."
        )
    if eval_dir is None:
        others = f"eval_{Path(paths[0]).stem}"
        eval_dir = model.run_dir / (others if on_train_data or are_others else "eval")
    evaluate(model, paths, label_map_path, eval_dir, sample_1_of_n)


def evaluate(model, records, label_map_path, eval_dir, sample_1_of_n=1):
    """Scores a model on every image of the records.

    Writes metrics.json, metrics.txt (the same as a table) and TensorBoard events to `eval_dir`.

    Args:
        model: what `runs.find_model` found.
        records: paths of TFRecord files, read in the order given.
        label_map_path: the label map that the records' class ids belong to.
        eval_dir: the output folder, made where it is missing.
        sample_1_of_n: score only every n-th image.

    Returns:
        {TFOD's metric name: number}, the twelve of COCO.

    Raises:
        DataError: no image in the records.
    """
    from lowlight import tfod

    names = read_label_map(label_map_path)
    check_classes(model, names, label_map_path)
    eval_dir, step = output_dir(eval_dir), model.step()
    total = -(-count_records(records) // sample_1_of_n)
    if not total:
        raise DataError(f"{records[0]}: holds no image.\n  make_tfrecords.py writes records.")
    score, boxes, began = tfod.CocoScore(names), 0, time.monotonic()
    detector = load_detector(model)
    with Progress(total, "image") as progress:
        for number, record in enumerate(read_records(records)):
            if number % sample_1_of_n == 0:
                score_record(score, detector, record)
                boxes += len(record.classes)
                progress.update()
    metrics = score.metrics()
    facts = {
        "images": total,
        "boxes": boxes,
        "step": step,
        "model": str(model.path),
        "records": [str(path) for path in records],
        "seconds": round(time.monotonic() - began, 1),
    }
    files = ", ".join(str(path) for path in records)
    title = f"{model.path} (step {step}) on {total} images with {boxes} boxes of {files}:\n"
    table = title + format_table(metrics)
    write_metrics(eval_dir / "metrics.json", metrics, facts)
    write_text(eval_dir / "metrics.txt", table + "\n")
    _write_events(eval_dir, metrics, step)
    print(f"{table}\nwrote {eval_dir / 'metrics.json'}")
    return metrics


def score_record(score, detector, record):
    """Detects on one record's image and adds detections and truth to the score."""
    image = tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy()
    height, width = image.shape[:2]
    truth = unit_yxyx_to_pixel_xyxy(record.unit_yxyx, width, height)
    found = detector.detect(image)
    score.add(
        record.filename,
        xyxy_to_yxyx(truth),
        record.classes,
        (xyxy_to_yxyx(found.boxes), found.classes, found.scores),
    )


def _write_events(eval_dir, metrics, step):
    """Writes the numbers as TensorBoard scalars at a training step."""
    writer = tf.summary.create_file_writer(str(eval_dir))
    with writer.as_default(step=step):
        for name, value in metrics.items():
            tf.summary.scalar(name, value)
    writer.close()
