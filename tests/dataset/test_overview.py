"""What the page of a data set counts, measures and shows, and the input that it refuses."""

import io
import re

import numpy as np
import pytest
from checks import message_of, refused, write_files
from pictures import encode
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.core.files import CONFIGS
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.overview import (
    Anchors,
    DataSet,
    count_against,
    count_classes,
    count_values,
    make_frames,
    measure_boxes,
    read_anchors,
    read_data_set,
)
from lowlight.dataset.overview_page import choose_pictures, make_thumbnails
from lowlight.dataset.tables import AnnotationRow, ImageRow, format_table
from lowlight.images.drawing import colour_of


def entry(
    name,
    classes=(),
    brightness=50.0,
    split="train",
    lighting="Low",
    size=(100, 50),
    edges=(5, 5, 25, 15),
):
    """Returns an image with a box of these edges of each class, its split and its brightness."""
    image = ImageRow(name, name, *size, "Cat", lighting, "Indoor", "train", len(classes))
    boxes = [AnnotationRow(name, *size, class_name, *edges) for class_name in classes]
    return (image, boxes), split, brightness


def data_set_of(entries, classes=CLASSES):
    """Returns a DataSet of these entries, without problems."""
    rows, splits, brightness = zip(*entries, strict=True)
    splits = {image.filename: split for (image, _), split in zip(rows, splits, strict=True)}
    return DataSet(classes, *make_frames(rows, splits, brightness), {}, 0, [])


def test_an_image_counts_once_for_each_class_that_it_holds():
    entries = [entry("a.jpg", ["Cat", "Cat", "Dog"], 10.0), entry("b.jpg", ["Cat"], 30.0)]
    counts = {count.name: count[1:] for count in count_classes(data_set_of(entries))}
    assert (counts["Cat"], counts["Dog"], counts["Bus"]) == ((2, 3), (1, 1), (0, 0))


def test_values_stand_in_exdarks_order_then_others_then_the_unknown():
    values = enumerate(["", "Zebra", "Twilight", "Low", "Low"])
    images = data_set_of([entry(f"{n}.jpg", lighting=text) for n, text in values]).images
    counts = [(count.name, count.images) for count in count_values(images, "lighting")]
    assert counts == [("Low", 2), ("Twilight", 1), ("Zebra", 1), ("", 1)]


def test_a_box_is_measured_in_pixels_of_the_resized_image():
    image = entry("a.jpg", ["Cat"], size=(320, 200), edges=(0, 0, 64, 16))
    boxes = measure_boxes(data_set_of([image]).boxes, Anchors("", (32,), (1,), 640, 640))
    assert boxes.to_dict("records") == [{"class_name": "Cat", "size": 64.0, "ratio": 4.0}]


def test_the_ends_of_a_range_are_in_it():
    assert count_against(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), (2.0, 4.0)) == (1, 3, 1)


def test_brightness_is_the_mean_luma(tiny_data):
    for path in (tiny_data / "images").glob("*.jpg"):
        with Image.open(path) as image:
            size = image.size
        Image.new("RGB", size, (40, 40, 40)).save(path)
    images = read_data_set(tiny_data, tiny_data / "images").images
    assert list(images.brightness) == [40.0] * 8


# Bad input. ---------------------------------------------------------------------------------------


IMAGE = "images/2015_00003.jpg"
SMALL = encode(Image.new("RGB", (9, 9)), "JPEG")
NONE = {
    "images.csv": format_table([], ImageRow),
    "annotations.csv": format_table([], AnnotationRow),
}
# Files that are changed, and how the message begins.
BAD = {
    "problems": ({"problems.csv": "file,problem\n"}, "problems.csv:1: no column detail."),
    "no image": ({IMAGE: "no"}, f"{IMAGE}: not an image"),
    "another size": ({IMAGE: SMALL}, f"{IMAGE}: 9x9 pixels, but images.csv has 24x36."),
    "no images": (NONE, "images.csv: holds no image"),
}


@pytest.mark.parametrize(("changed", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named_with_a_remedy(tiny_data, changed, message):
    write_files(tiny_data, changed)
    with refused(f"{tiny_data}/{message}"):
        read_data_set(tiny_data, tiny_data / "images")


@pytest.mark.parametrize("flag", ["data_dir", "images_dir"])
def test_a_missing_folder_is_named(tiny_data, flag):
    folders = {"data_dir": tiny_data, "images_dir": tiny_data / "images", flag: "/missing"}
    with pytest.raises(DataError, match=f"^/missing: no such folder.*\n.*--{flag}"):
        read_data_set(**folders)


def test_every_bad_image_is_named_at_once_and_the_old_page_kept(tiny_data, run_script):
    page = tiny_data / "a.html"
    page.write_text("the page of last time")
    missing = [tiny_data / f"images/2015_0000{number}.jpg" for number in (2, 5)]
    for path in missing:
        path.unlink()
    message = message_of(
        run_script("describe_data.py", f"--data_dir={tiny_data}", f"--output={page}")
    )
    assert [path for path in missing if f"{path}: no such file" in message] == missing
    assert page.read_text() == "the page of last time"


# Pictures. ----------------------------------------------------------------------------------------


def test_the_gallery_shows_some_of_each_class_the_darkest_and_the_most_crowded():
    entries = [entry(f"{n:02d}.jpg", ["Cat"] * (n % 5), 99.0 - n) for n in range(20)]
    groups = choose_pictures(data_set_of(entries), seed=0)
    names = {g.heading: list(g.images.filename) for g in groups}
    assert list(names) == ["Cat", "The darkest", "The most crowded"]
    assert len(names["Cat"]) == 6
    assert names["Cat"] == sorted(names["Cat"])
    assert names["The darkest"] == [f"{n:02d}.jpg" for n in range(19, 7, -1)]
    assert names["The most crowded"][:5] == ["04.jpg", "09.jpg", "14.jpg", "19.jpg", "03.jpg"]


def test_a_seed_always_chooses_the_same_pictures():
    entries = [entry(f"{n:02d}.jpg", ["Cat"]) for n in range(20)]
    groups = [choose_pictures(data_set_of(entries), seed)[0] for seed in (0, 0, 1)]
    one, same, other = (list(group.images.filename) for group in groups)
    assert one == same != other


def test_thumbnails_are_small_with_boxes_in_their_classs_colour_and_one_is_brighter(tmp_path):
    Image.new("RGB", (960, 480), (20, 20, 20)).save(tmp_path / "a.jpg", quality=95)
    image = entry("a.jpg", ["Fox"], 20.0, size=(960, 480), edges=(400, 80, 800, 400))
    for classes in (("Fox", "Owl"), ("Owl", "Fox")):
        data_set = data_set_of([image], classes)
        (row,) = data_set.images.itertuples()
        jpegs = make_thumbnails(tmp_path, row, data_set.boxes, classes).values()
        plain, bright = (Image.open(io.BytesIO(jpeg)) for jpeg in jpegs)
        assert (plain.size, bright.size) == ((240, 120), (240, 120))
        assert abs(plain.getpixel((20, 60))[1] - 20) < 6
        assert abs(bright.getpixel((20, 60))[1] - 110) < 6
        found, wanted = plain.getpixel((150, 21)), colour_of(classes.index("Fox") + 1)
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 60


# Anchors of a config. -----------------------------------------------------------------------------

D1 = CONFIGS / "ssd_efficientdet_d1_640x640_coco17_tpu-8.config"


def test_the_d1_configs_anchors_are_three_an_octave_from_32_pixels():
    anchors = read_anchors(D1)
    assert len(anchors.sizes) == 15
    assert [round(size, 2) for size in anchors.sizes[:4]] == [32.0, 40.32, 50.8, 64.0]
    assert round(anchors.sizes[-1], 2) == 812.75
    assert anchors.ratios == (0.5, 1.0, 2.0)
    assert (anchors.min_dimension, anchors.max_dimension) == (640, 640)


CONFIG = """\
image_resizer {{ keep_aspect_ratio_resizer {{ min_dimension: 300 max_dimension: 600 }} }}
# multiscale_anchor_generator { min_level: 9 }
anchor_generator {{ multiscale_anchor_generator {{ {} }} }}
""".replace("generator { min_level: 9 }", "generator {{ min_level: 9 }}")


def read_fields(folder, fields):
    path = folder / "a.config"
    path.write_text(CONFIG.format(fields))
    return read_anchors(path)


def test_what_a_config_leaves_out_is_as_in_tfod(tmp_path):
    anchors = read_fields(tmp_path, "max_level: 3 aspect_ratios: 2 aspect_ratios: 1.0")
    assert [round(size, 2) for size in anchors.sizes] == [32.0, 45.25]
    assert anchors.ratios == (1.0, 2.0)


@pytest.mark.parametrize(
    ("size", "scale"),
    [((400, 300), 1.0), ((1200, 300), 0.5), ((100, 100), 3.0)],
    ids=["the shorter side decides", "the longer side decides", "enlarged"],
)
def test_an_image_is_resized_as_by_tfod(tmp_path, size, scale):
    assert read_fields(tmp_path, "aspect_ratios: 1").resize_scale(*size) == scale


BAD_FIELDS = {
    "min_level: three": "min_level is 'three', not a number",
    "aspect_ratios: [1.0, wide]": "aspect_ratios is ",
    "": "the anchors have no size or no aspect_ratios",
    "max_level: 2000": "max_level is '2000', not a number from 0 to 30.",
    "max_level: inf": "max_level is 'inf', not a number",
    "anchor_scale: nan": "anchor_scale is 'nan', not a number from 0 to 100,000",
    "scales_per_octave: 1e9": "scales_per_octave is '1e9', not a number from 0 to 100.",
    "aspect_ratios: 1 scales_per_octave: 0": "the anchors have no size",
}


@pytest.mark.parametrize(("fields", "message"), BAD_FIELDS.items())
def test_anchors_of_no_use_are_refused(tmp_path, fields, message):
    with pytest.raises(DataError, match=re.escape(f"a.config:3: {message}") + ".*\n  --config is "):
        read_fields(tmp_path, fields)


def test_a_config_of_another_kind_or_a_missing_one_is_refused(tmp_path):
    (tmp_path / "a.config").write_text("model { faster_rcnn {} }")
    with refused(f"{tmp_path}/a.config: no multiscale_anchor_generator."):
        read_anchors(tmp_path / "a.config")
    with refused(f"{tmp_path}/b.config: no such file."):
        read_anchors(tmp_path / "b.config")
