"""JSON: files of others, COCO's two forms, and the log by which an interrupted run continues.

COCO's forms are those of https://cocodataset.org/#format-data and #format-results.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from lowlight.core.errors import DataError
from lowlight.core.files import no_links

LOG = "scored.jsonl"
_MOST_DIGITS = 18  # of a whole number that 64 bits hold; one of more becomes a float


def parse_json(data: bytes, place: object, remedy: str) -> Any:
    """Returns the value of a JSON text in UTF-8.

    Raises:
        DataError, beginning with the place: no such text, or one that is cut short or nested deeper
        than Python reads.
    """

    def parse_whole(text):
        return int(text) if len(text) <= _MOST_DIGITS else float(text)

    try:
        return json.loads(data.decode("utf-8-sig"), parse_int=parse_whole)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON, or cut short ({error}).\n  {remedy}") from error


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
    # A whole number is shorter as an int.
    *edges, area = (int(x) if x == int(x) else float(x) for x in (*pixel_ltwh, area))
    ids = {"id": number, "image_id": image_id, "category_id": category_id}
    return ids | {"bbox": edges, "area": area, "iscrowd": int(crowd)}


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


class DetectionLog:
    """An append-only file: a line that says what was run on what, then one for each image.

    A log of another model, other records or another label map is replaced. A line that was cut
    short, by a kill or a full disk, is cut off, and its image counts as not yet scored.
    """

    def __init__(self, path: Path | str, identity: Any):
        """Opens the file, which may be missing.

        The identity is a JSON value that says what is run on what, such as `fingerprint` gives.
        """
        head = (json.dumps({"identity": identity}, sort_keys=True) + "\n").encode()
        self._file = open(path, "a+b", opener=no_links)  # noqa: SIM115 - closed by __exit__
        self._file.seek(0)
        is_same = self._file.readline() == head
        whole = len(head) if is_same else 0  # bytes that hold good
        self.images = {}  # {filename: its line's value}
        for line in self._file if is_same else ():
            value = _parse_line(line)
            if value is None:
                break
            self.images[value["file"]] = value
            whole += len(line)
        self._file.truncate(whole)
        if not is_same:
            self._write(head)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error):
        self._file.close()

    def add(self, value: dict) -> None:
        """Appends an image's line; `value` is a JSON object with its name under "file"."""
        self._write(json.dumps(value).encode() + b"\n")
        self.images[value["file"]] = value

    def _write(self, line):
        self._file.write(line)
        self._file.flush()


def _parse_line(line):
    """Returns the value of a whole line, None of one that was cut short."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    is_whole = line.endswith(b"\n") and isinstance(value, dict) and "file" in value
    return value if is_whole else None


def fingerprint(paths: Iterable[Path | str]) -> str:
    """Returns a text that changes with the files' names, sizes and times of change."""
    states = [(Path(path).name, Path(path).stat()) for path in paths]
    value = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
