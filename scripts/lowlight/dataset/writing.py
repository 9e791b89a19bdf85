"""Writes the record files of a data set beside its label map and split, and checks them."""

import functools
import hashlib
import itertools
import re
import struct
from pathlib import Path

import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.files import whole_files
from lowlight.core.parallel import Progress, map_in_processes
from lowlight.core.tfrecords import SUM, Example, find_frames, masked_crc, read_frame
from lowlight.dataset.classes import SPLITS, format_label_map
from lowlight.dataset.records import parse_record
from lowlight.dataset.tables import SplitRow, format_table
from lowlight.images.boxes import pixel_xyxy_to_unit_yxyx, unit_yxyx_to_pixel_xyxy
from lowlight.images.reading import read_image


def make_example(image, boxes, encoded, class_ids):
    """Makes the example of one image.

    Args:
        image: ImageRow.
        boxes: its AnnotationRows, in pixels with xmax and ymax exclusive.
        encoded: its JPEG's bytes.
        class_ids: {class name: id from 1}.

    Returns:
        A tf.train.Example with TFOD's keys
        (object_detection/data_decoders/tf_example_decoder.py): boxes as fractions of the image,
        each edge a list of its own.
    """
    edges = [pixel_xyxy_to_unit_yxyx(box.pixel_xyxy, box.width, box.height) for box in boxes]
    names = [box.class_name for box in boxes]
    filename = image.filename.encode()
    features = {
        "image/height": ("int64_list", [image.height]),
        "image/width": ("int64_list", [image.width]),
        "image/filename": ("bytes_list", [filename]),
        "image/source_id": ("bytes_list", [filename]),
        "image/key/sha256": ("bytes_list", [hashlib.sha256(encoded).hexdigest().encode()]),
        "image/encoded": ("bytes_list", [encoded]),
        "image/format": ("bytes_list", [b"jpeg"]),
        "image/object/bbox/ymin": ("float_list", [edge[0] for edge in edges]),
        "image/object/bbox/xmin": ("float_list", [edge[1] for edge in edges]),
        "image/object/bbox/ymax": ("float_list", [edge[2] for edge in edges]),
        "image/object/bbox/xmax": ("float_list", [edge[3] for edge in edges]),
        "image/object/class/text": ("bytes_list", [name.encode() for name in names]),
        "image/object/class/label": ("int64_list", [class_ids[name] for name in names]),
    }
    example = Example()
    for key, (kind, values) in features.items():
        feature = getattr(example.features.feature[key], kind)
        feature.SetInParent()  # also where there is no value
        feature.value.extend(values)
    return example


def write_records(path, entries, images_dir, class_ids, on_image):
    """Writes the examples of some images to one TFRecord file.

    Args:
        path: the file to write.
        entries: [(ImageRow, [AnnotationRow])], written in this order.
        images_dir: the folder with the images.
        class_ids: {class name: id from 1}.
        on_image: called without arguments after each image.

    Raises:
        DataError: an image is missing, or of another size than its row says.
    """

    def make(entry):
        image, boxes = entry
        data = read_image(Path(images_dir) / image.filename, image.width, image.height)
        example = make_example(image, boxes, data, class_ids)
        return framed(example.SerializeToString(deterministic=True))

    with open(path, "wb") as file:
        for entry in entries:  # one after the other: threads would wait for Python's lock
            file.writelines(make(entry))
            on_image()


def framed(serialized):
    """Returns the head, the bytes and the check sum that a TFRecord file holds of a record."""
    length = struct.pack("<Q", len(serialized))
    return length + SUM.pack(masked_crc(length)), serialized, SUM.pack(masked_crc(serialized))


_RECORD_FILE = re.compile(rf"({'|'.join(SPLITS)})\.tfrecord(?:-\d{{5}}-of-(\d{{5}}))?")
_LEFT_BY_A_KILLED_RUN = re.compile(rf"\.{_RECORD_FILE.pattern}\.partial")


def write_dataset(folder, entries, rows, images_dir, classes, shards=1, verify=False):
    """Writes the record files of each part of a split, label_map.txt and split.csv, all or none.

    What an earlier run left of a part that this split lacks, or of a part in another number of
    files, is removed, since a pattern such as train.tfrecord* would read it too.

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
        _write_files(dict(zip(files, partials, strict=True)), files, images_dir, class_ids, verify)
    lines = [_describe(folder, split, part, shards) for split, part in parts.items()]
    lines.append(f"{folder / 'label_map.txt'}: {len(classes)} classes")
    if verify:
        lines.append(f"verified: {len(entries)} records hold what the tables and the images say")
    return lines + _remove_others(folder, {path.name for path in files}, parts)


def _write_files(partials, files, images_dir, class_ids, verify):
    """Writes {path: entries}, each at its place in {path: partial}, and verifies where asked to."""
    count = sum(map(len, files.values()))
    with Progress(count, "image") as progress:
        for path, part in files.items():
            write_records(partials[path], part, images_dir, class_ids, progress.update)
    if verify:
        with Progress(count, "record") as progress:
            for path, part in files.items():
                verify_records(partials[path], path, part, images_dir, class_ids, progress.update)


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
    check = functools.partial(
        _check_record, path=path, place=place, images_dir=images_dir, class_ids=class_ids
    )
    items = itertools.zip_longest(find_frames(path), entries)
    for wrong in map_in_processes(check, items):
        if wrong:
            raise DataError(f"{place}: {wrong}.\n  {remedy}")
        on_record()


def _check_record(item, path, place, images_dir, class_ids):
    """Returns what is wrong with (Frame or None, entry or None), "" where nothing is."""
    frame, entry = item
    if frame is None:
        return f"ends before the record of {entry[0].filename}"
    if entry is None:
        return f"record {frame.number}: one too many"
    record = parse_record(read_frame(path, frame), f"{place}: record {frame.number}", class_ids)
    wrong = _difference(record, entry, images_dir, class_ids)
    return wrong and f"record {frame.number}: {wrong}"


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
    pixels = unit_yxyx_to_pixel_xyxy(record.unit_yxyx, image.width, image.height)
    expected = np.float32([box.pixel_xyxy for box in boxes]).reshape(-1, 4)
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
        if _LEFT_BY_A_KILLED_RUN.fullmatch(path.name):
            path.unlink()
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
