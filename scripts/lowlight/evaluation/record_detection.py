"""Detects on the images of records, each once, and writes down what was found."""

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


def detect_records(model, source, names: dict, total: int, on_image, log) -> list[Record]:
    """Detects on the records whose images aren't in the log, and adds them to it.

    Args:
        model: what `runs.find_model` found.
        source: evaluation.Source.
        names: {class id: name}.
        total: how many to take, of those that `source` takes.
        on_image: as in `evaluation.evaluate`.
        log: DetectionLog.

    Returns:
        All the records that are scored, without their images.
    """
    known = set(log.images)
    detector, records = None, []
    chosen = itertools.islice(read_records(source.records), 0, None, source.sample_1_of_n)
    if known:
        print(f"continues after {len(known)} images that were scored before", flush=True)
    with Progress(total, "image") as progress:
        # One thread decodes ahead; more would hold more large images than they gain.
        chosen = itertools.islice(chosen, total)
        for record, image in map_in_threads(lambda r: (r, _decode(r, known)), chosen, jobs=1):
            records.append(record._replace(encoded=b""))
            if image is not None:
                detector = detector or Detector(model, **source.detector)
                _detect_record(detector, record, image, names, on_image, log)
            progress.update()
    return records


def _decode(record, known):
    """Returns the record's image, uint8 [H, W, 3], None where it is known."""
    if record.filename in known:
        return None
    image = tf.io.decode_image(record.encoded, channels=3, expand_animations=False).numpy()
    if image.shape[:2] != (record.height, record.width):
        raise DataError(
            f"{record.filename}: {image.shape[1]}x{image.shape[0]} pixels, but its record says "
            f"{record.width}x{record.height}.\n  make_tfrecords.py writes records anew."
        )
    return image


def _detect_record(detector, record, image, names, on_image, log):
    """Detects on one image and writes down what was found, with the brightness of everything."""
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
    log.add(
        {
            "file": record.filename,
            "brightness": round(mean, 1),
            "boxes": means[: len(boxes)],
            "found": [
                [number, *_shortest(box), *_shortest([score]), luma]
                for number, box, score, luma in zip(*parts, means[len(boxes) :], strict=True)
            ],
        }
    )


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
