"""Where each picture of what was found lies, that none is written over another, and its writing."""

import contextlib
import errno
import hashlib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import LOCK, is_inside, output_dir, whole_file
from lowlight.core.sources import SourceFile
from lowlight.detector.detections import Detections
from lowlight.images.boxes import clip_pixel_xyxy
from lowlight.images.drawing import brightened, brightness_of, draw_detections, encode_thumbnail

if TYPE_CHECKING:
    from lowlight.inference.steps import Job

JSON, CSV, COCO = "detections.json", "detections.csv", "coco_results.json"
PAGE, LOG = "index.html", ".detections.jsonl"
_ANIMATION, _GALLERY, _CROPS = "detections.gif", "gallery", "crops"
# Names that an input's picture can't have: what else is written to the top of the folder.
_OWN = frozenset((JSON, CSV, COCO, PAGE, LOG, LOCK, _ANIMATION, _GALLERY, _CROPS))
_WRITABLE = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".mpo"))
_SAVING = {"JPEG": {"quality": 90}, "WEBP": {"quality": 90}, "PNG": {"compress_level": 1}}
_MOST_BYTES = 255  # of a file's name
_SMALL = 480  # pixels of a small picture's longer side
_FRAMES, _SHOWN = 100, 1000  # of an animation: pictures, and milliseconds for each


def output_name(name: str) -> str:
    """Returns the name of an input's drawn picture: its own, or a JPEG's for forms only read."""
    is_written = PurePosixPath(name).suffix.lower() in _WRITABLE
    return name if is_written else _with_suffix(name, ".jpg")


def small_name(name: str) -> str:
    """Returns the name of an input's small picture."""
    return f"{_GALLERY}/{_with_suffix(name, '.jpg')}"


def crop_name(name: str, class_name: str, number: int) -> str:
    """Returns the name of the picture of an input's n-th detection, which is of this class."""
    folder = re.sub(r"[/\0]|^\.", "_", class_name)
    return f"{_CROPS}/{folder}/{_with_suffix(name, f'_{number}.jpg')}"


def _with_suffix(name, suffix):
    """Returns a longer name; one that a file can't have is cut, and ends with a digest of it."""
    folder, _, last = name.rpartition("/")
    if len(os.fsencode(last + suffix)) > _MOST_BYTES:
        digest = hashlib.sha256(os.fsencode(last)).hexdigest()[:12]
        start = os.fsencode(last)[: _MOST_BYTES - len(suffix) - len(digest) - 1]
        last = f"{start.decode('utf-8', 'ignore')}_{digest}"
    return f"{folder}/{last}{suffix}" if folder else last + suffix


@dataclass(frozen=True)
class Pictures:
    """Which pictures are written, beside the drawn images."""

    crops: bool = False  # what lies in each box, to crops/<class>/
    brightened: bool = False  # draw on a brightened copy
    gallery: bool = True  # small ones and a page that shows them
    gif: bool = False  # detections.gif, which shows one drawn image after another


def save_pictures(job: "Job", image: Image.Image, found: Detections, file: SourceFile) -> None:
    """Writes the pictures that a Job asks for, in the folders that the inputs lie in.

    The image is RGB, and may be drawn on; what was found is in its pixels.

    Raises:
        DataError: an encoder can't write it, as with a huge image.
        OSError: of the disk, which no other image would be written to either.
    """
    try:
        _save_all(job, image, found, file.name)
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENAMETOOLONG):
            raise
        why = getattr(error, "strerror", None) or error or "no reason given"
        raise DataError(
            f"{file.place}: its picture can't be written ({type(error).__name__}: {why}).\n"
            "  Convert it to another format, make it smaller, or give it a shorter name."
        ) from error


def _save_all(job, image, found, name):
    if job.pictures.crops:
        _save_crops(job, image, found, name)
    if job.pictures.gallery:
        small = image.copy()
        small.thumbnail((_SMALL, _SMALL), reducing_gap=2.0)
        with _new_file(job.save_dir / small_name(name)) as path:
            path.write_bytes(encode_thumbnail(small))
    if job.pictures.brightened:
        image = brightened(image, brightness_of(image))
    draw_detections(image, found, job.names)
    with _new_file(job.save_dir / output_name(name)) as path:
        _save_picture(image, path, name)


def _save_crops(job, image, found, name):
    for count, (box, number) in enumerate(zip(found.boxes, found.classes, strict=True), 1):
        left, top, right, low = clip_pixel_xyxy(box, *image.size)
        if right > left and low > top:
            class_name = job.names.get(int(number), f"class {int(number)}")
            corners = math.floor(left), math.floor(top), math.ceil(right), math.ceil(low)
            with _new_file(job.save_dir / crop_name(name, class_name, count)) as path:
                image.crop(corners).save(path, "JPEG", quality=95)


@contextlib.contextmanager
def _new_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, durable=False) as partial:
        yield partial


def _save_picture(image, path, name):
    """Saves in the format that the name says, JPEG with little loss."""
    suffix = PurePosixPath(output_name(name)).suffix.lower()
    file_format = "JPEG" if suffix == ".mpo" else Image.registered_extensions()[suffix]
    image.save(path, file_format, **_SAVING.get(file_format, {}))


def write_gif(save_dir: Path, files: list[SourceFile]) -> None:
    """Writes detections.gif, which shows the inputs' drawn pictures one after another.

    Of more than _FRAMES a part is shown, evenly chosen, because a GIF is held in memory until it is
    whole.
    """
    paths = [save_dir / output_name(file.name) for file in files]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        return
    first, *others = (_frame(path) for path in paths[:: -(-len(paths) // _FRAMES)])
    with whole_file(save_dir / _ANIMATION) as partial:
        first.save(partial, "GIF", save_all=True, append_images=others, duration=_SHOWN, loop=0)


def _frame(path):
    size = _SMALL, _SMALL * 3 // 4
    with Image.open(path) as picture:
        picture.draft("RGB", size)
        return ImageOps.pad(picture.convert("RGB"), size).quantize(128)


def prepare_save_path(save_path: Path | str, files: list[SourceFile], source: Path | str) -> Path:
    """Makes the output folder and checks, before any work, that nothing is written over anything.

    Raises:
        DataError: the folder lies in the input folder, or a picture would be drawn over an input,
            over another picture, or over what else is written.
    """
    folder = Path(save_path)
    names = [file.name for file in files]
    outputs = [str(PurePosixPath(output_name(name))) for name in names]  # ./a.jpg is a.jpg
    _check_apart(dict(zip(names, outputs, strict=True)))
    _check_inputs(folder, [*outputs, *map(small_name, names)], files, source)
    return output_dir(folder)


def _check_apart(outputs):
    """Raises DataError where pictures, {input: path}, would be written over anything."""
    taken = {name: f"the command's own {name}" for name in _OWN}
    clashes = []
    for name, output in outputs.items():
        if output in taken:
            clashes.append(f"{name} and {taken[output]}")
        taken.setdefault(output, name)
    for name, output in outputs.items():
        above = map(str, PurePosixPath(output).parents)
        clashes += [f"{name} and {taken[parent]}" for parent in above if parent in taken]
    if clashes:
        raise DataError(
            f"{name_some(clashes)}: would be written to the same place.\n"
            "  Rename one of them, or leave it out."
        )


def _check_inputs(folder, outputs, files, source):
    """Raises DataError where pictures would be written to the inputs, perhaps through a link."""
    there = {os.path.realpath(file.place) for file in files}
    parted = [os.path.split(name) for name in outputs]
    places = {p: os.path.realpath(folder / p) for p in sorted({parent for parent, _ in parted})}
    if into := [parent for parent, place in places.items() if is_inside(place, source)]:
        raise DataError(
            f"{folder / into[0]}: leads into the folder of the images; the pictures would be drawn "
            "over the images, or taken for images the next time.\n"
            "  Choose another --save_path, or remove the link."
        )
    over = [os.path.join(p, last) for p, last in parted if os.path.join(places[p], last) in there]
    if over:
        raise DataError(
            f"{folder}: {name_some(over)} would be drawn over.\n  Choose another --save_path."
        )
