"""Images are found in whatever names them, and read as people look at them."""

import os
import socket
import sys
import zipfile

import numpy as np
import pytest
from pictures import encode, rotation
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.core.sources import SourceFile
from lowlight.inference.inputs import find_images, opened_upright

DARK = (10, 20, 30)
ALL = ["a.PNG", "b.jpg", "trip/c.webp", "trip/day 2/d.bmp"]


def read_upright(file):
    with opened_upright(file) as image:
        return image


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with images and folders, with what else lies in such a folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my photos"
    for name in ALL:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), DARK).save(folder / name)
    for name in ("notes.txt", "._b.jpg", ".DS_Store", "trip/._c.webp"):
        (folder / name).write_bytes(b"stray")
    return folder


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        pytest.param("my photos", {}, ["a.PNG", "b.jpg"], id="a folder's own"),
        pytest.param("my photos", {"recursive": True}, ALL, id="a folder's folders' too"),
        pytest.param("my photos/b.jpg", {}, ["b.jpg"], id="a file"),
        pytest.param("my photos/notes.txt", {}, ["notes.txt"], id="a file of any name"),
        pytest.param("{}/*", {}, ["a.PNG", "b.jpg"], id="a pattern"),
        pytest.param("{}/**/*.*", {}, ALL, id="a pattern of folders"),
        pytest.param("{}/trip/*/d.*", {}, ["d.bmp"], id="below the folder that holds them all"),
        pytest.param(
            "-",
            {"lines": ["my photos/trip/c.webp\n", "\n", "my photos/b.jpg\r\n"]},
            ["trip/c.webp", "b.jpg"],
            id="a list in its order",
        ),
    ],
)
def test_images_are_found(photos, source, options, expected):
    assert [file.name for file in find_images(source.format(photos), **options)] == expected


def test_an_archive_holds_all_its_images(photos, tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("b.jpg", "trip/c.webp", "notes.txt", "trip/._c.webp"):
            archive.write(photos / name, f"all/{name}")
    files = find_images(path)
    assert [file.name for file in files] == ["all/b.jpg", "all/trip/c.webp"]
    assert read_upright(files[0]).size == (8, 6)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nowhere", {}, "nowhere: no such folder, file or archive"),
        (
            "empty",
            {},
            r"holds no image \(avif, bmp, .*\); its folders aren't searched without --rec",
        ),
        ("empty", {"recursive": True}, "holds no image"),
        ("*.nothing", {}, "holds no image"),
        ("-", {"lines": ["\n"]}, "standard input: names no image"),
        ("-", {"lines": ["a.jpg\0b.jpg\0"]}, "divided by NUL.\n  .*find without -print0"),
        ("-", {"lines": ["in/b.jpg", "in/x/../b.jpg"]}, r"b\.jpg: given twice"),
        ("broken.zip", {}, "not a whole zip archive"),
    ],
)
def test_where_no_image_is_that_is_said(tmp_path, source, options, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("dear")
    (tmp_path / "broken.zip").write_bytes(b"PK")
    source = source if source == "-" else str(tmp_path / source)
    with pytest.raises(DataError, match=message):
        find_images(source, **options)


def test_what_is_no_plain_file_is_named_and_never_opened(photos):
    os.mkfifo(photos / "pipe.jpg")
    for name, target in (
        ("zero", "/dev/zero"),
        ("gone", "nowhere"),
        ("round", "round.jpg"),
        ("far", 300 * "a"),
    ):
        (photos / f"{name}.jpg").symlink_to(target)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(photos / "socket.jpg"))
        errors = {}
        for file in find_images(photos):
            try:
                read_upright(file)
            except DataError as error:
                errors[file.name] = str(error).splitlines()[0].removeprefix(f"{photos}/")
    assert errors == {
        "far.jpg": "far.jpg: a link without a file.",
        "gone.jpg": "gone.jpg: a link without a file.",
        "pipe.jpg": "pipe.jpg: no plain file, but a pipe.",
        "round.jpg": "round.jpg: a link without a file.",
        "socket.jpg": "socket.jpg: no plain file, but a socket.",
        "zero.jpg": "zero.jpg: no plain file, but a device.",
    }


def test_videos_beside_images_are_said_to_be_left_out(photos, capsys):
    for number in range(7):
        (photos / f"{number}.mp4").write_bytes(b"")
    for source in (photos, f"{photos}/*"):
        assert len(find_images(source)) == 2
        told = capsys.readouterr().err
        assert "videos left out: 7 (" in told
        assert "and 2 more" in told


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are UTF-8")
def test_a_name_that_is_not_utf8_is_named(photos):
    (photos / "b.jpg").rename(photos / "\udce9.jpg")
    (odd,) = (file for file in find_images(photos) if file.name == "\\xe9.jpg")
    with pytest.raises(DataError, match=r"\\xe9\.jpg: a name that isn't UTF-8"):
        read_upright(odd)


def read(image, name, **options):
    """Returns what is read of an image that is saved in the form its name says."""
    data = encode(image, Image.registered_extensions()[f".{name.split('.')[1]}"], **options)
    return read_upright(SourceFile(name, name, lambda: data))


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "bmp", "tif", "gif", "mpo"])
def test_any_form_is_read_as_rgb(kind):
    image = read(Image.new("RGB", (8, 6), DARK), f"a.{kind}")
    assert (image.mode, image.size) == ("RGB", (8, 6))
    np.testing.assert_allclose(image.getpixel((3, 3)), DARK, atol=3)


def test_an_exif_rotation_is_applied():
    assert read(Image.new("RGB", (8, 6)), "a.jpg", exif=rotation()).size == (6, 8)


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        pytest.param(Image.new("LA", (8, 6), (100, 0)), (0, 0, 0), id="transparent"),
        pytest.param(Image.new("CMYK", (8, 6), (0, 255, 255, 0)), (255, 0, 0), id="CMYK"),
    ],
)
def test_levels_become_rgb_of_8_bits(image, pixel):
    assert read(image, "a.tif").getpixel((0, 0)) == pixel


def test_of_an_animation_the_first_picture_is_read():
    frames = [Image.new("RGB", (8, 6), colour) for colour in (DARK, "white")]
    image = read(frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert image.getpixel((0, 0)) == DARK


def test_what_cannot_be_read_is_named():
    with pytest.raises(DataError, match=r"a.heic: (HEIC needs Pillow's plug-in|not an image)"):
        read_upright(SourceFile("a.heic", "a.heic", lambda: b""))
