import pytest
from checks import refused

from lowlight.core.errors import DataError
from lowlight.dataset.classes import (
    CLASSES,
    LIGHTINGS,
    LOCATIONS,
    SPLITS,
    format_label_map,
    read_classes,
    read_label_map,
)


def test_the_label_map_numbers_the_classes_in_exdarks_order(tmp_path):
    path = tmp_path / "label_map.txt"
    path.write_text(format_label_map())
    assert read_label_map(path) == {
        1: "Bicycle",
        2: "Boat",
        3: "Bottle",
        4: "Bus",
        5: "Car",
        6: "Cat",
        7: "Chair",
        8: "Cup",
        9: "Dog",
        10: "Motorbike",
        11: "People",
        12: "Table",
    }


def test_exdarks_numbers_are_places_in_the_tuples():
    assert (CLASSES[11 - 1], LIGHTINGS[1 - 1], LIGHTINGS[10 - 1]) == ("People", "Low", "Twilight")
    assert (LOCATIONS, SPLITS) == (("Indoor", "Outdoor"), ("train", "val", "test"))
    assert (len(CLASSES), len(LIGHTINGS)) == (12, 10)


def test_a_label_map_is_written_in_protobuf_text_form():
    assert format_label_map(["Cat", "Dog"]) == (
        "item {\n  id: 1\n  name: 'Cat'\n}\nitem {\n  id: 2\n  name: 'Dog'\n}\n"
    )


def test_a_data_set_without_classes_txt_has_exdarks_classes(tmp_path):
    assert read_classes(tmp_path) == CLASSES


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Street lamp\nCat\n", id="LF"),
        pytest.param("Street lamp\r\nCat\r\n", id="CRLF"),
        pytest.param("\ufeff Street lamp \n\nCat", id="byte order mark, blanks, an empty line"),
    ],
)
def test_the_lines_of_classes_txt_are_the_classes_in_the_order_of_their_ids(tmp_path, text):
    (tmp_path / "classes.txt").write_bytes(text.encode())
    assert read_classes(tmp_path) == ("Street lamp", "Cat")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"\n", ": names no class", id="empty"),
        pytest.param(b"Cat\n\nCat\n", ":3: class 'Cat' stands here twice", id="twice"),
        pytest.param(b'Cat\na "b"\n', ":2: 'a \"b\"' can't be a class's name", id="quotes"),
        pytest.param(b"{Cat}\n", ":1: '{Cat}' can't be", id="braces"),
        pytest.param(b"a\tb\n", ":1: 'a\\tb' can't be", id="a tab"),
        pytest.param(b"\xff\xd8", ": not a text file in UTF-8", id="no text"),
    ],
)
def test_a_classes_txt_that_cannot_be_used_is_refused(tmp_path, data, message):
    path = tmp_path / "classes.txt"
    path.write_bytes(data)
    with refused(f"{path}{message}"):
        read_classes(tmp_path)


@pytest.mark.parametrize("name", ["driver's mirror", "dogs'", "# 1", "Straßenlampe", "a, b"])
def test_any_name_of_a_class_reads_back_from_the_label_map(tmp_path, name):
    (tmp_path / "label_map.txt").write_text(format_label_map([name, "Cat"]))
    assert read_label_map(tmp_path / "label_map.txt") == {1: name, 2: "Cat"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("item { name: 'Cat' id: 3 }", id="one line, name first"),
        pytest.param('item {\n id: 3,\n name: "Cat"\n}', id="commas and double quotes"),
        pytest.param("item: {id:3 name:'Cat'}", id="a colon, no blanks"),
        pytest.param("# animals\nitem { id: 3 # three\n name: 'Cat' }", id="comments"),
        pytest.param("item { id: 3 display_name: 'Cat' }", id="display_name alone"),
        pytest.param("item { id: 3 name: '/m/01yrx' display_name: 'Cat' }", id="both names"),
        pytest.param("item {\r\n  id: 3\r\n  name: 'Cat'\r\n}\r\n", id="CRLF"),
        pytest.param("\ufeffitem { id: 3 name: 'Cat' }", id="byte order mark"),
        pytest.param("item < id: 3; name: 'C' 'at' >", id="angle brackets, adjacent strings"),
        pytest.param("item { id: 0x3 name: '\\103at' }", id="hexadecimal, octal escapes"),
        pytest.param("item { id: 0 name: 'background' }, item { id: 3 name: 'Cat' }", id="id 0"),
        pytest.param(
            "item { id: 3 name: 'Cat' frequency: RARE keypoints { id: 0 label: 'ear' } }", id="LVIS"
        ),
    ],
)
def test_each_form_of_a_label_map_is_read(tmp_path, text):
    path = tmp_path / "label_map.pbtxt"
    path.write_bytes(text.encode())
    assert read_label_map(path) == {3: "Cat"}


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        pytest.param("", "", "names no class", id="empty"),
        pytest.param("Bicycle\nBoat\n", ":1", 'no field named "Bicycle"', id="a list of names"),
        pytest.param(
            "item { id: 1 name: 'Cat' }\nDog", ":2", "not a label map", id="text after it"
        ),
        pytest.param("item { id: 1 name: 'Cat'", ":1", "not a label map", id="cut short"),
        pytest.param("item {\n id: 1\n id: 2 }", ":3", 'multiple "id" fields', id="two ids in one"),
        pytest.param("item {\n id: 1 nam: 'Cat' }", ":2", 'named "nam"', id="unknown field"),
        pytest.param("item { name: 'Cat' s' id: 1 }", ":1", "not a label map", id="a quote in it"),
        pytest.param("item" + " " * 200_000, ":1", "not a label map", id="endless blanks"),
        pytest.param("item {\n id: 1\n}", ":1", "needs a name and an id", id="no name"),
        pytest.param("\nitem {\n name: 'Cat'\n}", ":2", "needs a name and an id", id="no id"),
        pytest.param("item { id: 0 name: 'Cat' }", ":1", "an id of 1 or more", id="id 0"),
        pytest.param("item { id: -1 name: 'Cat' }", ":1", "an id of 1 or more", id="id below 0"),
        pytest.param(
            f"item {{ id: {'9' * 5000} name: 'Cat' }}", ":1", "not a label map", id="long id"
        ),
        pytest.param(
            "item { id: 1 name: 'Cat' }\nitem { id: 1 name: 'Dog' }",
            ":2",
            "id 1 or name 'Dog' twice",
            id="an id twice",
        ),
        pytest.param(
            "item { id: 1 name: 'Cat' }\nitem { id: 2 name: 'Cat' }",
            ":2",
            "id 2 or name 'Cat' twice",
            id="a name twice",
        ),
        pytest.param(
            "item { id: 1 display_name: 'Cat' }\nitem {\n id: 2 name: 'Cat' display_name: 'Dog' }",
            ":2",
            "id 2 or name 'Dog' twice",
            id="a text of two classes",
        ),
    ],
)
def test_what_is_no_label_map_is_refused(tmp_path, text, place, found):
    path = tmp_path / "label_map.txt"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_label_map(path)
    assert str(caught.value).startswith(f"{path}{place}: ")
    assert found in str(caught.value)
    assert str(caught.value).endswith("make_tfrecords.py writes label_map.txt beside the records.")


def test_both_names_of_a_class_are_texts_of_its_id(tmp_path):
    path = tmp_path / "label_map.pbtxt"
    path.write_text(
        "item { id: 3 name: '/m/01yrx' display_name: 'Cat' }\nitem { id: 1 name: 'Owl' }"
    )
    assert read_label_map(path).ids == {"/m/01yrx": 3, "Cat": 3, "Owl": 1}


def test_a_missing_label_map_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"label_map\.txt: no such file\.\n  make_tfrecords\.py"):
        read_label_map(tmp_path / "label_map.txt")


@pytest.mark.slow
def test_tfod_reads_a_label_map_with_a_byte_order_mark_as_we_do(tmp_path):
    import lowlight.tfod.training  # noqa: F401

    from object_detection.utils import label_map_util  # isort: skip

    path = tmp_path / "label_map.pbtxt"
    path.write_text("\ufeffitem { id: 3 name: 'C' 'at' display_name: 'Tom\\'s' }")
    assert label_map_util.get_label_map_dict(str(path)) == {"Cat": 3}
    assert read_label_map(path) == {3: "Tom's"}
