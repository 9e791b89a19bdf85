"""Writes a drawn data set in the form that ExDark's authors hand theirs out, oddities included."""

import random
import shutil
from pathlib import Path

from lowlight.core.errors import DataError
from lowlight.core.files import locked, output_dir, whole_file
from lowlight.dataset.classes import CLASSES, LIGHTINGS, LOCATIONS
from lowlight.dataset.scenes import Scene, class_names, draw_scene, lightings_at

MARKER = "DRAWN_SAMPLE_DATA.txt"
_PARTS = "ExDark", "ExDark_Annno", "imageclasslist.txt"
_LIST_HEADER = "Name | Class | Light | In/Out | Train/Val/Test"
_OFFICIAL_SHARES = 3000, 1800, 2563
_EXTENSIONS = "jpg", "jpg", "jpg", "jpg", "JPG", "JPEG", "jpeg", "png"
_PNG_MODES = "RGB", "RGBA", "P", "RGB", "L", "RGBA"
_EXIF_ORIENTATION = 0x0112
_JPEG_QUALITY = 90
# Which image of every 48 has which of ExDark's oddities.
_OUTSIDE, _EMPTY, _OTHER_CASE, _ROTATED, _NO_END, _OTHER_FOLDER = 3, 8, 16, 21, 27, 33


def write_sample(folder: Path | str, count: int, seed: int, width: int, height: int) -> None:
    """Writes ExDark/, ExDark_Annno/ and imageclasslist.txt into a folder, whole or not at all.

    The same count, seed and size write the same bytes. Of every 48 images one has a box that
    reaches 2 px outside, one an annotation without boxes, one an annotation whose name differs in
    case, one an EXIF rotation that its boxes ignore, one no JPEG end marker, and one no box of its
    folder's class. Stray files lie about.

    An earlier sample in the folder is replaced, other files stay. The size is that of most images,
    in pixels; some are larger, smaller or upright.

    Raises DataError: the folder holds an ExDark that isn't drawn, or another process writes it.
    """
    folder = output_dir(folder)
    if any((folder / part).exists() for part in _PARTS) and not (folder / MARKER).exists():
        raise DataError(
            f"{folder}: holds ExDark files that this step didn't draw.\n"
            "  Choose another --output_dir; nothing was changed."
        )
    with locked(folder, "written", "output_dir"):
        _replace_sample(folder, count, seed, (width, height))


def _replace_sample(folder, count, seed, size):
    partial = folder / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    rng = random.Random(seed)
    try:
        rows = [_write_image(partial, rng, number, size) for number in range(count)]
        _write_strays(partial)
        lines = "".join(f"{line}\r\n" for line in [_LIST_HEADER, *rows])
        (partial / "imageclasslist.txt").write_bytes(lines.encode())
        (folder / MARKER).write_text(
            f"Drawn by make_sample_data.py --images={count} --seed={seed}; safe to delete.\n"
        )
        # The list, which says that the sample is whole, goes first and comes last.
        (folder / _PARTS[-1]).unlink(missing_ok=True)
        for part in _PARTS[:-1]:
            if (folder / part).exists():
                shutil.rmtree(folder / part)
        for part in _PARTS:
            (partial / part).rename(folder / part)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_test_images(folder: Path | str, seed: int) -> None:
    """Writes a few scenes of different sizes and formats, which no sample of this seed holds."""
    folder, rng = output_dir(folder), random.Random(f"test images {seed}")
    sizes = (320, 240), (480, 320), (240, 320), (640, 400), (400, 300), (200, 150)
    for number, size in enumerate(sizes, 1):
        location = LOCATIONS[number % 2]
        lighting = rng.choice(lightings_at(location))
        main_class = rng.choice(class_names(location))
        scene = draw_scene(rng, *size, lighting, location, main_class)
        name = f"night_{number}_{lighting.lower()}"
        suffix, form = ("png", "PNG") if number == len(sizes) else ("jpg", "JPEG")
        with whole_file(folder / f"{name}.{suffix}") as partial:
            scene.image.save(partial, form, quality=_JPEG_QUALITY)


def _write_image(folder, rng, number, size):
    """Writes one image and its annotation; returns its line of the image list."""
    main_class = CLASSES[number % len(CLASSES)]
    location = rng.choice([place for place in LOCATIONS if main_class in class_names(place)])
    lightings = lightings_at(location)
    lighting = lightings[number // len(CLASSES) % len(lightings)]
    oddity = number % 48
    drawn_class = None if oddity == _EMPTY else main_class
    scene = draw_scene(rng, *_vary_size(rng, size), lighting, location, drawn_class)
    if oddity == _OUTSIDE:
        scene = _cut_left(scene, 2)
    folder_class = main_class
    if oddity == _OTHER_FOLDER:
        present = {name for name, _ in scene.objects}
        folder_class = next(name for name in CLASSES if name not in present)
    name = f"2015_{number + 1:05d}.{_extension(rng, oddity)}"
    _save(scene.image, folder / "ExDark" / folder_class / name, oddity, number)
    text_name = name.replace("JPG", "jpg") if oddity == _OTHER_CASE else name
    _write_boxes(folder / "ExDark_Annno" / folder_class / f"{text_name}.txt", scene.objects)
    split = rng.choices((1, 2, 3), _OFFICIAL_SHARES)[0]
    numbers = CLASSES.index(folder_class), LIGHTINGS.index(lighting), LOCATIONS.index(location)
    return " ".join([name, *(str(n + 1) for n in numbers), str(split)])


def _vary_size(rng, size):
    width, height = size
    turned = (height, width) if rng.random() < 0.15 else size
    scale = rng.choice((0.8, 1.0, 1.0, 1.0, 1.25))
    return tuple(round(side * scale) for side in turned)


def _cut_left(scene, pixels):
    """Cuts the image so that its leftmost object reaches this many pixels outside."""
    cut = min(left for _, (left, *_) in scene.objects) + pixels
    image = scene.image.crop((cut, 0, *scene.image.size))
    objects = tuple((name, (left - cut, *rest)) for name, (left, *rest) in scene.objects)
    return Scene(image, objects)


def _extension(rng, oddity):
    drawn = rng.choice(_EXTENSIONS)
    return {_OTHER_CASE: "JPG", _ROTATED: "jpeg", _NO_END: "jpg"}.get(oddity, drawn)


def _save(image, path, oddity, number):
    """Saves the image in the form that its name and oddity ask for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        image.convert(_PNG_MODES[number % len(_PNG_MODES)]).save(path)
        return
    exif = image.getexif()
    if oddity == _ROTATED:
        exif[_EXIF_ORIENTATION] = 6
    image.save(path, "JPEG", quality=_JPEG_QUALITY, exif=exif)
    if oddity == _NO_END:
        path.write_bytes(path.read_bytes()[:-2])


def _write_boxes(path, objects):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["% bbGt version=3"]
    lines += [" ".join([name, *map(str, box), *"0000000"]) for name, box in objects]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def _write_strays(folder):
    """Writes the files that some copies of ExDark's archive hold beside its images."""
    for name, text in (
        ("ExDark/.DS_Store", "\0\0\0\1Bud1"),
        ("ExDark/Bicycle/._2015_00001.jpg", "\0\5\26\7"),
        ("ExDark/Boat/2015_00002.png~", "an editor's backup"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
