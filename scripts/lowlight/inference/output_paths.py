"""Says where each output lies, and checks before any work that none is written over another."""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import LOCK, is_inside, output_dir

JSON, CSV, COCO = "detections.json", "detections.csv", "coco_results.json"
PAGE, ANIMATION, LOG = "index.html", "detections.gif", ".detections.jsonl"
GALLERY, CROPS = "gallery", "crops"
_WRITABLE = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".mpo"))


# Names that an input's picture can't have: what else is written to the top of the folder.
_OWN = frozenset((JSON, CSV, COCO, PAGE, ANIMATION, LOG, LOCK, GALLERY, CROPS))
_MOST_BYTES = 255  # of a file's name


def output_name(name: str) -> str:
    """Returns the name of an input's drawn picture: its own, or a JPEG's for forms only read."""
    is_written = PurePosixPath(name).suffix.lower() in _WRITABLE
    return name if is_written else _with_suffix(name, ".jpg")


def small_name(name: str) -> str:
    """Returns the name of an input's small picture."""
    return f"{GALLERY}/{_with_suffix(name, '.jpg')}"


def crop_name(name: str, class_name: str, number: int) -> str:
    """Returns the name of the picture of an input's n-th detection, which is of this class."""
    folder = re.sub(r"[/\0]|^\.", "_", class_name)
    return f"{CROPS}/{folder}/{_with_suffix(name, f'_{number}.jpg')}"


def _with_suffix(name, suffix):
    """Returns a longer name; one that a file can't have is cut, and ends with a digest of it."""
    folder, _, last = name.rpartition("/")
    if len(os.fsencode(last + suffix)) > _MOST_BYTES:
        digest = hashlib.sha256(os.fsencode(last)).hexdigest()[:12]
        start = os.fsencode(last)[: _MOST_BYTES - len(suffix) - len(digest) - 1]
        last = f"{start.decode('utf-8', 'ignore')}_{digest}"
    return f"{folder}/{last}{suffix}" if folder else last + suffix


def prepare_save_path(save_path, files: list, source) -> Path:
    """Makes the output folder and checks that nothing is written over anything.

    Args:
        save_path: the folder.
        files: the inputs, [SourceFile].
        source: where they are from, as of `inputs.find_images`.

    Raises:
        DataError: the folder lies in the input folder, or a picture would be drawn over an input,
            over another picture, or over what else is written.
    """
    folder = Path(save_path)
    if is_inside(folder, source):
        harm = "taken for images the next time"
        if is_inside(source, folder):
            harm = "drawn over the images"
        raise DataError(
            f"{folder}: lies in the folder of the images; the pictures would be {harm}.\n"
            "  Choose another --save_path."
        )
    outputs = {}
    for file in files:
        # An archive may hold ./a.jpg beside a.jpg.
        name = str(PurePosixPath(output_name(file.name)))
        outputs.setdefault(name, []).append(file.name)
    _check_apart(outputs)
    _check_inputs(folder, [*outputs, *(small_name(file.name) for file in files)], files, source)
    return output_dir(folder)


def _check_apart(outputs):
    """Raises DataError where pictures, {name: its inputs}, would be written over each other."""
    twice = [" and ".join(names) for names in outputs.values() if len(names) > 1]
    if twice:
        raise DataError(
            f"{name_some(twice)}: would be written to the same picture.\n  Rename one of them."
        )
    own = sorted(name for name in outputs if name.split("/")[0] in _OWN)
    if own:
        raise DataError(
            f"{name_some(own)}: would be written where the command writes its own "
            f"{name_some(sorted({name.split('/')[0] for name in own}))}.\n"
            "  Rename them, or leave them out."
        )
    parents = {str(parent) for name in outputs for parent in PurePosixPath(name).parents}
    both = sorted(parents & outputs.keys())
    if both:
        raise DataError(
            f"{name_some(both)}: would be a picture, and the folder of others.\n  Rename it."
        )


def _check_inputs(folder, outputs, files, source):
    """Raises DataError where a link in the output folder leads to the inputs."""
    there = {os.path.realpath(file.place) for file in files}
    parents = {str(PurePosixPath(name).parent) for name in outputs}
    places = {parent: os.path.realpath(folder / parent) for parent in sorted(parents)}
    into = [parent for parent, place in places.items() if is_inside(place, source)]
    if into:
        raise DataError(
            f"{folder / into[0]}: leads into the folder of the images.\n"
            "  Remove the link, or choose another --save_path."
        )
    names = (PurePosixPath(name) for name in outputs)
    over = [str(n) for n in names if os.path.join(places[str(n.parent)], n.name) in there]
    if over:
        raise DataError(
            f"{folder}: {name_some(over)} would be drawn over.\n  Choose another --save_path."
        )
