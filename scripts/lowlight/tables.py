"""The csv files between the steps: annotations.csv, images.csv and split.csv."""

import csv
import io
from typing import NamedTuple

from lowlight.errors import DataError
from lowlight.files import existing_file


class ImageRow(NamedTuple):
    """A row of images.csv. ExDark's four facts are "" where no image list was given."""

    filename: str  # of the converted image
    source: str  # its path in ExDark
    width: int  # pixels
    height: int
    folder_class: str
    lighting: str
    location: str
    official_split: str
    boxes: int


class AnnotationRow(NamedTuple):
    """A row of annotations.csv: one box, pixel_xyxy, inside the image."""

    filename: str
    width: int
    height: int
    class_name: str  # the column is called "class"
    xmin: int
    ymin: int
    xmax: int
    ymax: int


class SplitRow(NamedTuple):
    """A row of split.csv."""

    filename: str
    split: str


_COLUMN_NAMES = {"class_name": "class"}


def format_table(rows, row_type):
    """Returns rows as csv text with a header and LF line ends."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_columns(row_type))
    writer.writerows(rows)
    return stream.getvalue()


def read_table(path, row_type, remedy):
    """Reads a csv file with the columns of a row type, in any order, others ignored.

    Args:
        path: the file.
        row_type: ImageRow, AnnotationRow or SplitRow.
        remedy: what to do where the file is not there or not of this form.

    Returns:
        A list of (place, row); a place is "path:line" for messages.

    Raises:
        DataError: no such file, a column missing, or a field that isn't a whole number.
    """
    data = existing_file(path, remedy).read_bytes()
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        missing = [name for name in _columns(row_type) if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path}:1: no column {', '.join(missing)}.\n  {remedy}")
        return [
            (f"{path}:{reader.line_num}", _row(fields, row_type, f"{path}:{reader.line_num}"))
            for fields in reader
        ]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a csv file in UTF-8 ({error}).\n  {remedy}") from error


def _columns(row_type):
    return [_COLUMN_NAMES.get(name, name) for name in row_type._fields]


def _row(fields, row_type, place):
    values = []
    for name, column in zip(row_type._fields, _columns(row_type), strict=True):
        text = fields[column]
        if text is None:
            raise DataError(f"{place}: no field for column {column}.\n  Complete the line.")
        if row_type.__annotations__[name] is int:
            try:
                text = int(text)
            except ValueError as error:
                raise DataError(
                    f"{place}: {column} is {text!r}, not a whole number.\n  Correct the line."
                ) from error
        values.append(text)
    return row_type(*values)
