"""Makes a data set like all of ExDark: its names, sizes, forms and annotations, drawn textures."""

import csv
import functools
import multiprocessing
import shutil
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

# Of the real set's 496 PNGs 64 are RGBA and of all images 35 are grey; of 47 real JPEGs 10 are
# progressive. Every so many-th image of the kind is made so.
_RGBA_EVERY, _GREY_EVERY, _PROGRESSIVE_EVERY = 8, 196, 5
# These give the mean of 113 KB that the 55 genuine images have.
_JPEG_QUALITY, _PNG_NOISE, _JPEG_NOISE = 82, 1.6, 2.0
_DRAWN_PIXELS = 500_000  # a larger image is a smaller one enlarged: real ones are soft, too
_OCTAVES = (4, 30), (16, 18), (64, 12)  # cells a side, standard deviation of grey levels
_MEAN = 40


def make_exdark(folder, fraction, exdark_root):
    """Makes ExDark/, ExDark_Annno.zip and imageclasslist.txt in a folder, or keeps what is there.

    Args:
        folder: made where it is missing.
        fraction: share of the 7363 images, taken evenly from all classes.
        exdark_root: as EXDARK_ROOT; its genuine images stand among the made ones.

    Returns:
        How many images there are.
    """
    folder, root = Path(folder), Path(exdark_root)
    with open(root / "image_sizes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    count = max(round(len(rows) * fraction), 2)
    chosen = [rows[number * len(rows) // count] for number in range(count)]
    if (folder / "whole").exists():
        return count
    shutil.rmtree(folder, ignore_errors=True)
    for name in {row["class_folder"] for row in chosen}:
        (folder / "ExDark" / name).mkdir(parents=True)
    make = functools.partial(_make_image, folder=folder / "ExDark", root=root)
    with multiprocessing.get_context("spawn").Pool() as pool:
        for _ in pool.imap_unordered(make, enumerate(chosen), chunksize=8):
            pass
    _copy_annotations(root, folder, {PurePosixPath(row["image"]).stem for row in chosen})
    (folder / "whole").touch()
    return count


def _copy_annotations(root, folder, stems):
    shutil.copy(root / "imageclasslist.txt", folder)
    with (
        zipfile.ZipFile(root / "ExDark_Annno.zip") as real,
        zipfile.ZipFile(folder / "ExDark_Annno.zip", "w", zipfile.ZIP_DEFLATED) as part,
    ):
        for name in real.namelist():
            if PurePosixPath(name).name.split(".")[0] in stems:
                part.writestr(name, real.read(name))


def _make_image(item, folder, root):
    number, row = item
    name = f"{row['class_folder']}/{row['image']}"
    if (root / "ExDark" / name).exists():
        shutil.copy(root / "ExDark" / name, folder / name)
        return
    is_png = name.endswith(".png")
    noise = _PNG_NOISE if is_png else _JPEG_NOISE
    size = int(row["width"]), int(row["height"])
    image = Image.fromarray(texture(np.random.default_rng(number), *size, noise))
    if is_png:
        image = image.convert("RGBA") if number % _RGBA_EVERY == 0 else image
        image.save(folder / name, "PNG")
        return
    image = image.convert("L") if number % _GREY_EVERY == 0 else image
    progressive = number % _PROGRESSIVE_EVERY == 0
    image.save(folder / name, "JPEG", quality=_JPEG_QUALITY, progressive=progressive)


def texture(rng, width, height, noise):
    """Returns a dark picture of soft blobs and noise, uint8 [height, width, 3].

    Args:
        rng: numpy.random.Generator.
        width, height: pixels.
        noise: standard deviation of the grey levels from pixel to pixel.
    """
    shrink = max((width * height / _DRAWN_PIXELS) ** 0.5, 1)
    size = round(width / shrink), round(height / shrink)
    pixels = _MEAN + noise * rng.standard_normal((size[1], size[0], 3), np.float32)
    for cells, deviation in _OCTAVES:
        coarse = rng.normal(0, deviation, (3, cells, cells)).astype(np.float32)
        for channel in range(3):
            smooth = Image.fromarray(coarse[channel]).resize(size, Image.Resampling.BILINEAR)
            pixels[..., channel] += np.asarray(smooth)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
