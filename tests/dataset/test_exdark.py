"""An annotation and the image list, as ExDark's authors write them, are read in each form."""

import pytest
from checks import refused

from lowlight.core.errors import DataError
from lowlight.dataset.annotations import BbGtBox, ImageFacts, parse_bbgt, parse_image_list

HEADER = "% bbGt version=3\n"
LIST_HEADER = "Name | Class | Light | In/Out | Train/Val/Test\n"


def test_a_box_is_a_line_with_class_left_top_width_and_height():
    data = (HEADER + "Bicycle 204 28 271 193 0 0 0 0 0 0 0\n\nPeople 1 2 30 40\n").encode()
    assert parse_bbgt(data, "a.txt") == [
        BbGtBox(line=2, name="Bicycle", pixel_ltwh=(204, 28, 271, 193)),
        BbGtBox(line=4, name="People", pixel_ltwh=(1, 2, 30, 40)),
    ]


FORMS = {
    "LF": HEADER + "Cat -1 2 30 40\n",
    "no end of line": HEADER + "Cat -1 2 30 40",
    "CRLF": "% bbGt version=3\r\nCat -1 2 30 40\r\n",
    "byte order mark": "\ufeff" + HEADER + "Cat -1 2 30 40\n",
    "other blanks": HEADER + "Cat  -1\t2 30  40 \n\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_each_form_of_a_line_is_read(text):
    assert parse_bbgt(text.encode(), "a.txt") == [BbGtBox(2, "Cat", (-1, 2, 30, 40))]


def test_an_annotation_may_hold_no_box():
    assert parse_bbgt(HEADER.encode(), "a.txt") == []


@pytest.mark.parametrize("text", ["", "Cat 1 2 30 40\n"], ids=["empty", "no header"])
def test_what_is_no_annotation_is_named(text):
    with refused("Cat/a.jpg.txt:1: not an annotation of ExDark", "Add it, or move the file away."):
        parse_bbgt(text.encode(), "Cat/a.jpg.txt")


BAD_LINES = (
    *("Cat 1 2 30", "Cat", "cat 1 2 30 40", "Lamp 1 2 30 40", "Cat 1 2 30 x", "Cat 1 2 3.5 4"),
    *("Cat 1 2 nan 4", "Cat 1 2 0 40", "Cat 1 2 30 -4"),
)


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_told_with_its_place_and_the_known_classes(line):
    found = f"{line!r} isn't a class, left, top, width and height.\n  Known classes: Bicycle, Boat"
    with refused(f"Cat/a.jpg.txt:3: {found}", "line and run this step again."):
        parse_bbgt(f"{HEADER}\n{line}\n".encode(), "Cat/a.jpg.txt")


@pytest.mark.parametrize("parse", [parse_bbgt, parse_image_list])
def test_what_is_no_text_is_refused(parse):
    with pytest.raises(DataError, match="^a.txt: not a text file"):
        parse(b"\x89PNG\r\n", "a.txt")


def test_the_numbers_of_the_image_list_become_words_and_its_header_may_be_missing():
    lines = "2015_00001.png 01 2 1 1\n2015_00391.JPG 12 10 2 3\n"
    for text in (LIST_HEADER + lines, lines):
        assert parse_image_list(text.encode(), "list.txt") == {
            "2015_00001.png": ImageFacts("Bicycle", "Ambient", "Indoor", "train"),
            "2015_00391.JPG": ImageFacts("Table", "Twilight", "Outdoor", "test"),
        }


BAD_FACTS = {
    "four columns": "1 2 1",
    "six columns": "1 2 1 1 1",
    "class 0": "0 2 1 1",
    "class 13": "13 2 1 1",
    "lighting 11": "1 11 1 1",
    "location 3": "1 2 3 1",
    "split 4": "1 2 1 4",
    "a word": "Bicycle 2 1 1",
    "5000 digits": f"1 2 1 {'9' * 5000}",
}


@pytest.mark.parametrize("facts", BAD_FACTS.values(), ids=BAD_FACTS)
def test_a_bad_line_of_the_image_list_is_told_with_its_place(facts):
    line = f"2015_00002.png {facts}"
    with refused(
        f"list.txt:3: {line!r} isn't 'name class light in/out train/val/test' with numbers in "
        "range.\n  Correct the line, or take the list as ExDark's authors hand it out."
    ):
        parse_image_list(f"{LIST_HEADER}2015_00001.png 1 2 1 1\n{line}\n".encode(), "list.txt")
