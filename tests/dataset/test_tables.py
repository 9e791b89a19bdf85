import pytest
from checks import refused, write_tables

from lowlight.core.errors import DataError
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
BOX = AnnotationRow("a.jpg", 40, 30, "Cat", 4, 5, 24, 20)
IMAGE = ImageRow("a.jpg", "Cat/a.png", 40, 30, "Cat", "Low", "Indoor", "val", 1)
NAMELESS = ImageRow("b.jpg", "Dog/b.jpg", 40, 30, "", "", "", "", 0)


@pytest.mark.parametrize(
    ("rows", "row_type", "text"),
    [
        pytest.param(
            [BOX],
            AnnotationRow,
            "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,40,30,Cat,4,5,24,20\n",
            id="annotations.csv",
        ),
        pytest.param(
            [BOX, BOX._replace(is_crowd=1), BOX._replace(area=200.25)],
            AnnotationRow,
            "filename,width,height,class,xmin,ymin,xmax,ymax,is_crowd,area\n"
            "a.jpg,40,30,Cat,4,5,24,20,0,\n"
            "a.jpg,40,30,Cat,4,5,24,20,1,\n"
            "a.jpg,40,30,Cat,4,5,24,20,0,200.25\n",
            id="crowds and areas",
        ),
        pytest.param(
            [BOX._replace(area=200.0)],
            AnnotationRow,
            "filename,width,height,class,xmin,ymin,xmax,ymax,area\n"
            "a.jpg,40,30,Cat,4,5,24,20,200.0\n",
            id="areas alone",
        ),
        pytest.param(
            [IMAGE, NAMELESS],
            ImageRow,
            "filename,source,width,height,folder_class,lighting,location,official_split,boxes\n"
            "a.jpg,Cat/a.png,40,30,Cat,Low,Indoor,val,1\n"
            "b.jpg,Dog/b.jpg,40,30,,,,,0\n",
            id="images.csv",
        ),
        pytest.param([SplitRow("a.jpg", "test")], SplitRow, "filename,split\na.jpg,test\n"),
        pytest.param([], SplitRow, "filename,split\n", id="no row"),
        pytest.param(
            [SplitRow('a, "b".jpg', "test")],
            SplitRow,
            'filename,split\n"a, ""b"".jpg",test\n',
            id="a name with a comma and quotes",
        ),
        pytest.param(
            [SplitRow("a\r.jpg", "test")],
            SplitRow,
            '"filename","split"\n"a\r.jpg","test"\n',
            id="a name with a carriage return",
        ),
    ],
)
def test_a_table_is_csv_and_reads_back_as_it_was(tmp_path, rows, row_type, text):
    assert format_table(rows, row_type) == text
    (tmp_path / "a.csv").write_text(text, newline="")
    assert rows_of(read_table(tmp_path / "a.csv", row_type, REMEDY), row_type) == rows


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"split,filename\nval,a.jpg\n", id="other order"),
        pytest.param(b"filename,note,split\na.jpg,x,val\n", id="one column more"),
        pytest.param(b"\xef\xbb\xbffilename,split\r\na.jpg,val\r\n", id="as Excel writes it"),
        pytest.param(b"filename,split\n\na.jpg,val", id="an empty line"),
    ],
)
def test_a_table_by_another_hand_is_read(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text)
    assert rows_of(read_table(tmp_path / "a.csv", SplitRow, REMEDY), SplitRow) == [
        SplitRow("a.jpg", "val")
    ]


def test_a_row_has_the_line_it_stands_on(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("filename,split\na.jpg,val\n\nb.jpg,test\n")
    assert read_table(path, SplitRow, REMEDY).index.tolist() == [2, 4]


GOOD = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", ":1: no column filename, width, height, class, xmin", id="empty"),
        pytest.param("filename,width,height,class,xmin,ymin\n", ":1: no column xmax, ymax.\n"),
        pytest.param(GOOD + "a.jpg,40,30,Cat,4,5,24\n", ":2: no field for column ymax."),
        pytest.param(
            GOOD + "a.jpg,40,30,Cat,4,5,24,20\na.jpg,40,30,Cat,4,5,24,1.5\n",
            ":3: ymax is '1.5', not a whole number.",
        ),
        pytest.param(GOOD + "a.jpg,,30,Cat,4,5,24,20\n", ":2: width is '', not a whole number."),
        pytest.param(GOOD + "a.jpg,40,30,Cat,4,5,24," + "9" * 5000, ":2: ymax is '99999"),
        pytest.param(GOOD + 'a.jpg,40,30,"Cat,4,5,24,20\n', ": not a csv file in UTF-8"),
        pytest.param(b"\xff\xfe\x00", ": not a csv file in UTF-8"),
        *(
            (GOOD[:-1] + f",area\na.jpg,40,30,Cat,4,5,24,20,{area}\n", f":2: area is '{area}', not")
            for area in ("-1", "0", "inf", "nan", "big")
        ),
    ],
    ids=[
        "empty",
        "columns missing",
        "field missing",
        "a fraction",
        "no number",
        "5,000 digits",
        "quote",
        "UTF-16",
        *("area under 0", "area 0", "infinite area", "no number as area", "text as area"),
    ],
)
def test_a_bad_table_is_told_with_its_place(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with refused(f"{path}{message}"):
        read_table(path, AnnotationRow, REMEDY)


def test_a_missing_table_is_told_with_the_remedy(tmp_path):
    with pytest.raises(DataError, match=r"a\.csv: no such file\.\n  Make it\.$"):
        read_table(tmp_path / "a.csv", SplitRow, REMEDY)


CAT = ImageRow("a.jpg", "Cat/a.jpg", 80, 40, "Cat", "Low", "Indoor", "train", 2)
BOXES = [
    AnnotationRow("a.jpg", 80, 40, "Cat", 8, 10, 40, 20),
    AnnotationRow("a.jpg", 80, 40, "Table", 0, 0, 80, 40),
]


def test_tables_are_read_as_images_with_their_boxes(tmp_path):
    write_tables(tmp_path, [CAT], BOXES)
    assert read_tables(tmp_path, CLASSES) == [(CAT, BOXES)]


BAD_TABLES = {
    "unknown image": ([CAT], [BOXES[0]._replace(filename="b.jpg")], r"annotations\.csv:2: b\.jpg"),
    "another size": ([CAT], [BOXES[0]._replace(width=81)], r"annotations\.csv:2: 81x40 pixels"),
    "outside": ([CAT], [BOXES[0]._replace(xmax=81)], r"csv:2: the box \(8, 10, 81, 20\)"),
    "no area": ([CAT], [BOXES[0]._replace(xmax=8)], r"csv:2: the box \(8, 10, 8, 20\)"),
    "half a crowd": ([CAT], [BOXES[0]._replace(is_crowd=2)], r"csv:2: is_crowd is 2, not 0 or 1"),
    "a path": (
        [CAT._replace(filename="../a.jpg")],
        [],
        r"images\.csv:2: '\.\./a\.jpg' isn't a file",
    ),
    "a device": (
        [CAT._replace(filename="/dev/zero")],
        [],
        r"images\.csv:2: '/dev/zero' isn't a fil",
    ),
    "image twice": ([IMAGE, CAT], [], r"images\.csv:3: a\.jpg stands here twice"),
}


@pytest.mark.parametrize(("images", "boxes", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_tables_that_contradict_themselves_are_refused(tmp_path, images, boxes, message):
    write_tables(tmp_path, images, boxes)
    with pytest.raises(DataError, match=message):
        read_tables(tmp_path, CLASSES)


def test_an_unknown_class_is_told_with_the_known_ones_and_where_to_name_it(tmp_path):
    write_tables(tmp_path, [CAT], BOXES)
    with pytest.raises(DataError) as caught:
        read_tables(tmp_path, ("Cat", "Cup"))
    assert str(caught.value) == (
        f"{tmp_path}/annotations.csv:3: unknown class 'Table'.\n"
        "  Known classes: Cat, Cup. Correct the line, or name all classes in "
        f"{tmp_path}/classes.txt, one a line."
    )
