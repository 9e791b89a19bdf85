"""JSON: files of others read with every check, and COCO's two forms written in one place.

The forms are those of https://cocodataset.org/#format-data and #format-results.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from lowlight.core.errors import DataError

_MOST_DIGITS = 18  # of a whole number that 64 bits hold


def parse_json(data: bytes, place: object, remedy: str) -> Any:
    """Returns the value of a JSON text in UTF-8.

    A whole number of more than 18 digits becomes a float, as it has no place in 64 bits.

    Raises:
        DataError, beginning with the place: no such text, or one that is cut short or nested deeper
        than Python reads.
    """
    try:
        return json.loads(data.decode("utf-8-sig"), parse_int=_parse_whole)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON, or cut short ({error}).\n  {remedy}") from error


def _parse_whole(text):
    return int(text) if len(text) <= _MOST_DIGITS else float(text)


def coco_image(number: int, filename: str, width: int, height: int) -> dict:
    """Returns an item of `images`; the size is in pixels."""
    return {"id": number, "file_name": filename, "width": width, "height": height}


def coco_box(
    number: int,
    image_id: int,
    category_id: int,
    pixel_ltwh: Sequence,
    area: float | None = None,
    crowd: bool = False,
) -> dict:
    """Returns an item of `annotations`; a crowd is one box around many objects.

    The area is in square pixels, None for the box's.
    """
    area = pixel_ltwh[2] * pixel_ltwh[3] if area is None else area
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [_plain(edge) for edge in pixel_ltwh],
        "area": _plain(area),
        "iscrowd": int(crowd),
    }


def format_coco(images: Iterable[dict], boxes: Iterable[dict], classes: dict[int, str]) -> str:
    """Returns a COCO file of object detection as text: `coco_image`s, `coco_box`es, {id: name}."""
    categories = [{"id": number, "name": name} for number, name in classes.items()]
    whole = {"images": list(images), "annotations": list(boxes), "categories": categories}
    return json.dumps(whole, ensure_ascii=False) + "\n"


def format_coco_results(rows: Iterable[tuple]) -> str:
    """Returns detections in COCO's results form as text, one a line.

    A row is (image id or name, category id, [left, top, width, height] in pixels, score).
    """
    keys = "image_id", "category_id", "bbox", "score"
    return "[" + ",\n".join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows) + "]\n"


def _plain(value):
    """Returns a whole number as an int, which JSON writes shorter."""
    return int(value) if value == int(value) else float(value)
