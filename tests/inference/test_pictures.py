"""Before any work it is known that no output is written over an input, or over another output."""

import zipfile

import pytest
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.inference.inputs import find_images
from lowlight.inference.pictures import (
    crop_name,
    output_name,
    prepare_save_path,
    small_name,
)


def archive_of(tmp_path, *names):
    """Returns the path of a zip archive whose members have these names."""
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return path


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["detections.gif"], "detections.gif and the command's own detections.gif: would be"),
        (["index.html/a.jpg"], "index.html/a.jpg and the command's own index.html: would be"),
        (["detections.json/a.jpg"], "own detections.json"),
        ([".lock/a.jpg", "b.jpg"], None),
        (["gallery/a.jpg"], "gallery/a.jpg and the command's own gallery: would be written"),
        (["crops/Cat/a.jpg"], "own crops"),
        (["a.jpg", "a.jpg/b.jpg"], "a.jpg/b.jpg and a.jpg: would be written to the same place"),
        (["a.avif", "a.avif.jpg"], r"a\.avif\.jpg and a\.avif: would be written to the same place"),
        (["./a.jpg", "a.jpg"], r"^a\.jpg and \./a\.jpg: would be written to the same place"),
        (["./index.html/a.jpg"], "own index.html"),
        (["deep/gallery/a.jpg", "deep/index.html/b.jpg"], None),
    ],
)
def test_names_that_are_the_outputs_own_are_refused(tmp_path, names, message):
    path = archive_of(tmp_path, *names)
    files = find_images(path)
    if message is None:
        assert prepare_save_path(tmp_path / "out", files, path).is_dir()
        return
    with pytest.raises(DataError, match=message):
        prepare_save_path(tmp_path / "out", files, path)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def images(tmp_path):
    """A folder with a.jpg and deep/b.jpg, and an empty folder out beside it."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    for name in ("a.jpg", "deep/b.jpg"):
        Image.new("RGB", (9, 9)).save(tmp_path / "in" / name)
    return tmp_path / "in"


def test_pictures_are_never_drawn_over_images(tmp_path, images):
    files = find_images(images, recursive=True)
    for save_path, message in ((images, "drawn over the images"), (images / "out", "next time")):
        with pytest.raises(DataError, match=message):
            prepare_save_path(save_path, files, images)
    pattern = f"{images}/*.jpg"
    with pytest.raises(DataError, match=r"a\.jpg would be drawn over"):
        prepare_save_path(images, find_images(pattern), pattern)
    assert prepare_save_path(tmp_path / "new" / "out", files, images).is_dir()


@pytest.mark.parametrize(("link", "target"), [("deep", "in/deep"), ("gallery", "in")])
def test_a_link_in_the_output_folder_never_leads_to_the_images(tmp_path, images, link, target):
    (tmp_path / "out" / link).symlink_to(tmp_path / target)
    (images / "round.jpg").symlink_to("round.jpg")
    files = find_images(images, recursive=True)
    with pytest.raises(DataError, match=f"out/{link}.*: leads into the folder of the images"):
        prepare_save_path(tmp_path / "out", files, images)


def test_a_link_in_the_output_folder_never_leads_to_an_image_of_a_list(tmp_path, images):
    (tmp_path / "out" / "deep").symlink_to(images / "deep")
    files = find_images("-", lines=[f"{images}/a.jpg", f"{images}/deep/b.jpg"])
    with pytest.raises(DataError, match=r"out: deep/b\.jpg would be drawn over"):
        prepare_save_path(tmp_path / "out", files, "-")


def test_names_too_long_for_a_file_are_cut_and_stay_apart():
    long, other = "x" * 251 + ".jpg", "x" * 250 + "y.jpg"
    assert output_name(long) == long
    for name in (small_name(long), crop_name(f"deep/{long}", "Cat", 12), output_name("é" * 126)):
        assert 240 <= len(name.split("/")[-1].encode()) <= 255
        assert name.endswith(".jpg")
    assert small_name(long) != small_name(other)
    assert small_name("deep/a.png") == "gallery/deep/a.png.jpg"


def test_a_class_name_is_one_folder():
    assert crop_name("deep/a.jpg", "Cat", 2) == "crops/Cat/deep/a.jpg_2.jpg"
    assert crop_name("a.jpg", "../x", 1) == "crops/_._x/a.jpg_1.jpg"
