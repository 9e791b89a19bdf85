"""All 7363 images of ExDark, of their true sizes and forms, go through every data step.

The images are blank but for the genuine ones that EXDARK_ROOT holds; names, sizes, boxes and the
image list are the real ones.
"""

import csv
import functools
import shutil
from collections import Counter
from pathlib import Path

import pytest
from checks import check_label_forms
from pictures import encode, rotation
from PIL import Image

from lowlight.dataset.classes import CLASSES, read_label_map
from lowlight.dataset.records import read_records
from lowlight.dataset.split import find_duplicates, labels_of, split_randomly
from lowlight.dataset.tables import ConvertedRow, ProblemRow, read_table, read_tables, rows_of

TURNED = "Dog/2015_05337.jpeg"
ENDLESS = "2015_01610", "2015_03362", "2015_05339"  # three of the nine are known by name
STRAYS = ".DS_Store", "Chair/2015_03019.png~", "Dog/._2015_05337.jpeg"


@functools.cache
def blank(form, mode, size, turned=False):
    """Returns the bytes of an image of one dark colour; an all black one would be named."""
    colour = {"L": 60, "RGBA": (40, 60, 80, 255)}.get(mode, (40, 60, 80))
    options = {"quality": 1} if form == "JPEG" else {}
    exif = rotation(6 if turned else 1)
    return encode(Image.new(mode, size, colour), form, exif=exif, **options)


def mode_of(name, pngs, jpegs):
    """Returns the colour mode to draw an image in: 64 RGBA, 35 grey, one with a palette."""
    if name.endswith(".png"):
        return "RGBA" if name in pngs[:64] else "P" if name == pngs[64] else "RGB"
    return "L" if name in jpegs[:35] else "RGB"


@pytest.fixture(scope="module")
def sizes(exdark_root):
    """{image's path in ExDark/: (width, height)} of the whole set."""
    with open(exdark_root / "image_sizes.csv", newline="") as file:
        return {
            f"{row['class_folder']}/{row['image']}": (int(row["width"]), int(row["height"]))
            for row in csv.DictReader(file)
        }


@pytest.fixture(scope="module")
def whole(exdark_root, sizes, tmp_path_factory):
    """A folder with ExDark/ of 7363 images and three stray files."""
    folder = tmp_path_factory.mktemp("whole")
    drawn = [name for name in sizes if not (exdark_root / "ExDark" / name).exists()]
    pngs = [name for name in drawn if name.endswith(".png")]
    jpegs = [name for name in drawn if not name.endswith(".png") and name != TURNED]
    for name, size in sizes.items():
        path = folder / "ExDark" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name not in drawn:
            shutil.copy(exdark_root / "ExDark" / name, path)
            continue
        form = "PNG" if name.endswith(".png") else "JPEG"
        data = blank(form, mode_of(name, pngs, jpegs), size, name == TURNED)
        path.write_bytes(data[:-2] if path.stem in ENDLESS else data)
    for name in STRAYS:
        (folder / "ExDark" / name).write_bytes(b"stray")
    return folder


@pytest.fixture(scope="module")
def converted(whole, run_script):
    """The run that converted the images to images/."""
    return run_script(
        "convert_images.py", f"--input_dir={whole}/ExDark", f"--output_dir={whole}/images"
    )


@pytest.fixture(scope="module")
def genuine(exdark_root, whole, converted):
    """The ConvertedRows of the images that EXDARK_ROOT holds, all of ExDark's or a part."""
    table = read_table(whole / "images/converted.csv", ConvertedRow, "")
    rows = rows_of(table, ConvertedRow)
    return [row for row in rows if (exdark_root / "ExDark" / row.file).exists()]


@pytest.fixture(scope="module")
def gathered(whole, converted, exdark_root, run_script):
    return run_script(
        "make_annotations_csv.py",
        f"--annotations={exdark_root}/ExDark_Annno.zip",
        f"--images_dir={whole}/images",
        f"--image_list={exdark_root}/imageclasslist.txt",
        f"--output_dir={whole}",
    )


@pytest.fixture(scope="module")
def entries(whole, gathered):
    """(ImageRow, [AnnotationRow]) of every image."""
    return read_tables(whole, CLASSES)


def test_the_conversion_accounts_for_every_file(whole, converted):
    assert converted.returncode == 0
    assert converted.stdout == (
        f"7363 images in {whole}/images\n"
        "  RGB JPEGs kept byte for byte: 6829\n"
        f"  EXIF rotation not applied: 1 ({TURNED})\n"
        "  given their end marker: 3 "
        "(Bottle/2015_01610.jpg, Cat/2015_03362.jpg, Dog/2015_05339.jpg)\n"
        "  encoded as RGB JPEG: 531\n"
        f"  other files left alone: 3 ({', '.join(STRAYS)})\n"
        "  files found: 7366\n"
        f"  named in {whole}/images/problems.csv: 7\n"
    )


def test_a_photograph_becomes_an_rgb_jpeg_of_its_stored_size_or_stays_one(
    exdark_root, whole, sizes, genuine
):
    for row in genuine:
        source = exdark_root / "ExDark" / row.file
        path = whole / "images" / f"{source.stem}.jpg"
        with Image.open(source) as image:
            is_rgb_jpeg = (image.format, image.mode) == ("JPEG", "RGB")
        assert row.how in (("kept", "completed") if is_rgb_jpeg else ("encoded",)), source
        assert (path.read_bytes() == source.read_bytes()) == (row.how == "kept"), source
        with Image.open(path) as image:
            image.load()
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", sizes[row.file]), path


def test_no_two_of_55_photographs_are_near_duplicates(whole, genuine):
    if len(genuine) != 55:
        pytest.skip(f"of a part of ExDark with 55 images, not {len(genuine)}")
    names = [f"{Path(row.file).stem}.jpg" for row in genuine]
    assert find_duplicates(names, whole / "images") == []


def test_the_tables_hold_every_box_and_image_with_the_known_counts(whole, gathered):
    assert (gathered.returncode, gathered.stderr) == (0, "")
    assert gathered.stdout.startswith(f"7363 images with 23710 boxes in {whole}/annotations.csv\n")
    for line in (
        "boxes clipped to the image: 50 (",
        "images without boxes: 1 (ExDark_Annno/Motorbike/2015_05894.jpg.txt)\n",
        "images without a box of their folder's class: 10 (",
        "files found: 7363, of them 7363 used\n",
    ):
        assert f"\n  {line}" in gathered.stdout


def test_classes_lightings_and_locations_have_the_known_counts(entries):
    images = [image for image, _ in entries]
    boxes = [box for _, found in entries for box in found]
    assert Counter(box.class_name for box in boxes) == {
        **{"Bicycle": 1120, "Boat": 1389, "Bottle": 1593, "Bus": 706, "Car": 2927, "Cat": 909},
        **{"Chair": 2377, "Cup": 1656, "Dog": 1018, "Motorbike": 1072, "People": 7460},
        **{"Table": 1483},
    }
    assert Counter(image.lighting for image in images) == {
        **{"Low": 241, "Ambient": 2098, "Object": 498, "Single": 762, "Weak": 705},
        **{"Strong": 2059, "Screen": 165, "Window": 363, "Shadow": 56, "Twilight": 416},
    }
    assert Counter(image.location for image in images) == {"Indoor": 2822, "Outdoor": 4541}
    most = max(images, key=lambda image: image.boxes)
    assert (most.filename, most.boxes) == ("2015_01659.jpg", 58)


def test_the_problems_are_the_known_irregularities(whole, gathered):
    problems = read_table(whole / "problems.csv", ProblemRow, "")
    assert problems.problem.value_counts().to_dict() == {
        "boxes clipped": 48,
        "no boxes": 1,
        "no box of its folder's class": 10,
    }
    problems["stem"] = [Path(name).name.split(".")[0] for name in problems.file]
    of = {problem: rows.set_index("stem").detail for problem, rows in problems.groupby("problem")}
    assert {"2015_03168", "2015_06569"} <= set(of["no box of its folder's class"].index)
    assert of["boxes clipped"]["2015_06933"].startswith("1, by ")
    assert max(int(text.split()[2]) for text in of["boxes clipped"]) == 15


def test_all_boxes_come_back_from_yolos_and_vocs_form(entries):
    for image, rows in entries:
        check_label_forms(image, rows, CLASSES)


def test_the_official_records_hold_every_image_and_box(whole, gathered, run_script):
    folder = whole / "official"
    run = run_script(
        "make_tfrecords.py",
        *(f"--data_dir={whole}", f"--images_dir={whole}/images", f"--output_dir={folder}"),
        *("--split=official", "--shards=2", "--verify"),
    )
    assert run.returncode == 0
    assert run.stdout.startswith(
        f"{folder}/train.tfrecord-?????-of-00002: 3000 images, 10381 boxes in 2 files\n"
        f"{folder}/val.tfrecord-?????-of-00002: 1800 images, 6212 boxes in 2 files\n"
        f"{folder}/test.tfrecord-?????-of-00002: 2563 images, 7117 boxes in 2 files\n"
        f"{folder}/label_map.txt: 12 classes\n"
        "verified: 7363 records hold what the tables and the images say\n"
    )
    ids = read_label_map(folder / "label_map.txt").ids
    records = list(read_records(sorted(folder.glob("test.tfrecord-*")), ids))
    assert (len(records), sum(len(record.classes) for record in records)) == (2563, 7117)


@pytest.mark.parametrize(("fraction", "seed"), [(0.75, 0), (0.75, 1), (0.9, 0)])
def test_a_random_split_shares_out_each_class_and_lighting_within_a_point(entries, fraction, seed):
    labels = {image.filename: labels_of(image, rows) for image, rows in entries}
    rows = split_randomly(labels, fraction, seed, labels=labels)
    train = Counter(x for row in rows if row.split == "train" for x in labels[row.filename])
    totals = Counter(label for found in labels.values() for label in found)
    assert len(totals) == 12 + 10 + 2 + 12  # folders, lightings, locations, boxes
    worst = max(abs(train[label] / total - fraction) for label, total in totals.items())
    assert worst < 0.01
    assert [row.split for row in rows].count("train") == round(7363 * fraction)
