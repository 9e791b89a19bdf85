import io
import struct
import time

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from lowlight.core.errors import DataError
from lowlight.core.parallel import map_in_threads
from lowlight.dataset.conversion import convert_images
from lowlight.images import reading
from lowlight.images.reading import (
    image_size,
    is_image_name,
    list_jpegs,
    open_image,
    read_rgb,
    to_rgb,
)
from lowlight.images.rgb_jpegs import to_rgb_jpeg


def encode(image, image_format, **options):
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def gradient(mode="RGB", size=(24, 16)):
    return Image.radial_gradient("L").resize(size).convert(mode)


def outcome(function, *arguments):
    """Returns (result, "") or (None, the message of a DataError)."""
    try:
        return function(*arguments), ""
    except DataError as error:
        return None, str(error)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_image_becomes_an_rgb_jpeg_of_its_stem_and_size(tiny_exdark, tmp_path):
    convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    found = {}
    for path in list_jpegs(tmp_path / "images"):
        with Image.open(path) as image:
            found[path.name] = (image.format, image.mode, image.size)
    assert found == {
        "2015_00001.jpg": ("JPEG", "RGB", (40, 30)),
        "2015_00002.jpg": ("JPEG", "RGB", (36, 24)),
        "2015_00003.jpg": ("JPEG", "RGB", (24, 36)),
        "2015_00004.jpg": ("JPEG", "RGB", (48, 32)),
        "2015_00005.jpg": ("JPEG", "RGB", (40, 30)),
        "2015_00006.jpg": ("JPEG", "RGB", (40, 20)),
        "2015_00007.jpg": ("JPEG", "RGB", (32, 32)),
        "2015_00008.jpg": ("JPEG", "RGB", (32, 24)),
    }
    assert len(contents(tmp_path / "images")) == 10  # and two tables


def test_it_is_told_what_became_of_every_file(tiny_exdark, tmp_path):
    done = convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    hows = {how: done.names(how) for how in ("kept", "completed", "encoded", "turned")}
    assert hows == {
        "kept": [
            "Bicycle/2015_00001.jpg",
            "Cat/2015_00005.JPG",
            "Dog/2015_00006.jpeg",
            "Motorbike/2015_00007.JPEG",
        ],
        "completed": ["Table/2015_00008.jpg"],
        "encoded": ["Boat/2015_00002.png", "Bottle/2015_00003.png", "Bus/2015_00004.png"],
        "turned": [],
    }
    assert done.strays == [".DS_Store", "Bicycle/._2015_00001.jpg", "Boat/2015_00002.png~"]
    assert done.problems == [
        (".DS_Store", "stray file", "left alone"),
        ("Bicycle/._2015_00001.jpg", "stray file", "left alone"),
        ("Boat/2015_00002.png~", "stray file", "left alone"),
        ("Dog/2015_00006.jpeg", "EXIF rotation", "6, not applied"),
        ("Table/2015_00008.jpg", "no end marker", "added"),
    ]


def test_rgb_jpegs_stay_byte_for_byte_and_one_gets_its_end_marker(tiny_exdark, tmp_path):
    source = tiny_exdark / "ExDark"
    convert_images(source, tmp_path / "images")
    converted = contents(tmp_path / "images")
    assert converted["2015_00001.jpg"] == (source / "Bicycle/2015_00001.jpg").read_bytes()
    assert converted["2015_00005.jpg"] == (source / "Cat/2015_00005.JPG").read_bytes()
    assert converted["2015_00006.jpg"] == (source / "Dog/2015_00006.jpeg").read_bytes()  # rotated
    original = (source / "Table/2015_00008.jpg").read_bytes()
    assert converted["2015_00008.jpg"] == original + b"\xff\xd9"


@pytest.mark.parametrize("name", ["Boat/2015_00002.png", "Bottle/2015_00003.png"])
def test_an_encoded_image_differs_from_its_source_by_little(tiny_exdark, name):
    data = (tiny_exdark / "ExDark" / name).read_bytes()
    jpeg = to_rgb_jpeg(data, name).data
    before = np.asarray(to_rgb(open_image(data, name)), int)
    after = np.asarray(open_image(jpeg, name), int)
    assert np.abs(after - before).mean() < 1.5


def test_an_encoded_jpeg_keeps_colour_at_full_resolution():
    jpeg, done, _ = to_rgb_jpeg(encode(gradient(), "PNG"), "a.png")
    assert done == "encoded"
    image = open_image(jpeg, "a.jpg")
    assert [layer[1:3] for layer in image.layer] == [(1, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize(
    ("data", "done"),
    [
        pytest.param(encode(gradient(), "JPEG"), "kept", id="RGB JPEG"),
        pytest.param(encode(gradient(), "JPEG", progressive=True), "kept", id="progressive"),
        pytest.param(encode(gradient(), "JPEG") + b"more", "kept", id="bytes after the end"),
        pytest.param(
            encode(gradient(), "MPO", save_all=True, append_images=[gradient()]),
            "kept",
            id="a camera's MPO",
        ),
        pytest.param(encode(gradient(), "JPEG")[:-2], "completed", id="no end marker"),
        pytest.param(encode(gradient("L"), "JPEG"), "encoded", id="grey JPEG"),
        pytest.param(encode(gradient("L"), "JPEG")[:-2], "encoded", id="grey, no end marker"),
        pytest.param(encode(gradient("CMYK"), "JPEG"), "encoded", id="CMYK JPEG"),
        pytest.param(encode(gradient(), "PNG"), "encoded", id="PNG"),
        pytest.param(encode(gradient("P"), "GIF"), "encoded", id="GIF"),
        pytest.param(encode(gradient(), "WEBP"), "encoded", id="WebP"),
        pytest.param(encode(gradient(), "TIFF"), "encoded", id="TIFF"),
        pytest.param(encode(gradient(), "BMP"), "encoded", id="BMP"),
    ],
)
def test_only_what_is_no_rgb_jpeg_is_encoded(data, done):
    jpeg, how, _ = to_rgb_jpeg(data, "a.jpg")
    image = open_image(jpeg, "a.jpg")
    assert (how, image.mode, image.size) == (done, "RGB", (24, 16))
    assert (jpeg == data) == (done == "kept")


def one_pixel(mode, colour, **info):
    image = Image.new(mode, (1, 1), colour)
    image.info.update(info)
    return image


def palette_pixel(colour, **info):
    image = one_pixel("P", 0, **info)
    image.putpalette(colour)
    return image


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        pytest.param(one_pixel("RGB", (10, 20, 30)), (10, 20, 30), id="RGB"),
        pytest.param(one_pixel("L", 10), (10, 10, 10), id="L"),
        pytest.param(one_pixel("1", 1), (255, 255, 255), id="1"),
        pytest.param(palette_pixel((10, 20, 30)), (10, 20, 30), id="P"),
        pytest.param(palette_pixel((10, 20, 30), transparency=0), (0, 0, 0), id="P see-through"),
        pytest.param(one_pixel("RGBA", (10, 20, 30, 255)), (10, 20, 30), id="RGBA opaque"),
        pytest.param(one_pixel("RGBA", (200, 100, 50, 51)), (40, 20, 10), id="RGBA a fifth"),
        pytest.param(one_pixel("RGBA", (200, 100, 50, 0)), (0, 0, 0), id="RGBA see-through"),
        pytest.param(one_pixel("LA", (200, 51)), (40, 40, 40), id="LA a fifth"),
        pytest.param(one_pixel("I;16", 256 * 200 + 128), (200, 200, 200), id="16 bits"),
        pytest.param(
            one_pixel("RGB", (1, 2, 3), transparency=(1, 2, 3)), (0, 0, 0), id="RGB with a key"
        ),
    ],
)
def test_any_colour_mode_becomes_rgb_over_black(image, colour):
    rgb = to_rgb(image)
    assert (rgb.mode, rgb.getpixel((0, 0))) == ("RGB", colour)


def test_an_exif_rotation_is_not_applied(tiny_exdark):
    path = tiny_exdark / "ExDark/Dog/2015_00006.jpeg"
    image = open_image(path.read_bytes(), path)
    assert image.getexif()[0x0112] == 6
    assert image.size == (40, 20)


def test_a_jpeg_with_an_exif_rotation_that_must_be_encoded_keeps_its_pixels_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.linear_gradient("L").resize((24, 16))
    jpeg, done, _ = to_rgb_jpeg(encode(grey, "JPEG", exif=exif), "a.jpg")
    image = open_image(jpeg, "a.jpg")
    assert (done, image.size) == ("encoded", (24, 16))
    assert 0x0112 not in image.getexif()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(gradient(), "PNG"), id="PNG"),
        pytest.param(encode(gradient(), "JPEG"), id="JPEG"),
        pytest.param(encode(gradient("P"), "GIF"), id="GIF"),
        pytest.param(encode(gradient(), "BMP"), id="BMP"),
        pytest.param(encode(gradient(), "WEBP", lossless=True), id="WebP"),
    ],
)
def test_an_image_cut_anywhere_is_read_in_full_or_refused(data):
    whole = np.asarray(to_rgb(open_image(data, "a")), int)
    for length in range(0, len(data), 7):
        read, refused = outcome(to_rgb_jpeg, data[:length], "a")
        if read is None:
            assert refused.startswith("a: ")
        else:
            assert read[1] != "kept"
            assert np.abs(np.asarray(open_image(read[0], "a")) - whole).mean() < 1.5


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(b"", "not an image", id="empty"),
        pytest.param(b"Bicycle 4 5 20 15\n", "not an image", id="text"),
        pytest.param(encode(gradient(), "PNG")[:80], "damaged or cut short", id="PNG cut"),
        pytest.param(encode(gradient(), "JPEG")[:-40], "damaged or cut short", id="JPEG cut"),
        pytest.param(encode(gradient(), "JPEG")[:400], "damaged or cut short", id="no JPEG pixel"),
        pytest.param(encode(gradient(), "BMP")[:-40], "damaged or cut short", id="BMP cut"),
    ],
)
def test_what_cannot_be_decoded_in_full_is_refused_by_name(data, found):
    with pytest.raises(DataError) as caught:
        to_rgb_jpeg(data, "Boat/a.jpg")
    assert str(caught.value).startswith(f"Boat/a.jpg: {found}")
    assert "remove it." in str(caught.value)


def test_an_image_too_large_to_decode_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"(?s)a\.png: more than 200 pixels\..*--max_pixels"):
        open_image(encode(gradient(), "PNG"), "a.png")


def test_an_image_too_wide_for_jpeg_is_refused_by_name():
    with pytest.raises(DataError, match=r"^Boat/a\.png: "):
        to_rgb_jpeg(encode(Image.new("L", (65_536, 1)), "PNG"), "Boat/a.png")


@pytest.mark.parametrize("form", ["EPS", "PPM", "ICO", "DDS", "BLP", "TGA", "JPEG2000", "PDF"])
def test_a_file_of_another_form_than_the_projects_is_not_opened(form):
    data = encode(gradient("P" if form == "BLP" else "RGB"), form)
    for read in (to_rgb_jpeg, read_rgb):
        with pytest.raises(DataError, match=r"^a\.jpg: not an image, whatever its name says"):
            read(data, "a.jpg")


@pytest.mark.parametrize("kind", [RuntimeError, struct.error, MemoryError, TypeError, KeyError])
def test_whatever_a_decoder_raises_is_the_images_error(monkeypatch, kind):
    def fail(image):
        raise kind("odd")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    for read in (to_rgb_jpeg, read_rgb, open_image):
        with pytest.raises(DataError, match=rf"^a\.png: damaged or cut short \({kind.__name__}: "):
            read(encode(gradient(), "PNG"), "a.png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0no TIFF", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0" + b"\xff" * 40],
    ids=["no TIFF", "cut", "far"],
)
def test_damaged_exif_data_are_no_damage(form, exif):
    data = encode(gradient(), form, exif=exif)
    assert to_rgb_jpeg(data, "a", upright=True).orientation == 1
    assert read_rgb(data, "a", upright=True).size == (24, 16)


def test_heic_is_told_by_its_bytes_and_another_film_is_not_taken_for_it():
    for brand, message in ((b"heic", "HEIC needs Pillow's plug-in"), (b"isom", "not an image")):
        with pytest.raises(DataError, match=rf"^a\.jpg: {message}"):
            open_image(b"\0\0\0\x18ftyp" + brand + bytes(40), "a.jpg")


def test_a_pngs_texts_have_no_say_in_its_pixels():
    texts = PngImagePlugin.PngInfo()
    for packed in (False, True):
        texts.add_text("prompt", "x" * 2**21, zip=packed)
        texts.add_itxt("parameters", "x" * 2**21, zip=packed)
    data = encode(gradient(), "PNG", pnginfo=texts)
    np.testing.assert_array_equal(read_rgb(data, "a.png"), gradient())


def test_a_rotation_in_xmp_is_heeded():
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6">')
    data = encode(gradient(), "PNG", pnginfo=texts)
    assert read_rgb(data, "a.png", upright=True).size == (16, 24)
    assert read_rgb(data, "a.png").size == (24, 16)


def numbers(value, kind):
    """Returns a TIFF of 8x8 equal numbers; Pillow writes no unsigned ones of 32 bits."""
    image = Image.fromarray(np.full((8, 8), value, "int32" if kind == "uint32" else kind))
    signed, unsigned = (struct.pack("<HHII", 339, 3, 1, code) for code in (2, 1))
    data = encode(image, "TIFF")
    return data.replace(signed, unsigned) if kind == "uint32" else data


@pytest.mark.parametrize(
    ("value", "kind", "level"),
    [
        (200 * 256 + 7, "uint16", 200),
        (200 * 256 + 7, ">u2", 200),
        (200 << 23, "int32", 200),
        (-5, "int32", 0),
        (100 << 24, "uint32", 100),
        (0.8, "float32", 204),
        (200.0, "float32", 200),
        (65535.0, "float32", 255),
        (float("nan"), "float32", 0),
    ],
)
def test_numbers_are_scaled_by_what_their_type_holds(value, kind, level):
    data = numbers(value, kind)
    assert read_rgb(data, "a.tif").getpixel((0, 0)) == (level,) * 3
    jpeg = to_rgb_jpeg(data, "a.tif").data
    assert open_image(jpeg, "a.jpg").getpixel((0, 0)) == (level,) * 3


def test_an_image_keeps_its_colour_profile_alone():
    data = encode(gradient(), "TIFF", compression="tiff_lzw", icc_profile=b"profile", dpi=(72, 72))
    assert read_rgb(data, "a.tif").info == {"icc_profile": b"profile"}


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    open_now, most = [], []
    original = ImageFile.ImageFile.load

    def spy(image):
        open_now.append(1)
        time.sleep(0.01)
        most.append(len(open_now))
        open_now.pop()
        return original(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", spy)
    data = encode(gradient(), "PNG")
    for large, expected in ((1, [1]), (10**6, [1, 2, 3, 4])):
        most.clear()
        monkeypatch.setattr(reading, "_LARGE", large)
        list(map_in_threads(lambda _: read_rgb(data, "a.png"), range(12), 4))
        assert set(most) <= set(expected)
    assert max(most) > 1


def test_what_the_operating_system_refuses_is_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "missing.jpg", "missing.jpg")


def test_a_faulty_colour_profile_is_no_damage():
    data = encode(gradient(), "PNG", icc_profile=b"no profile")
    assert to_rgb_jpeg(data, "a.png")[1] == "encoded"


def test_what_a_decoder_warns_of_is_not_shown(tmp_path, run_script):
    path = tmp_path / "in" / "a.png"
    path.parent.mkdir()
    Image.new("L", (9500, 9500)).save(path)  # over 89 megapixels Pillow warns
    run = run_script(
        "convert_images.py", f"--input_dir={path.parent}", f"--output_dir={tmp_path}/out"
    )
    assert (run.returncode, "Warning" in run.stderr) == (0, False)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["Boat/2015_00001.jpg"], id="in another folder"),
        pytest.param(["Bicycle/2015_00001.png"], id="with another extension"),
        pytest.param(["Cat/night.png", "Cat/NIGHT.jpg"], id="in another case"),
    ],
)
def test_two_images_of_one_stem_are_refused_before_anything_is_written(
    tiny_exdark, tmp_path, names
):
    for name in names:
        (tiny_exdark / "ExDark" / name).touch()
    with pytest.raises(DataError, match=r"has the same stem as .*\n.*nothing was written"):
        convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    assert not (tmp_path / "images").exists()


def test_all_damaged_images_are_named_and_the_others_converted(tiny_exdark, tmp_path):
    for name in ("Boat/2015_00002.png", "Cat/2015_00005.JPG"):
        path = tiny_exdark / "ExDark" / name
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError) as caught:
        convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    message = str(caught.value)
    assert message.index("Boat/2015_00002.png: ") < message.index("Cat/2015_00005.JPG: ")
    assert message.endswith(f"The other 6 images are in {tmp_path}/images.")
    names = [path.name for path in list_jpegs(tmp_path / "images")]
    assert names == [f"2015_0000{number}.jpg" for number in (1, 3, 4, 6, 7, 8)]


@pytest.mark.parametrize(
    ("name", "is_image"),
    [("a.jpg", True), ("a.JPEG", True), ("a.png", True), ("a.jpg.txt", False), ("jpg", False)],
)
def test_an_image_is_told_by_its_extension(name, is_image):
    assert is_image_name(name) == is_image


def test_converted_images_are_listed_sorted_without_strays(tmp_path):
    for name in ("b.jpg", "a.jpg", "._a.jpg", ".a.jpg.partial", "a.csv"):
        (tmp_path / name).touch()
    assert [path.name for path in list_jpegs(tmp_path)] == ["a.jpg", "b.jpg"]


def test_a_size_is_that_of_the_stored_pixels(tiny_exdark):
    assert image_size(tiny_exdark / "ExDark/Dog/2015_00006.jpeg") == (40, 20)


def test_a_size_is_read_from_any_part_of_an_image_or_refused_by_name(tmp_path):
    path, data = tmp_path / "a.jpg", encode(gradient(), "JPEG")
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        size, refused = outcome(image_size, path)
        assert size == (24, 16) or refused.startswith(f"{path}: ")
