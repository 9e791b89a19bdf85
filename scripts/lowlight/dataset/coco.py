"""Writes and reads COCO's JSON of object detection (https://cocodataset.org/#format-data)."""

import reprlib
from typing import NamedTuple

from lowlight.core import json_texts
from lowlight.core.errors import DataError, join_errors
from lowlight.core.json_texts import coco_box, coco_image, parse_json
from lowlight.dataset.classes import check_class_name
from lowlight.images.boxes import pixel_xyxy_to_pixel_ltwh

_MOST = 10**9  # no pixel lies further out
_REMEDY = "Correct it and run this step again."
_FORM = "A COCO file of object detection is an object with images, annotations and categories."
_KINDS = {int: "a whole number", str: "a text", list: "a list"}


class CocoImage(NamedTuple):
    """An item of `images`."""

    place: str  # how a message names it
    file_name: str
    width: int  # pixels
    height: int


class CocoBox(NamedTuple):
    """An item of `annotations`."""

    place: str
    image_id: int
    category_id: int
    pixel_ltwh: tuple  # left, top, width, height; ints or floats
    crowd: bool  # one box around many objects
    area: float | None = None  # square pixels, perhaps a mask's; None where the file says none


class Coco(NamedTuple):
    """What a COCO file says."""

    images: dict  # {id: CocoImage}
    categories: dict  # {id: name}
    boxes: list  # of CocoBox, in the file's order


def format_coco(entries, classes, chosen):
    """Returns images and their boxes as the text of a COCO file.

    Ids count from 1 in the order of all entries, chosen or not, so that an image has the same id in
    each part of a split; a category's id is its class's in the label map.

    Args:
        entries: [(ImageRow, [AnnotationRow])] of the whole data set.
        classes: the names, in the order of their ids from 1.
        chosen: the filenames to write, a set.
    """
    class_ids = {name: number for number, name in enumerate(classes, 1)}
    image_ids = {image.filename: number for number, (image, _) in enumerate(entries, 1)}
    images = [
        coco_image(image_ids[image.filename], image.filename, image.width, image.height)
        for image, _ in entries
        if image.filename in chosen
    ]
    all_boxes = [box for _, boxes in entries for box in boxes]
    boxes = [
        coco_box(
            number,
            image_ids[box.filename],
            class_ids[box.class_name],
            pixel_xyxy_to_pixel_ltwh(box[4:]),
        )
        for number, box in enumerate(all_boxes, 1)
        if box.filename in chosen
    ]
    return json_texts.format_coco(images, boxes, dict(enumerate(classes, 1)))


def parse_coco(data, place):
    """Reads a COCO file; what it doesn't need (segmentation, info) is left aside.

    Args:
        data: the file's bytes; place: how a message names the file.

    Returns:
        Coco, its ids and sizes checked.

    Raises:
        DataError: not such a file; a key that is missing or of another type, an id twice, an image
            or category that isn't there, a size that isn't over 0. The first errors of a kind are
            told together.
    """
    whole = _load(data, place)
    images = _items(whole, "images", place, _image)
    categories = _items(whole, "categories", place, _category)
    if len(set(categories.values())) < len(categories):
        names = list(categories.values())
        name = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{place}: two categories are called {name!r}.\n  Rename one of them.")
    boxes = _items(whole, "annotations", place, _box)
    errors = [
        DataError(f"{box.place}: {key} {value} isn't among the {key_of}.\n  {_REMEDY}")
        for box in boxes.values()
        for key, value, known, key_of in (
            ("image_id", box.image_id, images, "images"),
            ("category_id", box.category_id, categories, "categories"),
        )
        if value not in known
    ]
    if errors:
        raise join_errors(errors)
    return Coco(images, categories, list(boxes.values()))


def _load(data, place):
    whole = parse_json(data, place, _FORM)
    if not isinstance(whole, dict):
        raise DataError(f"{place}: no object at the top.\n  {_FORM}")
    for key in ("images", "annotations", "categories"):
        if not isinstance(whole.get(key), list):
            found = "isn't a list" if key in whole else "is missing"
            raise DataError(f"{place}: {key!r} {found}.\n  {_FORM}")
    return whole


def _items(whole, key, place, read):
    """Returns {id: what read(item, place) gives} of a list of the file, in its order."""
    items, errors = {}, []
    for number, item in enumerate(whole[key]):
        where = f"{place}: {key}[{number}]"
        try:
            if not isinstance(item, dict):
                raise DataError(f"{where}: not an object.\n  {_REMEDY}")
            item_id = _field(item, "id", int, where)
            where = f"{where}, id {item_id}"
            if item_id in items:
                raise DataError(f"{where}: another of the {key} has this id.\n  {_REMEDY}")
            items[item_id] = read(item, where)
        except DataError as error:
            errors.append(error)
    if errors:
        raise join_errors(errors)
    return items


def _field(item, key, kind, place):
    if key not in item:
        raise DataError(f"{place}: no {key!r}.\n  {_REMEDY}")
    value = item[key]
    if not isinstance(value, kind) or isinstance(value, bool) or _is_broken(value):
        raise DataError(
            f"{place}: {key} is {reprlib.repr(value)}, not {_KINDS[kind]}.\n  {_REMEDY}"
        )
    return value


def _is_broken(value):
    """Says whether this is a text with half a character in it, which JSON's escapes can write."""
    return isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value)


def _image(item, place):
    width, height = (_field(item, key, int, place) for key in ("width", "height"))
    if not (0 < width <= _MOST and 0 < height <= _MOST):
        raise DataError(f"{place}: an image {width} wide and {height} high.\n  {_REMEDY}")
    return CocoImage(place, _field(item, "file_name", str, place), width, height)


def _category(item, place):
    name = _field(item, "name", str, place)
    check_class_name(name, place)
    return name


def _box(item, place):
    image_id, category_id = (_field(item, key, int, place) for key in ("image_id", "category_id"))
    box = _field(item, "bbox", list, place)
    if len(box) != 4 or not all(_is_pixel(value) for value in box):
        raise DataError(
            f"{place}: bbox {reprlib.repr(box)} isn't four numbers.\n"
            "  Left, top, width and height are pixels. Correct it and run this step again."
        )
    if min(box[2:]) <= 0:
        raise DataError(
            f"{place}: a box {box[2]} wide and {box[3]} high.\n"
            "  Both must be over 0. Correct or remove it and run this step again."
        )
    crowd = item.get("iscrowd", 0)
    if not isinstance(crowd, int) or crowd not in (0, 1):
        raise DataError(f"{place}: iscrowd is {reprlib.repr(crowd)}, not 0 or 1.\n  {_REMEDY}")
    return CocoBox(place, image_id, category_id, tuple(box), bool(crowd), _area(item))


def _area(item):
    area = item.get("area")
    number = isinstance(area, int | float) and not isinstance(area, bool)
    return area if number and 0 <= area <= _MOST**2 else None


def _is_pixel(value):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= _MOST  # which nan and infinity are not
