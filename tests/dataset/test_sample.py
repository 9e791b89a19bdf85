"""Drawn night scenes in ExDark's form, with each of its irregularities."""

import io
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from checks import contents
from PIL import Image, ImageChops

from lowlight.core.errors import DataError
from lowlight.dataset import sample, scenes
from lowlight.dataset.annotations import parse_bbgt, parse_image_list
from lowlight.dataset.classes import CLASSES, LIGHTINGS, LOCATIONS, SPLITS
from lowlight.dataset.sample import write_sample, write_test_images
from lowlight.dataset.scenes import class_names, draw_object, draw_scene
from lowlight.images.rgb_jpegs import to_rgb_jpeg

TEST_IMAGES = Path(__file__).parents[2] / "test_images"
PARTS = "ExDark", "ExDark_Annno", "imageclasslist.txt"


def write_small(folder, count=9, seed=0):
    write_sample(folder, count, seed, 64, 64)
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The first 96 of the images that make_sample_data.py draws by default."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, 96, seed=0, width=320, height=240)
    return folder


@pytest.fixture(scope="module")
def images(drawn):
    """{name: the image's path}, strays left out."""
    return {path.name: path for path in drawn.glob("ExDark/*/[0-9]*") if path.name[-1] != "~"}


@pytest.fixture(scope="module")
def boxes(drawn):
    """{stem: BbGtBoxes}"""
    return {
        path.name.split(".")[0]: parse_bbgt(path.read_bytes(), path)
        for path in drawn.glob("ExDark_Annno/*/*.txt")
    }


@pytest.fixture(scope="module")
def facts(drawn):
    """{image's name: ImageFacts}"""
    return parse_image_list((drawn / "imageclasslist.txt").read_bytes(), "imageclasslist.txt")


def test_a_sample_has_exdarks_form(images, boxes, facts):
    assert len(images) == 96
    assert sorted(images) == sorted(facts)
    assert sorted(name.split(".")[0] for name in images) == sorted(boxes)
    assert {name: path.parent.name for name, path in images.items()} == {
        name: fact.folder_class for name, fact in facts.items()
    }


def test_every_class_lighting_location_and_split_occurs_and_people_most(boxes, facts):
    counts = Counter(box.name for found in boxes.values() for box in found)
    assert set(counts) == {fact.folder_class for fact in facts.values()} == set(CLASSES)
    assert counts.most_common(1)[0][0] == "People"  # as in ExDark
    assert {fact.lighting for fact in facts.values()} == set(LIGHTINGS)
    assert {fact.location for fact in facts.values()} == set(LOCATIONS)
    assert {fact.official_split for fact in facts.values()} == set(SPLITS)


def test_every_box_lies_inside_its_image_but_for_2_px_on_the_left(images, boxes):
    for name, path in images.items():
        width, height = Image.open(path).size
        for box in boxes[name.split(".")[0]]:
            left, top, right, bottom = box.pixel_ltwh
            assert -2 <= left < left + right <= width, path
            assert 0 <= top < top + bottom <= height, path


def test_every_extension_and_colour_mode_of_exdark_occurs(images):
    assert {path.suffix for path in images.values()} == {".jpg", ".JPG", ".jpeg", ".JPEG", ".png"}
    modes = {(path.suffix == ".png", Image.open(path).mode) for path in images.values()}
    assert modes == {(False, "RGB"), (True, "RGB"), (True, "RGBA"), (True, "L"), (True, "P")}


def test_each_irregularity_of_exdark_occurs_once_in_48_images(drawn, images, boxes, facts):
    text_names = {path.name.removesuffix(".txt") for path in drawn.glob("ExDark_Annno/*/*")}
    jpegs = {name: path.read_bytes() for name, path in images.items() if path.suffix != ".png"}
    found = {
        "outside": [box for some in boxes.values() for box in some if box.pixel_ltwh[0] == -2],
        "no boxes": [stem for stem, some in boxes.items() if not some],
        "other case": [name for name in images if name not in text_names],
        "rotated": [path for path in images.values() if Image.open(path).getexif().get(0x0112)],
        "no end marker": [name for name, data in jpegs.items() if data[-2:] != b"\xff\xd9"],
        "other folder": [
            name
            for name, fact in facts.items()
            if (some := boxes[name.split(".")[0]])
            and fact.folder_class not in {box.name for box in some}
        ],
    }
    assert {name: len(some) for name, some in found.items()} == dict.fromkeys(found, 2)


def test_stray_files_lie_about(drawn):
    for name in (".DS_Store", "Bicycle/._2015_00001.jpg", "Boat/2015_00002.png~"):
        assert (drawn / "ExDark" / name).exists()


def test_the_command_draws_what_its_flags_say_and_always_the_same_bytes(tmp_path, run_script):
    flags = "--images=9", "--seed=3", "--width=64", "--height=64"
    run = run_script("make_sample_data.py", f"--output_dir={tmp_path / 'a'}", *flags)
    assert (run.returncode, run.stdout) == (0, f"drew 9 images in {tmp_path / 'a'}\n")
    drawn = contents(tmp_path / "a")
    assert drawn == contents(write_small(tmp_path / "b", seed=3))
    assert drawn != contents(write_small(tmp_path / "c", seed=1))


def test_an_earlier_sample_is_replaced_and_other_files_stay(tmp_path):
    folder = write_small(tmp_path / "a", count=9)
    (folder / "annotations.csv").write_text("mine")
    write_small(folder, count=2)
    expected = contents(write_small(tmp_path / "b", count=2))
    assert contents(folder) == {**expected, "annotations.csv": b"mine"}


def test_an_interrupted_drawing_keeps_the_earlier_sample_and_nothing_else(tmp_path, monkeypatch):
    before = contents(write_small(tmp_path, count=2))

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "_write_strays", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_small(tmp_path, count=2, seed=1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("part", PARTS)
def test_a_folder_that_holds_a_real_exdark_is_refused_and_left_as_it_is(tmp_path, part):
    (tmp_path / part).mkdir()
    (tmp_path / part / "2015_00001.png").write_text("real")
    with pytest.raises(DataError, match="holds ExDark files that this step didn't draw"):
        write_small(tmp_path)
    assert contents(tmp_path) == {f"{part}/2015_00001.png": b"real"}


# The committed test images. -----------------------------------------------------------------------


def test_the_test_images_are_small():
    assert sum(path.stat().st_size for path in TEST_IMAGES.iterdir()) < 300 * 1024


def test_the_test_images_are_those_of_the_default_seed(tmp_path):
    write_test_images(tmp_path, seed=0)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in TEST_IMAGES.iterdir())
    for name in names:  # pixels and not bytes, since another encoder may round otherwise
        drawn, kept = (np.asarray(Image.open(x / name), int) for x in (tmp_path, TEST_IMAGES))
        assert drawn.shape == kept.shape
        assert np.abs(drawn - kept).mean() < 1, name


def test_no_test_image_is_in_the_sample(images):
    jpegs = [to_rgb_jpeg(path.read_bytes(), path)[0] for path in images.values()]
    sampled = [Image.open(io.BytesIO(jpeg)).resize((32, 32)) for jpeg in jpegs]
    for path in TEST_IMAGES.iterdir():
        image = Image.open(path).convert("RGB").resize((32, 32))
        least = min(np.asarray(ImageChops.difference(image, other)).mean() for other in sampled)
        assert least > 2, path.name


# Scenes. ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
def test_an_object_fills_its_image(name):
    image = draw_object(name, 60, random.Random(0))
    assert image.getchannel("A").getbbox() == (0, 0, *image.size)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_tight_around_what_is_drawn(monkeypatch, seed):
    monkeypatch.setattr(scenes, "_darken", lambda _, image, *rest: image)

    def draw(main_class):
        return draw_scene(random.Random(seed), 160, 120, "Ambient", "Outdoor", main_class)

    scene, place = draw("Car"), draw(None)
    changed = np.asarray(ImageChops.difference(scene.image, place.image)).max(2) > 20
    edges = np.array([(x, y, x + w, y + h) for _, (x, y, w, h) in scene.objects])
    expected = (*edges[:, :2].min(0), *edges[:, 2:].max(0))
    found = Image.fromarray(changed).getbbox()
    assert np.abs(np.subtract(found, expected)).max() <= 1


def test_a_scene_shows_its_class_and_only_what_is_met_at_its_location():
    scene = draw_scene(random.Random(0), 64, 64, "Screen", "Indoor", "Cat")
    names = [name for name, _ in scene.objects]
    assert names[0] == "Cat"
    assert set(names) <= set(class_names("Indoor"))
    assert scene.image.mode == "RGB"


@pytest.mark.parametrize("lighting", LIGHTINGS)
def test_every_light_is_darker_than_day(lighting):
    scene = draw_scene(random.Random(0), 64, 64, lighting, "Outdoor", "Car")
    assert 5 < np.asarray(scene.image).mean() < 90
