"""The csv tables read back as they were written, by another hand too, or are refused by line."""

import pytest
from checks import BOXES, IMAGE, refused, write_tables

from lowlight.dataset.classes import CLASSES
from lowlight.dataset.tables import (
    AnnotationRow,
    ImageRow,
    SplitRow,
    format_table,
    read_table,
    read_tables,
    rows_of,
)

REMEDY = "Make it."
BOX = BOXES[0]
COLUMNS = "filename,width,height,class,xmin,ymin,xmax,ymax"
CAT = "a.jpg,80,40,Cat,8,10,40,20"
IMAGE_COLUMNS = "filename,source,width,height,folder_class,lighting,location,official_split,boxes"
# Rows, and the lines of the table.
TABLES = {
    "annotations.csv": ([BOX], [COLUMNS, CAT]),
    "crowds and areas": (
        [BOX, BOX._replace(is_crowd=1), BOX._replace(area=200.25)],
        [f"{COLUMNS},is_crowd,area", f"{CAT},0,", f"{CAT},1,", f"{CAT},0,200.25"],
    ),
    "areas alone": ([BOX._replace(area=200.0)], [f"{COLUMNS},area", f"{CAT},200.0"]),
    "images.csv": (
        [IMAGE, ImageRow("b.jpg", "Dog/b.jpg", 40, 30)],
        [
            IMAGE_COLUMNS,
            "a.jpg,Cat/a.jpg,80,40,Cat,Low,Indoor,train,2",
            "b.jpg,Dog/b.jpg,40,30,,,,,0",
        ],
    ),
    "split.csv": ([SplitRow("a.jpg", "test")], ["filename,split", "a.jpg,test"]),
    "no row": ([], ["filename,split"]),
    "a comma and quotes": (
        [SplitRow('a, "b".jpg', "test")],
        ["filename,split", '"a, ""b"".jpg",test'],
    ),
    "a carriage return": (
        [SplitRow("a\r.jpg", "test")],
        ['"filename","split"', '"a\r.jpg","test"'],
    ),
}


@pytest.mark.parametrize(("rows", "lines"), TABLES.values(), ids=TABLES)
def test_a_table_is_csv_and_reads_back_as_it_was(tmp_path, rows, lines):
    row_type = type(rows[0]) if rows else SplitRow
    text = "".join(f"{line}\n" for line in lines)
    assert format_table(rows, row_type) == text
    (tmp_path / "a.csv").write_text(text, newline="")
    assert rows_of(read_table(tmp_path / "a.csv", row_type, REMEDY), row_type) == rows


BY_ANOTHER_HAND = {
    "other order": b"split,filename\nval,a.jpg\n",
    "one column more": b"filename,note,split\na.jpg,x,val\n",
    "as Excel writes it": b"\xef\xbb\xbffilename,split\r\na.jpg,val\r\n",
    "no last line end": b"filename,split\na.jpg,val",
}


@pytest.mark.parametrize("text", BY_ANOTHER_HAND.values(), ids=BY_ANOTHER_HAND)
def test_a_table_by_another_hand_is_read(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text)
    table = read_table(tmp_path / "a.csv", SplitRow, REMEDY)
    assert rows_of(table, SplitRow) == [SplitRow("a.jpg", "val")]


def test_a_row_has_the_line_it_stands_on(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("filename,split\na.jpg,val\n\nb.jpg,test\n")
    assert read_table(path, SplitRow, REMEDY).index.tolist() == [2, 4]


BAD_ROWS = {
    "field missing": ("a.jpg,40,30,Cat,4,5,24", ":2: no field for column ymax."),
    "a fraction": (f"{CAT}\na.jpg,40,30,Cat,4,5,24,1.5", ":3: ymax is '1.5', not a whole number."),
    "no number": ("a.jpg,,30,Cat,4,5,24,20", ":2: width is '', not a whole number."),
    "5,000 digits": ("a.jpg,40,30,Cat,4,5,24," + "9" * 5000, ":2: ymax is '99999"),
    "a quote": ('a.jpg,40,30,"Cat,4,5,24,20', ": not a csv file in UTF-8"),
}
BAD_AREAS = {
    f"area {area}": (f"{COLUMNS},area\n{CAT},{area}\n", f":2: area is '{area}', not")
    for area in ("-1", "0", "inf", "nan", "big")
}
BAD = {
    "empty": ("", ":1: no column filename, width, height, class, xmin"),
    "columns missing": ("filename,width,height,class,xmin,ymin\n", ":1: no column xmax, ymax.\n"),
    "UTF-16": (b"\xff\xfe\x00", ": not a csv file in UTF-8"),
    **{name: (f"{COLUMNS}\n{row}\n", message) for name, (row, message) in BAD_ROWS.items()},
    **BAD_AREAS,
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_a_bad_table_is_told_with_its_place(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with refused(f"{path}{message}"):
        read_table(path, AnnotationRow, REMEDY)


def test_a_missing_table_is_told_with_the_remedy(tmp_path):
    with refused(f"{tmp_path}/a.csv: no such file.\n  Make it."):
        read_table(tmp_path / "a.csv", SplitRow, REMEDY)


def test_tables_are_read_as_images_with_their_boxes(tmp_path):
    write_tables(tmp_path, [IMAGE], BOXES)
    assert read_tables(tmp_path, CLASSES) == [(IMAGE, BOXES)]


CONTRADICTIONS = {
    "unknown image": ([IMAGE], [BOX._replace(filename="b.jpg")], "annotations.csv:2: b.jpg"),
    "another size": ([IMAGE], [BOX._replace(width=81)], "annotations.csv:2: 81x40 pixels"),
    "outside": ([IMAGE], [BOX._replace(xmax=81)], "annotations.csv:2: the box (8, 10, 81, 20)"),
    "no area": ([IMAGE], [BOX._replace(xmax=8)], "annotations.csv:2: the box (8, 10, 8, 20)"),
    "half a crowd": ([IMAGE], [BOX._replace(is_crowd=2)], "annotations.csv:2: is_crowd is 2, not"),
    "a path": ([IMAGE._replace(filename="../a.jpg")], [], "images.csv:2: '../a.jpg' isn't a file"),
    "a device": ([IMAGE._replace(filename="/dev/zero")], [], "images.csv:2: '/dev/zero' isn't a f"),
    "image twice": ([IMAGE, IMAGE], [], "images.csv:3: a.jpg stands here twice"),
}


@pytest.mark.parametrize(
    ("images", "boxes", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS
)
def test_tables_that_contradict_themselves_are_refused(tmp_path, images, boxes, message):
    write_tables(tmp_path, images, boxes)
    with refused(f"{tmp_path}/{message}"):
        read_tables(tmp_path, CLASSES)


def test_an_unknown_class_is_told_with_the_known_ones_and_where_to_name_it(tmp_path):
    write_tables(tmp_path, [IMAGE], BOXES)
    with refused(
        f"{tmp_path}/annotations.csv:3: unknown class 'Table'.\n"
        "  Known classes: Cat, Cup. Correct the line, or name all classes in "
        f"{tmp_path}/classes.txt, one a line."
    ):
        read_tables(tmp_path, ("Cat", "Cup"))
