"""Data go out as YOLO's and VOC's folders, which others read, and come back unchanged."""

import csv
import random
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.core.sources import is_stray, list_files
from lowlight.dataset.annotations import parse_bbgt
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.label_export import format_voc, format_yolo, voc_files, yolo_files
from lowlight.dataset.labels import Fitting, clip_box
from lowlight.dataset.tables import AnnotationRow, ImageRow, read_table
from lowlight.dataset.voc import import_voc, parse_voc
from lowlight.dataset.yolo import DataYaml, import_yolo, parse_data_yaml, parse_yolo
from lowlight.images.boxes import pixel_ltwh_to_pixel_xyxy, round_pixel_xyxy

FORMS = {"yolo": import_yolo, "voc": import_voc}


@pytest.fixture
def export(data_dir, run_script):
    """Writes data_dir's data in a form as the folder `out` beside its tables."""

    def run(form, *more):
        flags = f"--data_dir={data_dir}", f"--images_dir={data_dir}/images"
        return run_script(
            "export_labels.py", f"--format={form}", *flags, f"--output={data_dir}/out", *more
        )

    return run


@pytest.mark.parametrize("how", ["link", "copy"])
@pytest.mark.parametrize("form", FORMS)
def test_annotations_and_split_come_back_byte_for_byte(data_dir, export, run_script, form, how):
    classes = "".join(f"{name}\n" for name in ("street lamp", "Table", "yes", "Chair", "Bus"))
    classes += "Dog\nCat\nBottle\nBoat\nPeople\nBicycle\n"
    (data_dir / "classes.txt").write_text(classes)
    run = export(form, f"--images={how}")
    assert (run.returncode, run.stderr) == (0, "")
    flags = f"--images_dir={data_dir}/images", f"--output_dir={data_dir}/back"
    back = run_script("import_labels.py", f"--format={form}", f"--labels={data_dir}/out", *flags)
    assert (back.returncode, back.stderr) == (0, "")
    for name in ("annotations.csv", "classes.txt"):
        assert (data_dir / "back" / name).read_bytes() == (data_dir / name).read_bytes()
    images = read_table(data_dir / "back/images.csv", ImageRow, "")
    assert list(images.official_split) == ["train"] * 6 + ["test"] * 2


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


@pytest.mark.parametrize("form", FORMS)
def test_what_is_in_the_way_or_missing_is_refused_and_nothing_written(data_dir, export, form):
    (data_dir / "out").mkdir()
    (data_dir / "images/2015_00008.jpg").unlink()
    run = export(form)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(f"error: {data_dir}/images/2015_00008.jpg: no such file.\n")
    assert list((data_dir / "out").iterdir()) == []
    assert not [path for path in data_dir.iterdir() if path.name.endswith(".partial")]
    (data_dir / "out/mine.txt").touch()
    run = export(form)
    assert run.stderr == (
        f"error: {data_dir}/out: is there already.\n  Remove it, or choose another --output.\n"
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_form_with_images_asks_for_their_folder(data_dir, run_script, form):
    flags = f"--data_dir={data_dir}", f"--output={data_dir}/out"
    run = run_script("export_labels.py", f"--format={form}", *flags)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error: missing flag --images_dir: ")


def round_trip(image, rows, classes):
    """Asserts that both forms give an image's boxes back to the pixel."""
    text = format_yolo(image, rows, classes)
    described = DataYaml(dict(enumerate(classes)), {})
    yolo = parse_yolo(text.encode(), "a.txt", (image.width, image.height), described)
    _, voc = parse_voc(format_voc(image, rows).encode(), "a.xml")
    expected = [(row.class_name, row.pixel_xyxy) for row in rows]
    corners = [round_pixel_xyxy(pixel_ltwh_to_pixel_xyxy(box.pixel_ltwh)) for box in yolo]
    assert list(zip((classes[box.category_id] for box in yolo), corners, strict=True)) == expected
    assert [pixel_ltwh_to_pixel_xyxy(box.pixel_ltwh) for box in yolo] == corners
    found = [(box.category_id, pixel_ltwh_to_pixel_xyxy(box.pixel_ltwh)) for box in voc]
    assert found == expected


def test_whole_boxes_of_any_size_come_back_from_both_forms():
    rng = random.Random(0)
    for _ in range(300):
        size = width, height = rng.randint(1, 12_000), rng.randint(1, 9000)
        rows = []
        for _ in range(5):
            edges = [sorted(rng.sample(range(side + 1), 2)) for side in size]
            (xmin, xmax), (ymin, ymax) = edges
            rows.append(AnnotationRow("a.jpg", *size, rng.choice("ab"), xmin, ymin, xmax, ymax))
        round_trip(ImageRow("a.jpg", "", width, height), rows, ("a", "b"))


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


def test_all_of_exdarks_boxes_come_back_from_both_forms(exdark_root):
    with open(exdark_root / "image_sizes.csv", newline="") as file:
        sizes = {
            f"{row['class_folder']}/{row['image']}".lower(): row for row in csv.DictReader(file)
        }
    count = 0
    for file in list_files(exdark_root / "ExDark_Annno.zip", "annotations"):
        if not file.name.endswith(".txt") or is_stray(file.name):
            continue
        row = sizes["/".join(file.name.split("/")[-2:]).removesuffix(".txt").lower()]
        image = ImageRow("a.jpg", "", int(row["width"]), int(row["height"]))
        size = image.width, image.height
        boxes = [
            AnnotationRow("a.jpg", *size, box.name, *clip_box(box.pixel_ltwh, size, "")[1])
            for box in parse_bbgt(file.read(), file.place)
        ]
        round_trip(image, boxes, CLASSES)
        count += len(boxes)
    assert count == 23710


@pytest.mark.parametrize("form", FORMS)
def test_crowds_are_left_out_and_counted(data_dir, export, form):
    header, first, *rest = (data_dir / "annotations.csv").read_text().splitlines()
    lines = [f"{header},is_crowd", f"{first},1", *(f"{row},0" for row in rest)]
    (data_dir / "annotations.csv").write_text("".join(f"{line}\n" for line in lines))
    run = export(form)
    assert run.stdout.startswith(f"{data_dir}/out: 8 images, 7 boxes, 12 classes\n")
    assert run.stdout.endswith("  crowd boxes left out: 1\n")
    found = FORMS[form](data_dir / "out", Fitting(data_dir / "images"))
    assert [row.class_name for row in found.boxes][0] == "People"
