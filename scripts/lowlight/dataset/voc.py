"""Reads Pascal VOC's labels: an XML file an image, and lists of the parts' images.

The form is that of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html. Corners
are pixels counted from 1, and the last pixel belongs to the box.
"""

import re
import reprlib
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from lowlight.core.errors import DataError, name_some
from lowlight.core.sources import is_stray, list_files
from lowlight.dataset.classes import check_class_name
from lowlight.dataset.label_import import find_labels, import_folder
from lowlight.dataset.labels import (
    CocoBox,
    CocoImage,
    Fitting,
    Labels,
    Oddity,
    decode_label,
    find_classes,
    read_label_file,
)
from lowlight.images.boxes import pixel_xyxy_to_pixel_ltwh, voc_xyxy_to_pixel_xyxy

_FOLDERS = "Annotations", "JPEGImages"
_LISTS = "ImageSets/Main"
_EDGES = "xmin", "ymin", "xmax", "ymax"
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]*)?")
_NO = "", "0", "false", "no", "unspecified"  # what a mark says that isn't set
_REMEDY = "Correct it and run this step again."


def import_voc(source: str | Path, fitting: Fitting) -> Labels:
    """Reads a folder, or zip archive, with annotations and fits them to converted images.

    Annotations are those below folders called `Annotations`, where there are any; an image is where
    `JPEGImages` takes that name's place, or lies beside its annotation. The classes are those of a
    classes.txt, or else of the boxes, by the alphabet. train, val and test of ImageSets/Main become
    the images' official split.

    Raises:
        DataError: as `parse_voc` and `label_import.import_folder`; a class that classes.txt lacks.
    """
    files = [file for file in list_files(source, "labels") if not is_stray(file.name)]
    folder = find_labels(source, files, ".xml", _FOLDERS)
    numbers, splits = find_classes(source, files), _read_lists(files)

    def read(file, name, _):
        image, boxes = parse_voc(read_label_file(file), file.place)
        if numbers:
            boxes = [_numbered(box, numbers) for box in boxes]
        return image._replace(file_name=name, split=splits.get(PurePosixPath(name).stem, "")), boxes

    names = {number: name for name, number in numbers.items()} or None
    return import_folder(folder, fitting, read, names)


def _numbered(box, numbers):
    """Returns a box by its class's number."""
    if box.category_id not in numbers:
        raise DataError(
            f"{box.place}: class {box.category_id!r} isn't in classes.txt.\n"
            f"  It names {name_some(numbers, 12)}. Correct one of them, or remove classes.txt."
        )
    return box._replace(category_id=numbers[box.category_id])


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


def parse_voc(data: bytes, place: object) -> tuple[CocoImage, list[CocoBox]]:
    """Reads an annotation, its parts (`part`) and what is segmented left aside.

    Returns:
        The image, without a name, and its boxes: ids of categories are the classes' names.

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
    boxes = [_box(item, f"{place}:{tree.lines[item]}") for item in root.findall("object")]
    size = root.find("size")
    if size is None:
        return CocoImage(str(place), "", None, None), boxes
    return _image(size, f"{place}:{tree.lines[size]}"), boxes


def _image(size, place):
    width, height = (_number(size, key, place) for key in ("width", "height"))
    if width == height == 0:  # as some tools write that don't know it
        return CocoImage(place, "", None, None)
    if width != int(width) or height != int(height) or min(width, height) < 1:
        raise DataError(f"{place}: an image {width} wide and {height} high.\n  {_REMEDY}")
    return CocoImage(place, "", int(width), int(height))


def _box(item, place):
    name = (item.findtext("name") or "").strip()
    check_class_name(name, f"{place}: object")
    edges = tuple(_number(item, f"bndbox/{edge}", place) for edge in _EDGES)
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
    ltwh = pixel_xyxy_to_pixel_ltwh(voc_xyxy_to_pixel_xyxy(edges))
    marks = tuple(mark for mark, there in marked.items() if there)
    return CocoBox(place, "", name, ltwh, marks=marks)


def _is_set(item, key):
    return (item.findtext(key) or "").strip().lower() not in _NO


def _number(element, key, place):
    text = (element.findtext(key) or "").strip()
    if not _NUMBER.fullmatch(text):
        raise DataError(
            f"{place}: {key} is {reprlib.repr(text)}, not a number of pixels.\n  {_REMEDY}"
        )
    return float(text)
