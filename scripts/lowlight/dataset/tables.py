"""The csv files of the steps: converted.csv, annotations.csv, images.csv and others."""

import contextlib
import csv
import io
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import existing_file


class ConvertedRow(NamedTuple):
    """A row of converted.csv: an image, and what the conversion did with it."""

    file: str  # its path in the source
    how: str  # kept, unrotated, completed or encoded, as `rgb_jpegs.to_rgb_jpeg` says
    orientation: int  # EXIF's, where it was switched off, otherwise 1
    source_sha256: str  # of its bytes in the source, in hexadecimal
    sha256: str  # of the RGB JPEG's
    phash: str  # of the RGB JPEG, as `perceptual_hash.hash_image` gives it; "" where it is damaged


class ImageRow(NamedTuple):
    """A row of images.csv. ExDark's four facts are "" where no image list was given."""

    filename: str  # of the converted image
    source: str  # its path in ExDark, or what a COCO file calls it
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


class ProblemRow(NamedTuple):
    """A row of problems.csv: something out of the ordinary, and what was done about it."""

    file: str  # its path in the source
    problem: str
    detail: str


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
        row_type: ImageRow, AnnotationRow, SplitRow or ProblemRow.
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


def read_tables(data_dir, classes):
    """Reads images.csv and annotations.csv and checks that they fit each other.

    Args:
        data_dir: the folder that holds both.
        classes: the names that boxes may have, such as `classes.read_classes` gives.

    Returns:
        [(ImageRow, [AnnotationRow])], sorted by filename.

    Raises:
        DataError: a file that is missing or malformed, an image that stands twice, a box of an
            unknown image or class or that isn't inside its image.
    """
    remedy = "make_annotations_csv.py writes it; check --data_dir."
    boxes = {}
    for place, row in read_table(Path(data_dir) / "images.csv", ImageRow, remedy):
        if row.filename in boxes:
            raise DataError(f"{place}: {row.filename} stands here twice.\n  Remove one.")
        boxes[row.filename] = (row, [])
    for place, row in read_table(Path(data_dir) / "annotations.csv", AnnotationRow, remedy):
        if row.filename not in boxes:
            raise DataError(f"{place}: {row.filename} isn't in images.csv.\n  {remedy}")
        image, rows = boxes[row.filename]
        _check_class(place, row, classes, data_dir)
        _check_box(place, row, image)
        rows.append(row)
    return [boxes[name] for name in sorted(boxes)]


def _columns(row_type):
    return [_COLUMN_NAMES.get(name, name) for name in row_type._fields]


def _row(fields, row_type, place):
    texts = [fields[column] for column in _columns(row_type)]
    for column, text in zip(_columns(row_type), texts, strict=True):
        if text is None:
            raise DataError(f"{place}: no field for column {column}.\n  Complete the line.")
    try:
        return row_of(texts, row_type)
    except ValueError as error:
        raise DataError(f"{place}: {error}.\n  Correct the line.") from error


def row_of(texts, row_type):
    """Returns a row of a row type from its fields' texts.

    Raises:
        ValueError: another number of fields, or one that isn't a whole number but should be.
    """
    values = dict(zip(row_type._fields, texts, strict=True))
    for name, column in zip(row_type._fields, _columns(row_type), strict=True):
        if row_type.__annotations__[name] is int:
            try:
                values[name] = int(values[name])
            except ValueError as error:
                raise ValueError(f"{column} is {values[name]!r}, not a whole number") from error
    return row_type(**values)


def _check_class(place, row, classes, data_dir):
    if row.class_name not in classes:
        raise DataError(
            f"{place}: unknown class {row.class_name!r}.\n"
            f"  Known classes: {name_some(classes, 20)}. Correct the line, or name all classes in "
            f"{Path(data_dir) / 'classes.txt'}, one a line."
        )


def _check_box(place, row, image):
    if (row.width, row.height) != (image.width, image.height):
        raise DataError(
            f"{place}: {row.width}x{row.height} pixels, but images.csv has "
            f"{image.width}x{image.height}.\n  Run make_annotations_csv.py again."
        )
    if not (0 <= row.xmin < row.xmax <= row.width and 0 <= row.ymin < row.ymax <= row.height):
        raise DataError(
            f"{place}: the box {row[4:]} (xmin, ymin, xmax, ymax) isn't inside its image of "
            f"{row.width}x{row.height} pixels.\n  Correct the line."
        )


CONVERTED = "converted.csv"
# What is done of an interrupted conversion, in the form of CONVERTED.
JOURNAL = ".converted.journal"


def converted_name(source):
    """Returns the name of the converted image of a source file."""
    return f"{PurePosixPath(source).stem}.jpg"


def read_converted(folder):
    """Returns {source file: ConvertedRow} of what earlier conversions made in a folder."""
    paths = Path(folder) / CONVERTED, Path(folder) / JOURNAL
    return {row.file: row for path in paths for row in read_journal(path, ConvertedRow)}


def read_hashes(folder):
    """Returns {converted image: (SHA-256 sum, pHash)} of what conversions made in a folder."""
    rows = read_converted(folder).values()
    return {converted_name(row.file): (row.sha256, row.phash) for row in rows}


def read_journal(path, row_type):
    """Returns the rows of a journal, none where there is no such file.

    What an interruption cut, or is not of the row type, isn't among them.

    Args:
        path: a journal, or a table that `tables.format_table` made.
        row_type: a NamedTuple of strings and ints.
    """
    with contextlib.suppress(FileNotFoundError):
        text = Path(path).read_bytes().decode("utf-8", "replace")
        whole_lines = text[: text.rfind("\n") + 1].replace("\0", "")
        rows = []
        with contextlib.suppress(csv.Error):
            for fields in csv.reader(io.StringIO(whole_lines, newline="")):
                with contextlib.suppress(ValueError):
                    rows.append(row_of(fields, row_type))
        return rows
    return []


@contextlib.contextmanager
def open_journal(path):
    """Yields a function that adds a row; the file is removed when the block ends well."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
    with open(path, "a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")

        def add(row):
            writer.writerow(row)
            file.flush()

        yield add
    Path(path).unlink()
