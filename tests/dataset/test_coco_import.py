"""One's own photographs come in by way of a COCO file, and ExDark's go out and back unchanged."""

import json

import pytest
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.core.files import locked
from lowlight.dataset.annotations import gather_annotations
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.coco_import import import_coco, order_classes
from lowlight.dataset.conversion import convert_images
from lowlight.dataset.labels import Oddity
from lowlight.dataset.tables import (
    AnnotationRow,
    ConvertedRow,
    ImageRow,
    SplitRow,
    format_table,
)


@pytest.fixture
def images_dir(tmp_path):
    """A folder with a.jpg, 80x40, and Night.jpg, 40x30."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size in (("a.jpg", (80, 40)), ("Night.jpg", (40, 30))):
        Image.new("RGB", size).save(folder / name)
    return folder


IMAGES = [
    {"id": 1, "file_name": "photos/night.PNG", "width": 40, "height": 30},
    {"id": 2, "file_name": "a.jpg", "width": 80, "height": 40},
]
CATEGORIES = [{"id": 40, "name": "street lamp"}, {"id": 3, "name": "Cat"}, {"id": 5, "name": "owl"}]


def box(image_id, *bbox, category_id=3, **more):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, **more}


@pytest.fixture
def write_coco(tmp_path):
    """Writes a COCO file and returns its path; boxes are numbered from 1."""

    def write(*boxes, images=IMAGES, categories=CATEGORIES):
        annotations = [{"id": number, **item} for number, item in enumerate(boxes, 1)]
        whole = {"images": images, "annotations": annotations, "categories": categories}
        path = tmp_path / "a.json"
        path.write_text(json.dumps(whole))
        return path

    return write


def test_boxes_are_fitted_to_the_images_by_stem_and_sorted_by_name(write_coco, images_dir):
    path = write_coco(box(2, 8, 10, 32, 10), box(1, 1, 2, 3, 4, category_id=40), box(2, 0, 0, 5, 5))
    found = import_coco(path, images_dir)
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


def test_what_is_changed_or_left_out_is_counted(write_coco, images_dir):
    Image.new("RGB", (9, 9)).save(images_dir / "other.jpg")
    crowd = box(2, 0, 0, 80, 40, iscrowd=1)
    path = write_coco(box(1, -2.5, 6, 20, 10), box(1, 3.4, 1, 30, 2.5), box(1, 2, 2, 2, 2), crowd)
    found = import_coco(path, images_dir)
    assert [row[4:] for row in found.boxes] == [(0, 6, 18, 16), (3, 1, 33, 4), (2, 2, 4, 4)]
    assert found.notes[Oddity.BOXES_CLIPPED] == {"Night.jpg": 1}
    assert found.notes[Oddity.BOXES_ROUNDED] == {"Night.jpg": 2}
    assert found.notes[Oddity.CROWDS] == found.notes[Oddity.WITHOUT_BOXES] == {"a.jpg": 1}
    assert list(found.notes[Oddity.UNNAMED]) == ["other.jpg"]


@pytest.mark.parametrize(
    ("categories", "classes"),
    [
        ({2: "Dog", 1: "Cat"}, CLASSES),
        ({2: "Dog", 1: "owl"}, ("owl", "Dog")),
        ({90: "a", 0: "c", 7: "b"}, ("c", "b", "a")),
        ({1: "cat"}, ("cat",)),
    ],
    ids=["some of ExDark's", "one that isn't", "gaps and 0", "another spelling"],
)
def test_exdarks_classes_keep_their_ids_and_others_go_by_category_id(categories, classes):
    assert order_classes(categories) == classes


def test_images_that_are_missing_are_left_out_where_that_is_allowed(write_coco, images_dir):
    (images_dir / "a.jpg").unlink()
    path = write_coco(box(2, 1, 1, 2, 2), box(1, 1, 2, 3, 4))
    with pytest.raises(DataError, match=r"a\.json: no image in .*images for a\.jpg\.\n.*--allow_m"):
        import_coco(path, images_dir)
    found = import_coco(path, images_dir, allow_missing=True)
    assert ([row.filename for row in found.images], len(found.boxes)) == (["Night.jpg"], 1)
    assert list(found.notes[Oddity.WITHOUT_FILE]) == ["a.jpg"]


def test_an_image_of_another_size_is_told_with_the_usual_cause(write_coco, images_dir):
    path = write_coco(images=[IMAGES[0], {**IMAGES[1], "width": 40, "height": 80}])
    with pytest.raises(DataError) as caught:
        import_coco(path, images_dir)
    assert str(caught.value) == (
        f"{path}: images[1], id 2: 40x80 pixels, but {images_dir}/a.jpg has 80x40.\n"
        "  Boxes must be in the pixels as stored, to which no EXIF rotation is applied; "
        "convert_images.py --upright applies it. Or correct the COCO file."
    )


def write_converted(folder, orientation, how="kept"):
    row = ConvertedRow("photos/a.png", how, orientation, "", "", "")
    (folder / "converted.csv").write_text(format_table([row], ConvertedRow))


@pytest.mark.parametrize(
    ("how", "flag"), [("encoded", "with --upright"), ("turned", "without --upright")]
)
def test_labels_of_the_other_turn_of_a_picture_say_which_flag_to_take(
    write_coco, images_dir, how, flag
):
    write_converted(images_dir, 6, how)
    path = write_coco(images=[IMAGES[0], {**IMAGES[1], "width": 40, "height": 80}])
    with pytest.raises(DataError, match=rf"40x80 pixels.*\n  The labels are .* {flag}, and this"):
        import_coco(path, images_dir)


@pytest.mark.parametrize(
    ("orientation", "how", "sizes", "unknown"),
    [
        (3, "kept", True, ["a.jpg"]),
        (6, "kept", True, []),
        (6, "kept", False, ["a.jpg"]),
        (3, "turned", True, []),
        (1, "kept", False, []),
    ],
    ids=["by 180", "by 90", "by 90 without sizes", "already turned", "not rotated"],
)
def test_where_no_size_tells_the_turn_of_the_labels_it_is_said(
    write_coco, images_dir, orientation, how, sizes, unknown
):
    write_converted(images_dir, orientation, how)
    image = IMAGES[1] if sizes else {"id": 2, "file_name": "a.jpg"}
    found = import_coco(write_coco(images=[IMAGES[0], image]), images_dir)
    assert list(found.notes[Oddity.MAYBE_TURNED]) == unknown


def test_the_tag_of_an_image_tells_where_no_conversion_does(write_coco, images_dir):
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (80, 40)).save(images_dir / "a.jpg", exif=exif)
    assert list(import_coco(write_coco(), images_dir).notes[Oddity.MAYBE_TURNED]) == ["a.jpg"]


def test_boxes_that_repeat_are_counted_and_those_without_width_are_left_out(write_coco, images_dir):
    boxes = [box(2, 1, 1, 9, 9)] * 3 + [box(2, 1, 1, 9, 9, category_id=5), box(2, 4, 4, 0, 5)]
    found = import_coco(write_coco(*boxes), images_dir)
    assert found.notes[Oddity.BOXES_REPEATED] == {"a.jpg": 2}
    assert found.notes[Oddity.FLAT] == {"a.jpg": 1}
    assert [row.class_name for row in found.boxes] == ["Cat", "Cat", "Cat", "owl"]


def test_crowds_alone_are_refused_unless_they_are_to_be_kept(write_coco, images_dir):
    path = write_coco(box(1, 5, 5, 20, 20, iscrowd=1), box(2, 5, 5, 20, 20, iscrowd=1))
    with pytest.raises(DataError, match=r"all of its 2 boxes are crowds .*\n.*--keep_crowds"):
        import_coco(path, images_dir)
    found = import_coco(path, images_dir, keep_crowds=True)
    assert (len(found.boxes), found.notes[Oddity.CROWDS]) == (2, {})


def test_a_category_that_only_groups_others_is_no_class(write_coco, images_dir):
    names = (0, "traffic", "none"), (1, "lorry", "traffic"), (2, "tram", "traffic"), (3, "x", "x")
    categories = [{"id": n, "name": name, "supercategory": group} for n, name, group in names]
    found = import_coco(
        write_coco(box(2, 1, 1, 9, 9, category_id=1), categories=categories), images_dir
    )
    assert found.classes == ("lorry", "tram", "x")
    assert (list(found.notes[Oddity.GROUP]), list(found.notes[Oddity.CLASS_WITHOUT_BOX])) == (
        ["traffic"],
        ["tram", "x"],
    )


def test_images_of_one_name_in_several_folders_are_told_apart_where_asked(write_coco, tmp_path):
    for folder, size in (("cam1", (80, 40)), ("cam2", (40, 30))):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", size).save(tmp_path / "images" / f"{folder}__0001.jpg")
    images = [
        {**IMAGES[0], "file_name": "../cam2\\0001.png"},
        {**IMAGES[1], "file_name": "cam1/0001.JPG"},
    ]
    path = write_coco(box(1, 1, 2, 3, 4), images=images)
    with pytest.raises(DataError, match=r"has the same stem as .*\n.*--flatten to convert_images"):
        import_coco(path, tmp_path / "images")
    found = import_coco(path, tmp_path / "images", flatten=True)
    assert [row.filename for row in found.images] == ["cam1__0001.jpg", "cam2__0001.jpg"]
    assert found.boxes[0].filename == "cam2__0001.jpg"


@pytest.mark.parametrize(
    ("on_disk", "in_file", "same"),
    [
        ("Mu\u0308ller.jpg", "M\u00fcller.jpg", True),
        ("\u1100\u1161.jpg", "\uac00.JPG", True),
        ("Stra\u00dfe.jpg", "Strasse.jpg", False),
    ],
    ids=["an accent apart", "a syllable in letters", "a sharp s"],
)
def test_names_meet_however_unicode_makes_up_their_letters(
    write_coco, tmp_path, on_disk, in_file, same
):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (80, 40)).save(tmp_path / "images" / on_disk)
    path = write_coco(images=[{**IMAGES[1], "file_name": in_file}])
    found = import_coco(path, tmp_path / "images", allow_missing=True)
    assert len(found.images) == same


def test_two_items_of_one_image_are_refused(write_coco, images_dir):
    path = write_coco(images=[*IMAGES, {**IMAGES[1], "id": 3, "file_name": "b/A.png"}])
    with pytest.raises(DataError, match=r"images\[2\], id 3: b/A\.png has the same stem as a\.jpg"):
        import_coco(path, images_dir)


def test_boxes_wholly_outside_are_all_named(write_coco, images_dir):
    path = write_coco(box(2, 80, 0, 5, 5), box(1, 0, -9.5, 5, 9.5))
    with pytest.raises(DataError) as caught:
        import_coco(path, images_dir)
    assert f"{path}: annotations[0], id 1: the box (80, 0, 5, 5) (left" in str(caught.value)
    assert f"{path}: annotations[1], id 2: the box (0, -9.5, 5, 9.5)" in str(caught.value)


def test_a_folder_without_images_is_refused(write_coco, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: holds no \.jpg image"):
        import_coco(write_coco(), tmp_path / "empty")


# The two scripts. ---------------------------------------------------------------------------------


@pytest.fixture
def exdark(tiny_exdark):
    """A folder with images/, images.csv, annotations.csv and split.csv of the tiny ExDark."""
    convert_images(tiny_exdark / "ExDark", tiny_exdark / "images")
    found = gather_annotations(tiny_exdark / "ExDark_Annno", tiny_exdark / "images")
    parts = ["train"] * 6 + ["test"] * 2
    rows = [SplitRow(image.filename, p) for image, p in zip(found.images, parts, strict=True)]
    (tiny_exdark / "images.csv").write_text(format_table(found.images, ImageRow))
    (tiny_exdark / "annotations.csv").write_text(format_table(found.boxes, AnnotationRow))
    (tiny_exdark / "split.csv").write_text(format_table(rows, SplitRow))
    return tiny_exdark


@pytest.fixture
def round_trip(exdark, run_script):
    """Exports the folder's data and imports it into back/, which is returned."""

    def run():
        arguments = f"--data_dir={exdark}", f"--output={exdark}/out/all.json"
        done = run_script("export_coco.py", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        done = run_script(
            "import_coco.py",
            f"--coco={exdark}/out/all.json",
            f"--images_dir={exdark}/images",
            f"--output_dir={exdark}/back",
        )
        assert (done.returncode, done.stderr) == (0, "")
        return exdark / "back"

    return run


def test_annotations_come_back_from_coco_byte_for_byte(exdark, round_trip):
    back = round_trip()
    assert (back / "annotations.csv").read_bytes() == (exdark / "annotations.csv").read_bytes()
    assert (back / "classes.txt").read_text().split() == list(CLASSES)
    assert (back / "images.csv").read_text().count("\n") == 9


def test_ones_own_classes_come_back_in_their_order(exdark, round_trip):
    classes = "".join(f"{name}\n" for name in ["street lamp", *reversed(CLASSES)])
    (exdark / "classes.txt").write_text(classes)
    back = round_trip()
    assert (back / "classes.txt").read_text() == classes
    assert (back / "annotations.csv").read_bytes() == (exdark / "annotations.csv").read_bytes()


@pytest.mark.parametrize(
    ("split", "counts"), [("train", (6, 7)), ("test", (2, 1)), ("all", (8, 8))]
)
def test_a_part_is_written(exdark, run_script, split, counts):
    path = exdark / f"{split}.json"
    done = run_script(
        "export_coco.py", f"--data_dir={exdark}", f"--split={split}", f"--output={path}"
    )
    assert done.stdout == f"{path}: {counts[0]} images, {counts[1]} boxes, 12 classes\n"
    whole = json.loads(path.read_text())
    assert (len(whole["images"]), len(whole["annotations"])) == counts


@pytest.mark.parametrize(
    ("remove", "split", "message"),
    [
        (None, "val", "split.csv: no image is in val.\n  Choose another --split."),
        ("split.csv", "test", "split.csv: no such file.\n  make_tfrecords.py writes"),
        ("images.csv", "all", "images.csv: no such file.\n  "),
    ],
)
def test_a_part_that_is_not_there_is_refused_and_nothing_written(
    exdark, run_script, remove, split, message
):
    if remove:
        (exdark / remove).unlink()
    path = exdark / "x.json"
    done = run_script(
        "export_coco.py", f"--data_dir={exdark}", f"--split={split}", f"--output={path}"
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {exdark}/{message}")
    assert not path.exists()


def test_an_import_says_what_it_made_and_writes_nothing_where_it_fails(
    write_coco, images_dir, tmp_path, run_script
):
    def run():
        folders = f"--images_dir={images_dir}", f"--output_dir={tmp_path}/data"
        return run_script("import_coco.py", f"--coco={tmp_path}/a.json", *folders)

    write_coco(box(9, 0, 0, 5, 5))
    done = run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {tmp_path}/a.json: annotations[0], id 1: image_id 9 isn")
    assert not (tmp_path / "data").exists()
    write_coco(box(2, -1, 0, 5.5, 5), box(2, 0, 0, 80, 40, iscrowd=1))
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"2 images with 1 boxes in {tmp_path}/data/annotations.csv\n"
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


def test_a_folder_that_another_step_writes_is_left_alone(exdark, run_script):
    """All four scripts that write beside the tables take the folder's lock."""
    anno, images, back = exdark / "ExDark_Annno", exdark / "images", exdark / "back"
    back.mkdir()
    whole = exdark / "whole.json"
    run_script("export_coco.py", f"--data_dir={exdark}", f"--output={whole}")
    commands = (
        ("export_coco.py", f"--data_dir={exdark}", f"--output={back}/a.json"),
        ("import_coco.py", f"--coco={whole}", f"--images_dir={images}", f"--output_dir={back}"),
        ("describe_data.py", f"--data_dir={exdark}", f"--output={back}/a.html"),
        (
            "make_annotations_csv.py",
            f"--annotations={anno}",
            f"--images_dir={images}",
            f"--output_dir={back}",
        ),
    )
    with locked(back):
        for command in commands:
            done = run_script(*command)
            assert (done.returncode, done.stdout) == (1, "")
            assert f"error: {back}: is being written already, by process" in done.stderr
    assert list(back.iterdir()) == []
