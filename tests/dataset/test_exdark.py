import pytest
from checks import refused

from lowlight.core.errors import DataError
from lowlight.dataset.annotations import BbGtBox, ImageFacts, parse_bbgt, parse_image_list

HEADER = "% bbGt version=3\n"
LIST_HEADER = "Name | Class | Light | In/Out | Train/Val/Test\n"


def test_a_box_is_a_line_with_class_left_top_width_and_height():
    data = (HEADER + "Bicycle 204 28 271 193 0 0 0 0 0 0 0\nPeople 1 2 30 40\n").encode()
    assert parse_bbgt(data, "a.txt") == [
        BbGtBox(line=2, name="Bicycle", pixel_ltwh=(204, 28, 271, 193)),
        BbGtBox(line=3, name="People", pixel_ltwh=(1, 2, 30, 40)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(HEADER + "Cat -1 2 30 40\n", id="LF"),
        pytest.param(HEADER + "Cat -1 2 30 40", id="no end of line"),
        pytest.param("% bbGt version=3\r\nCat -1 2 30 40\r\n", id="CRLF"),
        pytest.param("\ufeff" + HEADER + "Cat -1 2 30 40\n", id="byte order mark"),
        pytest.param(HEADER + "Cat  -1\t2 30  40 \n\n", id="other blanks"),
    ],
)
def test_each_form_of_a_line_is_read(text):
    assert parse_bbgt(text.encode(), "a.txt") == [BbGtBox(2, "Cat", (-1, 2, 30, 40))]


def test_an_empty_line_counts_as_a_line():
    (box,) = parse_bbgt((HEADER + "\nCat 1 2 30 40\n").encode(), "a.txt")
    assert box.line == 3


def test_an_annotation_may_hold_no_box():
    assert parse_bbgt(HEADER.encode(), "a.txt") == []


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        pytest.param("", ":1", "not an annotation of ExDark", id="empty"),
        pytest.param("Cat 1 2 30 40\n", ":1", "not an annotation of ExDark", id="no header"),
        pytest.param(HEADER + "\nCat 1 2 30\n", ":3", "'Cat 1 2 30' lacks", id="too few fields"),
        pytest.param(HEADER + "Cat\n", ":2", "'Cat' lacks", id="a class alone"),
        pytest.param(HEADER + "cat 1 2 30 40\n", ":2", "unknown class 'cat'", id="lower case"),
        pytest.param(HEADER + "Lamp 1 2 30 40\n", ":2", "unknown class 'Lamp'", id="other class"),
        pytest.param(HEADER + "Cat 1 2 30 x\n", ":2", "'1 2 30 x' isn't four whole", id="a word"),
        pytest.param(HEADER + "Cat 1 2 3.5 4\n", ":2", "'1 2 3.5 4' isn't four", id="a fraction"),
        pytest.param(HEADER + "Cat 1 2 nan 4\n", ":2", "'1 2 nan 4' isn't four", id="nan"),
        pytest.param(HEADER + "Cat 1 2 0 40\n", ":2", "a box 0 wide and 40 high", id="no width"),
        pytest.param(HEADER + "Cat 1 2 30 -4\n", ":2", "a box 30 wide and -4 high", id="below 0"),
    ],
)
def test_a_bad_line_is_told_with_its_place(text, place, found):
    remedy = "Add it, or move the file away." if place == ":1" else "line and run this step again."
    with refused(f"Cat/a.jpg.txt{place}: {found}", remedy):
        parse_bbgt(text.encode(), "Cat/a.jpg.txt")


def test_an_unknown_class_is_told_with_the_known_ones():
    with pytest.raises(DataError, match="Known classes: Bicycle, Boat, .*People, Table. Correct"):
        parse_bbgt((HEADER + "Lamp 1 2 30 40\n").encode(), "a.txt")


@pytest.mark.parametrize("parse", [parse_bbgt, parse_image_list])
def test_what_is_no_text_is_refused(parse):
    with pytest.raises(DataError, match="^a.txt: not a text file"):
        parse(b"\x89PNG\r\n", "a.txt")


def test_the_numbers_of_the_image_list_become_words():
    data = (LIST_HEADER + "2015_00001.png 01 2 1 1\n2015_00391.JPG 12 10 2 3\n").encode()
    assert parse_image_list(data, "list.txt") == {
        "2015_00001.png": ImageFacts("Bicycle", "Ambient", "Indoor", "train"),
        "2015_00391.JPG": ImageFacts("Table", "Twilight", "Outdoor", "test"),
    }


def test_a_list_without_header_keeps_its_first_image():
    facts = parse_image_list(b"2015_00001.png 1 2 1 1\n", "list.txt")
    assert list(facts) == ["2015_00001.png"]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("2015_00002.png 1 2 1", id="four columns"),
        pytest.param("2015_00002.png 1 2 1 1 1", id="six columns"),
        pytest.param("2015_00002.png 0 2 1 1", id="class 0"),
        pytest.param("2015_00002.png 13 2 1 1", id="class 13"),
        pytest.param("2015_00002.png 1 11 1 1", id="lighting 11"),
        pytest.param("2015_00002.png 1 2 3 1", id="location 3"),
        pytest.param("2015_00002.png 1 2 1 4", id="split 4"),
        pytest.param("2015_00002.png Bicycle 2 1 1", id="a word"),
        pytest.param(f"2015_00002.png 1 2 1 {'9' * 5000}", id="5000 digits"),
    ],
)
def test_a_bad_line_of_the_image_list_is_told_with_its_place(line):
    with pytest.raises(DataError) as caught:
        parse_image_list(f"{LIST_HEADER}2015_00001.png 1 2 1 1\n{line}\n".encode(), "list.txt")
    assert str(caught.value) == (
        f"list.txt:3: {line!r} isn't 'name class light in/out train/val/test' with numbers in "
        "range.\n  Correct the line, or take the list as ExDark's authors hand it out."
    )
