import shutil
import zipfile

import pytest

from lowlight.core.errors import DataError
from lowlight.dataset.annotations import gather_annotations
from lowlight.dataset.conversion import convert_images
from lowlight.dataset.labels import Oddity
from lowlight.dataset.tables import AnnotationRow, ImageRow


@pytest.fixture
def exdark(tiny_exdark):
    """tiny_exdark with its images converted to images/."""
    convert_images(tiny_exdark / "ExDark", tiny_exdark / "images")
    return tiny_exdark


def gather(root, **options):
    return gather_annotations(root / "ExDark_Annno", root / "images", **options)


def test_every_box_is_a_row_in_the_order_of_the_images(exdark):
    assert gather(exdark).boxes == [
        AnnotationRow("2015_00001.jpg", 40, 30, "Bicycle", 4, 5, 24, 20),
        AnnotationRow("2015_00001.jpg", 40, 30, "People", 30, 2, 38, 26),
        AnnotationRow("2015_00002.jpg", 36, 24, "Boat", 0, 6, 18, 16),
        AnnotationRow("2015_00003.jpg", 24, 36, "Bottle", 2, 3, 12, 36),
        AnnotationRow("2015_00004.jpg", 48, 32, "Bus", 8, 8, 40, 24),
        AnnotationRow("2015_00005.jpg", 40, 30, "Cat", 10, 10, 22, 24),
        AnnotationRow("2015_00006.jpg", 40, 20, "Dog", 25, 2, 40, 18),
        AnnotationRow("2015_00008.jpg", 32, 24, "Chair", 1, 2, 15, 22),
    ]


def test_every_image_is_a_row_with_the_facts_of_the_list(exdark):
    found = gather(exdark, image_list=exdark / "imageclasslist.txt")
    assert len(found.images) == 8
    assert found.images[1] == ImageRow(
        filename="2015_00002.jpg",
        source="Boat/2015_00002.png",
        width=36,
        height=24,
        folder_class="Boat",
        lighting="Twilight",
        location="Outdoor",
        official_split="val",
        boxes=1,
    )
    assert found.images[6].boxes == 0


def test_the_list_names_an_image_whose_annotation_differs_in_case(exdark):
    found = gather(exdark, image_list=exdark / "imageclasslist.txt")
    assert (found.images[4].lighting, list(found.notes[Oddity.UNLISTED])) == ("Screen", [])


def test_image_annotation_and_list_fit_whatever_their_case(exdark):
    (exdark / "images/2015_00005.jpg").rename(exdark / "images/Night.jpg")
    annotation = exdark / "ExDark_Annno/Cat/2015_00005.jpg.txt"
    annotation.rename(annotation.with_name("night.JPG.txt"))
    path = exdark / "imageclasslist.txt"
    path.write_bytes(path.read_bytes().replace(b"2015_00005.JPG", b"NIGHT.jpg"))
    image = gather(exdark, image_list=path).images[-1]
    assert (image.filename, image.lighting, image.boxes) == ("Night.jpg", "Screen", 1)


def test_without_a_list_the_facts_are_empty_and_no_image_is_called_unlisted(exdark):
    found = gather(exdark)
    assert {tuple(image[4:8]) for image in found.images} == {("", "", "", "")}
    assert found.notes[Oddity.UNLISTED] == {}


def test_an_image_that_the_list_lacks_is_named_and_has_no_facts(exdark):
    path = exdark / "imageclasslist.txt"
    path.write_bytes(path.read_bytes().replace(b"2015_00001.jpg 1 1 2 1\r\n", b""))
    found = gather(exdark, image_list=path)
    assert list(found.notes[Oddity.UNLISTED]) == ["2015_00001.jpg"]
    assert found.images[0].lighting == ""


def test_what_is_out_of_the_ordinary_is_named(exdark):
    notes = gather(exdark).notes
    assert notes[Oddity.BOXES_CLIPPED] == {"Boat/2015_00002.png.txt": 1}
    assert notes[Oddity.WITHOUT_BOXES] == {"Motorbike/2015_00007.JPEG.txt": 1}
    assert notes[Oddity.WITHOUT_FOLDER_CLASS] == {"Table/2015_00008.jpg.txt": 1}
    assert notes[Oddity.WITHOUT_IMAGE] == {}
    assert notes[Oddity.STRAY] == {"Boat/._2015_00002.png.txt": 1}


def test_every_oddity_is_a_row_of_problems(exdark):
    (exdark / "images/2015_00001.jpg").unlink()
    path = exdark / "imageclasslist.txt"
    path.write_bytes(path.read_bytes().replace(b"2015_00003.png 3 3 1 3\r\n", b""))
    assert gather(exdark, image_list=path, allow_missing=True).notes.problems() == [
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
def test_a_clipped_box_is_counted_once_with_its_furthest_edge(exdark, boxes, clipped):
    path = exdark / "ExDark_Annno/Boat/2015_00002.png.txt"
    lines = "".join(f"Boat {box} 0 0 0 0 0 0 0\n" for box in boxes)
    path.write_text(f"% bbGt version=3\n{lines}")
    problems = gather(exdark).notes.problems()
    assert [row.detail for row in problems if row.problem == "boxes clipped"] == clipped


def test_boxes_that_repeat_are_counted(exdark):
    path = exdark / "ExDark_Annno/Boat/2015_00002.png.txt"
    path.write_text("% bbGt version=3\n" + "Boat 1 2 3 4 0 0 0 0 0 0 0\n" * 3)
    assert gather(exdark).notes[Oddity.BOXES_REPEATED] == {"Boat/2015_00002.png.txt": 2}


def test_a_folder_that_is_no_class_asks_for_none(exdark):
    (exdark / "ExDark_Annno/Table").rename(exdark / "ExDark_Annno/part 3")
    assert gather(exdark).notes[Oddity.WITHOUT_FOLDER_CLASS] == {}


def test_a_zip_gives_the_same_as_its_folder(exdark):
    from_folder = gather(exdark)
    with zipfile.ZipFile(exdark / "a.zip", "w") as archive:
        for path in (exdark / "ExDark_Annno").rglob("*.txt"):
            archive.write(path, path.relative_to(exdark / "ExDark_Annno"))
    assert gather_annotations(exdark / "a.zip", exdark / "images") == from_folder


def test_an_annotation_may_be_named_after_the_stem_alone(exdark):
    folder = exdark / "ExDark_Annno/Boat"
    (folder / "2015_00002.png.txt").rename(folder / "2015_00002.txt")
    assert gather(exdark).boxes[2].class_name == "Boat"


def test_annotations_without_image_are_named_and_refused(exdark):
    (exdark / "images/2015_00001.jpg").unlink()
    with pytest.raises(DataError) as caught:
        gather(exdark)
    assert str(caught.value) == (
        f"{exdark}/ExDark_Annno: no image in {exdark}/images for Bicycle/2015_00001.jpg.txt.\n"
        "  Convert the missing images, or give --allow_missing to leave these out."
    )


def test_annotations_without_image_are_left_out_where_that_is_allowed(exdark):
    (exdark / "images/2015_00001.jpg").unlink()
    found = gather(exdark, allow_missing=True)
    assert found.notes[Oddity.WITHOUT_IMAGE] == {"Bicycle/2015_00001.jpg.txt": 1}
    assert (len(found.images), len(found.boxes)) == (7, 6)


@pytest.mark.parametrize("allow_missing", [False, True])
def test_an_image_without_annotation_is_always_refused(exdark, allow_missing):
    (exdark / "ExDark_Annno/Cat/2015_00005.jpg.txt").unlink()
    with pytest.raises(
        DataError, match=r"images: no annotation in .* for 2015_00005\.jpg\.\n  Add"
    ):
        gather(exdark, allow_missing=allow_missing)


def test_all_bad_annotations_are_named_at_once(exdark):
    for name in ("Boat/2015_00002.png.txt", "Cat/2015_00005.jpg.txt"):
        path = exdark / "ExDark_Annno" / name
        path.write_text(path.read_text().replace(" 10", " ten"))
    with pytest.raises(DataError) as caught:
        gather(exdark)
    assert [line for line in str(caught.value).split("\n") if line[0] != " "] == [
        f"{exdark}/ExDark_Annno/Boat/2015_00002.png.txt:2: '-2 6 20 ten' isn't four whole numbers.",
        f"{exdark}/ExDark_Annno/Cat/2015_00005.jpg.txt:2: "
        "'ten ten 12 14' isn't four whole numbers.",
    ]


@pytest.mark.parametrize("box", ["-20 6 20 10", "36 6 20 10", "2 -10 20 10", "2 24 20 10"])
def test_a_box_wholly_outside_is_refused_with_its_line(exdark, box):
    path = exdark / "ExDark_Annno/Boat/2015_00002.png.txt"
    path.write_text(path.read_text().replace("-2 6 20 10", box))
    with pytest.raises(DataError) as caught:
        gather(exdark)
    assert str(caught.value) == (
        f"{path}:2: the box ({box.replace(' ', ', ')}) (left, top, width, height) lies wholly "
        "outside its image of 36x24 pixels.\n  Correct or remove it."
    )


@pytest.mark.parametrize("zipped", [False, True])
def test_an_annotation_larger_than_any_is_refused_before_it_is_read(exdark, zipped):
    name = "Boat/2015_00002.png.txt"
    (exdark / "ExDark_Annno" / name).write_bytes(b"\0" * (2**20 + 1))
    source = exdark / "ExDark_Annno"
    if zipped:
        source = shutil.make_archive(exdark / "a", "zip", source)
    with pytest.raises(DataError, match=rf"{name}: 1,048,577 bytes, and no image's annotation"):
        gather_annotations(source, exdark / "images")


def test_two_annotations_of_one_image_are_refused(exdark):
    folder = exdark / "ExDark_Annno"
    shutil.copy(folder / "Bus/2015_00004.png.txt", folder / "Boat/2015_00004.JPG.txt")
    with pytest.raises(DataError, match=r"annotates the same image as Boat/2015_00004\.JPG\.txt"):
        gather(exdark)


def test_images_whose_names_differ_in_case_alone_are_not_dropped(exdark):
    annotation = exdark / "ExDark_Annno/Cat/2015_00005.jpg.txt"
    shutil.copy(annotation, annotation.with_name("a.jpg.txt"))
    for name in ("a.jpg", "A.jpg"):
        shutil.copy(exdark / "images/2015_00005.jpg", exdark / "images" / name)
    with pytest.raises(DataError, match=r"a\.jpg"):
        gather(exdark)


def empty(folder):
    for path in folder.rglob("*.*"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        pytest.param(
            lambda root: shutil.rmtree(root / "images"), "images: no such folder", id="no images/"
        ),
        pytest.param(
            lambda root: empty(root / "images"),
            "images: holds no .jpg image.\n  Run convert_images.py",
            id="images/ empty",
        ),
        pytest.param(
            lambda root: empty(root / "ExDark_Annno"), "ExDark_Annno: holds no file", id="no file"
        ),
        pytest.param(
            lambda root: (
                empty(root / "ExDark_Annno"),
                (root / "ExDark_Annno/a.png").touch(),
            ),
            "ExDark_Annno: holds no annotation (.txt).\n  --annotations is ExDark_Annno",
            id="no annotation",
        ),
        pytest.param(
            lambda root: (root / "imageclasslist.txt").unlink(),
            "imageclasslist.txt: no such file.\n  Check --image_list.",
            id="no list",
        ),
    ],
)
def test_a_missing_input_is_refused_with_its_flag(exdark, spoil, found):
    spoil(exdark)
    with pytest.raises(DataError) as caught:
        gather(exdark, image_list=exdark / "imageclasslist.txt")
    assert str(caught.value).startswith(f"{exdark}/{found}")


def test_an_archive_nested_one_deeper_with_a_macs_strays_gives_the_same(exdark):
    flat = gather(exdark)
    path = exdark / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (exdark / "ExDark_Annno").rglob("*.png.txt"):
            name = f"ExDark_Annno/{file.relative_to(exdark / 'ExDark_Annno')}"
            archive.writestr(f"__MACOSX/{name}", b"\0\5\x16\7")
        for file in (exdark / "ExDark_Annno").rglob("*.txt"):
            archive.write(file, f"ExDark_Annno/ExDark_Annno/{file.parent.name}/{file.name}")
    found = gather_annotations(path, exdark / "images")
    assert (found.images, found.boxes) == (flat.images, flat.boxes)
    assert len(found.notes[Oddity.STRAY]) == 5
    assert all("/._" in name or name.startswith("__MACOSX/") for name in found.notes[Oddity.STRAY])
