"""Says where each output lies, and checks before any work that none is written over another."""

from pathlib import Path, PurePosixPath

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import is_inside, output_dir

JSON, CSV, COCO = "detections.json", "detections.csv", "coco_results.json"
PAGE, ANIMATION, LOG = "index.html", "detections.gif", ".detections.jsonl"
GALLERY, CROPS = "gallery", "crops"
_WRITABLE = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".mpo"))


def output_name(name: str) -> str:
    """Returns the name of an input's drawn picture: its own, or a JPEG's for forms only read."""
    return name if PurePosixPath(name).suffix.lower() in _WRITABLE else f"{name}.jpg"


def small_name(name: str) -> str:
    """Returns the name of an input's small picture."""
    return f"{GALLERY}/{name}.jpg"


def crop_name(name: str, class_name: str, number: int) -> str:
    """Returns the name of the picture of an input's n-th detection, which is of this class."""
    path = PurePosixPath(name)
    folder = class_name.replace("/", "_")
    return str(PurePosixPath(CROPS, folder, path.with_name(f"{path.name}_{number}.jpg")))


def prepare_save_path(save_path, files, source) -> Path:
    """Makes the output folder and checks that nothing is written over anything.

    Args:
        save_path: the folder.
        files: the inputs, [SourceFile].
        source: where they are from, as of `inputs.find_images`.

    Raises:
        DataError: the folder lies in the input folder, or a picture would be drawn over an input or
            over another picture.
    """
    folder = Path(save_path)
    inside = folder.resolve()
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
        outputs.setdefault(output_name(file.name), []).append(file.name)
    twice = [" and ".join(names) for names in outputs.values() if len(names) > 1]
    if twice:
        raise DataError(
            f"{name_some(twice)}: would be written to the same picture.\n  Rename one of them."
        )
    there = {str(Path(file.place).resolve()) for file in files}
    over = [name for name in outputs if str(inside / name) in there]
    if over:
        raise DataError(
            f"{folder}: {name_some(over)} would be drawn over.\n  Choose another --save_path."
        )
    return output_dir(folder)
