"""Reads COCO's JSON of object detection (https://cocodataset.org/#format-data)."""

import itertools
import reprlib
from pathlib import Path

from lowlight.core.errors import DataError, kept_in, raise_any
from lowlight.core.files import existing_file
from lowlight.core.json_files import parse_json
from lowlight.dataset.classes import check_class_name
from lowlight.dataset.label_import import fit_labels
from lowlight.dataset.labels import Coco, CocoBox, CocoImage, Fitting, Labels
from lowlight.images.boxes import pixel_xyxy_to_pixel_ltwh

_MOST = 10**9  # no pixel lies further out
_MOST_ID = 2**53  # up to which floats tell whole numbers apart
_REMEDY = "Correct it and run this step again."
_ID = "a whole number or a text"
_FORM = "A COCO file of object detection is an object with images, annotations and categories."


def import_coco(coco_path: str | Path, fitting: Fitting) -> Labels:
    """Reads a COCO file and fits it to converted images.

    Where all of its boxes are crowds, `fitting.keep_crowds` makes single objects of them.

    Raises:
        DataError: as `parse_coco` and `label_import.fit_labels`; crowd boxes alone.
    """
    path = existing_file(coco_path, "Check --labels.")
    coco = parse_coco(path.read_bytes(), path)
    if coco.boxes and all(box.crowd for box in coco.boxes):
        if not fitting.keep_crowds:
            raise DataError(
                f"{path}: all of its {len(coco.boxes)} boxes are crowds (iscrowd 1), which are "
                "left out.\n  CVAT writes so of masks. Where each is around one object, give "
                "--keep_crowds."
            )
        coco = coco._replace(boxes=[box._replace(crowd=False) for box in coco.boxes])
    return fit_labels(coco, path, fitting)


def parse_coco(data: bytes, place: object) -> Coco:
    """Reads a COCO file as tools write it; what isn't needed (info, licenses) is left aside.

    Raises:
        DataError: not JSON, or not of this form, with the place in the file and a remedy. The
            first errors of a kind are reported together.
    """
    whole = _load(data, place)
    images = _items(whole, "images", place, _image)
    categories = _items(whole, "categories", place, _category)
    names = [name for name, _ in categories.values()]
    if len(set(names)) < len(names):
        name = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{place}: two categories are called {name!r}.\n  Rename one of them.")
    boxes = list(_items(whole, "annotations", place, _box).values())
    known = {"image_id": ("images", images), "category_id": ("categories", categories)}
    errors = [
        DataError(f"{box.place}: {key} {getattr(box, key)!r} isn't among the {kind}.\n  {_REMEDY}")
        for box in boxes
        for key, (kind, items) in known.items()
        if getattr(box, key) not in items
    ]
    raise_any(errors)
    names = {number: name for number, (name, _) in categories.items()}
    groups = frozenset(group for name, group in categories.values() if group not in (None, name))
    return Coco(images, names, boxes, groups)


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
        with kept_in(errors):
            if not isinstance(item, dict):
                raise DataError(f"{where}: not an object.\n  {_REMEDY}")
            item_id = _field(item, "id", where, _ID)
            where = f"{where}, id {item_id}"
            if item_id in items:
                raise DataError(f"{where}: another of the {key} has this id.\n  {_REMEDY}")
            items[item_id] = read(item, where)
    raise_any(errors)
    return items


def _image(item, place):
    name = _field(item, "file_name", place, "a text")
    if item.get("width") is None and item.get("height") is None:
        return CocoImage(place, name, None, None)
    width, height = (_field(item, key, place, "a whole number") for key in ("width", "height"))
    if not (0 < width <= _MOST and 0 < height <= _MOST):
        raise DataError(f"{place}: an image {width} wide and {height} high.\n  {_REMEDY}")
    return CocoImage(place, name, width, height)


def _category(item, place):
    """Returns a category's name and that of its group, None where it gives none."""
    name = _field(item, "name", place, "a text")
    check_class_name(name, place)
    return name, _text(item.get("supercategory"))


def _box(item, place):
    box = item.get("bbox") or _around(item.get("segmentation"))
    crowd, area = item.get("iscrowd") or 0, item.get("area")
    image_id, category_id = (_field(item, key, place, _ID) for key in ("image_id", "category_id"))
    if box is None:
        raise DataError(f"{place}: no 'bbox', and no polygon that it goes around.\n  {_REMEDY}")
    is_four = isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))
    if not is_four or min(box[2:]) < 0:
        raise DataError(
            f"{place}: bbox {reprlib.repr(box)} isn't left, top, width and height.\n"
            "  These are pixels, the last two not under 0. Correct it and run this step again."
        )
    if crowd not in (0, 1):
        raise DataError(f"{place}: iscrowd is {reprlib.repr(crowd)}, not 0 or 1.\n  {_REMEDY}")
    area = area if _is_number(area, _MOST**2) and area >= 0 else None
    return CocoBox(place, image_id, category_id, tuple(box), bool(crowd), area)


def _around(polygons):
    """Returns the bbox around polygons, [[x, y, x, y, ...]]; None where there are none."""
    if not isinstance(polygons, list) or not polygons:
        return None
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 4 or len(polygon) % 2:
            return None
    edges = list(itertools.chain.from_iterable(polygons))
    if not all(map(_is_number, edges)):
        return None
    xs, ys = edges[::2], edges[1::2]
    return list(pixel_xyxy_to_pixel_ltwh((min(xs), min(ys), max(xs), max(ys))))


def _field(item, key, place, kind):
    """Returns a value of an item, which is of one of _KINDS; raises DataError where it isn't."""
    if key not in item:
        raise DataError(f"{place}: no {key!r}.\n  {_REMEDY}")
    value = _KINDS[kind](item[key])
    if value is None:
        raise DataError(f"{place}: {key} is {reprlib.repr(item[key])}, not {kind}.\n  {_REMEDY}")
    return value


def _read_id(value):
    """Returns an id as one tool or another writes it: 7, 7.0, "7" or "a7"; None of anything else.

    It is an int, or a text that is no whole number.
    """
    if isinstance(value, str):
        is_number = value.isascii() and value.isdecimal() and len(value) < 16
        return int(value) if is_number and str(int(value)) == value else _text(value)
    return _whole_number(value)


def _text(value):
    """Returns a text, None of what isn't one or has half a character, as JSON's escapes can."""
    whole = isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)
    return value if whole else None


def _whole_number(value):
    return int(value) if _is_number(value, _MOST_ID) and value == int(value) else None


def _is_number(value, most=_MOST):
    """Says whether a value is a number no further from 0 than `most`; nan and infinity aren't."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= most


_KINDS = {"a text": _text, "a whole number": _whole_number, _ID: _read_id}
