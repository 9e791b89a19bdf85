"""Pascal VOC's annotations come in: corners counted from 1, marks, sizes, hostile XML."""

import pytest
from checks import write_files

from lowlight.core.errors import DataError
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.labels import Fitting, Oddity
from lowlight.dataset.voc import import_voc, parse_voc


def annotation(*objects, size=(40, 20)):
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation>\n{sides}\n{''.join(objects)}</annotation>"


def item(*box, name="Cat", more=""):
    edges = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=False)
    inside = "".join(f"<{tag}>{edge}</{tag}>" for tag, edge in edges)
    return f"<object><name>{name}</name>{more}<bndbox>{inside}</bndbox></object>\n"


def test_corners_count_from_1_and_marks_are_counted(tmp_path, images_dir):
    difficult = "<difficult>1</difficult><truncated>0</truncated><part><name>head</name></part>"
    truncated = "<truncated>1</truncated><difficult>Unspecified</difficult>"
    boxes = (
        item(1, 1, 40, 20, more=difficult),
        item(5, 6, 5, 6, more=truncated),
        item(0, 3, 10.5, 9, name="Dog"),
    )
    files = {"a.xml": annotation(*boxes), "b.xml": annotation(size=None)}
    found = import_voc(write_files(tmp_path / "voc", files), Fitting(images_dir))
    assert [row[3:8] for row in found.boxes] == [
        ("Cat", 0, 0, 40, 20),
        ("Cat", 4, 5, 5, 6),
        ("Dog", 0, 2, 11, 9),
    ]
    assert {oddity: found.notes[oddity] for oddity in Oddity if found.notes[oddity]} == {
        Oddity.BOXES_CLIPPED: {"a.jpg": 1},
        Oddity.BOXES_ROUNDED: {"a.jpg": 1},
        Oddity.FROM_ZERO: {"a.jpg": 1},
        Oddity.DIFFICULT: {"a.jpg": 1},
        Oddity.TRUNCATED: {"a.jpg": 1},
        Oddity.WITHOUT_BOXES: {"b.jpg": 1},
    }
    assert found.classes == CLASSES


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(None, ("cat", "owl")), ("owl\ncat\nbat\n", ("owl", "cat", "bat"))],
    ids=["by the alphabet", "as classes.txt says"],
)
def test_the_layout_of_voc_is_read_and_the_split_kept(tmp_path, images_dir, classes, expected):
    files = {
        "VOC2012/Annotations/a.xml": annotation(item(1, 1, 2, 2, name="owl")),
        "VOC2012/Annotations/b.xml": annotation(item(1, 1, 2, 2, name="cat"), size=(0, 0)),
        "VOC2012/JPEGImages/b.PNG": "",
        "VOC2012/ImageSets/Main/train.txt": "a\r\n",
        "VOC2012/ImageSets/Main/val.txt": "b\n",
        "VOC2012/ImageSets/Main/owl_val.txt": "b -1\n",
    }
    files |= {"VOC2012/classes.txt": classes} if classes else {}
    found = import_voc(write_files(tmp_path / "voc", files), Fitting(images_dir))
    assert found.classes == expected
    assert [(row.source, row.official_split) for row in found.images] == [
        ("VOC2012/JPEGImages/a.jpg", "train"),
        ("VOC2012/JPEGImages/b.PNG", "val"),
    ]


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>\n<annotation>&b;</annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n<annotation>&a;</annotation>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, ":1: declares entities \\(EntitiesForbidden\\)"),
        (OUTSIDE, ":1: declares entities"),
        ("<annotation>\n<object>", ":2: not XML, or cut short"),
        ("", ":1: not XML"),
        ("\0", ":1: not XML"),
        ('<?xml version="1.0" encoding="no"?><a/>', ".*not XML"),
        ("<a>" * 5000 + "</a>" * 5000, ":1: not an annotation of Pascal VOC, but 'a'.\n"),
        (annotation(item(1, 1, 2)), ":3: bndbox/ymax is '', not a number of pixels"),
        (annotation(item(1, 1, 2, "nan")), ":3: bndbox/ymax is 'nan', not"),
        (annotation(item("9" * 30, 1, 2, 2)), ":3: bndbox/xmin is '9999.*, not"),
        (annotation(item("1_0", 1, 20, 2)), ":3: bndbox/xmin is '1_0', not"),
        (annotation(item(3, 1, 2, 2)), ":3: a box from \\(3, 1\\) to \\(2, 2\\).\n"),
        (
            annotation(item(1, 1, 2, 2), "<object><name>Cat</name></object>"),
            ":4: bndbox/xmin is '', not",
        ),
        (annotation(item(1, 1, 2, 2, name=" ")), ":3: object: '' can't be a class's name"),
        (annotation(item(1, 1, 2, 2, name="a&quot;")), ":3: object: 'a\"' can't be"),
        (annotation(size=(0, 20)), ":2: an image 0.0 wide and 20.0 high"),
        (annotation(size=(4.5, 20)), ":2: an image 4.5 wide"),
        (annotation(size=("x", 20)), ":2: width is 'x', not a number"),
    ],
)
def test_an_annotation_of_another_form_is_named_with_the_line_and_the_remedy(text, message):
    with pytest.raises(DataError, match=f"^a.xml({message})") as caught:
        parse_voc(text.encode(), "a.xml")
    assert "\n  " in str(caught.value)


FINE = {"a.xml": annotation(), "b.xml": annotation()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"a.xml": None, "b.xml": None, "a.txt": ""}, "holds no label file \\(.xml\\).\n"),
        ({"b.xml": None}, "no label file \\(.xml\\) for b.jpg.\n.*--allow_missing"),
        ({"b.txt": ""}, "/b.txt: a label of another form beside b.xml.\n"),
        ({"a.xml": annotation(size=(20, 40))}, "/a.xml:2: 20x40 pixels, but .*a.jpg has 40x20.\n"),
        ({"classes.txt": "owl", "a.xml": annotation(item(1, 1, 2, 2))}, "/a.xml:3: class 'Cat' is"),
        ({"a.xml": annotation(item(41, 1, 50, 9))}, "/a.xml:3: the box .* lies wholly outside"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, images_dir, changed, message):
    files = {name: text for name, text in (FINE | changed).items() if text is not None}
    with pytest.raises(DataError, match=f"{tmp_path}/voc.*{message}"):
        import_voc(write_files(tmp_path / "voc", files), Fitting(images_dir))
