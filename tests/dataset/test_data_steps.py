import os
import re
import shutil

import pytest
from checks import contents, message_of
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.conversion import convert_images

ANNOTATIONS = """\
filename,width,height,class,xmin,ymin,xmax,ymax
2015_00001.jpg,40,30,Bicycle,4,5,24,20
2015_00001.jpg,40,30,People,30,2,38,26
2015_00002.jpg,36,24,Boat,0,6,18,16
2015_00003.jpg,24,36,Bottle,2,3,12,36
2015_00004.jpg,48,32,Bus,8,8,40,24
2015_00005.jpg,40,30,Cat,10,10,22,24
2015_00006.jpg,40,20,Dog,25,2,40,18
2015_00008.jpg,32,24,Chair,1,2,15,22
"""
IMAGES = """\
filename,source,width,height,folder_class,lighting,location,official_split,boxes
2015_00001.jpg,Bicycle/2015_00001.jpg,40,30,Bicycle,Low,Outdoor,train,2
2015_00002.jpg,Boat/2015_00002.png,36,24,Boat,Twilight,Outdoor,val,1
2015_00003.jpg,Bottle/2015_00003.png,24,36,Bottle,Object,Indoor,test,1
2015_00004.jpg,Bus/2015_00004.png,48,32,Bus,Strong,Outdoor,train,1
2015_00005.jpg,Cat/2015_00005.JPG,40,30,Cat,Screen,Indoor,val,1
2015_00006.jpg,Dog/2015_00006.jpeg,40,20,Dog,Single,Outdoor,test,1
2015_00007.jpg,Motorbike/2015_00007.JPEG,32,32,Motorbike,Weak,Outdoor,train,0
2015_00008.jpg,Table/2015_00008.jpg,32,24,Table,Ambient,Indoor,train,1
"""
ANNOTATION_PROBLEMS = """\
file,problem,detail
Boat/._2015_00002.png.txt,stray file,left alone
Boat/2015_00002.png.txt,boxes clipped,"1, by 2 px at most"
Motorbike/2015_00007.JPEG.txt,no boxes,kept as an image of background
Table/2015_00008.jpg.txt,no box of its folder's class,kept
"""
IMAGE_PROBLEMS = """\
file,problem,detail
.DS_Store,stray file,left alone
Bicycle/._2015_00001.jpg,stray file,left alone
Boat/2015_00002.png~,stray file,left alone
Dog/2015_00006.jpeg,EXIF rotation,"6, not applied"
Table/2015_00008.jpg,no end marker,added
"""


@pytest.fixture
def convert(run_script, tiny_exdark):
    """Runs convert_images.py on tiny_exdark, into images/; arguments given come last and win."""

    def run(*arguments, **options):
        defaults = f"--input_dir={tiny_exdark}/ExDark", f"--output_dir={tiny_exdark}/images"
        return run_script("convert_images.py", *defaults, *arguments, **options)

    return run


@pytest.fixture
def annotate(run_script, tiny_exdark):
    """Runs make_annotations_csv.py on tiny_exdark and its images/, into data/."""

    def run(*arguments, **options):
        defaults = (
            f"--annotations={tiny_exdark}/ExDark_Annno",
            f"--images_dir={tiny_exdark}/images",
            f"--image_list={tiny_exdark}/imageclasslist.txt",
            f"--output_dir={tiny_exdark}/data",
        )
        return run_script("make_annotations_csv.py", *defaults, *arguments, **options)

    return run


def images(folder):
    return {name: data for name, data in contents(folder).items() if name.endswith(".jpg")}


def zip_of(folder):
    """Archives a folder as ExDark's authors do, with the folder itself inside."""
    return shutil.make_archive(folder, "zip", folder.parent, folder.name)


def test_images_and_annotations_become_jpegs_and_two_tables(tiny_exdark, convert, annotate):
    run = convert()
    assert (run.returncode, run.stdout) == (
        0,
        f"8 images in {tiny_exdark}/images\n"
        "  RGB JPEGs kept byte for byte: 4\n"
        "  EXIF rotation not applied: 1 (Dog/2015_00006.jpeg)\n"
        "  given their end marker: 1 (Table/2015_00008.jpg)\n"
        "  encoded as RGB JPEG: 3\n"
        "  other files left alone: 3 "
        "(.DS_Store, Bicycle/._2015_00001.jpg, Boat/2015_00002.png~)\n"
        "  files found: 11\n"
        f"  named in {tiny_exdark}/images/problems.csv: 5\n",
    )
    assert (tiny_exdark / "images/problems.csv").read_text() == IMAGE_PROBLEMS
    assert sorted(images(tiny_exdark / "images")) == [f"2015_0000{n}.jpg" for n in range(1, 9)]
    run = annotate()
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == (
        f"8 images with 8 boxes in {tiny_exdark}/data/annotations.csv\n"
        "  boxes clipped to the image: 1 (Boat/2015_00002.png.txt)\n"
        "  images without boxes: 1 (Motorbike/2015_00007.JPEG.txt)\n"
        "  images without a box of their folder's class: 1 (Table/2015_00008.jpg.txt)\n"
        "  other files left alone: 1 (Boat/._2015_00002.png.txt)\n"
        "  files found: 9, of them 8 used\n"
        f"  named in {tiny_exdark}/data/problems.csv: 4\n"
    )
    assert contents(tiny_exdark / "data") == {
        "annotations.csv": ANNOTATIONS.encode(),
        "images.csv": IMAGES.encode(),
        "problems.csv": ANNOTATION_PROBLEMS.encode(),
    }


def test_archives_give_the_same_bytes_as_folders(tiny_exdark, convert, annotate):
    convert()
    from_folder = images(tiny_exdark / "images")
    run = convert(f"--input_dir={zip_of(tiny_exdark / 'ExDark')}", f"--output_dir={tiny_exdark}/b")
    assert run.returncode == 0
    assert images(tiny_exdark / "b") == from_folder
    run = annotate(f"--annotations={zip_of(tiny_exdark / 'ExDark_Annno')}")
    assert run.returncode == 0
    data = contents(tiny_exdark / "data")
    assert (data["annotations.csv"], data["images.csv"]) == (ANNOTATIONS.encode(), IMAGES.encode())


def test_steps_that_are_run_again_write_the_same_bytes(tiny_exdark, convert, annotate):
    convert()
    first = contents(tiny_exdark / "images")
    assert convert().returncode == 0
    assert contents(tiny_exdark / "images") == first
    annotate()
    first = contents(tiny_exdark / "data")
    assert annotate().returncode == 0
    assert contents(tiny_exdark / "data") == first


def test_relative_paths_with_blanks_work_from_any_folder(tiny_exdark, run_script):
    folder = tiny_exdark.rename(tiny_exdark.with_name("my low light"))
    arguments = "--input_dir=my low light/ExDark", "--output_dir=out put/images"
    run = run_script("convert_images.py", *arguments, cwd=folder.parent)
    assert run.returncode == 0
    assert run.stdout.startswith("8 images in out put/images\n")
    run = run_script(
        "make_annotations_csv.py",
        "--annotations=my low light/ExDark_Annno",
        "--images_dir=out put/images",
        "--output_dir=out put",
        cwd=folder.parent,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert (folder.parent / "out put/annotations.csv").read_text() == ANNOTATIONS


def test_a_flag_with_an_empty_value_is_a_missing_flag(tmp_path, convert):
    run = convert("--input_dir=", cwd=tmp_path)
    assert message_of(run) == "error: missing flag --input_dir: its value is empty.\n"


@pytest.mark.parametrize("output_dir", [".", "images"])
def test_images_are_not_written_among_those_they_are_made_from(tiny_exdark, convert, output_dir):
    source = tiny_exdark / "flat"
    source.mkdir()
    Image.new("L", (4, 4)).save(source / "grey.jpg")
    before = contents(source)
    message = message_of(convert(f"--input_dir={source}", f"--output_dir={source / output_dir}"))
    assert "Choose another --output_dir" in message
    assert contents(source) == before


def test_annotations_of_missing_images_are_left_out_where_that_is_allowed(converted, annotate):
    (converted / "images/2015_00001.jpg").unlink()
    run = annotate("--allow_missing")
    assert run.returncode == 0
    assert "  annotations left out, no image: 1 (Bicycle/2015_00001.jpg.txt)\n" in run.stdout
    lines = ANNOTATIONS.splitlines(keepends=True)
    assert (converted / "data/annotations.csv").read_text() == "".join([lines[0], *lines[3:]])


# Bad input. ---------------------------------------------------------------------------------------

BOAT, CAT = "ExDark_Annno/Boat/2015_00002.png.txt", "ExDark_Annno/Cat/2015_00005.jpg.txt"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        pytest.param("a.txt", b"", "holds no image, but 1 .txt.\n  --input_dir is the", id="text"),
        pytest.param(None, b"PK", "not a whole zip archive", id="no zip"),
        pytest.param(None, None, "no such folder or zip archive.\n  Check --input_dir.", id="none"),
    ],
)
def test_a_source_of_no_use_is_refused_with_its_flag_and_nothing_written(
    tmp_path, name, data, message
):
    source = tmp_path / "ExDark"
    if name:
        source.mkdir()
    if data is not None:
        (source / (name or "")).write_bytes(data)
    with pytest.raises(DataError, match=f"^{re.escape(f'{source}: {message}')}"):
        convert_images(source, tmp_path / "images")
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize("how", ["text", "cut"])
def test_convert_images_names_a_bad_image_and_converts_the_others(tiny_exdark, convert, how):
    path = tiny_exdark / "ExDark/Boat/2015_00002.png"
    path.write_bytes(b"Boat" if how == "text" else path.read_bytes()[:-60])
    found, remedy = {
        "text": ("not an image, whatever its name says.", "Replace or remove it."),
        "cut": ("damaged or cut short (", "Fetch it again or remove it."),
    }[how]
    message = message_of(convert())
    assert message.startswith(f"error: {path}: {found}")
    assert message.endswith(f"\n  {remedy}\nThe other 7 images are in {tiny_exdark}/images.\n")
    others = [f"2015_0000{n}.jpg" for n in range(1, 9) if n != 2]
    assert sorted(images(tiny_exdark / "images")) == others
    assert "not converted" in (tiny_exdark / "images/problems.csv").read_text()


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        pytest.param(
            CAT, "Cat 10", "Cat x", ":2: 'x 10 12 14' isn't four whole numbers.", id="a bad line"
        ),
        pytest.param(BOAT, "-2 6", "36 6", ":2: the box (36, 6, 20, 10) ", id="a box outside"),
        pytest.param(
            "imageclasslist.txt", ".png 2", ".png", ":3: '2015_00002.png 10 2 2' isn't", id="list"
        ),
    ],
)
def test_make_annotations_csv_refuses_and_keeps_the_old_tables(
    converted, annotate, name, old, new, message
):
    (converted / "data").mkdir()
    tables = {"annotations.csv": b"old", "images.csv": b"old"}
    for table, data in tables.items():
        (converted / "data" / table).write_bytes(data)
    text = (converted / name).read_text()
    assert old in text
    (converted / name).write_text(text.replace(old, new))
    assert message_of(annotate()).startswith(f"error: {converted}/{name}{message}")
    assert contents(converted / "data") == tables


@pytest.mark.parametrize(
    ("output_dir", "found"),
    [
        pytest.param("file", "File exists.\n  A file of this name is in the way.", id="a file"),
        pytest.param("file/data", "Not a directory.\n  A part of this path is a file", id="below"),
        pytest.param("n" * 300, "File name too long.\n  The name is too long", id="a long name"),
        pytest.param("/proc/data", "No such file or directory.\n  No such file or", id="/proc"),
    ],
)
def test_an_output_folder_that_cannot_be_made_is_named(converted, convert, output_dir, found):
    (converted / "file").write_text("mine")
    path = os.path.join(converted, output_dir)
    assert message_of(convert(f"--output_dir={path}")).startswith(f"error: {path}: {found}")
    assert (converted / "file").read_text() == "mine"
