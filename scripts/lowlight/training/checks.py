"""Reads records before a training: all of their framing, labels and boxes, and some images."""

import glob
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError, name_some
from lowlight.dataset.records import read_records
from lowlight.images.reading import open_image

_DECODED = 32  # images, spread evenly; a decode takes longer than the rest of the check


class RecordCounts(NamedTuple):
    """What the records hold."""

    files: int
    images: int
    boxes: int
    most: int  # boxes in one image
    unseen: tuple  # the names of the classes without a box


def record_files(patterns, path):
    """Returns the record files that a config's patterns name, sorted.

    Args:
        patterns: paths and globs.
        path: the config's, for messages.

    Raises:
        DataError: a pattern that names no file.
    """
    files = []
    for pattern in patterns or [""]:
        found = sorted(glob.glob(pattern))
        if not found:
            raise DataError(
                f"{path}: no record file {pattern!r} (paths are relative to the folder that the "
                "command runs in).\n  make_tfrecords.py writes it, or correct input_path."
            )
        files += found
    return files


def count_and_check(files, names):
    """Reads record files through: their checksums, each label and box, and 32 of the images.

    Args:
        files: paths.
        names: {id: name}, as read from the label map.

    Returns:
        RecordCounts.

    Raises:
        DataError: a file that is damaged or holds no record; a label that the label map lacks; a
            box that isn't one, or not inside its image; an image that can't be decoded, or has
            another size than its record says.
    """
    seen, images, boxes, most = set(), 0, 0, 0
    for path in files:
        number = 0
        every = _every(path)
        for number, record in enumerate(read_records([path]), 1):
            place = f"{path}: record {number} ({record.filename})"
            _check_labels(record, names, place)
            if number % every == 0:
                _check_image(record, place)
            seen.update(record.classes.tolist())
            boxes, most = boxes + len(record.classes), max(most, len(record.classes))
        if number == 0:
            raise DataError(f"{path}: holds no record.\n  make_tfrecords.py writes it anew.")
        images += number
    unseen = tuple(name for number, name in names.items() if number not in seen)
    return RecordCounts(len(files), images, boxes, most, unseen)


def _every(path):
    """Returns the distance of the images to decode, by an image's usual 100 kB."""
    return max(Path(path).stat().st_size // (100_000 * _DECODED), 1)


def _check_labels(record, names, place):
    remedy = "make_tfrecords.py writes records and label map anew, from the same data."
    if len(record.classes) != len(record.unit_yxyx):
        raise DataError(
            f"{place}: {len(record.classes)} labels of {len(record.unit_yxyx)} boxes.\n  {remedy}"
        )
    unknown = [int(label) for label in record.classes if label not in names]
    if unknown:
        raise DataError(
            f"{place}: label {unknown[0]}, which the label map lacks (it has "
            f"{name_some(map(str, names), 20)}).\n  {remedy}"
        )
    y0, x0, y1, x1 = record.unit_yxyx.T
    good = (y0 >= 0) & (x0 >= 0) & (y0 < y1) & (x0 < x1) & (y1 <= 1) & (x1 <= 1)
    if not good.all():  # a NaN isn't good either
        box = record.unit_yxyx[np.argmin(good)].tolist()
        raise DataError(
            f"{place}: the box {box} (ymin, xmin, ymax, xmax) isn't inside its image.\n  {remedy}"
        )


def _check_image(record, place):
    size = open_image(record.encoded, place).size
    if size != (record.width, record.height):
        raise DataError(
            f"{place}: an image of {size[0]}x{size[1]} pixels, but the record says "
            f"{record.width}x{record.height}.\n  make_tfrecords.py writes it anew."
        )
