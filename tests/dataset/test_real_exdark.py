"""Facts on the real ExDark, read from the folder that EXDARK_ROOT names; see conftest.py."""

import csv
from collections import Counter
from pathlib import PurePosixPath

import pytest
from PIL import Image

from lowlight.core.sources import is_stray, list_files
from lowlight.dataset.annotations import parse_bbgt, parse_image_list
from lowlight.dataset.conversion import convert_images
from lowlight.dataset.split import find_duplicates, labels_of, split_officially, split_randomly
from lowlight.dataset.tables import AnnotationRow, ImageRow, read_table, rows_of
from lowlight.images.boxes import clip_pixel_xyxy, pixel_ltwh_to_pixel_xyxy
from lowlight.images.reading import is_image_name, list_jpegs


def stem_of(name):
    return PurePosixPath(name).name.split(".")[0]


@pytest.fixture(scope="module")
def boxes(exdark_root):
    """{stem: BbGtBoxes} of the whole set."""
    files = list_files(exdark_root / "ExDark_Annno.zip", "annotations")
    return {
        stem_of(file.name): parse_bbgt(file.read(), file.place)
        for file in files
        if file.name.endswith(".txt") and not is_stray(file.name)
    }


@pytest.fixture(scope="module")
def facts(exdark_root):
    """{stem: ImageFacts} of the whole set."""
    data = (exdark_root / "imageclasslist.txt").read_bytes()
    return {stem_of(name): fact for name, fact in parse_image_list(data, "list").items()}


@pytest.fixture(scope="module")
def sizes(exdark_root):
    """{stem: (width, height)} of the whole set."""
    with open(exdark_root / "image_sizes.csv", newline="") as file:
        return {
            stem_of(row["image"]): (int(row["width"]), int(row["height"]))
            for row in csv.DictReader(file)
        }


@pytest.fixture(scope="module")
def sources(exdark_root):
    """{stem: path} of the images that are there, all of ExDark's or a part."""
    paths = (exdark_root / "ExDark").rglob("*")
    return {p.stem: p for p in paths if is_image_name(p.name) and not is_stray(p.name)}


@pytest.fixture(scope="module")
def images_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def converted(exdark_root, images_dir):
    return convert_images(exdark_root / "ExDark", images_dir)


@pytest.fixture
def of_55_images(sources):
    """Skips where the images aren't the 55 that the numbers are known of."""
    if len(sources) != 55:
        pytest.skip(f"its numbers are of a part of ExDark with 55 images, not {len(sources)}")


def test_all_annotations_are_read_and_have_the_known_boxes(boxes):
    assert len(boxes) == 7363
    assert Counter(box.name for found in boxes.values() for box in found) == {
        "Bicycle": 1120,
        "Boat": 1389,
        "Bottle": 1593,
        "Bus": 706,
        "Car": 2927,
        "Cat": 909,
        "Chair": 2377,
        "Cup": 1656,
        "Dog": 1018,
        "Motorbike": 1072,
        "People": 7460,
        "Table": 1483,
    }
    assert sum(len(found) for found in boxes.values()) == 23_710


def test_one_image_has_no_box_and_one_has_58(boxes):
    counts = {stem: len(found) for stem, found in boxes.items()}
    assert [stem for stem, count in counts.items() if count == 0] == ["2015_05894"]
    assert max(counts, key=counts.get) == "2015_01659"
    assert counts["2015_01659"] == 58


def test_50_boxes_in_48_images_are_clipped_and_none_lies_wholly_outside(boxes, sizes):
    clipped = []
    for stem, found in boxes.items():
        for box in found:
            whole = pixel_ltwh_to_pixel_xyxy(box.pixel_ltwh)
            xmin, ymin, xmax, ymax = clip_pixel_xyxy(whole, *sizes[stem])
            assert xmin < xmax, stem
            assert ymin < ymax, stem
            clipped += [stem] * (whole != (xmin, ymin, xmax, ymax))
    assert (len(clipped), len(set(clipped))) == (50, 48)


def test_ten_images_hold_no_box_of_their_folders_class(boxes, facts):
    found = [s for s, b in boxes.items() if b and all(x.name != facts[s].folder_class for x in b)]
    assert len(found) == 10
    assert {"2015_03168", "2015_06569"} <= set(found)


def test_the_image_list_has_the_known_counts(facts):
    assert len(facts) == 7363
    assert Counter(fact.lighting for fact in facts.values()) == {
        "Low": 241,
        "Ambient": 2098,
        "Object": 498,
        "Single": 762,
        "Weak": 705,
        "Strong": 2059,
        "Screen": 165,
        "Window": 363,
        "Shadow": 56,
        "Twilight": 416,
    }
    assert Counter(fact.location for fact in facts.values()) == {"Indoor": 2822, "Outdoor": 4541}
    assert Counter(fact.official_split for fact in facts.values()) == {
        "train": 3000,
        "val": 1800,
        "test": 2563,
    }


def test_list_and_annotations_name_the_same_images(boxes, facts):
    assert set(boxes) == set(facts)
    counts = Counter()
    for stem, found in boxes.items():
        counts[facts[stem].official_split] += len(found)
    assert counts == {"train": 10_381, "val": 6_212, "test": 7_117}


def test_every_image_becomes_an_rgb_jpeg_of_its_stored_size(converted, sources, sizes, images_dir):
    paths = list_jpegs(images_dir)
    assert [path.stem for path in paths] == sorted(sources)
    for path in paths:
        with Image.open(path) as image:
            image.load()
            assert (image.format, image.mode) == ("JPEG", "RGB"), path
            assert image.size == sizes[path.stem], path


def test_the_jpegs_of_a_part_stay_byte_for_byte(converted, sources, images_dir, of_55_images):
    assert Counter(row.how for row in converted.rows) == {"kept": 47, "encoded": 8}
    assert (converted.strays, converted.problems, converted.found) == ([], [], 0)
    for name in converted.names("kept"):
        path = sources[stem_of(name)]
        assert (images_dir / f"{path.stem}.jpg").read_bytes() == path.read_bytes()
    assert {PurePosixPath(name).suffix for name in converted.names("encoded")} == {".png"}


def test_a_part_gets_the_boxes_of_its_images(
    exdark_root, converted, images_dir, of_55_images, run_script, tmp_path
):
    run = run_script(
        "make_annotations_csv.py",
        f"--annotations={exdark_root}/ExDark_Annno.zip",
        f"--images_dir={images_dir}",
        f"--image_list={exdark_root}/imageclasslist.txt",
        f"--output_dir={tmp_path}",
        "--allow_missing",
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert f"55 images with 212 boxes in {tmp_path}/annotations.csv" in run.stdout
    assert "  annotations left out, no image: 7308 (" in run.stdout
    assert "  files found: 7363, of them 55 used\n" in run.stdout
    assert f"  named in {tmp_path}/problems.csv: 7308\n" in run.stdout
    images = rows_of(read_table(tmp_path / "images.csv", ImageRow, ""), ImageRow)
    assert (len(images), sum(image.boxes for image in images)) == (55, 212)
    assert len(read_table(tmp_path / "annotations.csv", AnnotationRow, "")) == 212
    assert all(image.official_split for image in images)


@pytest.fixture(scope="module")
def all_images(boxes, facts, sizes):
    """{ImageRow: [AnnotationRow]} of the whole set, without the images."""
    images = {}
    for stem, fact in sorted(facts.items()):
        name = f"{stem}.jpg"
        row = ImageRow(name, "", *sizes[stem], *fact, len(boxes[stem]))
        images[row] = [AnnotationRow(name, *sizes[stem], b.name, 0, 0, 1, 1) for b in boxes[stem]]
    return images


@pytest.mark.parametrize("fraction", [0.75, 0.9])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_random_split_shares_out_each_class_and_lighting_within_a_point(
    all_images, fraction, seed
):
    labels = {image.filename: labels_of(image, rows) for image, rows in all_images.items()}
    rows = split_randomly(labels, fraction, seed, labels=labels)
    train = Counter(x for row in rows if row.split == "train" for x in labels[row.filename])
    totals = Counter(label for found in labels.values() for label in found)
    assert len(totals) == 12 + 10 + 2 + 12  # folders, lightings, locations, boxes
    worst = max(abs(train[label] / total - fraction) for label, total in totals.items())
    assert worst < 0.01
    assert [row.split for row in rows].count("train") == round(7363 * fraction)


def test_the_official_split_has_3000_1800_and_2563_images(all_images):
    rows = split_officially(all_images, "images.csv")
    assert Counter(row.split for row in rows) == {"train": 3000, "val": 1800, "test": 2563}


def test_no_two_of_the_55_images_are_near_duplicates(converted, images_dir, of_55_images):
    assert find_duplicates([path.name for path in list_jpegs(images_dir)], images_dir) == []
