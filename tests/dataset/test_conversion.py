"""A whole JPEG is passed through unread, and what isn't whole is decoded, completed or refused."""

import contextlib
import errno
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from checks import contents, write_files
from pictures import encode, rotation
from PIL import Image, ImageFile, ImageOps

from lowlight.core import parallel
from lowlight.core.errors import DataError
from lowlight.core.files import locked
from lowlight.dataset.conversion import ConversionOptions, convert_images
from lowlight.images.rgb_jpegs import to_rgb_jpeg

ORIENTATION = 0x0112
FLAT = ConversionOptions(flatten=True)


def jpeg(mode="RGB", size=(48, 32), **options):
    return encode(Image.linear_gradient("L").resize(size).convert(mode), "JPEG", **options)


def turned():
    return jpeg(exif=rotation())


def damaged():
    """Returns a JPEG whose header and end are whole, and its Huffman table isn't."""
    data = bytearray(jpeg())
    place = data.index(b"\xff\xc4") + 5  # how many codes the table has of each length
    data[place : place + 16] = b"\xff" * 16
    return bytes(data)


def table_of(folder):
    """Returns the rows of problems.csv but its header."""
    return (folder / "problems.csv").read_text().splitlines()[1:]


@pytest.fixture
def decoded(monkeypatch):
    """A list that grows with each image that is decoded whole."""
    calls = []
    original = ImageFile.ImageFile.load

    def spy(image):
        if image.tile:
            calls.append(image.size)
        return original(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", spy)
    return calls


@pytest.mark.parametrize(
    ("data", "verify", "how", "calls"),
    [
        pytest.param(jpeg(), False, "kept", 0, id="its header alone"),
        pytest.param(jpeg(progressive=True), False, "kept", 0, id="progressive"),
        pytest.param(jpeg() + bytes(9), False, "kept", 0, id="padded"),
        pytest.param(
            jpeg().replace(b"\xff\xdb", b"\0\xff\xff\xdb", 1), False, "kept", 0, id="odd gaps"
        ),
        pytest.param(turned(), False, "kept", 0, id="rotated"),
        pytest.param(jpeg(), True, "kept", 1, id="verified"),
        pytest.param(jpeg("L"), False, "encoded", 1, id="grey"),
        pytest.param(jpeg("L"), True, "encoded", 1, id="grey, verified"),
        pytest.param(jpeg()[:-2], False, "completed", 4, id="no end marker"),
    ],
)
def test_an_image_is_decoded_whole_only_where_that_is_needed(decoded, data, verify, how, calls):
    assert to_rgb_jpeg(data, "a.jpg", verify).how == how
    assert len(decoded) == calls


def test_a_rotated_jpeg_keeps_its_bytes_and_the_rotation_is_told():
    data = turned()
    assert to_rgb_jpeg(data, "a.jpg") == (data, "kept", 6)
    assert to_rgb_jpeg(data[:-2], "a.jpg") == (data, "completed", 6)


def test_a_jpeg_with_a_damaged_middle_is_found_where_it_is_verified_and_has_no_hash(tmp_path):
    source = write_files(tmp_path / "in", {"a.jpg": damaged()})
    (row,) = convert_images(source, tmp_path / "out").rows
    assert (row.how, row.phash) == ("kept", "")
    with pytest.raises(DataError, match=r"^a\.jpg: damaged or cut short"):
        to_rgb_jpeg(damaged(), "a.jpg", verify=True)


def many_images(folder, count=80):
    for number in range(count):
        kind = ("png", "jpg")[number % 5 > 0]
        (folder / f"{number % 3}").mkdir(parents=True, exist_ok=True)
        image = Image.effect_noise((60, 40), 20 + number).convert("RGB")
        image.save(folder / f"{number % 3}/{number:03}.{kind}")


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_processes_write_the_bytes_that_threads_write(tmp_path, monkeypatch, packed):
    source = tmp_path / "in"
    many_images(source)
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


@pytest.mark.parametrize("frame", [0xC3, 0xC9], ids=["lossless", "arithmetic"])
def test_a_jpeg_of_an_uncommon_form_is_decoded_or_refused(decoded, frame):
    data = jpeg().replace(b"\xff\xc0", bytes([0xFF, frame]), 1)
    with contextlib.suppress(DataError):
        to_rgb_jpeg(data, "a.jpg")
    assert decoded


@pytest.mark.parametrize("verify", [False, True])
def test_a_faulty_colour_profile_stops_no_jpeg(verify):
    data = jpeg(icc_profile=b"no profile")
    assert to_rgb_jpeg(data, "a.jpg", verify) == (data, "kept", 1)


def test_a_jpeg_with_too_many_pixels_is_refused_by_its_header(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"^a\.jpg: more than 200 pixels"):
        to_rgb_jpeg(jpeg(), "a.jpg")


@pytest.mark.parametrize(
    "options", [{}, {"jobs": 1}, {"jobs": 3}, {"options": ConversionOptions(verify=True)}], ids=str
)
def test_jobs_and_verify_change_no_byte(tiny_exdark, tmp_path, options):
    results = []
    for folder, given in (("a", {}), ("b", options)):
        done = convert_images(tiny_exdark / "ExDark", tmp_path / folder, **given)
        results.append((done, contents(tmp_path / folder)))
    assert results[0] == results[1]


def test_an_archive_nested_one_deeper_with_a_macs_strays_gives_the_same_images(
    tiny_exdark, tmp_path
):
    path = tmp_path / "ExDark.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (tiny_exdark / "ExDark").rglob("*.*"):
            name = file.relative_to(tiny_exdark / "ExDark")
            archive.writestr(f"__MACOSX/ExDark/{name.parent}/._{name.name}", b"\0\5\x16\7")
            archive.write(file, f"ExDark/ExDark/{name}")
    from_zip = convert_images(path, tmp_path / "zip")
    convert_images(tiny_exdark / "ExDark", tmp_path / "folder")
    assert (len(from_zip.rows), len(from_zip.strays)) == (8, 3 + 11)
    for image in (tmp_path / "folder").glob("*.jpg"):
        assert (tmp_path / "zip" / image.name).read_bytes() == image.read_bytes()


def test_a_disk_that_is_full_ends_it_and_keeps_the_old_image(tiny_exdark, tmp_path, monkeypatch):
    def fill_disk(path, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    (tmp_path / "2015_00001.jpg").write_text("old")
    monkeypatch.setattr(Path, "write_bytes", fill_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        convert_images(tiny_exdark / "ExDark", tmp_path)
    assert caught.value.filename == str(tmp_path / "2015_00001.jpg")
    assert [path.name for path in tmp_path.glob("*2015*")] == ["2015_00001.jpg"]


def test_photographs_are_turned_upright_where_that_is_asked_for(tmp_path):
    source = write_files(tmp_path / "in", {"a.jpg": turned(), "b.jpg": jpeg()})
    found, hows = [], []
    for upright in (False, True, True, False):
        done = convert_images(source, tmp_path, options=ConversionOptions(upright=upright))
        found.append(done.found)
        hows.append([row.how for row in done.rows])
        with Image.open(tmp_path / "a.jpg") as image:
            assert image.size == ((32, 48) if upright else (48, 32))
            assert (image.getexif().get(ORIENTATION) is None) is upright
        applied = "turned upright" if upright else "not applied"
        assert table_of(tmp_path) == [f'a.jpg,EXIF rotation,"6, {applied}"']
    assert found == [0, 1, 2, 1]
    assert hows == [["kept"] * 2, ["turned", "kept"], ["turned", "kept"], ["kept"] * 2]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG", "AVIF"])
def test_every_form_keeps_its_stored_pixels_or_is_turned(tmp_path, form, orientation):
    image = Image.linear_gradient("L").resize((64, 48)).convert("RGB")
    data = encode(image, form, exif=rotation(orientation), quality=95)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    for is_turned, expected in ((False, image), (True, upright)):
        jpeg = to_rgb_jpeg(data, "a", upright=is_turned)
        assert jpeg.orientation == orientation
        assert jpeg.how == {True: "turned", False: jpeg.how}[is_turned and orientation > 1]
        found = np.asarray(Image.open(io.BytesIO(jpeg.data)).convert("L"), int)
        assert found.shape == expected.size[::-1]
        assert np.abs(found - np.asarray(expected.convert("L"), int)).max() <= 6


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path):
    files = {"cam1/0001.jpg": jpeg(size=(40, 30)), "cam2/night/0001.jpg": jpeg(size=(41, 30))}
    source = write_files(tmp_path / "in", files)
    with pytest.raises(DataError, match=r"give --flatten \(cam2__night__0001\.jpg\)"):
        convert_images(source, tmp_path / "out")
    for found in (0, 2):
        assert convert_images(source, tmp_path / "out", options=FLAT).found == found
    names = sorted(path.name for path in (tmp_path / "out").glob("*.jpg"))
    assert names == ["cam1__0001.jpg", "cam2__night__0001.jpg"]


def test_a_flat_name_that_is_too_long_is_that_images_error(tmp_path):
    names = f"{'a' * 200}/{'b' * 200}.jpg", f"{'c' * 251}.jpg"
    source = write_files(tmp_path / "in", dict.fromkeys(names, jpeg()))
    with pytest.raises(DataError, match=r"too long a name\.\n  Rename it\.\nThe other image is in"):
        convert_images(source, tmp_path / "out", options=FLAT)


def test_images_of_any_form_are_read_whatever_their_extension(tmp_path, run_script):
    kinds = "jpe", "JFIF", "mpo", "avif", "HEIC", "webp", "tiff"
    files = {f"{kind}.{kind}": jpeg() for kind in kinds}
    source = write_files(tmp_path / "in", {**files, "a.arw": b"", "b.ARW": b"", "c.txt": b""})
    run = run_script("convert_images.py", f"--input_dir={source}", f"--output_dir={tmp_path}")
    assert run.stdout.startswith(f"7 images in {tmp_path}\n")
    assert "  files that are no images by their extension: 2 .arw, 1 .txt\n" in run.stdout
    assert table_of(tmp_path)[0] == "a.arw,not an image's extension,left alone"


@pytest.mark.parametrize(("level", "colour"), [(0, "black"), (9, "black"), (65535, "white")])
def test_an_image_that_ends_all_black_or_white_is_named(tmp_path, level, colour):
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((32, 32), level, np.uint16)).save(tmp_path / "in/a.tif")
    Image.new("RGB", (32, 32), "gray").save(tmp_path / "in/b.png")
    for _ in range(2):
        convert_images(tmp_path / "in", tmp_path / "out")
        assert table_of(tmp_path / "out") == [f"a.tif,all {colour},kept"]


def test_two_conversions_into_one_folder_do_not_run_at_a_time(tiny_exdark, tmp_path):
    with locked(tmp_path, "written", "output_dir"), pytest.raises(DataError, match="is being writ"):
        convert_images(tiny_exdark / "ExDark", tmp_path)


def test_more_pixels_than_allowed_are_refused_by_name(tmp_path, run_script):
    files = {"a.jpg": jpeg(size=(41, 30)), "b.jpg": jpeg(size=(40, 30))}
    source = write_files(tmp_path / "in", files)
    flags = f"--input_dir={source}", f"--output_dir={tmp_path}", "--max_pixels=1200"
    run = run_script("convert_images.py", *flags)
    assert (run.returncode, (tmp_path / "b.jpg").exists()) == (1, True)
    message = f"error: {source}/a.jpg: more than 1,200 pixels.\n  Make it smaller, or raise "
    assert message in run.stderr


def test_all_refused_images_are_in_problems_however_many(tmp_path):
    files = {f"{number:02}.jpg": b"text" for number in range(30)}
    with pytest.raises(DataError, match=r"\.\.\. and 10 more like these"):
        convert_images(write_files(tmp_path / "in", files), tmp_path / "out")
    lines = table_of(tmp_path / "out")
    assert len(lines) == 30
    assert lines[-1] == '29.jpg,not converted,"not an image, whatever its name says."'


@pytest.mark.parametrize("jobs", ["0", "two"])
def test_a_number_of_jobs_that_makes_no_sense_is_a_flag_error(run_script, tmp_path, jobs):
    run = run_script(
        "convert_images.py", f"--input_dir={tmp_path}", f"--output_dir={tmp_path}", f"--jobs={jobs}"
    )
    assert run.returncode == 1
    assert run.stderr.startswith(f"error: flag --jobs={jobs}: ")
