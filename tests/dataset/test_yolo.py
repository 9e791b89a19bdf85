"""YOLO's labels come in: ultralytics' and Roboflow's folders, boxes and segments."""

import zipfile

import pytest
from checks import write_files
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.labels import Fitting, Oddity
from lowlight.dataset.yolo import DataYaml, import_yolo, parse_data_yaml, parse_yolo

NAMES = DataYaml({0: "owl", 1: "Cat"}, {})


def corners(text, size=(40, 20), described=NAMES):
    boxes = parse_yolo(text.encode(), "a.txt", size, described)
    return [(box.category_id, *(round(x, 6) for x in box.pixel_ltwh)) for box in boxes]


LINES = {
    "a box": ("1 0.5 0.5 0.5 0.5", (1, 10, 5, 20, 10)),
    "a float's class": ("1.0 .5 5e-1 0.5 0.5\r", (1, 10, 5, 20, 10)),
    "a triangle": ("0 0.25 0.1 0.75 0.1 0.5 0.6", (0, 10, 2, 20, 10)),
    "four corners": ("0 0.1 0.1 0.9 0.1 0.9 0.3 0.1 0.3", (0, 4, 2, 32, 4)),
    "float edges": ("0 0.333333 0.5 0.333333 1", (0, 6.67, 0, 13.33, 20)),
    "halves of a pixel": ("0 0.3125 0.5 0.6 0.33", (0, 0.5, 6.7, 24, 6.6)),
    "no width": ("0 0.5 0.5 0 0.5", (0, 20, 5, 0, 10)),
}


@pytest.mark.parametrize(("line", "ltwh"), LINES.values(), ids=LINES)
def test_a_line_is_a_box_or_a_segment_that_a_box_goes_around(line, ltwh):
    assert corners(line + "\n\n") == [ltwh]


def test_points_behind_a_box_are_left_aside_where_the_data_have_them():
    described = NAMES._replace(keypoints=True)
    assert corners("1 0.5 0.5 0.5 0.5 0.1 0.1 2", described=described) == [(1, 10, 5, 20, 10)]


def test_six_decimals_of_a_whole_pixel_are_that_pixel_in_images_of_any_size():
    for size in (4000, 3000), (641, 479), (7, 5):
        for xmin in range(0, size[0] - 1, max(size[0] // 37, 1)):
            width = min(3, size[0] - xmin)
            text = f"0 {(xmin + width / 2) / size[0]:.6f} 0.5 {width / size[0]:.6f} 1"
            assert corners(text, size) == [(0, xmin, 0, width, size[1])]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 .5 .5 .1 .1", "class '2' isn't one of those named: 0 owl, 1 Cat.\n"),
        ("owl .5 .5 .1 .1", "class 'owl' isn't"),
        ("-1 .5 .5 .1 .1", "class '-1' isn't"),
        ("1.5 .5 .5 .1 .1", "class '1.5' isn't"),
        ("1 .5 .5 .1", "no box and no segment behind the class: '1 .5 .5 .1'.\n"),
        ("1 .5 .5 .1 .1 .9", "no box .*\n.*without confidences"),
        ("1 .1 .2 .3 .4 .5 .6 .7", "no box"),
        ("1 0.512345 0.412345 1.123456e5 0.223456", "no box .*45 1.123456e5 0.22"),
        ("1 " + ".5 " * 5001, "no box .{200,250}\n"),
        ("1 12 5 20 10", "no box .*\n.*pixels divided by its width or height"),
        ("1 nan .5 .1 .1", "no box"),
        ("1 .5 .5 inf .1", "no box"),
        ("1 .5 1e999 .1 .1", "no box"),
        ("1 0_5 .5 .1 .1", "no box"),
        ("1 .5 .5 -0.1 .1", "no box"),
        ("9" * 5000 + " .5 .5 .1 .1", "class '9999"),
    ],
)
def test_a_line_of_another_form_is_named_with_the_remedy(line, message):
    with pytest.raises(DataError, match=f"^a.txt:2: {message}"):
        corners(f"0 .5 .5 .1 .1\n{line}")


# data.yaml. ---------------------------------------------------------------------------------------


NAME_TEXTS = {
    "a list": ("names: [owl, 'yes', 1e5]", {0: "owl", 1: "yes", 2: "1e5"}),
    "a mapping": ("nc: 2\nnames:\n  0: owl\n  2: street lamp\n", {0: "owl", 2: "street lamp"}),
    "what YAML takes for other things": ("names: [yes, 1, null]", {0: "yes", 1: "1", 2: "null"}),
    "no day of a year": ("names: [2001-99-99]", {0: "2001-99-99"}),
    "a tag": ("\ufeffnames: [!!python/object:os.system ls]", {0: "ls"}),
}


@pytest.mark.parametrize(("text", "names"), NAME_TEXTS.values(), ids=NAME_TEXTS)
def test_names_are_the_texts_that_stand_there(text, names):
    assert parse_data_yaml(text.encode(), "data.yaml").names == names


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcd", "bcde"))  # noqa: B905


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [owl", ":1: not YAML \\("),
        ("a: 1\nnames:\n\t- owl", ":3: not YAML \\("),
        ("names: " + "[" * 1000, ".*not YAML \\("),
        ("nc: 3", ": no names of classes.\n"),
        ("- owl", ":1: no keys and values at the top.\n"),
        ("", ":1: no keys and values"),
        ("names: [owl, owl]", ":1: '1': 'owl' isn't a number of its own"),
        ("names:\n  a: owl", ":2: 'a': 'owl' isn't a number"),
        ("names:\n  0: owl\n  0: cat", ":3: '0': 'cat' isn't"),
        ("names: [[owl]]", ":1: a list or a mapping, not a class's name"),
        ('names: ["a\\tb"]', ":1: 'a\\\\tb' can't be a class's name.\n"),
        ('names:\n- "a\\\\b"', ":2: .* can't be a class's name.\n"),
        ("names: ['']", ":1: '' can't be"),
        ("nc: 3\nnames: [owl]", ":1: nc isn't 1, the number of names.\n"),
        ("names: [owl]\ntrain: {a: b}", ":2: a list or a mapping, not a path of train"),
        (BOMB + "names: *e", ":4: a list or a mapping, not a class's name"),
        ("names: &n [*n]", ".*not YAML|:1: a list"),
        ("a: '" + "x" * 2**18 + "'\nnames: [owl]", ": 262,1.. bytes, and no data.yaml has over"),
        ("names: [owl]\n--- \nnames: [cat]", ":2: not YAML"),
        ("%YAML " + "9" * 5000 + ".1\n---\na", ".*not YAML"),
        ('names: ["\\UFFFFFFFF"]', ".*not YAML"),
    ],
)
def test_a_data_yaml_of_another_form_is_named_with_the_line_and_the_remedy(text, message):
    with pytest.raises(DataError, match=f"^data.yaml({message})") as caught:
        parse_data_yaml(text.encode(), "data.yaml")
    assert "\n  " in str(caught.value)
    assert len(str(caught.value)) < 500


# Folders. -----------------------------------------------------------------------------------------

LAYOUTS = {
    "ultralytics": {
        "data.yaml": "path: ../datasets/x\ntrain: images/train\nval: [images/val]\nnames: [Cat]",
        "labels/train/a.txt": "0 .5 .5 .5 .5",
        "labels/val/b.txt": "",
        "images/train/a.PNG": "",
    },
    "Roboflow": {
        "data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
        "nc: 1\nnames: ['Cat']\nroboflow:\n  version: 1",
        "README.dataset.txt": "from Roboflow",
        "train/labels/a.txt": "0 .5 .5 .5 .5",
        "valid/labels/b.txt": "",
        "train/images/a.PNG": "",
    },
    "lists": {
        "coco.yaml": "train: train.txt\nval: /home/me/val.txt\nnames: {0: Cat}",
        "train.txt": "./images/a.jpg\n",
        "val.txt": "/home/me/images/b.png\r\nimages/gone.jpg\n",
        "labels/a.txt": "0 .5 .5 .5 .5",
        "labels/b.txt": "",
        "images/a.PNG": "",
    },
    "a folder of its own": {
        "x/data.yaml": "train: train\nval: val\nnames: [Cat]",
        "x/train/a.txt": "0 .5 .5 .5 .5",
        "x/val/b.txt": "",
        "x/train/a.PNG": "",
    },
}


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize("files", LAYOUTS.values(), ids=LAYOUTS)
def test_the_layouts_of_tools_are_read_and_the_split_kept(tmp_path, images_dir, files, zipped):
    source = write_files(tmp_path / "labels", files)
    if zipped:
        source = tmp_path / "labels.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name, text in files.items():
                archive.writestr(f"top/{name}", text)
    found = import_yolo(source, Fitting(images_dir))
    assert [(row.filename, row.official_split, row.boxes) for row in found.images] == [
        ("a.jpg", "train", 1),
        ("b.jpg", "val", 0),
    ]
    assert found.images[0].source.endswith("a.PNG")
    assert [row[3:8] for row in found.boxes] == [("Cat", 10, 5, 30, 15)]
    assert found.classes == CLASSES
    assert list(found.notes[Oddity.WITHOUT_BOXES]) == ["b.jpg"]


def test_labels_beside_their_images_and_a_classes_txt_need_no_yaml(tmp_path, images_dir):
    files = {"classes.txt": "owl\n\ncat\n", "a.txt": "2 .5 .5 .5 .5", "b.txt": "0 .1 .5 .01 .5"}
    found = import_yolo(write_files(images_dir, files), Fitting(images_dir))
    assert found.classes == ("owl", "cat")
    assert [row[3:8] for row in found.boxes] == [("cat", 10, 5, 30, 15), ("owl", 3, 5, 5, 15)]
    assert found.notes[Oddity.BOXES_ROUNDED] == {"b.jpg": 1}


def test_a_data_yaml_and_a_classes_txt_that_differ_are_both_named(tmp_path, images_dir):
    files = {"sub/Classes.txt": "owl", "b.txt": "", "my.yaml": "names: [cat]"}
    with pytest.raises(DataError, match=r"sub/Classes.txt names other classes than my.yaml.\n"):
        import_yolo(write_files(tmp_path / "labels", files), Fitting(images_dir))


def test_a_data_yaml_counts_more_than_a_classes_txt_beside_it(tmp_path, images_dir):
    files = {"classes.txt": "owl", "data.yaml": "kpt_shape: [1, 3]\nnames: [owl]", "b.txt": ""}
    folder = write_files(tmp_path / "labels", files | {"a.txt": "0 .5 .5 .5 .5 .1 .1 2"})
    assert len(import_yolo(folder, Fitting(images_dir)).boxes) == 1


def test_a_yaml_stands_for_its_folder_and_counts_alone_there(tmp_path, images_dir):
    files = LAYOUTS["ultralytics"] | {"mine.yml": "train: images/val\nnames: [owl]"}
    folder = write_files(tmp_path / "labels", files)
    found = import_yolo(folder / "mine.yml", Fitting(images_dir))
    assert [row.class_name for row in found.boxes] == ["owl"]
    assert [row.official_split for row in found.images] == ["", "train"]


FINE = {"classes.txt": "owl", "a.txt": "", "b.txt": ""}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes.txt": None}, "neither a data.yaml nor a classes.txt.\n"),
        ({"a.txt": None, "b.txt": None}, "holds no label file \\(.txt\\).\n"),
        (
            {"a.txt": None, "b.txt": None, "ImageSets/Main/train.txt": "a"},
            "holds no label file \\(.txt\\).\n",
        ),
        ({"b.txt": None}, "no label file \\(.txt\\) for b.jpg.\n.*--allow_missing"),
        ({"c.txt": ""}, "no image in .*images for c.jpg.\n.*--allow_missing"),
        ({"x/a.txt": ""}, "/x/a.txt: x/a.jpg has the same stem as a.jpg.\n"),
        ({"a.xml": "<annotation/>"}, "/a.xml: a label of another form beside b.txt.\n"),
        ({"a.txt": "7 0 0 0 0", "b.txt": "x"}, "/a.txt:1: class '7'.*\n.*\n.*/b.txt:1: class 'x'"),
        ({"x/classes.txt": "owl"}, "classes.txt, x/classes.txt all name classes.\n"),
        ({"a.txt": "0 2 .5 .1 .1"}, "a.txt:1: the box .* lies wholly outside"),
        ({"a.txt": "#" * (2**20 + 1)}, "a.txt: 1,048,577 bytes, and no image's annotation"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path, images_dir, changed, message):
    files = {name: text for name, text in (FINE | changed).items() if text is not None}
    with pytest.raises(DataError, match=f"{tmp_path}/labels.*{message}"):
        import_yolo(write_files(tmp_path / "labels", files), Fitting(images_dir))


def test_missing_images_and_labels_are_left_out_and_named_where_that_is_allowed(
    tmp_path, images_dir
):
    files = {"classes.txt": "owl", "a.txt": "", "c.txt": "0 .5 .5 .5 .5"}
    found = import_yolo(
        write_files(tmp_path / "labels", files), Fitting(images_dir, allow_missing=True)
    )
    assert [row.filename for row in found.images] == ["a.jpg"]
    assert list(found.notes[Oddity.UNNAMED]) == ["b.jpg"]
    assert list(found.notes[Oddity.WITHOUT_FILE]) == ["c.jpg"]


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path):
    (tmp_path / "images").mkdir()
    for folder in ("train", "valid"):
        Image.new("RGB", (9, 9)).save(tmp_path / f"images/{folder}__images__a.jpg")
    files = {"data.yaml": "names: [owl]", "train/labels/a.txt": "", "valid/labels/a.txt": ""}
    found = import_yolo(
        write_files(tmp_path / "x", files), Fitting(tmp_path / "images", flatten=True)
    )
    assert [row.source for row in found.images] == ["train/images/a.jpg", "valid/images/a.jpg"]
