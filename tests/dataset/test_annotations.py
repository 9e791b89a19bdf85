import shutil
import zipfile

import pytest

from lowlight.core.errors import DataError
from lowlight.dataset.annotations import gather_annotations
from lowlight.dataset.labels import Oddity


def gather(root, **options):
    return gather_annotations(root / "ExDark_Annno", root / "images", **options)


def test_image_annotation_and_list_fit_whatever_their_case(converted):
    (converted / "images/2015_00005.jpg").rename(converted / "images/Night.jpg")
    annotation = converted / "ExDark_Annno/Cat/2015_00005.jpg.txt"
    annotation.rename(annotation.with_name("night.JPG.txt"))
    path = converted / "imageclasslist.txt"
    path.write_bytes(path.read_bytes().replace(b"2015_00005.JPG", b"NIGHT.jpg"))
    image = gather(converted, image_list=path).images[-1]
    assert (image.filename, image.lighting, image.boxes) == ("Night.jpg", "Screen", 1)


def test_without_a_list_the_facts_are_empty_and_no_image_is_called_unlisted(converted):
    found = gather(converted)
    assert {tuple(image[4:8]) for image in found.images} == {("", "", "", "")}
    assert found.notes[Oddity.UNLISTED] == {}


def test_every_oddity_is_a_row_of_problems(converted):
    (converted / "images/2015_00001.jpg").unlink()
    path = converted / "imageclasslist.txt"
    path.write_bytes(path.read_bytes().replace(b"2015_00003.png 3 3 1 3\r\n", b""))
    found = gather(converted, image_list=path, allow_missing=True)
    assert (len(found.images), len(found.boxes)) == (7, 6)
    assert found.images[1][4:8] == ("", "", "", "")
    assert found.notes.problems() == [
        ("2015_00003.jpg", "not in the image list", "kept without lighting, location and split"),
        ("Bicycle/2015_00001.jpg.txt", "no image", "left out"),
        ("Boat/._2015_00002.png.txt", "stray file", "left alone"),
        ("Boat/2015_00002.png.txt", "boxes clipped", "1, by 2 px at most"),
        ("Motorbike/2015_00007.JPEG.txt", "no boxes", "kept as an image of background"),
        ("Table/2015_00008.jpg.txt", "no box of its folder's class", "kept"),
    ]


@pytest.mark.parametrize(
    ("boxes", "clipped"),
    [
        (["0 0 36 24"], []),
        (["-3 -5 30 20"], ["1, by 5 px at most"]),
        (["0 0 37 24", "1 1 4 4", "30 20 10 10"], ["2, by 6 px at most"]),
    ],
    ids=["the whole image", "two edges of one box", "two boxes of three"],
)
def test_a_clipped_box_is_counted_once_with_its_furthest_edge(converted, boxes, clipped):
    path = converted / "ExDark_Annno/Boat/2015_00002.png.txt"
    lines = "".join(f"Boat {box} 0 0 0 0 0 0 0\n" for box in boxes)
    path.write_text(f"% bbGt version=3\n{lines}")
    problems = gather(converted).notes.problems()
    assert [row.detail for row in problems if row.problem == "boxes clipped"] == clipped


def test_boxes_that_repeat_are_counted(converted):
    path = converted / "ExDark_Annno/Boat/2015_00002.png.txt"
    path.write_text("% bbGt version=3\n" + "Boat 1 2 3 4 0 0 0 0 0 0 0\n" * 3)
    assert gather(converted).notes[Oddity.BOXES_REPEATED] == {"Boat/2015_00002.png.txt": 2}


def test_a_folder_that_is_no_class_asks_for_none(converted):
    (converted / "ExDark_Annno/Table").rename(converted / "ExDark_Annno/part 3")
    assert gather(converted).notes[Oddity.WITHOUT_FOLDER_CLASS] == {}


def test_an_annotation_may_be_named_after_the_stem_alone(converted):
    folder = converted / "ExDark_Annno/Boat"
    (folder / "2015_00002.png.txt").rename(folder / "2015_00002.txt")
    assert gather(converted).boxes[2].class_name == "Boat"


def test_annotations_without_image_are_named_and_refused(converted):
    (converted / "images/2015_00001.jpg").unlink()
    with pytest.raises(DataError) as caught:
        gather(converted)
    assert str(caught.value) == (
        f"{converted}/ExDark_Annno: no image in {converted}/images for "
        "Bicycle/2015_00001.jpg.txt.\n"
        "  Convert the missing images, or give --allow_missing to leave these out."
    )


@pytest.mark.parametrize("allow_missing", [False, True])
def test_an_image_without_annotation_is_always_refused(converted, allow_missing):
    (converted / "ExDark_Annno/Cat/2015_00005.jpg.txt").unlink()
    with pytest.raises(
        DataError, match=r"images: no annotation in .* for 2015_00005\.jpg\.\n  Add"
    ):
        gather(converted, allow_missing=allow_missing)


def test_all_bad_annotations_are_named_at_once(converted):
    for name in ("Boat/2015_00002.png.txt", "Cat/2015_00005.jpg.txt"):
        path = converted / "ExDark_Annno" / name
        path.write_text(path.read_text().replace(" 10", " ten"))
    with pytest.raises(DataError) as caught:
        gather(converted)
    assert [line for line in str(caught.value).split("\n") if line[0] != " "] == [
        f"{converted}/ExDark_Annno/{name}.txt:2: {found!r} isn't four whole numbers."
        for name, found in (
            ("Boat/2015_00002.png", "-2 6 20 ten"),
            ("Cat/2015_00005.jpg", "ten ten 12 14"),
        )
    ]


@pytest.mark.parametrize("box", ["-20 6 20 10", "36 6 20 10", "2 -10 20 10", "2 24 20 10"])
def test_a_box_wholly_outside_is_refused_with_its_line(converted, box):
    path = converted / "ExDark_Annno/Boat/2015_00002.png.txt"
    path.write_text(path.read_text().replace("-2 6 20 10", box))
    with pytest.raises(DataError) as caught:
        gather(converted)
    assert str(caught.value) == (
        f"{path}:2: the box ({box.replace(' ', ', ')}) (left, top, width, height) lies wholly "
        "outside its image of 36x24 pixels.\n  Correct or remove it."
    )


@pytest.mark.parametrize("zipped", [False, True])
def test_an_annotation_larger_than_any_is_refused_before_it_is_read(converted, zipped):
    name = "Boat/2015_00002.png.txt"
    (converted / "ExDark_Annno" / name).write_bytes(b"\0" * (2**20 + 1))
    source = converted / "ExDark_Annno"
    if zipped:
        source = shutil.make_archive(converted / "a", "zip", source)
    with pytest.raises(DataError, match=rf"{name}: 1,048,577 bytes, and no image's annotation"):
        gather_annotations(source, converted / "images")


def test_two_annotations_of_one_image_are_refused(converted):
    folder = converted / "ExDark_Annno"
    shutil.copy(folder / "Bus/2015_00004.png.txt", folder / "Boat/2015_00004.JPG.txt")
    with pytest.raises(DataError, match=r"annotates the same image as Boat/2015_00004\.JPG\.txt"):
        gather(converted)


def test_images_whose_names_differ_in_case_alone_are_not_dropped(converted):
    annotation = converted / "ExDark_Annno/Cat/2015_00005.jpg.txt"
    shutil.copy(annotation, annotation.with_name("a.jpg.txt"))
    for name in ("a.jpg", "A.jpg"):
        shutil.copy(converted / "images/2015_00005.jpg", converted / "images" / name)
    with pytest.raises(DataError, match=r"a\.jpg"):
        gather(converted)


def empty(folder, *names):
    """Leaves these empty files in a folder, and nothing else."""
    shutil.rmtree(folder)
    folder.mkdir()
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            lambda root: shutil.rmtree(root / "images"),
            "images: no such folder.\n  Check --images_dir.",
            id="no images/",
        ),
        pytest.param(
            lambda root: empty(root / "images"),
            "images: holds no .jpg image.\n  Run convert_images.py, or check --images_dir.",
            id="images/ empty",
        ),
        pytest.param(
            lambda root: empty(root / "ExDark_Annno"),
            "ExDark_Annno: holds no file.\n  Check --annotations.",
            id="no file",
        ),
        pytest.param(
            lambda root: empty(root / "ExDark_Annno", "a.png"),
            "ExDark_Annno: holds no annotation (.txt).\n  --annotations is ExDark_Annno, "
            "the folder of class folders or its zip archive.",
            id="no annotation",
        ),
        pytest.param(
            lambda root: (root / "imageclasslist.txt").unlink(),
            "imageclasslist.txt: no such file.\n  Check --image_list.",
            id="no list",
        ),
    ],
)
def test_a_missing_input_is_refused_with_its_flag(converted, spoil, message):
    spoil(converted)
    with pytest.raises(DataError) as caught:
        gather(converted, image_list=converted / "imageclasslist.txt")
    assert str(caught.value) == f"{converted}/{message}"


def test_an_archive_nested_one_deeper_with_a_macs_strays_gives_the_same(converted):
    flat = gather(converted)
    path = converted / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (converted / "ExDark_Annno").rglob("*.png.txt"):
            name = f"ExDark_Annno/{file.relative_to(converted / 'ExDark_Annno')}"
            archive.writestr(f"__MACOSX/{name}", b"\0\5\x16\7")
        for file in (converted / "ExDark_Annno").rglob("*.txt"):
            archive.write(file, f"ExDark_Annno/ExDark_Annno/{file.parent.name}/{file.name}")
    found = gather_annotations(path, converted / "images")
    assert (found.images, found.boxes) == (flat.images, flat.boxes)
    assert len(found.notes[Oddity.STRAY]) == 5
    assert all("/._" in name or name.startswith("__MACOSX/") for name in found.notes[Oddity.STRAY])
