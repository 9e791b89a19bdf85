"""Reads and writes YOLO's labels: a .txt an image, and a data.yaml or classes.txt.

The form is https://docs.ultralytics.com/datasets/detect/. A line is a box: its class's number from
0, then the centre's x and y, width and height as fractions of the image; or the corners of a
segment, x y x y ..., around which the box goes.
"""

import posixpath
import re
import reprlib
from collections.abc import Collection, Sequence
from pathlib import Path

import yaml

from lowlight.core.errors import DataError, name_some
from lowlight.core.sources import is_stray, list_files
from lowlight.dataset.classes import SPLITS
from lowlight.dataset.coco import CocoBox, CocoImage
from lowlight.dataset.data_yaml import DataYaml, find_description, is_yaml, split_images
from lowlight.dataset.label_folders import find_labels, import_folder, without_crowds
from lowlight.dataset.labels import Fitting, Labels, decode_label, read_label_file
from lowlight.dataset.tables import ImageRow
from lowlight.images.boxes import (
    pixel_xyxy_to_pixel_ltwh,
    pixel_xyxy_to_unit_cxcywh,
    unit_cxcywh_to_unit_xyxy,
    unit_xyxy_to_pixel_xyxy,
)
from lowlight.images.reading import image_size

_FOLDERS = "labels", "images"
_LISTS_OF_VOC = "ImageSets"  # a folder of .txt that name images and hold no labels
_REMEDY = "Correct the line and run this step again."
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_WHOLE = re.compile(r"([0-9]{1,9})(\.0*)?")


def import_yolo(source: str | Path, fitting: Fitting) -> Labels:
    """Reads a folder, or zip archive, with labels and fits them to converted images.

    The source may be a data.yaml, which then counts alone among those of its folder. Labels are
    those below folders called `labels`, where there are any; an image is where `images`
    takes that name's place, or lies beside its labels. What the data.yaml says of train, val and
    test becomes the images' official split.

    Raises:
        DataError: as `data_yaml.find_description`, `parse_yolo` and `label_folders.import_folder`.
    """
    given = Path(source)
    chosen = given.name if is_yaml(given.name) and given.is_file() else None
    source = given.parent if chosen else source
    files = [file for file in list_files(source, "labels") if not is_stray(file.name)]
    if chosen:
        files = [file for file in files if file.name == chosen or not is_yaml(file.name)]
    files = [file for file in files if _LISTS_OF_VOC not in file.name.split("/")]
    described, apart = find_description(source, files)
    folder = find_labels(source, files, ".txt", _FOLDERS, apart)
    image_ids = [label.image_id for label in folder.labels]
    splits = split_images(described, image_ids, files)

    def read(label, path):
        image = CocoImage(label.file.place, label.image, None, None, splits.get(label.image_id, ""))
        if path is None:
            return image, []
        data = read_label_file(label.file)
        boxes = parse_yolo(data, label.file.place, image_size(path), described)
        return image, [box._replace(image_id=label.file.name) for box in boxes]

    return import_folder(folder, fitting, read, described.names)


# One image's labels. ------------------------------------------------------------------------------


def parse_yolo(
    data: bytes, place: object, size: tuple[int, int], described: DataYaml
) -> list[CocoBox]:
    """Reads the labels of one image of this size; the boxes' image_id is the place.

    An edge is taken to a hundredth of a pixel, as `boxes.unit_xyxy_to_pixel_xyxy` says.

    Raises:
        DataError: a line of another form, a class without name, or numbers that aren't fractions.
    """
    lines = enumerate(decode_label(data, place).splitlines(), 1)
    boxes = []
    for number, line in lines:
        if line.strip():
            where = f"{place}:{number}"
            category, *texts = line.split()
            category_id = _category(category, where, described.names)
            unit_xyxy = _unit_xyxy(texts, where, described.keypoints)
            ltwh = pixel_xyxy_to_pixel_ltwh(unit_xyxy_to_pixel_xyxy(unit_xyxy, *size))
            boxes.append(CocoBox(where, str(place), category_id, ltwh, crowd=False))
    return boxes


def _category(text, where, names):
    match = _WHOLE.fullmatch(text)
    if match is None or int(match[1]) not in names:
        known = name_some([f"{number} {name}" for number, name in names.items()], 12)
        raise DataError(
            f"{where}: class {reprlib.repr(text)} isn't one of those named: {known}.\n"
            "  A line begins with its class's number, from 0. Correct it, or name the class."
        )
    return int(match[1])


def _unit_xyxy(texts, where, keypoints):
    """Returns the corners of the box that the numbers behind a class give."""
    count = len(texts)
    is_box = count == 4 or (keypoints and count > 4)
    if not is_box and (count < 6 or count % 2):
        raise DataError(
            f"{where}: {count} numbers behind the class.\n"
            "  A box has 4 (centre x, y, width, height), a segment 6 or more, x and y of each "
            "corner. Correct the line, or export labels without confidences."
        )
    texts = texts[:4] if is_box else texts
    wrong = [text for text in texts if not _NUMBER.fullmatch(text) or not -1 <= float(text) <= 2]
    if wrong:
        raise DataError(
            f"{where}: {reprlib.repr(wrong[0])} isn't a fraction of the image.\n"
            "  YOLO's numbers are pixels divided by the image's width or height. " + _REMEDY
        )
    numbers = [float(text) for text in texts]
    if not is_box:
        xs, ys = numbers[::2], numbers[1::2]
        return min(xs), min(ys), max(xs), max(ys)
    if min(numbers[2:]) < 0:
        raise DataError(
            f"{where}: a box {texts[2]} wide and {texts[3]} high.\n  Neither may be under 0. "
            + _REMEDY
        )
    return unit_cxcywh_to_unit_xyxy(numbers)


# Out. ---------------------------------------------------------------------------------------------


def yolo_files(
    parts: dict[str, list[tuple]], classes: Sequence[str]
) -> tuple[dict[str, str], dict[str, ImageRow]]:
    """Returns what `label_folders.write_folder` writes of {split: [(ImageRow, [AnnotationRow])]}.

    It is ultralytics' layout: data.yaml, labels/<split>/ and images/<split>/. ultralytics asks for
    train and val, so where the split has no such part, another stands in for it.
    """
    texts, images = {}, {}
    for split, entries in parts.items():
        for image, rows in entries:
            stem = posixpath.splitext(image.filename)[0]
            images[f"images/{split}/{image.filename}"] = image
            texts[f"labels/{split}/{stem}.txt"] = format_yolo((image, rows), classes)
    keys = {split: f"images/{part}" for split, part in stand_ins(parts).items()}
    keys["names"] = dict(enumerate(classes))
    text = yaml.safe_dump(keys, sort_keys=False, allow_unicode=True)
    return texts | {"data.yaml": text}, images


def stand_ins(parts: Collection[str]) -> dict[str, str]:
    """Returns {key of a data.yaml: the part whose images it names}."""
    first = next(split for split in SPLITS if split in parts)
    keys = {"train": first, "val": "test" if "test" in parts else first}
    return keys | {split: split for split in SPLITS if split in parts}


def format_yolo(entry: tuple, classes: Sequence[str]) -> str:
    """Returns the labels of one (ImageRow, [AnnotationRow]), a line a box."""
    image, rows = entry
    lines = []
    for row in without_crowds(rows):
        numbers = pixel_xyxy_to_unit_cxcywh(row.pixel_xyxy, image.width, image.height)
        lines.append(f"{classes.index(row.class_name)} " + " ".join(f"{n:.8f}" for n in numbers))
    return "".join(f"{line}\n" for line in lines)
