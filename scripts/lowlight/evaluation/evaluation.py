"""Scores a model on records: detects, continues where it was interrupted, and keeps the numbers."""

import dataclasses
import functools
import glob
import itertools
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.core.files import locked, output_dir
from lowlight.core.json_files import LOG, DetectionLog, fingerprint
from lowlight.core.parallel import Progress, map_in_threads
from lowlight.dataset.classes import LabelMap, read_label_map
from lowlight.dataset.record_counts import count_and_check
from lowlight.dataset.records import ImageNames, Record, name_images, read_encoded, read_records
from lowlight.detector.detector import Detector
from lowlight.detector.runs import Model, check_classes, find_model
from lowlight.evaluation.results import Found, make_found
from lowlight.evaluation.scoring import (
    Score,
    ScoringOptions,
    finish_score,
    name_score,
    score_detections,
    variant_of,
)
from lowlight.evaluation.truth import ids_of_tables, truth_of_records
from lowlight.evaluation.truth_source import measure_brightness, read_columns
from lowlight.images.boxes import unit_yxyx_to_pixel_xyxy, xyxy_to_ltwh


def evaluate_model(
    model_dir: Path | str,
    *,
    records: list | None = None,
    label_map_path: str | None = None,
    eval_dir: Path | str | None = None,
    run_dir: Path | str | None = None,
    sample_1_of_n: int = 1,
    on_train_data: bool = False,
    config_path: Path | str | None = None,
    on_image: Callable | None = None,
    raw_weights: bool = False,
    options: ScoringOptions | None = None,
    detector: dict | None = None,
) -> tuple[dict, Path]:
    """Scores the model that a folder holds, on all images but those it has scored before.

    Args:
        model_dir, raw_weights: as `runs.find_model` takes them.
        records, label_map_path: TFRecord files or globs; None for what the config names.
        eval_dir: the output folder; None for one in `run_dir`: eval/ for the config's test
            records, eval_<name>/ for other records, and with what `variant_of` says at the end
            where it says something, so that numbers that can't be compared don't mix.
        run_dir: None for the model's.
        on_train_data: take the config's training records instead of its test records.
        config_path: None for the model's own.
        on_image: called with each image that is run, uint8 [H, W, 3], its Detections, and its true
            boxes, pixel xyxy [M, 4], and class ids [M].
        options: None for the twelve numbers without intervals and report.
        detector: how the model is run, as `detector.Detector` takes it; None as TFOD runs it.

    Returns:
        ({TFOD's metric name: number}, the path of the model that was scored).

    Raises:
        DataError: no such model, records or label map, no image, a label map that isn't the
            model's, or no pipeline.config where one is needed; a variant that would be written
            where the plain score belongs.
    """
    options, model = options or ScoringOptions(), find_model(model_dir, raw_weights)
    detector = detector and detector | {"engine": detector.get("engine") or model.default_engine}
    patterns = records
    if not (records and label_map_path):
        theirs = _inputs_of_config(config_path or model.config_path, on_train_data)
        patterns, label_map_path = records or theirs[0], label_map_path or theirs[1]
    paths = _find_files(patterns)
    plain = Path(run_dir or model.run_dir) / "eval"
    if on_train_data or records:
        plain = plain.with_name(f"eval_{Path(paths[0]).stem}")
    variant = variant_of(options, sample_1_of_n, detector, model.raw_weights)
    evaluation = _Evaluation(
        model=model,
        records=paths,
        names=read_label_map(label_map_path),
        label_map_path=label_map_path,
        eval_dir=_choose_eval_dir(eval_dir, plain, variant),
        plain_dir=plain,
        variant=variant,
        sample_1_of_n=sample_1_of_n,
        detector=detector or {},
        options=options,
    )
    return evaluation.run(on_image).metrics, model.path


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


def _find_files(patterns):
    paths = sorted({path for pattern in patterns for path in glob.glob(pattern)})
    if not paths:
        raise DataError(
            f"{', '.join(patterns)}: no such record file (relative to {Path.cwd()}).\n"
            "  Give --records, or run the command from the project's folder."
        )
    return paths


def _inputs_of_config(config_path, on_train_data):
    """Returns (globs of records, path of the label map) that a pipeline config names."""
    from lowlight.tfod.model import read_config

    config = read_config(config_path)
    if not (on_train_data or config.eval_input_reader):
        raise DataError(
            f"{config_path}: no eval_input_reader.\n"
            "  Add one, or give --records and --label_map_path."
        )
    reader = config.train_input_reader if on_train_data else config.eval_input_reader[0]
    return list(reader.tf_record_input_reader.input_path), reader.label_map_path


@dataclass(frozen=True)
class _Evaluation:
    """A model beside the records that it is scored on."""

    model: Model
    records: list[str]  # paths of TFRecord files, in order
    names: LabelMap
    label_map_path: str
    eval_dir: Path
    plain_dir: Path  # where the plain score's log is, which a variant begins with
    variant: str  # of the plain score, "" for that itself
    sample_1_of_n: int
    detector: dict
    options: ScoringOptions

    def run(self, on_image: Callable | None) -> Score:
        check_classes(self.model, self.names, self.label_map_path)
        count_and_check(self.records, self.names)
        images = name_images(self.records)
        part = slice(None, None, self.sample_1_of_n)
        images = ImageNames(*(texts and texts[part][: self.options.limit] for texts in images))
        output_dir(self.eval_dir)
        # A watcher and the training itself may score the same run at the same time.
        with locked(self.eval_dir, "scored", "output_dir", waits=True):
            began, path = time.monotonic(), self.eval_dir / LOG
            if self.variant and not path.exists() and (self.plain_dir / LOG).is_file():
                shutil.copyfile(self.plain_dir / LOG, path)
            with DetectionLog(path, self._identity()) as log:
                records = self._detect(images.names, on_image, log)
                lines = [log.images[name] for name in sorted(images.names)]
            ids = ids_of_tables(self._data_dir)
            truth = truth_of_records(records, images, self.names, self.records[0], ids)
            return self._score(truth, lines, round(time.monotonic() - began, 1))

    def _identity(self):
        """Returns what tells one evaluation from another: model, records and label map."""
        return {
            "model": self.model.name,
            "files": fingerprint(self.model.files()),
            "records": fingerprint(self.records),
            "label_map": fingerprint([self.label_map_path]),
            **({"detector": self.detector} if self.detector else {}),
        }

    def _detect(self, images, on_image, log) -> list[Record]:
        """Detects on the images that aren't in the log; returns all records without images."""
        known, detector, records = set(log.images), None, []
        chosen = itertools.islice(
            read_records(self.records, self.names.ids), 0, None, self.sample_1_of_n
        )
        if known:
            print(f"continues after {len(known)} images that were scored before")

        def decode(item):
            name, record = item
            return name, record, None if name in known else _decode(record)

        with Progress(len(images), "image") as progress:
            pairs = zip(images, chosen, strict=False)
            # One thread decodes ahead; more would hold more large images than they gain.
            for name, record, image in map_in_threads(decode, pairs, jobs=1):
                records.append(dataclasses.replace(record, encoded=b""))
                if image is not None:
                    detector = detector or Detector(self.model, **self.detector)
                    line = _detect_record(detector, record, image, self.names, on_image)
                    log.add({"file": name, **line})
                progress.update()
        return records

    @property
    def _data_dir(self):
        return Path(self.options.data_dir or Path(self.records[0]).parent)

    def _score(self, truth, lines, seconds) -> Score:
        """Scores what the log's lines, in the truth's order, say, and writes everything."""
        facts = read_columns(self._data_dir / "images.csv", truth.filenames)._replace(
            brightness=np.array([line["brightness"] for line in lines]),
            box_brightness=np.array([value for line in lines for value in line["boxes"]], float),
        )
        score = score_detections(truth, _gather(lines, truth), facts, self.options)
        step = self.model.step()
        about = {
            "step": step,
            "model": self.model.name,
            "records": self.records,
            "detector": self.detector,
            "seconds": seconds,
        }
        title = name_score(f"{self.model.name} (step {step})", truth, ", ".join(self.records))
        pictures = functools.partial(read_encoded, self.records)
        finish_score(score, self.eval_dir, about, title, self.options, pictures)
        self._write_events(score, step)
        return score

    def _write_events(self, score, step):
        """Writes the numbers, and the AP of each slice, as TensorBoard scalars at a step."""
        of = f" ({self.variant})" if self.variant else ""
        writer = tf.summary.create_file_writer(str(self.eval_dir))
        with writer.as_default(step=step):
            for name, value in score.metrics.items():
                tf.summary.scalar(f"{name}{of}", value)
            for part in score.slices[1:]:
                if not part.remark:
                    tf.summary.scalar(f"AP by {part.family}/{part.name}{of}", part.scores[0])
        writer.close()


def _decode(record):
    """Returns the record's image, uint8 [H, W, 3]."""
    place = f"{record.place} ({record.filename})"
    try:
        image = tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise DataError(
            f"{place}: image/encoded can't be decoded ({error.message}).\n  Write it again."
        ) from error
    if image.shape[:2] != (record.height, record.width):
        raise DataError(
            f"{place}: {image.shape[1]}x{image.shape[0]} pixels, but its record says "
            f"{record.width}x{record.height}.\n  Write it again."
        )
    return image


def _detect_record(detector, record, image, names, on_image):
    """Returns what was found in one image, with the brightness of everything, for the log."""
    try:
        found = detector.detect(image)
    except ValueError as error:
        raise DataError(f"{record.filename}: {error}.\n  Leave it out of the records.") from error
    size = record.width, record.height
    boxes = unit_yxyx_to_pixel_xyxy(record.unit_yxyx, *size)
    if on_image is not None:
        on_image(image, found, boxes, record.classes)
    known = np.isin(found.classes, list(names))
    ltwh = xyxy_to_ltwh(np.concatenate([boxes, found.boxes[known]]))
    mean, means = measure_brightness(image, record.filename, ltwh, size)
    means = [None if np.isnan(value) else round(value, 1) for value in means.tolist()]
    parts = found.classes[known].tolist(), ltwh[len(boxes) :], found.scores[known]
    return {
        "brightness": round(mean, 1),
        "boxes": means[: len(boxes)],
        "found": [
            [number, *_shortest(box), *_shortest([score]), luma]
            for number, box, score, luma in zip(*parts, means[len(boxes) :], strict=True)
        ],
    }


def _shortest(values):
    """Returns float32 numbers as floats with the fewest digits that tell them apart."""
    return [float(str(value)) for value in values]


def _gather(lines, truth) -> Found:
    """Returns the Found of a log's lines, in the truth's order."""
    labels = {number: place for place, number in enumerate(truth.class_ids)}
    rows = [(place, *row) for place, line in enumerate(lines) for row in line["found"]]
    images, numbers, *edges, scores, lumas = zip(*rows, strict=True) if rows else [()] * 8
    found = make_found(images, [labels[n] for n in numbers], np.transpose(edges), scores)
    return found._replace(brightness=np.array(lumas, float))
