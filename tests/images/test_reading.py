"""An image of any form is read as the same pixels, or refused by its name."""

import struct
import sys
import time
import tracemalloc
import types

import numpy as np
import pytest
from pictures import encode, gradient, outcome, rotation
from PIL import Image, ImageFile, PngImagePlugin

from lowlight.core.errors import DataError
from lowlight.core.parallel import map_in_threads
from lowlight.images import reading
from lowlight.images.reading import (
    image_size,
    list_jpegs,
    open_image,
    read_upright,
    to_rgb,
)
from lowlight.images.rgb_jpegs import to_rgb_jpeg

PNG, JPEG = encode(gradient(), "PNG"), encode(gradient(), "JPEG")


def pixel(mode, colour, palette=None, **info):
    image = Image.new(mode, (1, 1), colour)
    image.info.update(info)
    if palette:
        image.putpalette(palette)
    return image


COLOURS = {
    "RGB": (pixel("RGB", (10, 20, 30)), (10, 20, 30)),
    "L": (pixel("L", 10), (10, 10, 10)),
    "1": (pixel("1", 1), (255, 255, 255)),
    "P": (pixel("P", 0, (10, 20, 30)), (10, 20, 30)),
    "P see-through": (pixel("P", 0, (10, 20, 30), transparency=0), (0, 0, 0)),
    "RGBA opaque": (pixel("RGBA", (10, 20, 30, 255)), (10, 20, 30)),
    "RGBA a fifth": (pixel("RGBA", (200, 100, 50, 51)), (40, 20, 10)),
    "RGBA see-through": (pixel("RGBA", (200, 100, 50, 0)), (0, 0, 0)),
    "LA a fifth": (pixel("LA", (200, 51)), (40, 40, 40)),
    "16 bits": (pixel("I;16", 256 * 200 + 128), (200, 200, 200)),
    "RGB with a key": (pixel("RGB", (1, 2, 3), transparency=(1, 2, 3)), (0, 0, 0)),
}


@pytest.mark.parametrize(("image", "colour"), COLOURS.values(), ids=COLOURS)
def test_any_colour_mode_becomes_rgb_over_black(image, colour):
    rgb = to_rgb(image)
    assert (rgb.mode, rgb.getpixel((0, 0))) == ("RGB", colour)


def numbers(value, kind):
    """Returns a TIFF of 8x8 equal numbers; Pillow writes no unsigned ones of 32 bits."""
    image = Image.fromarray(np.full((8, 8), value, "int32" if kind == "uint32" else kind))
    signed, unsigned = (struct.pack("<HHII", 339, 3, 1, code) for code in (2, 1))
    data = encode(image, "TIFF")
    return data.replace(signed, unsigned) if kind == "uint32" else data


LEVELS = [
    (200 * 256 + 7, "uint16", 200),
    (200 * 256 + 7, ">u2", 200),
    (200 << 23, "int32", 200),
    (-5, "int32", 0),
    (100 << 24, "uint32", 100),
    (0.8, "float32", 204),
    (200.0, "float32", 200),
    (65535.0, "float32", 255),
    (float("nan"), "float32", 0),
]


@pytest.mark.parametrize(("value", "kind", "level"), LEVELS)
def test_numbers_are_scaled_by_what_their_type_holds(value, kind, level):
    data = numbers(value, kind)
    for one in (data, to_rgb_jpeg(data, "a.tif").data):
        assert read_upright(one, "a.tif").getpixel((0, 0)) == (level,) * 3


def test_an_exif_rotation_is_not_applied(tmp_path):
    data = encode(gradient(), "JPEG", exif=rotation())
    (tmp_path / "a.jpg").write_bytes(data)
    assert open_image(data, "a.jpg").size == image_size(tmp_path / "a.jpg") == (24, 16)


def test_a_rotation_in_xmp_is_applied():
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6">')
    data = encode(gradient(), "PNG", pnginfo=texts)
    assert read_upright(data, "a.png").size == (16, 24)


def test_a_pngs_texts_have_no_say_in_its_pixels():
    texts = PngImagePlugin.PngInfo()
    for packed in (False, True):
        texts.add_text("prompt", "x" * 2**21, zip=packed)
        texts.add_itxt("parameters", "x" * 2**21, zip=packed)
    data = encode(gradient(), "PNG", pnginfo=texts)
    np.testing.assert_array_equal(read_upright(data, "a.png"), gradient())


def test_what_follows_a_png_takes_no_memory():
    data = PNG + bytes(12 * 2**17)  # as chunks they would be 131,072
    tracemalloc.start()
    np.testing.assert_array_equal(read_upright(data, "a.png"), gradient())
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < len(data)


def test_an_image_keeps_its_colour_profile_alone():
    data = encode(gradient(), "TIFF", compression="tiff_lzw", icc_profile=b"profile", dpi=(72, 72))
    assert read_upright(data, "a.tif").info == {"icc_profile": b"profile"}


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
    assert read_upright(data, "a").size == (24, 16)


# What is refused. ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["EPS", "PPM", "ICO", "DDS", "BLP", "TGA", "JPEG2000", "PDF"])
def test_a_file_of_another_form_than_the_projects_is_not_opened(form):
    data = encode(gradient("P" if form == "BLP" else "RGB"), form)
    for read in (to_rgb_jpeg, read_upright):
        with pytest.raises(DataError, match=r"^a\.jpg: not an image, whatever its name says"):
            read(data, "a.jpg")


@pytest.mark.parametrize("as_file", [False, True])
def test_a_jpeg_of_12_bits_is_named_as_what_it_is(tmp_path, as_file):
    frame = JPEG.index(b"\xff\xc0")
    data = JPEG[: frame + 4] + b"\x0c" + JPEG[frame + 5 :]
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"(?s)^a\.jpg: of format JPEG, .*12-bit.*8 bits a colour"):
        open_image(path if as_file else data, "a.jpg")


@pytest.mark.parametrize("kind", [RuntimeError, struct.error, MemoryError, TypeError, KeyError])
def test_whatever_a_decoder_raises_is_the_images_error(monkeypatch, kind):
    def fail(image):
        raise kind("odd")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    for read in (to_rgb_jpeg, read_upright, open_image):
        with pytest.raises(DataError, match=rf"^a\.png: damaged or cut short \({kind.__name__}: "):
            read(PNG, "a.png")


def test_what_the_operating_system_refuses_is_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "missing.jpg", "missing.jpg")


@pytest.mark.parametrize(
    ("brand", "message"), [(b"heic", "HEIC needs Pillow's plug-in"), (b"isom", "not an image")]
)
def test_heic_is_known_by_its_bytes_and_another_film_is_not_taken_for_it(brand, message):
    with pytest.raises(DataError, match=rf"^a\.jpg: {message}"):
        open_image(b"\0\0\0\x18ftyp" + brand + bytes(40), "a.jpg")


def test_a_damaged_heic_is_told_from_what_is_no_image(monkeypatch):
    def fail(file, name):
        raise SyntaxError("no 'meta' box")

    plug_in = types.SimpleNamespace(register_heif_opener=lambda: None)
    monkeypatch.setitem(sys.modules, "pillow_heif", plug_in)
    monkeypatch.setitem(Image.OPEN, "HEIF", (fail, lambda beginning: b"heic" in beginning))
    with pytest.raises(DataError, match=r"^a\.heic: of format HEIF, but damaged .*no 'meta' box"):
        open_image(b"\0\0\0\x18ftypheic", "a.heic")


def test_a_size_is_read_from_any_part_of_an_image_or_refused_by_name(tmp_path):
    path = tmp_path / "a.jpg"
    for length in range(0, len(JPEG), 7):
        path.write_bytes(JPEG[:length])
        size, refused = outcome(image_size, path)
        assert size == (24, 16) or refused.startswith(f"{path}: ")


def test_so_many_images_are_decoded_at_a_time_as_their_pixels_have_room(monkeypatch):
    open_now, most = [], []
    original = ImageFile.ImageFile.load

    def spy(image):
        open_now.append(1)
        time.sleep(0.01)
        most.append(len(open_now))
        open_now.pop()
        return original(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", spy)
    for units, expected in ((31, 1), (15, 2), (10, 3), (8, 3), (1, 4)):
        most.clear()
        monkeypatch.setattr(reading, "_UNIT", -(-24 * 16 // units))
        list(map_in_threads(lambda _: to_rgb_jpeg(PNG, "a.png"), range(16), 4))
        assert max(most) <= expected
    assert max(most) > 1


def test_converted_images_are_listed_sorted_without_strays(tmp_path):
    for name in ("b.jpg", "a.jpg", "._a.jpg", ".a.jpg.partial", "a.csv"):
        (tmp_path / name).touch()
    assert [path.name for path in list_jpegs(tmp_path)] == ["a.jpg", "b.jpg"]
