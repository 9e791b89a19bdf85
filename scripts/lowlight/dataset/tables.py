"""The csv tables of the steps: what their columns are, reading with every check, writing.

A table is a pandas DataFrame whose columns a row type below names and types; where one image is at
work, its rows are of that type. The csv module takes the text apart: it tells the line of each row,
and a short line from empty fields.
"""

import csv
import io
import reprlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import existing_file


class ConvertedRow(NamedTuple):
    """A row of converted.csv: an image, and what the conversion did with it."""

    file: str  # its path in the source
    how: str  # kept, completed, cut, encoded or turned, as `rgb_jpegs.to_rgb_jpeg` says
    orientation: int  # EXIF's, 1 where there is none
    source_sha256: str  # of its bytes in the source, in hexadecimal
    sha256: str  # of the RGB JPEG's
    phash: str  # of the RGB JPEG, as `conversion.hash_image` gives it; "" where it is damaged


class ImageRow(NamedTuple):
    """A row of images.csv. ExDark's four facts are "" where no image list was given."""

    filename: str  # of the converted image
    source: str  # its path in ExDark, or what a COCO file calls it
    width: int  # pixels
    height: int
    folder_class: str = ""
    lighting: str = ""
    location: str = ""
    official_split: str = ""
    boxes: int = 0


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
    is_crowd: int = 0  # 1 of a box around many objects
    area: float | None = None  # square pixels, of a mask perhaps; None for the box's own

    @property
    def pixel_xyxy(self) -> tuple[int, int, int, int]:
        """The box alone."""
        return self.xmin, self.ymin, self.xmax, self.ymax


class SplitRow(NamedTuple):
    """A row of split.csv."""

    filename: str
    split: str


class ProblemRow(NamedTuple):
    """A row of problems.csv: something out of the ordinary, and what was done about it."""

    file: str  # its path in the source
    problem: str
    detail: str


# Columns that a table lacks where no row needs one, and what each row has then.
_OPTIONAL = {"is_crowd": 0, "area": None}
_WHOLE = r"\s*[+-]?[0-9]{1,18}\s*"  # what 64 bits hold
_MOST_AREA = 1e18  # square pixels
_WRITTEN_BY = "make_annotations_csv.py writes it; check --data_dir."


def format_table(rows: Iterable[tuple], row_type: type) -> str:
    """Returns rows as csv text with a header and LF line ends, without optional columns unused."""
    table = pd.DataFrame(rows, columns=_columns(row_type), dtype=object)
    optional = [name for name in _OPTIONAL if name in table]
    table = table.drop(columns=[c for c in optional if table[c].isin([_OPTIONAL[c]]).all()])
    text = table.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # which csv leaves bare, and no reader takes so
        text = table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text


def read_table(path: Path, row_type: type, remedy: str) -> pd.DataFrame:
    """Reads a csv file that has the columns of a row type, in any order.

    The index holds the lines' numbers; the columns are those of the row type, by the names of its
    fields and with their types, then others of the file as they are. is_crowd and area may be
    missing.

    Raises:
        DataError: no such file, a column missing, or a field that isn't the number it should be.
    """
    data = existing_file(path, remedy).read_bytes()
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        header = list(filter(None, reader.fieldnames or ()))
        rows = [(reader.line_num, fields) for fields in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a csv file in UTF-8 ({error}).\n  {remedy}") from error
    columns, fields = _columns(row_type), row_type._fields
    missing = [name for name in columns if name not in {*header, *_OPTIONAL}]
    if missing:
        raise DataError(f"{path}:1: no column {', '.join(missing)}.\n  {remedy}")
    others = [name for name in dict.fromkeys(header) if name not in {*columns, *fields}]
    lines, texts = zip(*rows, strict=True) if rows else ((), ())
    table = pd.DataFrame(list(texts), list(lines), [*columns, *others], dtype=object)
    table.columns = [*fields, *others]
    for name, column in zip(fields, columns, strict=True):
        if column not in header:
            table[name] = _OPTIONAL[name]
            continue
        message = f"no field for column {column}.\n  Complete the line."
        refuse_first(path, table[table[name].isna()], message)
        if row_type.__annotations__[name] is int:
            table[name] = _whole_numbers(path, table[name])
        elif row_type.__annotations__[name] is not str:
            table[name] = _numbers(path, table[name])
    table[others] = table[others].fillna("")
    return table


def _columns(row_type):
    return ["class" if name == "class_name" else name for name in row_type._fields]


def _whole_numbers(path, column):
    """Returns a column as int64; raises DataError where a text is something else."""
    _refuse_texts(path, column[~column.str.fullmatch(_WHOLE)], "a whole number")
    return column.astype("int64")


def _numbers(path, column):
    """Returns a column of floats over 0 with None for empty texts; raises DataError of others."""
    numbers, texts = pd.to_numeric(column, errors="coerce"), column.str.strip()
    is_good = numbers.between(0, _MOST_AREA, inclusive="neither") | (texts == "")
    _refuse_texts(path, column[~is_good], "a number over 0, or empty for the box's own")
    return numbers.astype(object).where(numbers.notna(), None)


def _refuse_texts(path, column, kind):
    """Raises DataError about the first text of a column, which isn't of its kind, if any is."""
    for line, text in column.head(1).items():
        raise DataError(
            f"{path}:{line}: {column.name} is {reprlib.repr(text)}, not {kind}.\n"
            "  Correct the line."
        )


def refuse_first(path: Path, rows: pd.DataFrame, message: str, **values) -> None:
    """Raises DataError about the first of some rows of a table, which are wrong, if there are any.

    The message says what is wrong and the remedy; it is a format of `row` and of the values.
    """
    for row in rows.head(1).itertuples():
        raise DataError(f"{path}:{row.Index}: {message.format(row=row, **values)}")


def rows_of(table: pd.DataFrame, row_type: type) -> list:
    """Returns the rows of a table that `read_table` gave, as NamedTuples of the row type."""
    columns = list(row_type._fields)
    return [row_type(*row) for row in table[columns].itertuples(index=False, name=None)]


def read_rows(path: Path, row_type: type, remedy: str) -> list:
    """Returns the rows of a csv file as NamedTuples of the row type; raises as `read_table`."""
    return rows_of(read_table(path, row_type, remedy), row_type)


def read_tables(data_dir: Path, classes: Iterable[str]) -> list[tuple[ImageRow, list]]:
    """Reads images.csv and annotations.csv and checks that they fit each other.

    Returns:
        [(ImageRow, [AnnotationRow])], sorted by filename; boxes are of the classes.

    Raises:
        DataError: a file that is missing or malformed, an image that stands twice or whose name is
            none of a file, a box of an unknown image or class or that isn't inside its image.
    """
    path = Path(data_dir) / "images.csv"
    images = read_table(path, ImageRow, _WRITTEN_BY)
    is_twice = images.filename.duplicated()
    refuse_first(path, images[is_twice], "{row.filename} stands here twice.\n  Remove one.")
    is_path = images.filename.str.contains("[/\0]") | images.filename.isin(["", ".", ".."])
    refuse_first(
        path,
        images[is_path],
        "{row.filename!r} isn't a file's name.\n"
        "  Images are in one folder, --images_dir; correct the line.",
    )
    boxes = _read_boxes(path.with_name("annotations.csv"), images, list(classes))
    boxes_of = {name: [] for name in images.filename}
    for box in rows_of(boxes, AnnotationRow):
        boxes_of[box.filename].append(box)
    return [(image, boxes_of[image.filename]) for image in sorted(rows_of(images, ImageRow))]


def _read_boxes(path, images, classes):
    """Returns annotations.csv; raises as `read_tables`."""
    boxes = read_table(path, AnnotationRow, _WRITTEN_BY)
    refuse_first(
        path,
        boxes[~boxes.filename.isin(images.filename)],
        "{row.filename} isn't in images.csv.\n"
        "  make_annotations_csv.py writes both; check --data_dir.",
    )
    refuse_first(
        path,
        boxes[~boxes.class_name.isin(classes)],
        "unknown class {row.class_name!r}.\n"
        "  Known classes: {known}. Correct the line, or name all classes in {names}, one a line.",
        known=name_some(classes, 20),
        names=path.with_name("classes.txt"),
    )
    sizes = images.set_index("filename").loc[boxes.filename].set_axis(boxes.index)
    sized = boxes.assign(image_width=sizes.width, image_height=sizes.height)
    refuse_first(
        path,
        sized[(boxes.width != sizes.width) | (boxes.height != sizes.height)],
        "{row.width}x{row.height} pixels, but images.csv has {row.image_width}x{row.image_height}."
        "\n  Run make_annotations_csv.py again.",
    )
    across = (boxes.xmin >= 0) & (boxes.xmin < boxes.xmax) & (boxes.xmax <= boxes.width)
    down = (boxes.ymin >= 0) & (boxes.ymin < boxes.ymax) & (boxes.ymax <= boxes.height)
    refuse_first(
        path,
        boxes[~(across & down)],
        "the box ({row.xmin}, {row.ymin}, {row.xmax}, {row.ymax}) (xmin, ymin, xmax, ymax) isn't "
        "inside its image of {row.width}x{row.height} pixels.\n  Correct the line.",
    )
    message = "is_crowd is {row.is_crowd}, not 0 or 1.\n  Correct the line."
    refuse_first(path, boxes[~boxes.is_crowd.isin([0, 1])], message)
    return boxes


CONVERTED = "converted.csv"


def converted_name(source: str, flatten: bool = False) -> str:
    """Returns the name of the converted image of a source file, with its folders if flatten.

    0001.jpg of cam1/0001.png, or cam1__0001.jpg.
    """
    path = PurePosixPath(source).with_suffix(".jpg")
    parts = [part for part in path.parts if part not in ("/", "..")]
    return "__".join(parts) if flatten else path.name


def read_converted(folder: Path) -> dict[str, ConvertedRow]:
    """Returns {source file: ConvertedRow} of what earlier conversions made in a folder."""
    path = Path(folder) / CONVERTED
    if not path.exists():
        return {}
    rows = read_rows(path, ConvertedRow, "Remove it, and run convert_images.py again.")
    return {row.file: row for row in rows}


def converted_images(folder: Path) -> dict[str, ConvertedRow]:
    """Returns {name of a converted image: its ConvertedRow} of what conversions made in a folder.

    An image has both its names, that with its folders too; only one of them is a file there.
    """
    rows = read_converted(folder).values()
    return {converted_name(row.file, flat): row for row in rows for flat in (False, True)}
