"""Classes and their ids: ExDark's twelve, a data set's own, and label maps by any hand."""

import pytest
from checks import refused

from lowlight.dataset.classes import (
    CLASSES,
    LIGHTINGS,
    LOCATIONS,
    SPLITS,
    format_label_map,
    read_classes,
    read_label_map,
)


def test_exdarks_numbers_are_places_in_the_tuples():
    assert " ".join(CLASSES) == (
        "Bicycle Boat Bottle Bus Car Cat Chair Cup Dog Motorbike People Table"
    )
    assert (len(LIGHTINGS), LIGHTINGS[1 - 1], LIGHTINGS[10 - 1]) == (10, "Low", "Twilight")
    assert (LOCATIONS, SPLITS) == (("Indoor", "Outdoor"), ("train", "val", "test"))


def test_a_label_map_is_written_in_protobuf_text_form():
    assert format_label_map(["Cat", "Dog"]) == (
        "item {\n  id: 1\n  name: 'Cat'\n}\nitem {\n  id: 2\n  name: 'Dog'\n}\n"
    )


@pytest.mark.parametrize(
    "names",
    [
        CLASSES,
        *((name, "Cat") for name in ("driver's mirror", "dogs'", "# 1", "Straßenlampe", "a, b")),
    ],
    ids=lambda names: names[0],
)
def test_any_names_of_classes_read_back_from_the_label_map_in_their_order(tmp_path, names):
    (tmp_path / "label_map.txt").write_text(format_label_map(names))
    assert read_label_map(tmp_path / "label_map.txt") == dict(enumerate(names, 1))


def test_a_data_set_without_classes_txt_has_exdarks_classes(tmp_path):
    assert read_classes(tmp_path) == CLASSES


@pytest.mark.parametrize(
    "text",
    ["Street lamp\nCat\n", "Street lamp\r\nCat\r\n", "\ufeff Street lamp \n\nCat"],
    ids=["LF", "CRLF", "byte order mark, blanks, an empty line"],
)
def test_the_lines_of_classes_txt_are_the_classes_in_the_order_of_their_ids(tmp_path, text):
    (tmp_path / "classes.txt").write_bytes(text.encode())
    assert read_classes(tmp_path) == ("Street lamp", "Cat")


BAD_CLASSES = {
    "empty": (b"\n", ": names no class"),
    "twice": (b"Cat\n\nCat\n", ":3: class 'Cat' stands here twice"),
    "quotes": (b'Cat\na "b"\n', ":2: 'a \"b\"' can't be a class's name"),
    "braces": (b"{Cat}\n", ":1: '{Cat}' can't be"),
    "a tab": (b"a\tb\n", ":1: 'a\\tb' can't be"),
    "no text": (b"\xff\xd8", ": not a text file in UTF-8"),
}


@pytest.mark.parametrize(("data", "message"), BAD_CLASSES.values(), ids=BAD_CLASSES)
def test_a_classes_txt_that_cannot_be_used_is_refused(tmp_path, data, message):
    path = tmp_path / "classes.txt"
    path.write_bytes(data)
    with refused(f"{path}{message}"):
        read_classes(tmp_path)


FORMS = {
    "one line, name first": "item { name: 'Cat' id: 3 }",
    "commas and double quotes": 'item {\n id: 3,\n name: "Cat"\n}',
    "a colon, no blanks": "item: {id:3 name:'Cat'}",
    "comments": "# animals\nitem { id: 3 # three\n name: 'Cat' }",
    "display_name alone": "item { id: 3 display_name: 'Cat' }",
    "both names": "item { id: 3 name: '/m/01yrx' display_name: 'Cat' }",
    "CRLF": "item {\r\n  id: 3\r\n  name: 'Cat'\r\n}\r\n",
    "byte order mark": "\ufeffitem { id: 3 name: 'Cat' }",
    "angle brackets, adjacent strings": "item < id: 3; name: 'C' 'at' >",
    "hexadecimal, octal escapes": "item { id: 0x3 name: '\\103at' }",
    "id 0": "item { id: 0 name: 'background' }, item { id: 3 name: 'Cat' }",
    "LVIS": "item { id: 3 name: 'Cat' frequency: RARE keypoints { id: 0 label: 'ear' } }",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_each_form_of_a_label_map_is_read(tmp_path, text):
    path = tmp_path / "label_map.pbtxt"
    path.write_bytes(text.encode())
    assert read_label_map(path) == {3: "Cat"}


CAT = "item { id: 1 name: 'Cat' }"
SHOWN = "item { id: 1 display_name: 'Cat' }\nitem {\n id: 2 name: 'Cat' display_name: 'Dog' }"
# Texts, the place that is named, and what was found there.
BAD_MAPS = {
    "empty": ("", "", "names no class"),
    "a list of names": ("Bicycle\nBoat\n", ":1", 'no field named "Bicycle"'),
    "text after it": (f"{CAT}\nDog", ":2", "not a label map"),
    "cut short": (CAT[:-2], ":1", "not a label map"),
    "two ids in one": ("item {\n id: 1\n id: 2 }", ":3", 'multiple "id" fields'),
    "unknown field": ("item {\n id: 1 nam: 'Cat' }", ":2", 'named "nam"'),
    "a quote in it": ("item { name: 'Cat' s' id: 1 }", ":1", "not a label map"),
    "endless blanks": ("item" + " " * 200_000, ":1", "not a label map"),
    "no name": ("item {\n id: 1\n}", ": item 1", "needs a name and an id"),
    "no id": ("\nitem {\n name: 'Cat'\n}", ": item 1", "needs a name and an id"),
    "id 0": ("item { id: 0 name: 'Cat' }", ": item 1", "an id of 1 or more"),
    "id below 0": ("item { id: -1 name: 'Cat' }", ": item 1", "an id of 1 or more"),
    "long id": (f"item {{ id: {'9' * 5000} name: 'Cat' }}", ":1", "not a label map"),
    "an id twice": (f"{CAT}\nitem {{ id: 1 name: 'Dog' }}", ": item 2", "id 1 or name 'Dog' twice"),
    "a name twice": (
        f"{CAT}\nitem {{ id: 2 name: 'Cat' }}",
        ": item 2",
        "id 2 or name 'Cat' twice",
    ),
    "a text of two classes": (SHOWN, ": item 2", "id 2 or name 'Dog' twice"),
}


@pytest.mark.parametrize(("text", "place", "found"), BAD_MAPS.values(), ids=BAD_MAPS)
def test_what_is_no_label_map_is_refused(tmp_path, text, place, found):
    path = tmp_path / "label_map.txt"
    path.write_text(text)
    remedy = "make_tfrecords.py writes label_map.txt beside the records."
    with refused(f"{path}{place}: ", remedy, found):
        read_label_map(path)


def test_both_names_of_a_class_are_texts_of_its_id(tmp_path):
    path = tmp_path / "label_map.pbtxt"
    path.write_text(
        "item { id: 3 name: '/m/01yrx' display_name: 'Cat' }\nitem { id: 1 name: 'Owl' }"
    )
    assert read_label_map(path).ids == {"/m/01yrx": 3, "Cat": 3, "Owl": 1}


def test_a_missing_label_map_is_refused(tmp_path):
    with refused(f"{tmp_path}/label_map.txt: no such file.\n  make_tfrecords.py"):
        read_label_map(tmp_path / "label_map.txt")


@pytest.mark.slow
def test_tfod_reads_a_label_map_with_a_byte_order_mark_as_we_do(tmp_path):
    import lowlight.tfod.training  # noqa: F401

    from object_detection.utils import label_map_util  # isort: skip

    path = tmp_path / "label_map.pbtxt"
    path.write_text("\ufeffitem { id: 3 name: 'C' 'at' display_name: 'Tom\\'s' }")
    assert label_map_util.get_label_map_dict(str(path)) == {"Cat": 3}
    assert read_label_map(path) == {3: "Tom's"}
