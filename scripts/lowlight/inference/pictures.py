"""Writes pictures of what was found: drawn images, crops, and a page's small pictures."""

from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import is_inside, output_dir, whole_file
from lowlight.images.drawing import brightened, brightness_of, draw_detections, encode_thumbnail

GALLERY, CROPS = "gallery", "crops"
_SMALL = 480  # pixels of a small picture's longer side
_FRAMES, _SHOWN = 100, 1000  # of an animation: pictures, and milliseconds for each
_WRITABLE = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".mpo"))


class Saver:
    """Writes below a folder, in the folders that the inputs lie in."""

    def __init__(self, save_dir, names, crops=False, brightened=False, gallery=True):
        """Takes the folder and what to write.

        Args:
            save_dir: an existing folder.
            names: {class id: name}.
            crops: write what lies in each box, to crops/<class>/.
            brightened: draw on a brightened copy.
            gallery: write small pictures for a page, to gallery/.
        """
        self._dir, self._names = Path(save_dir), names
        self._crops, self._brightened, self.gallery = crops, brightened, gallery

    def path_of(self, name):
        """Returns the path of an input's drawn picture."""
        return self._dir / output_name(name)

    def small_path_of(self, name):
        """Returns the path of an input's small picture."""
        return self._dir / GALLERY / f"{name}.jpg"

    def save(self, image, found, name):
        """Writes everything of one image.

        Args:
            image: RGB Pillow image, which may be drawn on.
            found: Detections in its pixels.
            name: the input's.
        """
        if self._crops:
            self._save_crops(image, found, name)
        if self.gallery:
            small = image.copy()
            small.thumbnail((_SMALL, _SMALL), reducing_gap=2.0)
            small = encode_thumbnail(small)
            self._write(self.small_path_of(name), lambda path: path.write_bytes(small))
        if self._brightened:
            image = brightened(image, brightness_of(image))
        draw_detections(image, found, self._names)
        self._write(self.path_of(name), lambda path: _save_picture(image, path, name))

    def _save_crops(self, image, found, name):
        width, height = image.size
        for count, (box, number) in enumerate(zip(found.boxes, found.classes, strict=True), 1):
            left, top = (max(0, int(edge)) for edge in box[:2])
            right, low = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
            if right > left and low > top:
                folder = self._names.get(int(number), f"class {int(number)}").replace("/", "_")
                path = PurePosixPath(name)
                path = self._dir / CROPS / folder / path.with_name(f"{path.name}_{count}.jpg")
                crop = image.crop((left, top, right, low))
                self._write(path, lambda partial, crop=crop: crop.save(partial, "JPEG", quality=95))

    def _write(self, path, write):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            write(partial)


def output_name(name):
    """Returns the name of an input's drawn picture: its own, or a JPEG's for forms only read."""
    return name if PurePosixPath(name).suffix.lower() in _WRITABLE else f"{name}.jpg"


def _save_picture(image, path, name):
    """Saves in the format that the name says, JPEG with little loss."""
    suffix = PurePosixPath(output_name(name)).suffix.lower()
    file_format = "JPEG" if suffix == ".mpo" else Image.registered_extensions()[suffix]
    options = {"quality": 90} if file_format in ("JPEG", "WEBP") else {}
    options |= {"compress_level": 1} if file_format == "PNG" else {}
    image.save(path, file_format, **options)


def prepare_save_path(save_path, files, source):
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
    with whole_file(Path(save_dir) / "detections.gif") as partial:
        first.save(partial, "GIF", save_all=True, append_images=others, duration=_SHOWN, loop=0)


def _frame(path):
    canvas = Image.new("RGB", (_SMALL, _SMALL * 3 // 4))
    with Image.open(path) as picture:
        picture.draft("RGB", canvas.size)
        small = picture.convert("RGB")
    small.thumbnail(canvas.size)
    canvas.paste(small, tuple((a - b) // 2 for a, b in zip(canvas.size, small.size, strict=True)))
    return canvas.quantize(128)
