"""Reads and writes Pascal VOC's labels: an XML file an image, and lists of the parts' images.

The form is that of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. Corners
are pixels counted from 1, and the last pixel belongs to the box.
"""

import posixpath
import re
import reprlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from lowlight.core.errors import DataError, name_some
from lowlight.core.sources import is_stray, list_files
from lowlight.dataset.classes import check_class_name, parse_classes
from lowlight.dataset.coco import CocoBox, CocoImage
from lowlight.dataset.label_folders import find_labels, import_folder, without_crowds
from lowlight.dataset.labels import (
    Fitting,
    Labels,
    Oddity,
    decode_label,
    read_label_file,
    refuse_several,
)
from lowlight.dataset.tables import ImageRow
from lowlight.images.boxes import (
    pixel_xyxy_to_pixel_ltwh,
    pixel_xyxy_to_voc_xyxy,
    voc_xyxy_to_pixel_xyxy,
)

_FOLDERS = "Annotations", "JPEGImages"
_LISTS = "ImageSets/Main"
_EDGES = "xmin", "ymin", "xmax", "ymax"
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]*)?")
_NO = "", "0", "false", "no", "unspecified"  # what a mark says that isn't set
_REMEDY = "Correct it and run this step again."
_CONTROL = re.compile("[\0-\x1f\x7f\ufffe\uffff]")  # what XML can't hold


class VocBox(NamedTuple):
    """An `object` of an annotation."""

    place: str  # with its line
    name: str  # the class
    voc_xyxy: tuple  # floats
    marks: tuple  # of the Oddity that it is


class VocLabels(NamedTuple):
    """What an annotation says."""

    place: str  # with the size's line
    width: int | None  # pixels; None where it says no size, or 0 by 0
    height: int | None
    boxes: list  # of VocBox


def import_voc(source: str | Path, fitting: Fitting) -> Labels:
    """Reads a folder, or zip archive, with annotations and fits them to converted images.

    Annotations are those below folders called `Annotations`, where there are any; an image is where
    `JPEGImages` takes that name's place, or lies beside its annotation. The classes are those of a
    classes.txt, or else of the boxes, by the alphabet. train, val and test of ImageSets/Main become
    the images' official split.

    Raises:
        DataError: as `parse_voc` and `label_folders.import_folder`; a class that classes.txt lacks.
    """
    files = [file for file in list_files(source, "labels") if not is_stray(file.name)]
    folder = find_labels(source, files, ".xml", _FOLDERS)
    classes, splits, marks = _find_classes(source, files), _read_lists(files), {}

    def read(label, path):
        found = parse_voc(read_label_file(label.file), label.file.place)
        split = splits.get(posixpath.basename(label.image_id), "")
        image = CocoImage(found.place, label.image, found.width, found.height, split)
        boxes = []
        for box in found.boxes:
            _check_known(box, classes)
            ltwh = pixel_xyxy_to_pixel_ltwh(voc_xyxy_to_pixel_xyxy(box.voc_xyxy))
            category_id = classes[box.name] if classes else box.name
            boxes.append(CocoBox(box.place, label.file.name, category_id, ltwh, crowd=False))
        if path is not None:
            marks[path.name] = Counter(mark for box in found.boxes for mark in box.marks)
        return image, boxes

    names = {number: name for name, number in classes.items()} or None
    labels = import_folder(folder, fitting, read, names)
    for name, counts in marks.items():
        for mark, count in counts.items():
            labels.notes.add(mark, name, count)
    return labels


def _find_classes(source, files):
    """Returns {class: number} of a classes.txt, {} where there is none."""
    texts = [file for file in files if posixpath.basename(file.name).lower() == "classes.txt"]
    refuse_several(source, [file.name for file in texts])
    return parse_classes(read_label_file(texts[0]), texts[0].place) if texts else {}


def _check_known(box, classes):
    if classes and box.name not in classes:
        raise DataError(
            f"{box.place}: class {box.name!r} isn't in classes.txt.\n"
            f"  It names {name_some(classes, 12)}. Correct one of them, or remove classes.txt."
        )


def _read_lists(files):
    """Returns {image's stem: split} of the lists of images."""
    split_of = {}
    for split in ("val", "train", "test"):
        for file in files:
            if f"/{file.name}".endswith(f"/{_LISTS}/{split}.txt"):
                lines = decode_label(file.read(), file.place).split("\n")
                split_of |= dict.fromkeys((line.strip() for line in lines), split)
    return split_of


# One image's annotation. --------------------------------------------------------------------------


class _Tree(ElementTree.TreeBuilder):
    """Builds the tree and notes the line of each element."""

    def __init__(self):
        super().__init__()
        self.lines, self.expat = {}, None

    def start(self, tag, attrs):
        element = super().start(tag, attrs)
        self.lines[element] = self.expat.CurrentLineNumber
        return element


def parse_voc(data: bytes, place: object) -> VocLabels:
    """Reads an annotation, its parts (`part`) and what is segmented left aside.

    Raises:
        DataError: not XML, or with entities or what is outside the file; no annotation; an object
            without class or box, or a number that isn't one.
    """
    tree = _Tree()
    parser = DefusedXMLParser(target=tree)
    tree.expat = parser.parser
    try:
        parser.feed(data)
        root = parser.close()
    except DefusedXmlException as error:
        raise DataError(
            f"{place}:{tree.expat.CurrentLineNumber}: declares entities ({type(error).__name__}), "
            "which no annotation needs.\n  Remove them, or the file."
        ) from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        line = f":{error.position[0]}" if hasattr(error, "position") else ""
        raise DataError(
            f"{place}{line}: not XML, or cut short ({error}).\n  Replace or remove it."
        ) from error
    if root.tag != "annotation":
        raise DataError(
            f"{place}:{tree.lines[root]}: not an annotation of Pascal VOC, but "
            f"{reprlib.repr(root.tag)}.\n  Replace or remove it."
        )
    boxes = [_box(item, place, tree.lines) for item in root.findall("object")]
    return VocLabels(*_size(root.find("size"), place, tree.lines), boxes)


def _size(element, place, lines):
    """Returns (place, width, height)."""
    if element is None:
        return str(place), None, None
    place = f"{place}:{lines[element]}"
    width, height = (_number(element, key, place) for key in ("width", "height"))
    if width == height == 0:  # as some tools write that don't know it
        return place, None, None
    if width != int(width) or height != int(height) or min(width, height) < 1:
        raise DataError(f"{place}: an image {width} wide and {height} high.\n  {_REMEDY}")
    return place, int(width), int(height)


def _box(item, place, lines):
    place = f"{place}:{lines[item]}"
    name, box = (item.findtext("name") or "").strip(), item.find("bndbox")
    check_class_name(name, f"{place}: object")
    if box is None:
        raise DataError(f"{place}: object without bndbox.\n  {_REMEDY}")
    edges = tuple(_number(box, edge, place) for edge in _EDGES)
    if edges[0] > edges[2] or edges[1] > edges[3]:
        raise DataError(
            f"{place}: a box from ({edges[0]:g}, {edges[1]:g}) to ({edges[2]:g}, {edges[3]:g}).\n"
            f"  xmin and ymin come first. {_REMEDY}"
        )
    marked = {
        Oddity.DIFFICULT: _is_set(item, "difficult"),
        Oddity.TRUNCATED: _is_set(item, "truncated"),
        Oddity.FROM_ZERO: min(edges) < 1,
    }
    return VocBox(place, name, edges, tuple(mark for mark, there in marked.items() if there))


def _is_set(item, key):
    return (item.findtext(key) or "").strip().lower() not in _NO


def _number(element, key, place):
    text = (element.findtext(key) or "").strip()
    if not _NUMBER.fullmatch(text):
        raise DataError(
            f"{place}: {key} is {reprlib.repr(text)}, not a number of pixels.\n  {_REMEDY}"
        )
    return float(text)


# Out. ---------------------------------------------------------------------------------------------


def voc_files(
    parts: dict[str, list[tuple]], classes: tuple[str, ...]
) -> tuple[dict[str, str], dict[str, ImageRow]]:
    """Returns what `label_folders.write_folder` writes of {split: [(ImageRow, [AnnotationRow])]}.

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
            images[f"{_FOLDERS[1]}/{image.filename}"] = image
            texts[f"{_FOLDERS[0]}/{stem}.xml"] = format_voc(image, without_crowds(rows))
            stems.setdefault(split, []).append(stem)
    if {"train", "val"} & stems.keys():
        stems["trainval"] = sorted(stems.get("train", []) + stems.get("val", []))
    for split, names in stems.items():
        texts[f"{_LISTS}/{split}.txt"] = "".join(f"{name}\n" for name in names)
    return texts, images


def format_voc(image: ImageRow, rows: list) -> str:
    """Returns the annotation of an image with these AnnotationRows."""
    root = ElementTree.Element("annotation")
    size = {"width": image.width, "height": image.height, "depth": 3}
    _add(root, {"folder": _FOLDERS[1], "filename": image.filename, "size": size, "segmented": 0})
    for row in rows:
        box = dict(zip(_EDGES, pixel_xyxy_to_voc_xyxy(row.pixel_xyxy), strict=True))
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
