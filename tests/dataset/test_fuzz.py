"""Whatever a file holds, its parser returns data or raises DataError, and nothing else.

The inputs are bytes without rule, and the pieces of each format in any order.
"""

import copy
import json
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lowlight.core.errors import DataError
from lowlight.dataset.annotations import parse_bbgt, parse_image_list
from lowlight.dataset.classes import read_classes, read_label_map
from lowlight.dataset.coco import parse_coco
from lowlight.dataset.label_export import tables_to_coco
from lowlight.dataset.split import split_by_file
from lowlight.dataset.tables import (
    AnnotationRow,
    ImageRow,
    SplitRow,
    format_table,
    read_table,
    read_tables,
    rows_of,
)
from lowlight.dataset.voc import parse_voc
from lowlight.dataset.yolo import DataYaml, parse_data_yaml, parse_yolo

fuzz = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
fuzz_tables = settings(fuzz, max_examples=60)  # which take longer to read
# What every format's numbers and names may run into.
ODD = ("", " ", "\t", "\n", "\r\n", "\0", "\x85", "\u2028", "\ufeff", "²", "٣", "é", "0", "-1", "1")
ODD += ("1.5", "1e999", "nan", "1_0", "+2", "true", "null", '"', "'", ",", "#")
ODD += ("9" * 30, "9" * 5000)


def pieces(*own):
    """Returns bytes: pieces of a format and odd ones in any order, or no format at all."""
    some = st.lists(st.sampled_from(own) | st.sampled_from(ODD) | st.text(max_size=4), max_size=25)
    return some.map(lambda found: "".join(found).encode(errors="replace")) | st.binary(max_size=40)


def lines(divider, *fields):
    """Returns bytes: up to three lines of these fields, now and then an odd one among them."""
    line = st.tuples(*(st.sampled_from((field,) * 80 + ODD) for field in fields))
    some = st.lists(line, max_size=3)
    return some.map(lambda found: "".join(f"{divider.join(line)}\n" for line in found).encode())


def data_or_error(parse, *arguments):
    """Returns what the parser gives, or None where it refuses in plain words."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return parse(*arguments)
        except DataError as error:
            message = str(error)
    assert "\n  " in message  # what to do about it
    return None


def written(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


@fuzz
@given(
    pieces("% bbGt version=3\n", "Cat ", "Cat 1 2 3 4\n", "1 ", " 0 0\n"),
    lines(" ", "Cat", "1", "2", "3", "4", "0"),
)
def test_an_annotation(data, boxes):
    for text in (data, b"% bbGt version=3\n" + boxes):
        for box in data_or_error(parse_bbgt, text, "a.txt") or []:
            assert min(box.pixel_ltwh[2:]) >= 1


@fuzz
@given(
    pieces("Name | Class\n", "a.jpg ", "a.jpg 1 2 1 1\n", "b.jpg 12 10 2 3\n", "1 ", "12 ")
    | lines(" ", "a.jpg", "12", "10", "2", "3")
)
def test_an_image_list(data):
    data_or_error(parse_image_list, data, "list.txt")


ROWS = {
    ImageRow: "a.jpg,Cat/a.jpg,8,4,Cat,Low,Indoor,train,1\n",
    AnnotationRow: "a.jpg,8,4,Cat,1,1,2,2\n",
    SplitRow: "a.jpg,train\n",
}


@pytest.mark.parametrize("row_type", ROWS)
@fuzz_tables
@given(data=st.data())
def test_a_table(tmp_path, row_type, data):
    header, row = format_table([], row_type), ROWS[row_type]
    fields = row.rstrip("\n").split(",")
    body = data.draw(pieces(header, row, *(f"{x}," for x in fields), '"a') | lines(",", *fields))
    for head in ("", header):
        path = written(tmp_path, "a.csv", head.encode() + body)
        table = data_or_error(read_table, path, row_type, "Make it.")
        assert table is None or all(line > 1 for line in table.index)
        assert table is None or format_table(rows_of(table, row_type), row_type)


@fuzz_tables
@given(pieces("a.jpg,", "b.jpg,", "train\n", "val\n", "test\n", "a.jpg,train\n", "b.jpg,test\n"))
def test_a_split(tmp_path, data):
    path = written(tmp_path, "split.csv", b"filename,split\n" + data)
    rows = data_or_error(split_by_file, ["a.jpg", "b.jpg"], path)
    assert rows is None or [row.filename for row in rows] == ["a.jpg", "b.jpg"]


@fuzz_tables
@given(lines(",", "a.jpg", "8", "4", "Cat", "1", "1", "2", "2"))
def test_tables_together(tmp_path, data):
    image = format_table([], ImageRow) + ROWS[ImageRow]
    written(tmp_path, "images.csv", image.encode())
    written(tmp_path, "annotations.csv", format_table([], AnnotationRow).encode() + data)
    for _, boxes in data_or_error(read_tables, tmp_path, ["Cat"]) or []:
        assert all(0 <= box.xmin < box.xmax <= 8 for box in boxes)


@fuzz
@given(
    pieces("item {", "id: 1", "id: ", "name: 'Cat'", 'name: "Cup"', "display_name: 'a'", "}")
    | lines(" ", "item {", "id:", "3", "name:", "'Cat'", "}")
)
def test_a_label_map(tmp_path, data):
    for prefix in (b"", b"item { id: 3 name: 'Dog' }"):
        names = data_or_error(read_label_map, written(tmp_path, "map.txt", prefix + data)) or {}
        assert all(number >= 1 and name for number, name in names.items())


@fuzz
@given(pieces("Cat\n", "street lamp\n", "\\", "{", "}"))
def test_names_of_classes(tmp_path, data):
    written(tmp_path, "classes.txt", data)
    names = data_or_error(read_classes, tmp_path)
    assert names is None or len(names) == len(set(names)) > 0


@fuzz
@given(
    pieces('{"images": [', "]", "{", "}", ":", ", ", '"annotations": [', '"categories": []', "[")
)
def test_text_as_a_coco_file(data):
    data_or_error(parse_coco, data, "a.json")


ENTRY = ImageRow("a.jpg", "", 8, 4, boxes=1), [AnnotationRow("a.jpg", 8, 4, "Cat", 1, 1, 2, 2)]
VALID = json.loads(tables_to_coco([ENTRY], ["Cat"], {"a.jpg"}))
ODD_VALUES = st.sampled_from([10**400, "\ud800", 1, 2])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | ODD_VALUES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


@fuzz
@given(st.data())
def test_a_coco_file_with_some_values_changed(data):
    whole = copy.deepcopy(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(VALID)))
        item = data.draw(st.sampled_from(whole[key])) if whole[key] else {}
        field = data.draw(st.sampled_from(sorted(VALID[key][0])))
        if data.draw(st.booleans()):
            item.pop(field, None)
        else:
            item[field] = data.draw(VALUES)
        if data.draw(st.integers(0, 5)) == 0:
            whole[key].append(copy.deepcopy(item))
    coco = data_or_error(parse_coco, json.dumps(whole).encode(), "a.json")
    for box in coco.boxes if coco else []:
        assert box.image_id in coco.images
        assert min(box.pixel_ltwh[2:]) >= 0


@fuzz
@given(VALUES, st.sampled_from([None, *sorted(VALID)]))
def test_a_coco_file_with_a_list_replaced(value, key):
    whole = {**VALID, key: value} if key else value
    data_or_error(parse_coco, json.dumps(whole).encode(), "a.json")


@fuzz
@given(
    pieces("0 ", "1 ", "0 .5 .5 .1 .1\n", ".5 ", "1e-3 ", "-.2 ") | lines(" ", "1", *[".5"] * 4),
    st.booleans(),
)
def test_labels_of_yolo(data, keypoints):
    described = DataYaml({0: "owl", 1: "cat"}, {}, keypoints)
    for box in data_or_error(parse_yolo, data, "a.txt", (9, 5), described) or []:
        assert box.category_id in described.names
        assert min(box.pixel_ltwh[2:]) >= 0


@fuzz
@given(
    pieces("names:", "names: [", "\n  0: ", "owl", "nc: 1\n", "train: ", "\n", "]", "- ", "{", "}")
    | pieces("names: &a ", "*a", "<<: *a", "!!binary ", "!!int ", "? ", "---\n", "\\U", "|\n", "%")
)
def test_a_data_yaml(data):
    for text in (data, b"names: [owl]\n" + data):
        found = data_or_error(parse_data_yaml, text, "data.yaml")
        assert found is None or all(isinstance(name, str) for name in found.names.values())


@fuzz
@given(
    pieces("<annotation>", "</annotation>", "<object>", "</object>", "<bndbox>", "<!DOCTYPE a [")
    | pieces("<size><width>", "1</width>", "<!ENTITY a 'b'>", "]>", "&a;", "<?xml version='1.0'?>")
)
def test_text_as_an_annotation_of_voc(data):
    data_or_error(parse_voc, data, "a.xml")


@fuzz
@given(lines("|", "owl", "8", "4", "1", "1", "2", "2", "0", "1"))
def test_values_of_an_annotation_of_voc(data):
    tags = "name", "width", "height", "xmin", "ymin", "xmax", "ymax", "difficult", "truncated"
    values = data.decode().split("|")
    inside = {tag: f"<{tag}>{text}</{tag}>" for tag, text in zip(tags, values, strict=False)}
    box = "".join(inside.get(tag, "") for tag in tags[3:7])
    size = inside.get("width", "") + inside.get("height", "")
    text = (
        f"<annotation><size>{size}</size><object>{inside['name']}{inside.get('difficult', '')}"
        f"<bndbox>{box}</bndbox></object></annotation>"
    )
    found = data_or_error(parse_voc, text.encode(), "a.xml")
    for one in found[1] if found else []:
        assert min(one.pixel_ltwh[2:]) > 0
