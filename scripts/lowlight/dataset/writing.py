"""Writes the record files of a data set beside its label map and split, and checks them."""

import functools
import hashlib
import itertools
import json
import os
import re
from pathlib import Path

import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.files import whole_file, whole_files
from lowlight.core.parallel import Progress, map_in_processes
from lowlight.dataset.classes import SPLITS, format_label_map
from lowlight.dataset.records import find_frames, parse_record, read_frame, write_records
from lowlight.dataset.tables import SplitRow, format_table

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


_RECORD_FILE = re.compile(rf"({'|'.join(SPLITS)})\.tfrecord(?:-\d{{5}}-of-(\d{{5}}))?")


def write_dataset(folder, entries, rows, images_dir, classes, shards=1, verify=False):
    """Writes the record files of each part of a split, label_map.txt and split.csv, all or none.

    What an earlier run left of a part that this split lacks, or of a part in another number of
    files, is removed, since a pattern such as train.tfrecord* would read it too. Files that a
    killed run had finished are taken over, where all they were made from is unchanged.

    Args:
        folder: where they are written.
        entries: [(ImageRow, [AnnotationRow])], sorted by filename.
        rows: SplitRows of the same images.
        images_dir: the folder with the images.
        classes: the classes' names, in the order of their ids.
        shards: how many files each part is dealt to, an image at a time.
        verify: read the records back and compare them before they get their names.

    Returns:
        Lines for a summary, what each file holds.

    Raises:
        DataError: as `write_records`; a part with fewer images than files; as `verify_records`.
    """
    class_ids = {name: number for number, name in enumerate(classes, 1)}
    parts = _divide(entries, rows, shards)
    files = {
        folder / name: part[number::shards]
        for split, part in parts.items()
        for number, name in enumerate(record_names(split, shards))
    }
    extra = folder / "label_map.txt", folder / "split.csv"
    with whole_files(*files, *extra) as (*partials, label_map, split_csv):
        label_map.write_text(format_label_map(classes), "utf-8")
        split_csv.write_text(format_table(rows, SplitRow), "utf-8")
        try:
            finished = _write_files(files, images_dir, class_ids, verify)
            for path, partial in zip(finished, partials, strict=True):
                os.replace(path, partial)
        except Exception:  # room for what is wrong to be mended; an interruption leaves them
            remove_finished(folder)
            raise
    remove_finished(folder)
    lines = [_describe(folder, split, part, shards) for split, part in parts.items()]
    lines.append(f"{folder / 'label_map.txt'}: {len(classes)} classes")
    if verify:
        lines.append(f"verified: {len(entries)} records hold what the tables and the images say")
    return lines + _remove_others(folder, {path.name for path in files}, parts)


def _write_files(files, images_dir, class_ids, verify):
    """Writes {path: entries}, each beside its place, and returns where they are."""
    count = sum(map(len, files.values()))
    with Progress(count, "image") as progress:
        finished = [
            write_finished(path, part, images_dir, class_ids, progress.update)
            for path, part in files.items()
        ]
    if verify:
        with Progress(count, "record") as progress:
            for place, (path, part) in zip(finished, files.items(), strict=True):
                verify_records(place, path, part, images_dir, class_ids, progress.update)
    return finished


def record_names(split, shards):
    """Returns the names of a part's record files: train.tfrecord, or one a shard."""
    if shards == 1:
        return [f"{split}.tfrecord"]
    return [f"{split}.tfrecord-{number:05}-of-{shards:05}" for number in range(shards)]


def verify_records(path, place, entries, images_dir, class_ids, on_record):
    """Reads a record file back and compares it with the tables' rows and the image files.

    Args:
        path: the file; place: how a message names it.
        entries: [(ImageRow, [AnnotationRow])], which it should hold in this order.
        images_dir: the folder with the images.
        class_ids: {class name: id from 1}.
        on_record: called without arguments after each record.

    Raises:
        DataError: another number of records, or one with another name, size, class or image, or
            with a box that isn't its row's to the pixel.
    """
    remedy = "The tables or images changed meanwhile, or the disk fails. Run this step again."

    places = find_frames(path)
    extra = itertools.repeat(None, max(len(places) - len(entries), 0))
    items = zip(itertools.count(1), places, itertools.chain(entries, extra))
    check = functools.partial(
        _check_record, path=path, place=place, images_dir=images_dir, class_ids=class_ids
    )
    for number, wrong in enumerate(map_in_processes(check, items), 1):
        if wrong:
            raise DataError(f"{place}: record {number}: {wrong}.\n  {remedy}")
        on_record()
    if len(places) < len(entries):
        raise DataError(f"{place}: {len(places)} records, {len(entries)} expected.\n  {remedy}")


def _check_record(item, path, place, images_dir, class_ids):
    """Returns what is wrong with (number, where it is, entry or None), "" where nothing is."""
    number, where, entry = item
    serialized = read_frame(path, number, where)
    if entry is None:
        return "one too many"
    record = parse_record(serialized, f"{place}: record {number}")
    return _difference(record, entry, images_dir, class_ids)


def _difference(record, entry, images_dir, class_ids):
    """Returns in what a record differs from an image and its boxes, "" where in nothing."""
    image, boxes = entry
    if record.filename != image.filename:
        return f"is {record.filename}, not {image.filename}"
    if (record.width, record.height) != (image.width, image.height):
        return f"{record.width}x{record.height} pixels, not {image.width}x{image.height}"
    data = (Path(images_dir) / image.filename).read_bytes()
    if record.encoded != data or record.sha256 != hashlib.sha256(data).hexdigest():
        return f"its image isn't that of {image.filename}"
    if record.classes.tolist() != [class_ids[box.class_name] for box in boxes]:
        return f"the classes of the boxes of {image.filename} differ"
    pixels = record.unit_yxyx * np.float32([image.height, image.width] * 2)
    expected = np.float32([(b.ymin, b.xmin, b.ymax, b.xmax) for b in boxes]).reshape(-1, 4)
    if not np.abs(pixels - expected).max(initial=0) <= 0.01:  # nor where one is NaN
        return f"the boxes of {image.filename} differ"
    return ""


def _divide(entries, rows, shards):
    """Returns {split: entries} of the splits that occur, in order."""
    split_of = {row.filename: row.split for row in rows}
    parts = {split: [] for split in SPLITS if split in split_of.values()}
    for entry in entries:
        parts[split_of[entry[0].filename]].append(entry)
    for split, part in parts.items():
        if len(part) < shards:
            raise DataError(
                f"--shards={shards}: {split} has {len(part)} images, so that some of its files "
                f"would be empty.\n  Give --shards={len(part)} or less."
            )
    return parts


def _describe(folder, split, part, shards):
    boxes = sum(len(boxes) for _, boxes in part)
    path = folder / _pattern(split, f"{shards:05}" if shards > 1 else None)
    files = f" in {shards} files" if shards > 1 else ""
    return f"{path}: {len(part)} images, {boxes} boxes{files}"


def _pattern(split, count):
    """Returns the glob of a part's files, whose count has five digits or is None."""
    return f"{split}.tfrecord" + (f"-?????-of-{count}" if count else "")


def _remove_others(folder, names, parts):
    """Removes a split's record files with other names and returns lines that say so."""
    lines = {}
    for path in sorted(folder.iterdir()):
        match = _RECORD_FILE.fullmatch(path.name)
        if match and path.name not in names and path.is_file():
            path.unlink()
            split, count = match.groups()
            why = (
                f"{split} is in other files now"
                if split in parts
                else "this split has no such part"
            )
            lines[split, count or ""] = f"{folder / _pattern(split, count)}: removed, since {why}"
    return [lines[key] for key in sorted(lines, key=lambda key: (SPLITS.index(key[0]), key[1]))]
