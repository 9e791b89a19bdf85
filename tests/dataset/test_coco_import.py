"""One's own photographs come in by way of a COCO file."""

import json
import re

import pytest
from checks import message_of
from pictures import rotation
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.coco import import_coco
from lowlight.dataset.label_import import order_classes
from lowlight.dataset.labels import Fitting, Oddity
from lowlight.dataset.tables import AnnotationRow, ConvertedRow, ImageRow, format_table

NIGHT = {"id": 1, "file_name": "photos/night.PNG", "width": 40, "height": 30}
A = {"id": 2, "file_name": "a.jpg", "width": 80, "height": 40}
CATEGORIES = [{"id": 40, "name": "street lamp"}, {"id": 3, "name": "Cat"}, {"id": 5, "name": "owl"}]


def box(image_id, *bbox, category_id=3, **more):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, **more}


def save_images(folder, **sizes):
    """Writes black JPEGs of these sizes into a folder, made where it is missing."""
    folder.mkdir(exist_ok=True)
    for name, size in sizes.items():
        Image.new("RGB", size).save(folder / f"{name}.jpg")


def write_coco(folder, *boxes, images=(NIGHT, A), categories=CATEGORIES):
    """Writes a COCO file, its boxes numbered from 1, and returns its path."""
    annotations = [{"id": number, **item} for number, item in enumerate(boxes, 1)]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "a.json"
    path.write_text(json.dumps(whole))
    return path


@pytest.fixture
def images_dir(tmp_path):
    """A folder with a.jpg, 80x40, and Night.jpg, 40x30."""
    save_images(tmp_path / "images", a=(80, 40), Night=(40, 30))
    return tmp_path / "images"


@pytest.fixture
def load(tmp_path, images_dir):
    """Imports a COCO file of these boxes; `file` has the arguments of write_coco."""

    def run(*boxes, file=None, **options):
        return import_coco(
            write_coco(tmp_path, *boxes, **(file or {})), Fitting(images_dir, **options)
        )

    return run


def test_boxes_are_fitted_to_the_images_by_stem_and_sorted_by_name(load):
    found = load(box(2, 8, 10, 32, 10), box(1, 1, 2, 3, 4, category_id=40), box(2, 0, 0, 5, 5))
    assert found.images == [
        ImageRow("Night.jpg", "photos/night.PNG", 40, 30, "", "", "", "", 1),
        ImageRow("a.jpg", "a.jpg", 80, 40, "", "", "", "", 2),
    ]
    assert found.boxes == [
        AnnotationRow("Night.jpg", 40, 30, "street lamp", 1, 2, 4, 6),
        AnnotationRow("a.jpg", 80, 40, "Cat", 8, 10, 40, 20),
        AnnotationRow("a.jpg", 80, 40, "Cat", 0, 0, 5, 5),
    ]
    assert found.classes == ("Cat", "owl", "street lamp")
    assert found.notes.problems() == []
    assert list(found.notes[Oddity.CLASS_WITHOUT_BOX]) == ["owl"]


def test_what_is_changed_or_left_out_is_counted(load, images_dir):
    save_images(images_dir, other=(9, 9))
    crowd, flat = box(2, 0, 0, 80, 40, iscrowd=1), box(2, 4, 4, 0, 5)
    small = box(1, 2, 2, 2, 2)
    twice = [small, small, {**small, "category_id": 5}]
    found = load(box(1, -2.5, 6, 20, 10), box(1, 3.4, 1, 30, 2.5), *twice, crowd, flat)
    assert [row[3:8] for row in found.boxes] == [
        ("Cat", 0, 6, 18, 16),
        ("Cat", 3, 1, 33, 4),
        ("Cat", 2, 2, 4, 4),
        ("Cat", 2, 2, 4, 4),
        ("owl", 2, 2, 4, 4),
    ]
    assert {oddity: found.notes[oddity] for oddity in Oddity if found.notes[oddity]} == {
        Oddity.BOXES_CLIPPED: {"Night.jpg": 1},
        Oddity.BOXES_ROUNDED: {"Night.jpg": 2},
        Oddity.BOXES_REPEATED: {"Night.jpg": 1},
        Oddity.CROWDS: {"a.jpg": 1},
        Oddity.FLAT: {"a.jpg": 1},
        Oddity.WITHOUT_BOXES: {"a.jpg": 1},
        Oddity.UNNAMED: {"other.jpg": 1},
        Oddity.CLASS_WITHOUT_BOX: {"street lamp": 1},
    }


ORDERS = {
    "some of ExDark's": ({2: "Dog", 1: "Cat"}, CLASSES),
    "one that isn't": ({2: "Dog", 1: "owl"}, ("owl", "Dog")),
    "gaps and 0": ({90: "a", 0: "c", 7: "b"}, ("c", "b", "a")),
    "another spelling": ({1: "cat"}, ("cat",)),
}


@pytest.mark.parametrize(("categories", "classes"), ORDERS.values(), ids=ORDERS)
def test_exdarks_classes_keep_their_ids_and_others_go_by_category_id(categories, classes):
    assert order_classes(categories) == classes


def test_images_that_are_missing_are_left_out_where_that_is_allowed(load, images_dir):
    (images_dir / "a.jpg").unlink()
    boxes = box(2, 1, 1, 2, 2), box(1, 1, 2, 3, 4)
    with pytest.raises(DataError, match=r"a\.json: no image in .*images for a\.jpg\.\n.*--allow_m"):
        load(*boxes)
    found = load(*boxes, allow_missing=True)
    assert ([row.filename for row in found.images], len(found.boxes)) == (["Night.jpg"], 1)
    assert list(found.notes[Oddity.WITHOUT_FILE]) == ["a.jpg"]


def write_converted(folder, orientation, how="kept"):
    row = ConvertedRow("photos/a.png", how, orientation, "", "", "")
    (folder / "converted.csv").write_text(format_table([row], ConvertedRow))


UPRIGHT = "The labels are .* {} --upright, and this.*"
STORED = (
    "Boxes must be in the pixels as stored, to which no EXIF rotation is applied; "
    "convert_images.py --upright applies it. Or correct the labels."
)


@pytest.mark.parametrize(
    ("how", "remedy"),
    [(None, STORED), ("encoded", UPRIGHT.format("with")), ("turned", UPRIGHT.format("without"))],
    ids=["not known to be turned", "not turned by the conversion", "turned by it"],
)
def test_an_image_of_another_size_is_told_with_the_usual_cause(
    load, tmp_path, images_dir, how, remedy
):
    if how:
        write_converted(images_dir, 6, how)
    found = f"images[1], id 2: 40x80 pixels, but {images_dir}/a.jpg has 80x40.\n  "
    with pytest.raises(DataError, match=f"^{re.escape(f'{tmp_path}/a.json: {found}')}{remedy}$"):
        load(file={"images": [NIGHT, {**A, "width": 40, "height": 80}]})


# EXIF's orientation, what the conversion did, whether the labels say sizes, and what isn't known.
TURNS = {
    "by 180": (3, "kept", True, ["a.jpg"]),
    "by 90": (6, "kept", True, []),
    "by 90 without sizes": (6, "kept", False, ["a.jpg"]),
    "already turned": (3, "turned", True, []),
    "not rotated": (1, "kept", False, []),
}


@pytest.mark.parametrize(("orientation", "how", "sizes", "unknown"), TURNS.values(), ids=TURNS)
def test_where_no_size_tells_the_turn_of_the_labels_it_is_said(
    load, images_dir, orientation, how, sizes, unknown
):
    write_converted(images_dir, orientation, how)
    found = load(file={"images": [NIGHT, A if sizes else {"id": 2, "file_name": "a.jpg"}]})
    assert list(found.notes[Oddity.MAYBE_TURNED]) == unknown


def test_the_tag_of_an_image_tells_where_no_conversion_does(load, images_dir):
    Image.new("RGB", (80, 40)).save(images_dir / "a.jpg", exif=rotation(3))
    assert list(load().notes[Oddity.MAYBE_TURNED]) == ["a.jpg"]


def test_areas_of_masks_are_kept_and_crowds_where_asked(load):
    given = [(900.5, 0), (1600.4, 0), (0, 0), (None, 0), (700, 1)]
    boxes = [box(2, 0, 0, 40, 40, area=area, iscrowd=crowd) for area, crowd in given]
    expected = [(0, 900.5), (0, None), (0, None), (0, None), (1, 700)]
    assert [row[8:] for row in load(*boxes).boxes] == expected[:4]
    found = load(*boxes, keep_crowds=True)
    assert [row[8:] for row in found.boxes] == expected
    assert (found.notes[Oddity.CROWDS_KEPT], found.notes[Oddity.CROWDS]) == ({"a.jpg": 1}, {})


def test_crowds_alone_are_refused_unless_they_are_to_be_kept(load):
    crowds = [box(number, 5, 5, 20, 20, iscrowd=1) for number in (1, 2)]
    with pytest.raises(DataError, match=r"all of its 2 boxes are crowds .*\n.*--keep_crowds"):
        load(*crowds)
    found = load(*crowds, keep_crowds=True)
    assert [row.is_crowd for row in found.boxes] == [0, 0]
    assert (found.notes[Oddity.CROWDS], found.notes[Oddity.CROWDS_KEPT]) == ({}, {})


def test_a_category_that_only_groups_others_is_no_class(load):
    names = (0, "traffic", "none"), (1, "lorry", "traffic"), (2, "tram", "traffic"), (3, "x", "x")
    categories = [{"id": n, "name": name, "supercategory": group} for n, name, group in names]
    found = load(box(2, 1, 1, 9, 9, category_id=1), file={"categories": categories})
    assert found.classes == ("lorry", "tram", "x")
    assert list(found.notes[Oddity.GROUP]) == ["traffic"]
    assert list(found.notes[Oddity.CLASS_WITHOUT_BOX]) == ["tram", "x"]


def test_images_of_one_name_in_several_folders_are_told_apart_where_asked(tmp_path):
    save_images(tmp_path / "cams", cam1__0001=(80, 40), cam2__0001=(40, 30))
    names = "../cam2\\0001.png", "cam1/0001.JPG"
    images = [{**image, "file_name": name} for image, name in zip((NIGHT, A), names, strict=True)]
    path = write_coco(tmp_path, box(1, 1, 2, 3, 4), images=images)
    with pytest.raises(DataError, match=r"has the same stem as .*\n.*--flatten to convert_images"):
        import_coco(path, Fitting(tmp_path / "cams"))
    found = import_coco(path, Fitting(tmp_path / "cams", flatten=True))
    assert [row.filename for row in found.images] == ["cam1__0001.jpg", "cam2__0001.jpg"]
    assert found.boxes[0].filename == "cam2__0001.jpg"


@pytest.mark.parametrize(
    ("on_disk", "in_file", "same"),
    [
        ("Mu\u0308ller", "M\u00fcller", 1),
        ("\u1100\u1161", "\uac00", 1),
        ("Stra\u00dfe", "Strasse", 0),
    ],
    ids=["an accent apart", "a syllable in letters", "a sharp s"],
)
def test_names_meet_however_unicode_makes_up_their_letters(tmp_path, on_disk, in_file, same):
    save_images(tmp_path / "images", **{on_disk: (80, 40)})
    path = write_coco(tmp_path, images=[{**A, "file_name": f"{in_file}.JPG"}])
    assert len(import_coco(path, Fitting(tmp_path / "images", allow_missing=True)).images) == same


def test_boxes_wholly_outside_are_all_named(load):
    with pytest.raises(DataError) as caught:
        load(box(2, 80, 0, 5, 5), box(1, 0, -9.5, 5, 9.5))
    for number, ltwh in enumerate(["(80, 0, 5, 5)", "(0, -9.5, 5, 9.5)"]):
        place = f"annotations[{number}], id {number + 1}"
        assert f"a.json: {place}: the box {ltwh} (left" in str(caught.value)


def test_an_import_says_what_it_made_and_writes_nothing_where_it_fails(
    images_dir, tmp_path, run_script
):
    flags = "--format=coco", f"--labels={tmp_path}/a.json", f"--images_dir={images_dir}"
    command = "import_labels.py", *flags, f"--output_dir={tmp_path}/data"
    write_coco(tmp_path, box(9, 0, 0, 5, 5))
    message = message_of(run_script(*command))
    assert message.startswith(f"error: {tmp_path}/a.json: annotations[0], id 1: image_id 9 isn")
    assert not (tmp_path / "data").exists()
    write_coco(tmp_path, box(2, -1, 0, 5.5, 5), box(2, 0, 0, 80, 40, iscrowd=1))
    done = run_script(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"2 images with 1 box in {tmp_path}/data/annotations.csv\n"
        f"3 classes in {tmp_path}/data/classes.txt: Cat, owl, street lamp\n"
        "  boxes clipped to the image: 1 (a.jpg)\n"
        "  boxes moved to whole pixels: 1 (a.jpg)\n"
        "  crowd boxes left out: 1 (a.jpg)\n"
        "  images without boxes: 1 (Night.jpg)\n"
        "  classes without a box: 2 (street lamp, owl)\n"
        f"  named in {tmp_path}/data/problems.csv: 3\n"
    )
    assert (tmp_path / "data/problems.csv").read_text() == (
        "file,problem,detail\n"
        "Night.jpg,no boxes,kept as an image of background\n"
        "a.jpg,boxes clipped,1\n"
        "a.jpg,crowd boxes left out,1\n"
    )
