"""Writes labels as COCO's JSON, or as a folder of YOLO's or Pascal VOC's with the images."""

import os
import posixpath
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from xml.etree import ElementTree

import yaml

from lowlight.core.errors import DataError
from lowlight.core.files import folder_beside
from lowlight.core.json_files import coco_box, coco_image, format_coco
from lowlight.dataset.classes import SPLITS
from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.images.boxes import (
    pixel_xyxy_to_pixel_ltwh,
    pixel_xyxy_to_unit_cxcywh,
    pixel_xyxy_to_voc_xyxy,
)
from lowlight.images.reading import open_image, orientation_of, read_image

_CONTROL = re.compile("[\0-\x1f\x7f\ufffe\uffff]")  # what XML can't hold
Parts = dict[str, list[tuple[ImageRow, list[AnnotationRow]]]]  # the images of each split
Files = tuple[dict[str, str], dict[str, ImageRow]]  # {path: text}, {path: image}


def tables_to_coco(entries: list[tuple], classes: Collection[str], chosen: Collection[str]) -> str:
    """Returns images and their boxes as the text of a COCO file.

    Ids count from 1 in the order of all entries (ImageRow, [AnnotationRow]), whether their filename
    is chosen or not, so that an image has the same id in each part of a split; a category's id is
    its class's in the label map.
    """
    class_ids = {name: number for number, name in enumerate(classes, 1)}
    images, boxes, number = [], [], 0
    for image_id, (image, rows) in enumerate(entries, 1):
        if image.filename in chosen:
            images.append(coco_image(image_id, image.filename, image.width, image.height))
        for row in rows:
            number += 1
            if image.filename in chosen:
                ltwh = pixel_xyxy_to_pixel_ltwh(row.pixel_xyxy)
                its_class = class_ids[row.class_name]
                crowd = bool(row.is_crowd)
                boxes.append(coco_box(number, image_id, its_class, ltwh, row.area, crowd))
    return format_coco(images, boxes, dict(enumerate(classes, 1)))


def write_folder(
    output: str | Path,
    texts: dict[str, str],
    images: dict[str, ImageRow],
    images_dir: str | Path,
    how: str,
) -> list[str]:
    """Writes a new folder of labels and images, whole or not at all.

    Returns:
        The names of the images whose EXIF rotation the boxes ignore, and other tools may not.

    Args:
        output: the folder, which isn't there yet or is empty.
        texts: {path in the folder: text}.
        images: {path in the folder: the image's row}.
        how: "link", which makes symbolic links to the images, or "copy".

    Raises:
        DataError: the folder isn't empty; an image that is missing or has another size.
    """
    target = Path(output).resolve()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise DataError(f"{output}: is there already.\n  Remove it, or choose another --output.")
    turned = []
    with folder_beside(target, "written", "output") as partial:
        for path in {(partial / name).parent for name in (*texts, *images)}:
            path.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (partial / name).write_text(text, encoding="utf-8", newline="\n")
        for name, image in images.items():
            source = Path(images_dir).resolve() / image.filename
            data = read_image(source, image.width, image.height)
            if orientation_of(open_image(data, source, whole=False)) > 1:
                turned.append(image.filename)
            if how == "copy":
                (partial / name).write_bytes(data)
            else:
                os.symlink(source, partial / name)
        partial.rename(target)
    return turned


def yolo_files(parts: Parts, classes: Sequence[str]) -> Files:
    """Returns what `write_folder` writes of a data set as YOLO's labels.

    It is ultralytics' layout: data.yaml, labels/<split>/ and images/<split>/. ultralytics asks for
    train and val, so where the split has no such part, another stands in for it.
    """
    texts, images = {}, {}
    for split, entries in parts.items():
        for image, rows in entries:
            stem = posixpath.splitext(image.filename)[0]
            images[f"images/{split}/{image.filename}"] = image
            texts[f"labels/{split}/{stem}.txt"] = format_yolo(image, rows, classes)
    keys = {split: f"images/{part}" for split, part in stand_ins(parts).items()}
    keys["names"] = dict(enumerate(classes))
    text = yaml.safe_dump(keys, sort_keys=False, allow_unicode=True)
    return texts | {"data.yaml": text}, images


def stand_ins(parts: Collection[str]) -> dict[str, str]:
    """Returns {key of a data.yaml: the part whose images it names}."""
    first = next(split for split in SPLITS if split in parts)
    keys = {"train": first, "val": "test" if "test" in parts else first}
    return keys | {split: split for split in SPLITS if split in parts}


def format_yolo(image: ImageRow, rows: list[AnnotationRow], classes: Sequence[str]) -> str:
    """Returns YOLO's labels of one image, a line a box."""
    lines = []
    for row in rows:
        numbers = pixel_xyxy_to_unit_cxcywh(row.pixel_xyxy, image.width, image.height)
        lines.append(f"{classes.index(row.class_name)} " + " ".join(f"{n:.8f}" for n in numbers))
    return "".join(f"{line}\n" for line in lines)


def voc_files(parts: Parts, classes: Sequence[str]) -> Files:
    """Returns what `write_folder` writes of a data set as Pascal VOC's labels.

    It is VOC's layout: Annotations/, JPEGImages/ and ImageSets/Main/, and beside it classes.txt,
    which keeps the order of the classes.

    Raises:
        DataError: an image's name has a character that XML can't hold.
    """
    texts, images, stems = {"classes.txt": "".join(f"{name}\n" for name in classes)}, {}, {}
    for split, entries in parts.items():
        for image, rows in entries:
            if _CONTROL.search(image.filename):
                raise DataError(
                    f"images.csv: {image.filename!r} has a character that XML can't hold.\n"
                    "  Rename the image, and run the steps from the conversion on."
                )
            stem = posixpath.splitext(image.filename)[0]
            images[f"JPEGImages/{image.filename}"] = image
            texts[f"Annotations/{stem}.xml"] = format_voc(image, rows)
            stems.setdefault(split, []).append(stem)
    if {"train", "val"} & stems.keys():
        stems["trainval"] = sorted(stems.get("train", []) + stems.get("val", []))
    for split, names in stems.items():
        texts[f"ImageSets/Main/{split}.txt"] = "".join(f"{name}\n" for name in names)
    return texts, images


def format_voc(image: ImageRow, rows: list[AnnotationRow]) -> str:
    """Returns Pascal VOC's annotation of one image."""
    root = ElementTree.Element("annotation")
    size = {"width": image.width, "height": image.height, "depth": 3}
    _add(root, {"folder": "JPEGImages", "filename": image.filename, "size": size, "segmented": 0})
    for row in rows:
        edges = pixel_xyxy_to_voc_xyxy(row.pixel_xyxy)
        box = dict(zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True))
        marks = {"pose": "Unspecified", "truncated": 0, "difficult": 0}
        _add(root, {"object": {"name": row.class_name, **marks, "bndbox": box}})
    ElementTree.indent(root, "\t")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(element, values):
    """Adds an element for each of {tag: text, number or such a dict}."""
    for tag, value in values.items():
        child = ElementTree.SubElement(element, tag)
        if isinstance(value, dict):
            _add(child, value)
        else:
            child.text = str(value)
