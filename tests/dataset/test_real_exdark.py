"""Facts on the real ExDark, read from the folder that EXDARK_ROOT names; see conftest.py."""

import csv
from collections import Counter
from pathlib import PurePosixPath

import pytest
from PIL import Image

from lowlight.core.sources import is_stray
from lowlight.dataset.conversion import convert_images
from lowlight.dataset.split import find_duplicates
from lowlight.dataset.tables import AnnotationRow, ImageRow, read_table, rows_of
from lowlight.images.reading import is_image_name, list_jpegs


@pytest.fixture(scope="module")
def sizes(exdark_root):
    """{stem: (width, height)} of the whole set."""
    with open(exdark_root / "image_sizes.csv", newline="") as file:
        return {
            PurePosixPath(row["image"]).stem: (int(row["width"]), int(row["height"]))
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
        path = sources[PurePosixPath(name).stem]
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


def test_no_two_of_the_55_images_are_near_duplicates(converted, images_dir, of_55_images):
    assert find_duplicates([path.name for path in list_jpegs(images_dir)], images_dir) == []
