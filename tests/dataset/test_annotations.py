"""ExDark's annotations and image list are gathered into tables; what doesn't fit is named."""

import shutil

import pytest
from checks import refused, write_files

from lowlight.core.errors import DataError
from lowlight.dataset.annotations import (
    BbGtBox,
    ImageFacts,
    gather_annotations,
    parse_bbgt,
    parse_image_list,
)
from lowlight.dataset.labels import Oddity

BOAT, CAT, BIKE = "Boat/2015_00002.png.txt", "Cat/2015_00005.jpg.txt", "Bicycle/2015_00001.jpg.txt"


@pytest.fixture
def texts(converted):
    """The folder of annotations, as a test may change it."""
    return converted / "ExDark_Annno"


@pytest.fixture
def gather(converted, texts):
    def run(**options):
        return gather_annotations(texts, converted / "images", **options)

    return run


@pytest.fixture
def image_list(converted):
    return converted / "imageclasslist.txt"


def write_boxes(texts, name, *boxes):
    """Writes an annotation of boxes, each a class and four numbers."""
    lines = ["% bbGt version=3", *(f"{box} 0 0 0 0 0 0 0" for box in boxes)]
    (texts / name).write_text("".join(f"{line}\n" for line in lines))


def test_image_annotation_and_list_fit_whatever_their_case(converted, texts, gather, image_list):
    (converted / "images/2015_00005.jpg").rename(converted / "images/Night.jpg")
    (texts / CAT).rename(texts / "Cat/night.JPG.txt")
    image_list.write_bytes(image_list.read_bytes().replace(b"2015_00005.JPG", b"NIGHT.jpg"))
    image = gather(image_list=image_list).images[-1]
    assert (image.filename, image.lighting, image.boxes) == ("Night.jpg", "Screen", 1)


def test_without_a_list_the_facts_are_empty_and_no_image_is_called_unlisted(gather):
    found = gather()
    assert {tuple(image[4:8]) for image in found.images} == {("", "", "", "")}
    assert found.notes[Oddity.UNLISTED] == {}


def test_every_oddity_is_a_row_of_problems(converted, gather, image_list):
    (converted / "images/2015_00001.jpg").unlink()
    image_list.write_bytes(image_list.read_bytes().replace(b"2015_00003.png 3 3 1 3\r\n", b""))
    found = gather(image_list=image_list, allow_missing=True)
    assert (len(found.images), len(found.boxes)) == (7, 6)
    assert found.images[1][4:8] == ("", "", "", "")
    assert found.notes.problems() == [
        ("2015_00003.jpg", "not in the image list", "kept without lighting, location and split"),
        (BIKE, "no image", "left out"),
        ("Boat/._2015_00002.png.txt", "stray file", "left alone"),
        (BOAT, "boxes clipped", "1, by 2 px at most"),
        ("Motorbike/2015_00007.JPEG.txt", "no boxes", "kept as an image of background"),
        ("Table/2015_00008.jpg.txt", "no box of its folder's class", "kept"),
    ]


@pytest.mark.parametrize(
    ("boxes", "clipped"),
    [
        (["0 0 36 24"], []),
        (["-3 -5 30 20"], ["1, by 5 px at most"]),
        (["0 0 37 24", "1 1 4 4", "30 20 10 10"], ["2, by 6 px at most"]),
    ],
    ids=["the whole image", "two edges of one box", "two boxes of three"],
)
def test_a_clipped_box_is_counted_once_with_its_furthest_edge(texts, gather, boxes, clipped):
    write_boxes(texts, BOAT, *(f"Boat {box}" for box in boxes))
    problems = gather().notes.problems()
    assert [row.detail for row in problems if row.problem == "boxes clipped"] == clipped


def test_boxes_that_repeat_are_counted(texts, gather):
    write_boxes(texts, BOAT, *["Boat 1 2 3 4"] * 3)
    assert gather().notes[Oddity.BOXES_REPEATED] == {BOAT: 2}


def test_a_folder_that_is_no_class_asks_for_none(texts, gather):
    (texts / "Table").rename(texts / "part 3")
    assert gather().notes[Oddity.WITHOUT_FOLDER_CLASS] == {}


def test_an_annotation_may_be_named_after_the_stem_alone(texts, gather):
    (texts / BOAT).rename(texts / "Boat/2015_00002.txt")
    assert gather().boxes[2].class_name == "Boat"


# What is refused. ---------------------------------------------------------------------------------


def test_annotations_without_image_are_named_and_refused(converted, texts, gather):
    (converted / "images/2015_00001.jpg").unlink()
    with refused(
        f"{texts}: no image in {converted}/images for {BIKE}.\n"
        "  Convert the missing images, or give --allow_missing to leave these out."
    ):
        gather()


@pytest.mark.parametrize("allow_missing", [False, True])
def test_an_image_without_annotation_is_always_refused(converted, texts, gather, allow_missing):
    (texts / CAT).unlink()
    with refused(f"{converted}/images: no annotation in {texts} for 2015_00005.jpg.\n  Add"):
        gather(allow_missing=allow_missing)


def test_all_bad_annotations_are_named_at_once(texts, gather):
    for name in (BOAT, CAT):
        write_boxes(texts, name, "Boat 1 2 3 ten")
    with pytest.raises(DataError) as caught:
        gather()
    lines = str(caught.value).split("\n")
    said = ":2: 'Boat 1 2 3 ten 0 0 0 0 0 0 0' isn't a class, left, top, width and height."
    assert lines[::2] == [f"{texts}/{name}{said}" for name in (BOAT, CAT)]


@pytest.mark.parametrize("box", ["-20 6 20 10", "36 6 20 10", "2 -10 20 10", "2 24 20 10"])
def test_a_box_wholly_outside_is_refused_with_its_line(texts, gather, box):
    write_boxes(texts, BOAT, f"Boat {box}")
    with refused(
        f"{texts}/{BOAT}:2: the box ({box.replace(' ', ', ')}) (left, top, width, height) lies "
        "wholly outside its image of 36x24 pixels.\n  Correct or remove it."
    ):
        gather()


@pytest.mark.parametrize("zipped", [False, True])
def test_an_annotation_larger_than_any_is_refused_before_it_is_read(converted, texts, zipped):
    (texts / BOAT).write_bytes(b"\0" * (2**20 + 1))
    source = shutil.make_archive(converted / "a", "zip", texts) if zipped else texts
    with pytest.raises(DataError, match=rf"{BOAT}: 1,048,577 bytes, and no image's annotation"):
        gather_annotations(source, converted / "images")


def test_two_annotations_of_one_image_are_refused(texts, gather):
    shutil.copy(texts / BOAT, texts / "Cat/2015_00002.JPG.txt")
    with pytest.raises(DataError, match=f"annotates the same image as {BOAT}"):
        gather()


def test_images_whose_names_differ_in_case_alone_are_not_dropped(converted, texts, gather):
    shutil.copy(texts / CAT, texts / "Cat/a.jpg.txt")
    for name in ("a.jpg", "A.jpg"):
        shutil.copy(converted / "images/2015_00005.jpg", converted / "images" / name)
    with pytest.raises(DataError, match=r"a\.jpg"):
        gather()


# What lies in a folder, and what is said of that; None for no folder or file.
MISSING = {
    "images": (None, "no such folder.\n  Check --images_dir."),
    "images/": ({}, "holds no .jpg image.\n  Run convert_images.py, or check --images_dir."),
    "ExDark_Annno": ({}, "holds no file.\n  Check --annotations."),
    "ExDark_Annno/": (
        {"a.png": ""},
        "holds no annotation (.txt).\n  --annotations is ExDark_Annno, the folder of class folders "
        "or its zip archive.",
    ),
    "imageclasslist.txt": (None, "no such file.\n  Check --image_list."),
}


@pytest.mark.parametrize(("name", "files", "message"), [(k, *v) for k, v in MISSING.items()])
def test_a_missing_input_is_refused_with_its_flag(
    converted, gather, image_list, name, files, message
):
    path = converted / name.rstrip("/")
    path.rename(converted / "away")
    if files is not None:
        path.mkdir()
        write_files(path, files)
    with refused(f"{path}: {message}"):
        gather(image_list=image_list)


# The texts. ---------------------------------------------------------------------------------------

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


def test_an_endless_line_is_told_by_its_beginning():
    with pytest.raises(DataError) as caught:
        parse_bbgt(f"{HEADER}\nCat {'1' * 10**6} 2 30 40".encode(), "Cat/a.jpg.txt")
    assert len(str(caught.value)) < 500


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
