"""Data go out as COCO's file, YOLO's and VOC's folders, which others read, and come back as is."""

import json
import random
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from checks import check_label_forms, message_of
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.label_export import voc_files, yolo_files
from lowlight.dataset.tables import AnnotationRow, ImageRow, read_table
from lowlight.dataset.yolo import parse_data_yaml

FOLDERS = "yolo", "voc"


@pytest.fixture
def export(data_dir, run_script):
    """Writes data_dir's data in a form as the file or folder `out` beside its tables."""

    def run(form, *more):
        flags = f"--data_dir={data_dir}", f"--images_dir={data_dir}/images"
        return run_script(
            "export_labels.py", f"--format={form}", *flags, f"--output={data_dir}/out", *more
        )

    return run


@pytest.fixture
def bring_back(data_dir, run_script):
    """Imports what `export` wrote, and returns the folder of its tables."""

    def run(form):
        flags = f"--images_dir={data_dir}/images", f"--output_dir={data_dir}/back"
        done = run_script(
            "import_labels.py", f"--format={form}", f"--labels={data_dir}/out", *flags
        )
        assert (done.returncode, done.stderr) == (0, "")
        return data_dir / "back"

    return run


OWN = "street lamp", "Table", "yes", *(name for name in CLASSES if name != "Table"), "People's"


@pytest.mark.parametrize("classes", [CLASSES, OWN], ids=["ExDark's classes", "one's own"])
@pytest.mark.parametrize("form", ["coco", *FOLDERS])
def test_annotations_and_split_come_back_byte_for_byte(data_dir, export, bring_back, form, classes):
    (data_dir / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    run = export(form, "--images=copy")
    assert (run.returncode, run.stderr) == (0, "")
    back = bring_back(form)
    for name in ("annotations.csv", "classes.txt"):
        assert (back / name).read_bytes() == (data_dir / name).read_bytes()
    images = read_table(back / "images.csv", ImageRow, "")
    kept = [""] * 8 if form == "coco" else ["train"] * 6 + ["test"] * 2
    assert list(images.official_split) == kept


def test_a_part_is_written_as_coco(data_dir, export):
    run = export("coco", "--split=test")
    assert run.stdout == f"{data_dir}/out: 2 images, 1 box, 12 classes\n"
    whole = json.loads((data_dir / "out").read_text())
    assert (len(whole["images"]), len(whole["annotations"])) == (2, 1)


def test_yolos_folder_is_as_ultralytics_reads_it(data_dir, export):
    """Which takes the yaml's folder as root, and an image's last `images` for `labels`."""
    out, run = data_dir / "out", export("yolo")
    assert run.stdout == (
        f"{out}: 8 images, 8 boxes, 12 classes\n  train: 6 images\n  test: 2 images\n"
        "  data.yaml: val is test's images\n"
        "  images with an EXIF rotation: 1 (2015_00006.jpg); boxes are in the pixels as stored, "
        "so switch the rotation off where these labels are read\n"
    )
    described = yaml.safe_load((out / "data.yaml").read_text())
    paths = {key: described[key] for key in ("train", "val", "test")}
    assert paths == {"train": "images/train", "val": "images/test", "test": "images/test"}
    assert (described["names"][0], described["names"][11]) == ("Bicycle", "Table")
    for image in sorted((out / described["train"]).iterdir()):
        assert image.resolve() == data_dir / "images" / image.name
        head, tail = str(image).rsplit("/images/", 1)
        lines = Path(f"{head}/labels/{tail.rsplit('.', 1)[0]}.txt").read_text().splitlines()
        values = [[float(text) for text in line.split()] for line in lines]
        assert all(len(row) == 5 and min(row) >= 0 and max(row[1:]) <= 1 for row in values)
    assert values == [[8, 0.8125, 0.5, 0.375, 0.8]]  # of 2015_00006.jpg, 40x20: Dog 25 2 15 16


def test_vocs_folder_is_as_its_readers_want_it(data_dir, export):
    out, run = data_dir / "out", export("voc", "--split=train", "--images=copy")
    assert run.stdout.startswith(f"{out}: 6 images, 7 boxes, 12 classes\n  train: 6 images\n")
    stems = (out / "ImageSets/Main/train.txt").read_text().splitlines()
    assert stems == [f"2015_0000{number}" for number in range(1, 7)]
    assert (out / "ImageSets/Main/trainval.txt").read_text().splitlines() == stems
    for stem in stems:
        root = ElementTree.parse(out / f"Annotations/{stem}.xml").getroot()
        with Image.open(out / "JPEGImages" / root.findtext("filename")) as image:
            assert image.size == tuple(int(root.findtext(f"size/{k}")) for k in ("width", "height"))
    assert not (out / "JPEGImages/2015_00001.jpg").is_symlink()
    first = ElementTree.parse(out / "Annotations/2015_00001.xml").findall("object/bndbox/*")
    assert [int(edge.text) for edge in first] == [5, 6, 24, 20, 31, 3, 38, 26]


def test_crowds_are_left_out_and_counted(data_dir, export, bring_back):
    header, first, *rest = (data_dir / "annotations.csv").read_text().splitlines()
    lines = [f"{header},is_crowd", f"{first},1", *(f"{row},0" for row in rest)]
    (data_dir / "annotations.csv").write_text("".join(f"{line}\n" for line in lines))
    for form in FOLDERS:
        run = export(form, f"--output={data_dir}/{form}")
        assert run.stdout.startswith(f"{data_dir}/{form}: 8 images, 7 boxes, 12 classes\n")
        assert run.stdout.endswith("  crowd boxes left out: 1\n")
    assert len(list((data_dir / "voc/Annotations").iterdir())) == 8
    assert (data_dir / "voc/Annotations/2015_00001.xml").read_text().count("<object>") == 1
    assert len((data_dir / "yolo/labels/train/2015_00001.txt").read_text().splitlines()) == 1


# What is refused. ---------------------------------------------------------------------------------


def test_a_part_that_is_not_there_is_refused_and_nothing_written(data_dir, export):
    assert message_of(export("coco", "--split=val")).startswith(
        f"error: {data_dir}/split.csv: no image is in 'val'; there are: test, train.\n"
        "  Choose another --split"
    )
    assert not (data_dir / "out").exists()


def test_what_is_in_the_way_or_missing_is_refused_and_nothing_written(data_dir, export):
    (data_dir / "out").mkdir()
    (data_dir / "images/2015_00008.jpg").unlink()
    message = message_of(export("yolo"))
    assert message.startswith(f"error: {data_dir}/images/2015_00008.jpg: no such file.\n")
    assert list((data_dir / "out").iterdir()) == []
    assert not [path for path in data_dir.iterdir() if path.name.endswith(".partial")]
    (data_dir / "out/mine.txt").touch()
    assert message_of(export("yolo")) == (
        f"error: {data_dir}/out: is there already.\n  Remove it, or choose another --output.\n"
    )


@pytest.mark.parametrize("form", FOLDERS)
def test_a_form_with_images_asks_for_their_folder(data_dir, run_script, form):
    flags = f"--data_dir={data_dir}", f"--output={data_dir}/out"
    message = message_of(run_script("export_labels.py", f"--format={form}", *flags))
    assert message.startswith("error: missing flag --images_dir: ")


# Boxes and names. ---------------------------------------------------------------------------------


def test_whole_boxes_of_any_size_come_back_from_both_forms():
    rng = random.Random(0)
    for _ in range(300):
        size = rng.randint(1, 12_000), rng.randint(1, 9000)
        rows = []
        for _ in range(5):
            (xmin, xmax), (ymin, ymax) = (sorted(rng.sample(range(side + 1), 2)) for side in size)
            rows.append(AnnotationRow("a.jpg", *size, rng.choice("ab"), xmin, ymin, xmax, ymax))
        check_label_forms(ImageRow("a.jpg", "", *size), rows, ("a", "b"))


@pytest.mark.parametrize(
    "name", ["yes", "1e5", "a: b", "#1", "[x]", "-", "Straße", "猫", "'a", "~"]
)
def test_any_name_of_a_class_comes_back_from_a_data_yaml(name):
    text = yolo_files({"val": []}, ("owl", name))[0]["data.yaml"]
    assert parse_data_yaml(text.encode(), "data.yaml").names == {0: "owl", 1: name}
    assert yaml.safe_load(text)["names"][1] == name


def test_a_name_that_xml_cannot_hold_is_refused():
    with pytest.raises(DataError, match=r"'a\\x01.jpg' has a character that XML can't hold.\n"):
        voc_files({"train": [(ImageRow("a\1.jpg", "", 1, 1), [])]}, ("owl",))
