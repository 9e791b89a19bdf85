"""Writes the record files of a data set beside its label map and split, and checks them."""

import functools
import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from lowlight.core.errors import DataError, format_count
from lowlight.core.files import whole_files
from lowlight.core.parallel import Progress, map_in_processes
from lowlight.core.tensorflow_files import Example, find_frames, frame_record, read_frame
from lowlight.dataset.classes import SPLITS, format_label_map
from lowlight.dataset.records import parse_record
from lowlight.dataset.tables import AnnotationRow, ImageRow, SplitRow, format_table
from lowlight.images.boxes import (
    pixel_xyxy_to_pixel_ltwh,
    pixel_xyxy_to_unit_yxyx,
    unit_yxyx_to_pixel_xyxy,
)
from lowlight.images.reading import read_image

Entries = Sequence[tuple[ImageRow, list[AnnotationRow]]]  # images with their boxes

_RECORD_FILE = re.compile(rf"({'|'.join(SPLITS)})\.tfrecord(?:-\d{{5}}-of-(\d{{5}}))?")
_LEFT_BY_A_KILLED_RUN = re.compile(rf"\.{_RECORD_FILE.pattern}\.partial")


def make_example(
    image: ImageRow, boxes: list[AnnotationRow], encoded: bytes, class_ids: dict[str, int]
) -> Example:
    """Returns the tf.train.Example of one image, whose JPEG's bytes are `encoded`.

    It has TFOD's keys (object_detection/data_decoders/tf_example_decoder.py): boxes as fractions of
    the image, each edge a list of its own. Class ids are from 1. is_crowd and area stand there
    where a box has such a value: TFOD has a default for both.
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
    if any(box.is_crowd for box in boxes):
        features["image/object/is_crowd"] = ("int64_list", [box.is_crowd for box in boxes])
    if any(box.area is not None for box in boxes):
        features["image/object/area"] = ("float_list", _areas(boxes))
    example = Example()
    for key, (kind, values) in features.items():
        feature = getattr(example.features.feature[key], kind)
        feature.SetInParent()  # also where there is no value
        feature.value.extend(values)
    return example


def _areas(boxes):
    """Returns the boxes' areas in square pixels, [N], each its own where its row gives none."""
    ltwh = [pixel_xyxy_to_pixel_ltwh(box.pixel_xyxy) for box in boxes]
    own = [width * height for _, _, width, height in ltwh]
    return [one if box.area is None else box.area for box, one in zip(boxes, own, strict=True)]


def write_records(
    path: Path,
    entries: Entries,
    images_dir: Path,
    class_ids: dict[str, int],
    on_image: Callable[[], None],
) -> None:
    """Writes the examples of some images, in their order, to one TFRecord file.

    `on_image` is called after each image.

    Raises:
        DataError: an image is missing, or of another size than its row says.
    """
    with open(path, "wb") as file:
        for image, boxes in entries:  # one after the other: threads would wait for Python's lock
            data = read_image(Path(images_dir) / image.filename, image.width, image.height)
            example = make_example(image, boxes, data, class_ids)
            file.write(frame_record(example.SerializeToString(deterministic=True)))
            on_image()


def write_dataset(
    folder: Path,
    entries: Entries,
    rows: Iterable[SplitRow],
    images_dir: Path,
    classes: Sequence[str],
    shards: int = 1,
    verify: bool = False,
) -> list[str]:
    """Writes the record files of each part of a split, label_map.txt and split.csv, all or none.

    What an earlier run left of a part that this split lacks, or of a part in another number of
    files, is removed, since a pattern such as train.tfrecord* would read it too.

    Args:
        entries: the data set, sorted by filename.
        rows: the same images.
        classes: in the order of their ids.
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
        for number, name in enumerate(_record_names(split, shards))
    }
    extra = folder / "label_map.txt", folder / "split.csv"
    with whole_files(*files, *extra) as (*partials, label_map, split_csv):
        label_map.write_text(format_label_map(classes), "utf-8")
        split_csv.write_text(format_table(rows, SplitRow), "utf-8")
        with Progress(len(entries), "image") as progress:
            for partial, part in zip(partials, files.values(), strict=True):
                write_records(partial, part, images_dir, class_ids, progress.update)
        if verify:
            with Progress(len(entries), "record") as progress:
                for partial, (path, part) in zip(partials, files.items(), strict=True):
                    verify_records(partial, path, part, images_dir, class_ids, progress.update)
    lines = [_describe(folder, split, part, shards) for split, part in parts.items()]
    lines.append(f"{folder / 'label_map.txt'}: {format_count(len(classes), 'class')}")
    if verify:
        lines.append(f"verified: {len(entries)} records hold what the tables and the images say")
    return lines + _remove_others(folder, {path.name for path in files}, parts)


def _divide(entries, rows, shards):
    """Returns {split: entries} of the splits that occur, in order."""
    split_of = {row.filename: row.split for row in rows}
    parts = {split: [] for split in SPLITS if split in split_of.values()}
    for entry in entries:
        parts[split_of[entry[0].filename]].append(entry)
    for split, part in parts.items():
        if len(part) < shards:
            raise DataError(
                f"--shards={shards}: {split} has {format_count(len(part), 'image')}, so that some "
                f"of its files would be empty.\n  Give --shards={len(part)} or less."
            )
    return parts


def _record_names(split, shards):
    """Returns the names of a part's record files: train.tfrecord, or one a shard."""
    if shards == 1:
        return [f"{split}.tfrecord"]
    return [f"{split}.tfrecord-{number:05}-of-{shards:05}" for number in range(shards)]


def _pattern(split, count):
    """Returns the glob of a part's files, whose count has five digits or is None."""
    return f"{split}.tfrecord" + (f"-?????-of-{count}" if count else "")


def _describe(folder, split, part, shards):
    images = format_count(len(part), "image")
    boxes = format_count(sum(len(boxes) for _, boxes in part), "box")
    path = folder / _pattern(split, f"{shards:05}" if shards > 1 else None)
    files = f" in {shards} files" if shards > 1 else ""
    return f"{path}: {images}, {boxes}{files}"


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
            why = f"{split} is in other files now"
            if split not in parts:
                why = "this split has no such part"
            lines[split, count or ""] = f"{folder / _pattern(split, count)}: removed, since {why}"
    return [lines[key] for key in sorted(lines, key=lambda key: (SPLITS.index(key[0]), key[1]))]


def verify_records(
    path: Path,
    place: object,
    entries: Entries,
    images_dir: Path,
    class_ids: dict[str, int],
    on_record: Callable[[], None],
) -> None:
    """Compares a record file with the tables' rows and the image files it should hold, in order.

    The place is how a message names the file; `on_record` is called after each record.

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
    wrong = _differences(record, *entry, images_dir, class_ids)
    return wrong and f"record {frame.number}: differs from {entry[0].filename} in {wrong}"


def _differences(record, image, boxes, images_dir, class_ids):
    """Returns in what a record differs from an image and its boxes, "" where in nothing."""
    data = (Path(images_dir) / image.filename).read_bytes()
    pixels = unit_yxyx_to_pixel_xyxy(record.unit_yxyx, image.width, image.height)
    expected = np.float32([box.pixel_xyxy for box in boxes]).reshape(-1, 4)
    areas = record.areas if record.areas is None else record.areas.tolist()
    is_right = {
        "name": record.filename == image.filename,
        "size": (record.width, record.height) == (image.width, image.height),
        "file": record.encoded == data and record.sha256 == hashlib.sha256(data).hexdigest(),
        "classes": record.classes.tolist() == [class_ids[box.class_name] for box in boxes],
        "boxes": pixels.shape == expected.shape
        and np.abs(pixels - expected).max(initial=0) <= 0.01,  # which no NaN is
        "crowds": record.crowd.tolist() == [bool(box.is_crowd) for box in boxes],
        "areas": areas in (None, np.float32(_areas(boxes)).tolist()),
    }
    return ", ".join(what for what, right in is_right.items() if not right)
