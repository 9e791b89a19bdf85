"""What the conversion makes of a tiny ExDark: an RGB JPEG of every image, and a note of the odd."""

import pytest
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.conversion import convert_images
from lowlight.images.reading import list_jpegs

SIZES = {
    "2015_00001.jpg": (40, 30),
    "2015_00002.jpg": (36, 24),
    "2015_00003.jpg": (24, 36),
    "2015_00004.jpg": (48, 32),
    "2015_00005.jpg": (40, 30),
    "2015_00006.jpg": (40, 20),
    "2015_00007.jpg": (32, 32),
    "2015_00008.jpg": (32, 24),
}


def test_every_image_becomes_an_rgb_jpeg_of_its_stem_and_size(tiny_exdark, tmp_path):
    source, images = tiny_exdark / "ExDark", tmp_path / "images"
    done = convert_images(source, images)
    found = {}
    for path in list_jpegs(images):
        with Image.open(path) as image:
            found[path.name] = (image.format, image.mode, image.size)
    assert found == {name: ("JPEG", "RGB", size) for name, size in SIZES.items()}
    assert len(list(images.iterdir())) == 10  # and two tables
    assert {how: done.names(how) for how in ("kept", "completed", "encoded", "turned")} == {
        "kept": [
            "Bicycle/2015_00001.jpg",
            "Cat/2015_00005.JPG",
            "Dog/2015_00006.jpeg",
            "Motorbike/2015_00007.JPEG",
        ],
        "completed": ["Table/2015_00008.jpg"],
        "encoded": ["Boat/2015_00002.png", "Bottle/2015_00003.png", "Bus/2015_00004.png"],
        "turned": [],
    }
    for name in done.names("kept"):  # one is rotated
        converted = (images / name.split("/")[1]).with_suffix(".jpg")
        assert converted.read_bytes() == (source / name).read_bytes()
    original = (source / "Table/2015_00008.jpg").read_bytes()
    assert (images / "2015_00008.jpg").read_bytes() == original + b"\xff\xd9"


def test_what_is_out_of_the_ordinary_is_noted_of_every_file(tiny_exdark, tmp_path):
    done = convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    assert done.strays == [".DS_Store", "Bicycle/._2015_00001.jpg", "Boat/2015_00002.png~"]
    assert done.problems == [
        (".DS_Store", "stray file", "left alone"),
        ("Bicycle/._2015_00001.jpg", "stray file", "left alone"),
        ("Boat/2015_00002.png~", "stray file", "left alone"),
        ("Dog/2015_00006.jpeg", "EXIF rotation", "6, not applied"),
        ("Table/2015_00008.jpg", "no end marker", "added"),
    ]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["Boat/2015_00001.jpg"], id="in another folder"),
        pytest.param(["Bicycle/2015_00001.png"], id="with another extension"),
        pytest.param(["Cat/night.png", "Cat/NIGHT.jpg"], id="in another case"),
    ],
)
def test_two_images_of_one_stem_are_refused_before_anything_is_written(
    tiny_exdark, tmp_path, names
):
    for name in names:
        (tiny_exdark / "ExDark" / name).touch()
    with pytest.raises(DataError, match=r"has the same stem as .*\n.*nothing was written"):
        convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    assert not (tmp_path / "images").exists()


def test_all_damaged_images_are_named_and_the_others_converted(tiny_exdark, tmp_path):
    for name in ("Boat/2015_00002.png", "Cat/2015_00005.JPG"):
        path = tiny_exdark / "ExDark" / name
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError) as caught:
        convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    message = str(caught.value)
    assert message.index("Boat/2015_00002.png: ") < message.index("Cat/2015_00005.JPG: ")
    assert message.endswith(f"The other 6 images are in {tmp_path}/images.")
    names = [path.name for path in list_jpegs(tmp_path / "images")]
    assert names == [f"2015_0000{number}.jpg" for number in (1, 3, 4, 6, 7, 8)]
