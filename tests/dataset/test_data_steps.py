"""From ExDark as its authors hand it out to the tables, by the commands that a user types."""

import os
import zipfile

import kill_data_steps
import pytest
from checks import contents, message_of, write_files
from pictures import encode
from PIL import Image

from lowlight.core.files import locked

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
NAMES = [f"2015_0000{number}.jpg" for number in range(1, 9)]
TABLES = {"annotations.csv": ANNOTATIONS.encode(), "images.csv": IMAGES.encode()}


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


def test_the_steps_make_the_tables_say_what_was_odd_and_repeat_themselves_to_the_byte(
    tiny_exdark, convert, annotate
):
    done = convert()
    assert (done.returncode, done.stdout) == (
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
    made = contents(tiny_exdark / "images")
    assert sorted(made) == [*NAMES, "converted.csv", "problems.csv"]
    assert made["problems.csv"].decode() == IMAGE_PROBLEMS
    done = annotate()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"8 images with 8 boxes in {tiny_exdark}/data/annotations.csv\n"
        "  boxes clipped to the image: 1 (Boat/2015_00002.png.txt)\n"
        "  images without boxes: 1 (Motorbike/2015_00007.JPEG.txt)\n"
        "  images without a box of their folder's class: 1 (Table/2015_00008.jpg.txt)\n"
        "  other files left alone: 1 (Boat/._2015_00002.png.txt)\n"
        "  files found: 9, of them 8 used\n"
        f"  named in {tiny_exdark}/data/problems.csv: 4\n"
    )
    tables = {**TABLES, "problems.csv": ANNOTATION_PROBLEMS.encode()}
    assert contents(tiny_exdark / "data") == tables
    assert (convert().returncode, annotate().returncode) == (0, 0)
    assert (contents(tiny_exdark / "images"), contents(tiny_exdark / "data")) == (made, tables)


def deep_zip(folder):
    """Returns a zip of a folder as a Mac packs it, the files one folder deeper than they are."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents(folder).items():
            inside, _, last = f"{folder.name}/{folder.name}/{name}".rpartition("/")
            archive.writestr(f"__MACOSX/{inside}/._{last}", b"\0\5\x16\7")
            archive.writestr(f"{inside}/{last}", data)
    return path


def test_archives_give_the_same_bytes_as_folders_from_wherever_they_are_named(
    tiny_exdark, convert, annotate
):
    convert()
    for name in ("ExDark", "ExDark_Annno"):
        deep_zip(tiny_exdark / name)
    folder = tiny_exdark.parent
    tiny_exdark.rename(folder / "my low light")
    run = convert("--input_dir=my low light/ExDark.zip", "--output_dir=out put/a", cwd=folder)
    assert run.returncode == 0
    assert run.stdout.startswith("8 images in out put/a\n")
    assert "  other files left alone: 14 (" in run.stdout
    assert images(folder / "out put/a") == images(folder / "my low light/images")
    run = annotate(
        "--annotations=my low light/ExDark_Annno.zip",
        "--image_list=my low light/imageclasslist.txt",
        "--images_dir=out put/a",
        "--output_dir=out put",
        cwd=folder,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert {name: (folder / "out put" / name).read_bytes() for name in TABLES} == TABLES


def test_annotations_of_missing_images_are_left_out_where_that_is_allowed(converted, annotate):
    (converted / "images/2015_00001.jpg").unlink()
    run = annotate("--allow_missing")
    assert run.returncode == 0
    assert "  annotations left out, no image: 1 (Bicycle/2015_00001.jpg.txt)\n" in run.stdout
    lines = ANNOTATIONS.splitlines(keepends=True)
    assert (converted / "data/annotations.csv").read_text() == "".join([lines[0], *lines[3:]])


def test_images_of_any_form_are_read_whatever_their_extension(tmp_path, convert):
    kinds = "jpe", "JFIF", "mpo", "avif", "HEIC", "webp", "tiff"
    jpeg = encode(Image.new("RGB", (9, 9)), "JPEG")
    files = dict.fromkeys(("a.arw", "b.ARW", "c.txt"), b"") | {f"{k}.{k}": jpeg for k in kinds}
    source = write_files(tmp_path / "in", files)
    run = convert(f"--input_dir={source}", f"--output_dir={tmp_path}/out")
    assert run.stdout.startswith(f"7 images in {tmp_path}/out\n")
    assert "  files that are no images by their extension: 2 .arw, 1 .txt\n" in run.stdout
    problems = (tmp_path / "out/problems.csv").read_text()
    assert "a.arw,not an image's extension,left alone\n" in problems


# What ends a step. --------------------------------------------------------------------------------


def test_killed_at_random_moments_the_steps_end_with_the_bytes_of_a_quiet_run(tmp_path):
    killed, ends, files, differ = kill_data_steps.survive(tmp_path, kills=3, seed=1)
    assert (killed.total(), files, differ) == (3, 93, [])
    assert ends >= 1


def test_a_folder_that_another_step_writes_is_left_alone(data_dir, run_script, tmp_path):
    """All scripts that write images, tables, records, labels or a page take the folder's lock."""
    out, raw = tmp_path / "out", data_dir.parent
    out.mkdir()
    (raw / "a.json").write_text('{"images": [], "annotations": [], "categories": []}')
    data, images = f"--data_dir={data_dir}", f"--images_dir={data_dir}/images"
    commands = (
        ("convert_images.py", f"--input_dir={raw}/ExDark", f"--output_dir={out}"),
        (
            *("make_annotations_csv.py", f"--annotations={raw}/ExDark_Annno"),
            *(images, f"--output_dir={out}"),
        ),
        ("make_sample_data.py", f"--output_dir={out}"),
        ("make_tfrecords.py", data, images, f"--output_dir={out}"),
        ("describe_data.py", data, f"--output={out}/a.html"),
        ("export_labels.py", "--format=coco", data, f"--output={out}/a.json"),
        (
            *("import_labels.py", "--format=coco", f"--labels={raw}/a.json"),
            *(images, f"--output_dir={out}"),
        ),
    )
    with locked(out):
        for command in commands:
            message = message_of(run_script(*command))
            assert message.startswith(f"error: {out}: is being written already, by process")
    assert list(out.iterdir()) == []


def test_a_source_without_images_is_refused_with_its_flag_and_nothing_written(tiny_exdark, convert):
    source = write_files(tiny_exdark / "text", {"a.txt": ""})
    message = message_of(convert(f"--input_dir={source}"))
    assert message.startswith(f"error: {source}: holds no image, but 1 .txt.\n  --input_dir is the")
    assert not (tiny_exdark / "images").exists()


@pytest.mark.parametrize("output_dir", ["flat", "flat/images"])
def test_images_are_not_written_among_those_they_are_made_from(tiny_exdark, convert, output_dir):
    source = write_files(tiny_exdark / "flat", {"a.png": encode(Image.new("L", (4, 4)), "PNG")})
    message = message_of(
        convert(f"--input_dir={source}", f"--output_dir={tiny_exdark / output_dir}")
    )
    assert "Choose another --output_dir" in message
    assert sorted(contents(source)) == ["a.png"]


def test_bad_images_are_named_and_the_others_converted(tiny_exdark, convert):
    text, cut = (
        tiny_exdark / "ExDark" / name for name in ("Boat/2015_00002.png", "Cat/2015_00005.JPG")
    )
    text.write_bytes(b"Boat")
    cut.write_bytes(cut.read_bytes()[:-60])
    lines = message_of(convert()).splitlines()
    assert lines[:2] == [
        f"error: {text}: not an image, whatever its name says.",
        "  Replace or remove it.",
    ]
    assert lines[2].startswith(f"{cut}: damaged or cut short (")
    assert lines[3:] == [
        "  Fetch it again or remove it.",
        f"The other 6 images are in {tiny_exdark}/images.",
    ]
    assert sorted(images(tiny_exdark / "images")) == [NAMES[n] for n in (0, 2, 3, 5, 6, 7)]
    assert (tiny_exdark / "images/problems.csv").read_text().count(",not converted,") == 2


def test_more_pixels_than_allowed_are_refused_by_name(tiny_exdark, convert):
    lines = message_of(convert("--max_pixels=1200")).splitlines()
    assert lines[0] == f"error: {tiny_exdark}/ExDark/Bus/2015_00004.png: more than 1,200 pixels."
    assert lines[1].startswith("  Make it smaller, or raise --max_pixels")
    assert sorted(images(tiny_exdark / "images")) == [name for name in NAMES if name != NAMES[3]]


def test_make_annotations_csv_refuses_a_bad_line_and_keeps_the_old_tables(converted, annotate):
    tables = dict.fromkeys(TABLES, b"old")
    write_files(converted / "data", tables)
    path = converted / "ExDark_Annno/Cat/2015_00005.jpg.txt"
    path.write_text(path.read_text().replace("Cat 10", "Cat x"))
    message = f"error: {path}:2: 'Cat x 10 12 14 0 0 0 0 0 0 0' isn't a class"
    assert message_of(annotate()).startswith(message)
    assert contents(converted / "data") == tables


@pytest.mark.parametrize(
    ("output_dir", "found"),
    [
        ("file", "File exists.\n  Check the path"),
        ("file/data", "Not a directory.\n  Check the path"),
        ("n" * 300, "File name too long.\n  Check the path"),
        ("/proc/data", "No such file or directory.\n  Check the path"),
    ],
    ids=["a file", "below a file", "a long name", "/proc"],
)
def test_an_output_folder_that_cannot_be_made_is_named(tiny_exdark, convert, output_dir, found):
    (tiny_exdark / "file").write_text("mine")
    path = os.path.join(tiny_exdark, output_dir)
    assert message_of(convert(f"--output_dir={path}")).startswith(f"error: {path}: {found}")
    assert (tiny_exdark / "file").read_text() == "mine"
