"""What labels of all forms share on their way to the tables."""

import posixpath
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from lowlight.core.errors import DataError, format_count, name_some
from lowlight.core.files import existing_dir, locked, output_dir, write_texts
from lowlight.core.sources import SourceFile, name_key
from lowlight.dataset.classes import parse_classes
from lowlight.dataset.tables import (
    AnnotationRow,
    ImageRow,
    ProblemRow,
    converted_name,
    format_table,
)
from lowlight.images.boxes import clip_pixel_xyxy, pixel_ltwh_to_pixel_xyxy
from lowlight.images.reading import is_image_name, list_jpegs

_MOST_BYTES = 2**20  # of one image's labels, some 15,000 boxes


class Oddity(Enum):
    """What is out of the ordinary, in the order in which it is printed."""

    BOXES_CLIPPED = "boxes clipped to the image", "boxes clipped", "{count}{by}"
    BOXES_ROUNDED = "boxes moved to whole pixels"  # tools that label rarely keep to them
    BOXES_REPEATED = "boxes that repeat another", "boxes repeated", "{count}, kept"
    CROWDS = "crowd boxes left out", "crowd boxes left out", "{count}"
    CROWDS_KEPT = "crowd boxes kept as crowds"
    FLAT = "boxes without width or height left out", "boxes without width or height", "{count}"
    FROM_ZERO = (
        "boxes that begin before pixel 1, from which Pascal VOC counts",
        "boxes before pixel 1",
        "{count}; look whether their tool counts from 0",
    )
    DIFFICULT = "boxes marked difficult, kept as others"
    TRUNCATED = "boxes marked truncated, kept as others"
    WITHOUT_BOXES = "images without boxes", "no boxes", "kept as an image of background"
    WITHOUT_FOLDER_CLASS = (
        "images without a box of their folder's class",
        "no box of its folder's class",
        "kept",
    )
    UNLISTED = (
        "images not in the image list",
        "not in the image list",
        "kept without lighting, location and split",
    )
    MAYBE_TURNED = (
        "images with an EXIF rotation whose sizes don't say whether the labels know it",
        "EXIF rotation",
        "{orientation}; look whether the boxes are in place",
    )
    WITHOUT_IMAGE = "annotations left out, no image", "no image", "left out"
    WITHOUT_FILE = "images left out, no file", "no image", "left out"
    UNNAMED = "other images left alone", "not in the labels", "left alone"
    CLASS_WITHOUT_BOX = "classes without a box"
    GROUP = "categories left out, which only group others"
    STRAY = "other files left alone", "stray file", "left alone"

    def __init__(self, printed: str, problem: str = "", detail: str = ""):
        """Takes how the printed line begins, and what problems.csv says, "" where it is silent.

        `detail` is a format of what `Notes.add` was given.
        """
        self.printed, self.problem, self.detail = printed, problem, detail


@dataclass
class Notes:
    """What a step met out of the ordinary."""

    _found: list = field(default_factory=list)  # of (Oddity, name, count, problems.csv's detail)

    def add(self, oddity: Oddity, name: str, count: int = 1, **values) -> None:
        """Notes that something was met `count` times in what has this name; nothing of 0 times."""
        if count:
            self._found.append((oddity, name, count, oddity.detail.format(count=count, **values)))

    def add_missing(
        self, oddity: Oddity, names: list[str], allow_missing: bool, source: object, folder: object
    ) -> None:
        """Notes what a source says of images that aren't there; raises DataError unless allowed."""
        if names and not allow_missing:
            raise DataError(
                f"{source}: no image in {folder} for {name_some(names)}.\n"
                "  Convert the missing images, or give --allow_missing to leave these out."
            )
        for name in names:
            self.add(oddity, name)

    def __getitem__(self, oddity: Oddity) -> dict[str, int]:
        """Returns {name: count} of what was met."""
        return {name: count for found, name, count, _ in self._found if found is oddity}

    def summaries(self) -> list[tuple]:
        """Returns what `command.print_notes` prints."""
        return [(odd.printed, sum(self[odd].values()), list(self[odd])) for odd in Oddity]

    def problems(self) -> list[ProblemRow]:
        """Returns the ProblemRows, sorted."""
        return sorted(
            ProblemRow(name, oddity.problem, detail)
            for oddity, name, _, detail in self._found
            if oddity.problem
        )


class CocoImage(NamedTuple):
    """An image as its labels name it."""

    place: str  # how a message names it
    file_name: str
    width: int | None  # pixels; None where the labels say no size
    height: int | None
    split: str = ""  # "train", "val" or "test"; "" where nothing says


class CocoBox(NamedTuple):
    """A box of an image."""

    place: str
    image_id: int | str
    category_id: int | str
    pixel_ltwh: tuple  # left, top, width >= 0, height >= 0; ints or floats
    crowd: bool = False  # one box around many objects
    area: float | None = None  # square pixels, perhaps a mask's; None where the file says none
    marks: tuple = ()  # of the Oddity that it is by what the file says


class Coco(NamedTuple):
    """Labels of any form in the terms of COCO's JSON."""

    images: dict  # {id: CocoImage}
    categories: dict  # {id: name}
    boxes: list  # of CocoBox, in the labels' order
    supercategories: frozenset  # names that categories give as that of their group


class Fitting(NamedTuple):
    """The converted images that labels are fitted to, and how."""

    images_dir: str | Path
    allow_missing: bool = False  # leave labels without image out, and images without labels alone
    flatten: bool = False  # the images' names hold their folders, as of `tables.converted_name`
    keep_crowds: bool = False  # take crowd boxes too, as single objects where all are crowds


class Labels(NamedTuple):
    """The labels of a folder of converted images."""

    images: list  # of ImageRow, sorted by filename
    boxes: list  # of AnnotationRow, in the order of images and of the source
    notes: Notes
    classes: tuple = ()  # names in the order of their ids from 1; none where they are ExDark's

    def count(self) -> str:
        """Returns how many images and boxes there are, as text."""
        return (
            f"{format_count(len(self.images), 'image')} with {format_count(len(self.boxes), 'box')}"
        )

    def write(self, folder: str | Path) -> Path:
        """Writes images.csv, annotations.csv, problems.csv and classes.txt; returns the folder."""
        folder = output_dir(folder)
        texts = {
            "images.csv": format_table(self.images, ImageRow),
            "annotations.csv": format_table(self.boxes, AnnotationRow),
            "problems.csv": format_table(self.notes.problems(), ProblemRow),
        }
        if self.classes:
            texts["classes.txt"] = "".join(f"{name}\n" for name in self.classes)
        with locked(folder, "written", "output_dir"):
            write_texts({folder / name: text for name, text in texts.items()})
        return folder


def images_by_stem(images_dir: str | Path) -> dict[str, Path]:
    """Returns {`name_key` of the stem: path} of the converted images, sorted.

    Raises:
        DataError: no such folder, no image in it, or two images with one such stem.
    """
    images = {}
    for path in list_jpegs(existing_dir(images_dir, "images_dir")):
        other = images.setdefault(name_key(path.stem), path)
        if other is not path:
            raise DataError(
                f"{path}: the name differs from {other.name} only in case or in an accent's form.\n"
                "  Rename or remove one of them and its annotation."
            )
    if not images:
        raise DataError(
            f"{images_dir}: holds no .jpg image.\n  Run convert_images.py, or check --images_dir."
        )
    return images


def image_stem(name: str, flatten: bool = False) -> str:
    """Returns what an image's file has in common with its converted form: its stem's `name_key`.

    The name may be a path, and may lack an image's extension.
    """
    name = name if is_image_name(name) else f"{name}.jpg"
    return name_key(posixpath.splitext(converted_name(name, flatten))[0])


def read_label_file(file: SourceFile) -> bytes:
    """Returns the bytes of one image's labels; raises DataError where no image has as many."""
    if file.size > _MOST_BYTES:
        raise DataError(
            f"{file.place}: {file.size:,} bytes, and no image's annotation has over "
            f"{_MOST_BYTES:,}.\n  Replace or remove it."
        )
    return file.read()


def only_file(source: object, files: list[SourceFile]) -> SourceFile | None:
    """Returns the one file of a folder or archive that names classes, None where none does.

    Raises:
        DataError: there are several.
    """
    if len(files) > 1:
        names = name_some(sorted(file.name for file in files))
        raise DataError(
            f"{source}: {names} all name classes.\n"
            "  Keep the one that belongs to the labels, or give one data set's folder."
        )
    return files[0] if files else None


def find_classes(source: object, files: list[SourceFile]) -> dict[str, int]:
    """Returns {class: its line, from 1} of the classes.txt of labels, {} where there is none."""
    named = [file for file in files if posixpath.basename(file.name).lower() == "classes.txt"]
    file = only_file(source, named)
    return parse_classes(read_label_file(file), file.place) if file else {}


def decode_label(data: bytes, place: object) -> str:
    """Returns the text of labels; raises DataError where it isn't UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not a text file ({error}).\n  Replace or remove it.") from error


def clip_box(pixel_ltwh: tuple, size: tuple[int, int], place: object) -> tuple[tuple, tuple]:
    """Returns a box and the part of it that lies in its image of (width, height), pixel_xyxy.

    Raises:
        DataError: the box, which the message names by its place, lies wholly outside.
    """
    whole = pixel_ltwh_to_pixel_xyxy(pixel_ltwh)
    inside = clip_pixel_xyxy(whole, *size)
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise DataError(
            f"{place}: the box {pixel_ltwh} (left, top, width, height) lies wholly outside its "
            f"image of {size[0]}x{size[1]} pixels.\n  Correct or remove it."
        )
    return whole, inside
