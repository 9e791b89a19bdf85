"""Writes pictures of what was found: drawn images, crops, and a page's small pictures."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from lowlight.core.files import whole_file
from lowlight.images.drawing import brightened, brightness_of, draw_detections, encode_thumbnail
from lowlight.inference.output_paths import ANIMATION, crop_name, output_name, small_name

_SMALL = 480  # pixels of a small picture's longer side
_FRAMES, _SHOWN = 100, 1000  # of an animation: pictures, and milliseconds for each


@dataclass(frozen=True)
class Pictures:
    """Which pictures are written, beside the drawn images."""

    crops: bool = False  # what lies in each box, to crops/<class>/
    brightened: bool = False  # draw on a brightened copy
    gallery: bool = True  # small ones and a page that shows them
    gif: bool = False  # detections.gif, which shows one drawn image after another


class Saver:
    """Writes below a folder, in the folders that the inputs lie in."""

    def __init__(self, save_dir, names: dict, pictures: Pictures):
        """Takes an existing folder, {class id: name}, and what to write."""
        self._dir, self._names, self._pictures = Path(save_dir), names, pictures

    def save(self, image, found, name: str):
        """Writes everything of one image.

        Args:
            image: RGB Pillow image, which may be drawn on.
            found: Detections in its pixels.
            name: the input's.
        """
        if self._pictures.crops:
            self._save_crops(image, found, name)
        if self._pictures.gallery:
            small = image.copy()
            small.thumbnail((_SMALL, _SMALL), reducing_gap=2.0)
            small = encode_thumbnail(small)
            self._write(small_name(name), lambda path: path.write_bytes(small))
        if self._pictures.brightened:
            image = brightened(image, brightness_of(image))
        draw_detections(image, found, self._names)
        self._write(output_name(name), lambda path: _save_picture(image, path, name))

    def _save_crops(self, image, found, name):
        width, height = image.size
        for count, (box, number) in enumerate(zip(found.boxes, found.classes, strict=True), 1):
            left, top = (max(0, int(edge)) for edge in box[:2])
            right, low = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
            if right > left and low > top:
                class_name = self._names.get(int(number), f"class {int(number)}")
                crop = image.crop((left, top, right, low))
                self._write(
                    crop_name(name, class_name, count),
                    lambda partial, crop=crop: crop.save(partial, "JPEG", quality=95),
                )

    def _write(self, name, write):
        path = self._dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, durable=False) as partial:
            write(partial)


def _save_picture(image, path, name):
    """Saves in the format that the name says, JPEG with little loss."""
    suffix = PurePosixPath(output_name(name)).suffix.lower()
    file_format = "JPEG" if suffix == ".mpo" else Image.registered_extensions()[suffix]
    options = {"quality": 90} if file_format in ("JPEG", "WEBP") else {}
    options |= {"compress_level": 1} if file_format == "PNG" else {}
    image.save(path, file_format, **options)


def write_gif(save_dir, files):
    """Writes detections.gif, which shows the drawn pictures one after another.

    They are made as small as fits into a square; of more than _FRAMES a part is shown, evenly
    chosen, because a GIF is held in memory until it is whole.

    Args:
        save_dir: the folder with the drawn pictures.
        files: the inputs, [SourceFile].
    """
    paths = [Path(save_dir) / output_name(file.name) for file in files]
    paths = [path for path in paths if path.is_file()]
    paths = paths[:: -(-len(paths) // _FRAMES)] if paths else []
    if not paths:
        return
    first, *others = (_frame(path) for path in paths)
    with whole_file(Path(save_dir) / ANIMATION) as partial:
        first.save(partial, "GIF", save_all=True, append_images=others, duration=_SHOWN, loop=0)


def _frame(path):
    canvas = Image.new("RGB", (_SMALL, _SMALL * 3 // 4))
    with Image.open(path) as picture:
        picture.draft("RGB", canvas.size)
        small = picture.convert("RGB")
    small.thumbnail(canvas.size)
    canvas.paste(small, tuple((a - b) // 2 for a, b in zip(canvas.size, small.size, strict=True)))
    return canvas.quantize(128)
