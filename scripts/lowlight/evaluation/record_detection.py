"""Detects on the images of records, each once, and writes down what was found."""

import dataclasses
import itertools

import numpy as np
import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.core.parallel import Progress, map_in_threads
from lowlight.dataset.records import Record, read_records
from lowlight.detector.detector import Detector
from lowlight.evaluation.results import make_found
from lowlight.evaluation.truth_source import measure_brightness
from lowlight.images.boxes import unit_yxyx_to_pixel_xyxy, xyxy_to_ltwh


def detect_records(model, source, names, images: list, on_image, log) -> list[Record]:
    """Detects on the records whose images aren't in the log, and adds them to it.

    Args:
        model: what `runs.find_model` found.
        source: evaluation.Source.
        names: LabelMap.
        images: the names of the images to take, of those that `source` takes.
        on_image: as in `evaluation.evaluate`.
        log: DetectionLog.

    Returns:
        All the records that are scored, without their images.
    """
    known, detector, records = set(log.images), None, []
    chosen = read_records(source.records, names.ids)
    chosen = zip(images, itertools.islice(chosen, 0, None, source.sample_1_of_n), strict=False)
    if known:
        print(f"continues after {len(known)} images that were scored before", flush=True)

    def decode(item):
        name, record = item
        return name, record, None if name in known else _decode(record)

    with Progress(len(images), "image") as progress:
        # One thread decodes ahead; more would hold more large images than they gain.
        for name, record, image in map_in_threads(decode, chosen, jobs=1):
            records.append(dataclasses.replace(record, encoded=b""))
            if image is not None:
                detector = detector or Detector(model, **source.detector)
                line = _detect_record(detector, record, image, names, on_image)
                log.add({"file": name, **line})
            progress.update()
    return records


def _decode(record):
    """Returns the record's image, uint8 [H, W, 3]."""
    place = f"{record.place} ({record.filename})"
    try:
        image = tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy()
    except tf.errors.InvalidArgumentError as error:
        raise DataError(
            f"{place}: image/encoded can't be decoded ({error.message}).\n  Write it anew."
        ) from error
    if image.shape[:2] != (record.height, record.width):
        raise DataError(
            f"{place}: {image.shape[1]}x{image.shape[0]} pixels, but its record says "
            f"{record.width}x{record.height}.\n  Write it anew."
        )
    return image


def _detect_record(detector, record, image, names, on_image):
    """Returns what was found in one image, with the brightness of everything, for the log."""
    try:
        found = detector.detect(image)
    except ValueError as error:
        raise DataError(
            f"{record.filename}: {error}.\n  Leave the image out of the records."
        ) from error
    boxes = unit_yxyx_to_pixel_xyxy(record.unit_yxyx, record.width, record.height)
    if on_image is not None:
        on_image(image, found, boxes, record.classes)
    known = np.isin(found.classes, list(names))
    corners = np.concatenate([boxes, found.boxes[known]])
    ltwh = xyxy_to_ltwh(corners)
    mean, means = measure_brightness(image, record.filename, (ltwh, record.width, record.height))
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
    """Returns float32 numbers as floats with the fewest digits that tell them from each other."""
    return [float(str(value)) for value in values]


def gather(lines, truth):
    """Returns (Found, brightness of each detection) of a log's lines, in the truth's order."""
    labels = {number: place for place, number in enumerate(truth.class_ids)}
    rows = [(place, *row) for place, line in enumerate(lines) for row in line["found"]]
    found = make_found(
        [row[0] for row in rows],
        [labels[row[1]] for row in rows],
        [row[2:6] for row in rows],
        [row[6] for row in rows],
    )
    return found, np.array([row[7] for row in rows], float)
