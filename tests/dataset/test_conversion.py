"""Every image of a folder becomes an RGB JPEG or is named, and what is there isn't made again."""

import errno
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from checks import contents, refused, write_files
from pictures import encode, rotation
from PIL import ExifTags, Image

from lowlight.core import parallel
from lowlight.core.errors import DataError
from lowlight.dataset import conversion
from lowlight.dataset.conversion import ConversionOptions, convert_images
from lowlight.images import rgb_jpegs
from lowlight.images.reading import open_image


def jpeg(size=(48, 32), **options):
    return encode(Image.linear_gradient("L").resize(size).convert("RGB"), "JPEG", **options)


@pytest.fixture
def convert(tmp_path):
    """Converts files, {name: bytes}, or what `in` holds already, to `out`."""

    def run(files=(), jobs=None, **options):
        source = write_files(tmp_path / "in", dict(files))
        return convert_images(source, tmp_path / "out", jobs, ConversionOptions(**options))

    return run


@pytest.fixture
def tiny(tiny_exdark, tmp_path):
    """The images of tiny_exdark as `in`."""
    return (tiny_exdark / "ExDark").rename(tmp_path / "in")


@pytest.fixture
def encoded(monkeypatch):
    """A list that grows by one with each image that is encoded."""
    calls = []
    encode = rgb_jpegs._encode
    monkeypatch.setattr(rgb_jpegs, "_encode", lambda *given: calls.append(1) or encode(*given))
    return calls


def problems_in(folder):
    """Returns the rows of problems.csv but its header."""
    return (folder / "problems.csv").read_text().splitlines()[1:]


def names_in(folder):
    return sorted(path.name for path in folder.glob("*.jpg"))


def test_every_image_becomes_an_rgb_jpeg_and_an_rgb_jpeg_stays_as_it_is(tiny, tmp_path, convert):
    rows = convert().rows
    assert {row.file: row.how for row in rows} == {
        "Bicycle/2015_00001.jpg": "kept",
        "Boat/2015_00002.png": "encoded",
        "Bottle/2015_00003.png": "encoded",
        "Bus/2015_00004.png": "encoded",
        "Cat/2015_00005.JPG": "kept",
        "Dog/2015_00006.jpeg": "kept",  # a rotated one
        "Motorbike/2015_00007.JPEG": "kept",
        "Table/2015_00008.jpg": "completed",
    }
    for row in rows:
        path = tmp_path / "out" / Path(row.file).with_suffix(".jpg").name
        image = open_image(path, path)
        assert (image.format, image.mode) == ("JPEG", "RGB")
        if row.how != "encoded":
            added = b"\xff\xd9" if row.how == "completed" else b""
            assert path.read_bytes() == (tiny / row.file).read_bytes() + added


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_processes_write_the_bytes_that_threads_write(tmp_path, monkeypatch, packed):
    source = tmp_path / "in"
    for number in range(80):
        path = source / f"{number % 3}/{number:03}.{'jpg' if number % 5 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((60, 40), 20 + number).convert("RGB").save(path)
    if packed:
        source = shutil.make_archive(source, "zip", source)
    made = []
    for is_safe in (False, True):
        monkeypatch.setattr(parallel, "_can_fork", lambda is_safe=is_safe: is_safe)
        out = tmp_path / f"out-{is_safe}"
        convert_images(source, out, jobs=3)
        made.append(contents(out))
    assert made[0] == made[1]
    assert len(made[0]) == 82
    assert convert_images(source, out, jobs=3).found == 80


@pytest.mark.parametrize("options", [{"jobs": 1}, {"jobs": 3}, {"verify": True}], ids=str)
def test_jobs_and_verify_change_no_byte(tiny, tmp_path, convert, options):
    done = convert()
    made = contents((tmp_path / "out").rename(tmp_path / "first"))
    assert convert(**options) == done
    assert contents(tmp_path / "out") == made


def test_a_full_disk_keeps_the_old_image(tmp_path, monkeypatch):
    def fill_disk(path, data):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    write_files(tmp_path, {"in/a.jpg": jpeg(), "out/a.jpg": "old"})
    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        convert_images(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out/a.jpg").read_text() == "old"


def test_photographs_are_turned_upright_where_that_is_asked_for(tmp_path, convert):
    files = {"a.jpg": jpeg(exif=rotation()), "b.jpg": jpeg()}
    made = []
    for upright in (False, True, True, False):
        done = convert(files, upright=upright)
        made.append((done.found, [row.how for row in done.rows]))
        image = Image.open(tmp_path / "out/a.jpg")
        assert image.size == ((32, 48) if upright else (48, 32))
        assert (ExifTags.Base.Orientation in image.getexif()) is not upright
        applied = "turned upright" if upright else "not applied"
        assert problems_in(tmp_path / "out") == [f'a.jpg,EXIF rotation,"6, {applied}"']
    kept, turned = ["kept", "kept"], ["turned", "kept"]
    assert made == [(0, kept), (1, turned), (2, turned), (1, kept)]


@pytest.mark.parametrize(("level", "colour"), [(0, "black"), (9, "black"), (65535, "white")])
def test_an_image_that_ends_all_black_or_white_is_named(tmp_path, convert, level, colour):
    flat = Image.fromarray(np.full((32, 32), level, np.uint16))
    files = {"a.tif": encode(flat, "TIFF"), "b.png": encode(Image.new("L", (32, 32), 128), "PNG")}
    for _ in range(2):
        convert(files)
        assert problems_in(tmp_path / "out") == [f"a.tif,all {colour},kept"]


def test_a_jpeg_with_a_damaged_middle_is_found_where_it_is_verified_and_has_no_hash(convert):
    data = jpeg()
    place = data.index(b"\xff\xc4") + 5  # how many codes the Huffman table has of each length
    (row,) = convert({"a.jpg": data[:place] + b"\xff" * 16 + data[place + 16 :]}).rows
    assert (row.how, row.phash) == ("kept", "")
    with pytest.raises(DataError, match=r"/a\.jpg: damaged or cut short"):
        convert(verify=True)


# Names. -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [("Cat/a.jpg", "Dog/a.jpg"), ("Cat/a.jpg", "Cat/a.png"), ("Cat/night.png", "Cat/NIGHT.jpg")],
    ids=["in another folder", "with another extension", "in another case"],
)
def test_two_images_of_one_stem_are_refused_before_anything_is_written(tmp_path, convert, names):
    with pytest.raises(DataError, match=r"has the same stem as .*\n.*nothing was written"):
        convert(dict.fromkeys(names, jpeg()))
    assert not (tmp_path / "out").exists()


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path, convert):
    files = {"cam1/0001.jpg": jpeg(), "cam2/night/0001.jpg": jpeg((41, 30))}
    with pytest.raises(DataError, match=r"give --flatten \(cam2__night__0001\.jpg\)"):
        convert(files)
    assert [convert(files, flatten=True).found for _ in range(2)] == [0, 2]
    assert names_in(tmp_path / "out") == ["cam1__0001.jpg", "cam2__night__0001.jpg"]


def test_a_flat_name_that_is_too_long_is_that_images_error(convert):
    names = f"{'a' * 200}/{'b' * 200}.jpg", f"{'c' * 251}.jpg"
    with pytest.raises(DataError, match=r"too long a name\.\n  Rename it\.\nThe other image is in"):
        convert(dict.fromkeys(names, jpeg()), flatten=True)


def test_all_refused_images_are_in_problems_however_many(tmp_path, convert):
    with pytest.raises(DataError, match=r"\.\.\. and 10 more like these"):
        convert({f"{number:02}.jpg": b"text" for number in range(30)})
    lines = problems_in(tmp_path / "out")
    assert len(lines) == 30
    assert lines[-1] == '29.jpg,not converted,"not an image, whatever its name says."'


# Runs that continue. ------------------------------------------------------------------------------


def test_a_conversion_run_again_converts_nothing_unless_it_verifies(
    tiny, tmp_path, convert, encoded
):
    first = convert()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.jpg")}
    again = convert()
    assert (first.found, again.found, len(encoded)) == (0, 8, 3)
    assert again._replace(found=0) == first
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert (convert(verify=True).found, len(encoded)) == (0, 6)


@pytest.mark.parametrize("change", ["source", "image", "image removed"])
def test_what_changed_is_converted_again(tiny, tmp_path, convert, change):
    convert()
    converted = tmp_path / "out/2015_00002.jpg"
    before = converted.read_bytes()
    if change == "source":
        shutil.copy(tiny / "Bus/2015_00004.png", tiny / "Boat/2015_00002.png")
    elif change == "image":
        converted.write_bytes(before[:-1] + b"x")
    else:
        converted.unlink()
    assert convert().found == 7
    assert (converted.read_bytes() == before) is (change != "source")


def test_an_interrupted_conversion_continues_and_forgets_nothing(tiny, convert, monkeypatch):
    for count, known in ((5, 5), (1, 8)):
        with monkeypatch.context() as patch:
            patch.setattr(conversion, "map_in_processes", interrupt_after(count))
            with pytest.raises(KeyboardInterrupt):
                convert()
        assert convert().found == known


def interrupt_after(count):
    """Returns a map that is interrupted behind so many results."""

    def interrupted(*given):
        yield from itertools.islice(parallel.map_in_threads(*given), count)
        raise KeyboardInterrupt

    return interrupted


def test_a_conversion_writes_its_table_while_it_works(tiny, convert, monkeypatch):
    written, write = [], conversion.write_texts
    monkeypatch.setattr(conversion, "_WRITTEN_EACH", 0)
    monkeypatch.setattr(
        conversion, "write_texts", lambda texts: written.append(len(texts)) or write(texts)
    )
    convert()
    assert written == [1] * 8 + [2]


def test_a_table_that_cannot_be_read_is_told(tiny, tmp_path, convert):
    write_files(tmp_path / "out", {"converted.csv": "file,how\n"})
    with refused(f"{tmp_path}/out/converted.csv:1: no column orientation"):
        convert()
