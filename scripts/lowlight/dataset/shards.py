"""Keeps the record files that an interrupted run had finished, until all have their names."""

import hashlib
import json
import os
import re
from pathlib import Path

from lowlight.core.errors import DataError
from lowlight.core.files import whole_file
from lowlight.dataset.records import write_records

# Changes when the records made of the same inputs do.
_FORM = "1"
_FINISHED = re.compile(r"\..+\.tfrecord.*\.[0-9a-f]{64}")


def number_of_workers():
    """Returns how many workers TF_CONFIG names, 1 without it.

    TFOD's own loop needs a record file for each; `train_input` takes any number of files.

    Raises:
        DataError: TF_CONFIG isn't of the form that TensorFlow wants.
    """
    text = os.environ.get("TF_CONFIG")
    try:
        cluster = json.loads(text)["cluster"] if text else {}
        return sum(len(cluster.get(task, ())) for task in ("chief", "worker")) or 1
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"TF_CONFIG: {text!r} names no cluster.\n  Correct or unset it, or give --shards."
        ) from error


def write_finished(path, entries, images_dir, class_ids, on_image):
    """Writes a record file under a name that tells what it was made from, and returns its path.

    That is the file's name and a SHA-256 sum of all its inputs: the tables' rows, the classes, and
    size, inode and times of each image file. So one that is there is whole and of these very
    inputs, and isn't written again.

    Args:
        path: the final name. The others are those of `records.write_records`.

    Raises:
        DataError: as `records.write_records`.
    """
    finished = path.with_name(f".{path.name}.{_fingerprint(entries, images_dir, class_ids)}")
    if finished.is_file():
        for _ in entries:
            on_image()
        return finished
    with whole_file(finished) as partial:
        write_records(partial, entries, images_dir, class_ids, on_image)
    return finished


def remove_finished(folder):
    """Removes every file that `write_finished` left in a folder."""
    for path in folder.iterdir():
        if _FINISHED.fullmatch(path.name) and path.is_file():
            path.unlink()


def _fingerprint(entries, images_dir, class_ids):
    digest = hashlib.sha256(repr((_FORM, class_ids)).encode())
    for image, boxes in entries:
        digest.update(repr((image, boxes, _stamp(Path(images_dir) / image.filename))).encode())
    return digest.hexdigest()


def _stamp(path):
    """Returns what changes when a file does, None where it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
