"""Scores a model on records, once or for each checkpoint of a training, and keeps the numbers."""

import contextlib
import functools
import itertools
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.core.files import existing_dir, locked, output_dir
from lowlight.core.json_files import LOG, DetectionLog, fingerprint
from lowlight.core.parallel import Progress, map_in_threads
from lowlight.core.tensorflow_files import checkpoint_step, latest_checkpoint
from lowlight.dataset.classes import LabelMap, read_label_map
from lowlight.dataset.record_counts import count_and_check
from lowlight.dataset.records import ImageNames, Record, name_images, read_encoded, read_records
from lowlight.detector.detector import Detector
from lowlight.detector.runs import CONFIG, Model, check_classes, find_checkpoint, find_model
from lowlight.evaluation.results import Found, make_found
from lowlight.evaluation.scoring import Score, ScoringOptions, finish_score, score_detections
from lowlight.evaluation.truth import find_records, ids_of_tables, truth_of_records
from lowlight.evaluation.truth_source import measure_brightness, read_columns
from lowlight.images.boxes import unit_yxyx_to_pixel_xyxy, xyxy_to_ltwh

_POLL = 5.0  # seconds between two looks for a checkpoint
_SAY_SO = 60.0  # seconds of waiting after which that is said, again and again


def watch_run(model_dir: Path | str, timeout: float, **given) -> None:
    """Scores a run's newest checkpoint, then each new one, as `watch_checkpoints` yields them.

    What is given is for `evaluate_model`; raises as both.
    """
    for _ in watch_checkpoints(existing_dir(model_dir, "model_dir"), timeout):
        evaluate_model(model_dir, **given)


def watch_checkpoints(run_dir: Path, timeout: float, poll: float = _POLL) -> Iterator[str]:
    """Yields the prefix of a run's newest checkpoint, which may be still to come, then newer ones.

    It ends when the training has ended (run.json says so, or the step is the config's last), or
    after `timeout` seconds without a new one. Of those that come while the caller works on another
    the newest alone is yielded. Raises DataError where not one came in time.
    """
    seen, since, said = None, time.monotonic(), 0
    while True:
        # Asked first: what is saved between the two looks is then still found.
        ended = _has_ended(run_dir)
        prefix = latest_checkpoint(run_dir)
        if prefix is not None and prefix != seen:
            yield prefix
            seen, since, said = prefix, time.monotonic(), 0
            continue
        if seen is not None and (ended or checkpoint_step(seen) >= _last_step(run_dir)):
            print(f"{run_dir}: the training has ended")
            return
        waited = time.monotonic() - since
        if waited >= timeout:
            if seen is None:
                find_checkpoint(run_dir)  # which says that there is none, and what to check
            print(f"{run_dir}: no new checkpoint for {timeout:g} s")
            return
        if waited // _SAY_SO > said:
            said = waited // _SAY_SO
            print(f"{run_dir}: no new checkpoint for {waited:.0f} s; waits {timeout:g} s")
        time.sleep(poll)


def _has_ended(run_dir):
    """Says whether run.json holds an end, which a training that continues takes back."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        return json.loads((run_dir / "run.json").read_text("utf-8"))["sessions"][-1]["ended"]


def _last_step(run_dir):
    """Returns the config's num_steps, read as text; infinity where there is none."""
    path = run_dir / CONFIG
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    found = re.search(r"^\s*num_steps:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else float("inf")


def evaluate_model(
    model_dir: Path | str | Model,
    *,
    records: list | None = None,
    label_map_path: str | None = None,
    eval_dir: Path | str | None = None,
    run_dir: Path | str | None = None,
    on_train_data: bool = False,
    config_path: Path | str | None = None,
    on_image: Callable | None = None,
    options: ScoringOptions | None = None,
) -> tuple[dict, Path]:
    """Scores the model that a folder holds, on all images but those it has scored before.

    Args:
        records, label_map_path: TFRecord files or globs; None for what the config names.
        eval_dir: the output folder; None for one in `run_dir`: eval/ for the config's test
            records, eval_<name>/ for others, and with the options' variant at the end.
        run_dir, config_path: None for the model's own.
        on_train_data: take the config's training records instead of its test records.
        on_image: called with each image that is run, uint8 [H, W, 3], its Detections, and its true
            boxes, pixel xyxy [M, 4], and class ids [M].
        options: None for the twelve numbers, as TFOD runs the model, without intervals and report.

    Returns:
        ({TFOD's metric name: number}, the path of the model that was scored).

    Raises:
        DataError: no such model, records, label map or pipeline.config; another model's label map;
            a variant that would be written where the plain score belongs.
    """
    options = options or ScoringOptions()
    model = find_model(model_dir, options.raw_weights)
    if options.detector:
        engine = options.detector.get("engine") or model.default_engine
        options = replace(options, detector={**options.detector, "engine": engine})
    theirs = [], None
    if not (records and label_map_path):
        theirs = _inputs_of_config(config_path or model.config_path, on_train_data)
    paths, label_map_path = find_records(records or theirs[0]), label_map_path or theirs[1]
    name = f"eval_{Path(paths[0]).stem}" if on_train_data or records else "eval"
    plain = Path(run_dir or model.run_dir) / name
    evaluation = _Evaluation(
        model=model,
        records=paths,
        names=read_label_map(label_map_path),
        label_map_path=label_map_path,
        eval_dir=options.choose_dir(eval_dir, plain),
        plain_dir=plain,
        options=options,
    )
    return evaluation.run(on_image).metrics, model.path


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
    options: ScoringOptions

    def run(self, on_image: Callable | None) -> Score:
        check_classes(self.model, self.names, self.label_map_path)
        count_and_check(self.records, self.names)
        every_n, limit = self.options.sample_1_of_n, self.options.limit
        images = name_images(self.records)
        images = ImageNames(*(texts and texts[::every_n][:limit] for texts in images))
        # A watcher and the training itself may score the same run at the same time.
        with locked(output_dir(self.eval_dir), "scored", "output_dir", waits=True):
            began, path = time.monotonic(), self.eval_dir / LOG
            plain = self.plain_dir / LOG
            if self.options.variant() and not path.exists() and plain.is_file():
                shutil.copyfile(plain, path)
            identity = {
                "model": self.model.name,
                "files": fingerprint(self.model.files()),
                "records": fingerprint(self.records),
                "label_map": fingerprint([self.label_map_path]),
                **({"detector": self.options.detector} if self.options.detector else {}),
            }
            with DetectionLog(path, identity) as log:
                records = self._detect(images.names, on_image, log)
                lines = [log.images[name] for name in sorted(images.names)]
            return self._score(images, records, lines, round(time.monotonic() - began, 1))

    def _detect(self, images, on_image, log) -> list[Record]:
        """Detects on the images that aren't in the log; returns all records without images."""
        known, detector, records = set(log.images), None, []
        everything = read_records(self.records, self.names.ids)
        chosen = itertools.islice(everything, 0, None, self.options.sample_1_of_n)
        if known:
            print(f"continues after {len(known)} images that were scored before")

        def decode(item):
            name, record = item
            return name, record, None if name in known else _decode(record)

        with Progress(len(images), "image") as progress:
            pairs = zip(images, chosen, strict=False)
            # One thread decodes ahead; more would hold more large images than they gain.
            for name, record, image in map_in_threads(decode, pairs, jobs=1):
                records.append(replace(record, encoded=b""))
                if image is not None:
                    detector = detector or Detector(self.model, **self.options.detector)
                    line = _detect_record(detector, record, image, self.names, on_image)
                    log.add({"file": name, **line})
                progress.update()
        return records

    def _score(self, images, records, lines, seconds) -> Score:
        """Scores what the log's lines, by the images' names, say, and writes everything."""
        place = self.records[0]
        data_dir = Path(self.options.data_dir or Path(place).parent)
        truth = truth_of_records(records, images, self.names, place, ids_of_tables(data_dir))
        facts = read_columns(data_dir / "images.csv", truth.filenames)._replace(
            brightness=np.array([line["brightness"] for line in lines]),
            box_brightness=np.array([value for line in lines for value in line["boxes"]], float),
        )
        score = score_detections(truth, _gather(lines, truth), facts, self.options)
        step = self.model.step()
        about = {
            "step": step,
            "model": self.model.name,
            "records": self.records,
            "detector": self.options.detector,
            "seconds": seconds,
        }
        title = f"{self.model.name} (step {step})", ", ".join(self.records)
        pictures = functools.partial(read_encoded, self.records)
        finish_score(score, self.eval_dir, self.options, about, title, pictures)
        self._write_events(score, step)
        return score

    def _write_events(self, score, step):
        """Writes the numbers, and the AP of each slice, as TensorBoard scalars at a step."""
        of = self.options.variant() and f" ({self.options.variant()})"
        writer = tf.summary.create_file_writer(str(self.eval_dir))
        with contextlib.closing(writer), writer.as_default(step=step):
            for name, value in score.metrics.items():
                tf.summary.scalar(f"{name}{of}", value)
            for part in score.slices[1:]:
                if not part.remark:
                    tf.summary.scalar(f"AP by {part.family}/{part.name}{of}", part.scores[0])


def _decode(record):
    """Returns the record's image, uint8 [H, W, 3]."""
    try:
        return tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise DataError(
            f"{record.place} ({record.filename}): image/encoded can't be decoded "
            f"({error.message}).\n  Write it again."
        ) from error


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
    mean, means = measure_brightness(Image.fromarray(image), ltwh, size)
    means = [None if np.isnan(value) else round(value, 1) for value in means.tolist()]
    numbers = np.column_stack([ltwh[len(boxes) :], found.scores[known]])
    parts = found.classes[known].tolist(), numbers, means[len(boxes) :]
    return {
        "brightness": round(mean, 1),
        "boxes": means[: len(boxes)],
        "found": [  # a float32 with the fewest digits that tell it apart
            [number, *(float(str(value)) for value in values), luma]
            for number, values, luma in zip(*parts, strict=True)
        ],
    }


def _gather(lines, truth) -> Found:
    """Returns the Found of a log's lines, in the truth's order."""
    labels = {number: place for place, number in enumerate(truth.class_ids)}
    rows = [(place, *row) for place, line in enumerate(lines) for row in line["found"]]
    images, numbers, *edges, scores, lumas = zip(*rows, strict=True) if rows else [()] * 8
    found = make_found(images, [labels[n] for n in numbers], np.transpose(edges), scores)
    return found._replace(brightness=np.array(lumas, float))
