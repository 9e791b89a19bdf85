"""What tests of several packages check and write alike."""

import contextlib
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from lowlight.core.errors import DataError
from lowlight.core.tensorflow_files import Example, frame_record
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.label_export import format_voc, format_yolo
from lowlight.dataset.tables import AnnotationRow, ImageRow, SplitRow, format_table
from lowlight.dataset.voc import parse_voc
from lowlight.dataset.yolo import DataYaml, parse_yolo
from lowlight.images.boxes import pixel_ltwh_to_pixel_xyxy, round_pixel_xyxy

CLASS_IDS = {name: number for number, name in enumerate(CLASSES, 1)}
# An image with two boxes, as rows of the tables.
IMAGE = ImageRow("a.jpg", "Cat/a.jpg", 80, 40, "Cat", "Low", "Indoor", "train", 2)
BOXES = [
    AnnotationRow("a.jpg", 80, 40, "Cat", 8, 10, 40, 20),
    AnnotationRow("a.jpg", 80, 40, "Table", 0, 0, 80, 40),
]


@contextlib.contextmanager
def refused(start: str, end: str = "", inside: str = "") -> Iterator[None]:
    """Checks that a block raises a DataError of this start, end and inside, with a remedy."""
    with pytest.raises(DataError) as caught:
        yield
    message = str(caught.value)
    assert message.startswith(start), message
    assert message.endswith(end), message
    assert inside in message, message
    assert "\n  " in message


def message_of(run: subprocess.CompletedProcess) -> str:
    """Returns the error that a script ended with, after the log lines of its work."""
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    return run.stderr[run.stderr.index("error: ") :]


def contents(folder: Path) -> dict[str, bytes]:
    """Returns {path inside: bytes} of all files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_tables(
    folder: Path, images: Iterable[tuple], boxes: Iterable[tuple], split: str = ""
) -> None:
    """Writes images.csv and annotations.csv of rows, and a split.csv that puts all in one part."""
    tables = {"images.csv": (images, ImageRow), "annotations.csv": (boxes, AnnotationRow)}
    if split:
        tables["split.csv"] = [SplitRow(image.filename, split) for image in images], SplitRow
    write_files(folder, {name: format_table(*table) for name, table in tables.items()})


def write_examples(path: Path, *examples: Example) -> Path:
    """Writes a TFRecord file of examples, and returns it."""
    path.write_bytes(b"".join(frame_record(one.SerializeToString()) for one in examples))
    return path


def write_files(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Writes {name: text or bytes} into a folder, made where it is missing, and returns it."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def check_label_forms(image: ImageRow, rows: list[AnnotationRow], classes: Sequence[str]) -> None:
    """Checks that YOLO's and Pascal VOC's form give an image's boxes back to the pixel."""
    text = format_yolo(image, rows, classes)
    described = DataYaml(dict(enumerate(classes)), {})
    yolo = parse_yolo(text.encode(), "a.txt", (image.width, image.height), described)
    _, voc = parse_voc(format_voc(image, rows).encode(), "a.xml")
    expected = [(row.class_name, row.pixel_xyxy) for row in rows]
    corners = [round_pixel_xyxy(pixel_ltwh_to_pixel_xyxy(box.pixel_ltwh)) for box in yolo]
    assert list(zip((classes[box.category_id] for box in yolo), corners, strict=True)) == expected
    assert [pixel_ltwh_to_pixel_xyxy(box.pixel_ltwh) for box in yolo] == corners
    found = [(box.category_id, pixel_ltwh_to_pixel_xyxy(box.pixel_ltwh)) for box in voc]
    assert found == expected
