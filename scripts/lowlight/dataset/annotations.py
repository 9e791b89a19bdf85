"""Gathers ExDark's annotations, beside the images they belong to, into table rows."""

import posixpath
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError, join_errors, name_some
from lowlight.core.files import existing_dir, existing_file
from lowlight.core.sources import is_stray, list_files, name_key
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.exdark import ImageFacts, parse_bbgt, parse_image_list
from lowlight.dataset.tables import AnnotationRow, ImageRow, ProblemRow, flat_name
from lowlight.images.boxes import clip_pixel_xyxy, pixel_ltwh_to_pixel_xyxy
from lowlight.images.reading import image_size, is_image_name, list_jpegs

MOST_BYTES = 2**20  # of an annotation, some 15,000 boxes
_NO_FACTS = ImageFacts("", "", "", "")


class Oddity(Enum):
    """What is out of the ordinary, in the order in which it is printed.

    A value is how the printed line begins; how problems.csv calls it, "" for what isn't named
    there; and what it says of it, a format of what `Notes.add` was given.
    """

    BOXES_CLIPPED = "boxes clipped to the image", "boxes clipped", "{count}{by}"
    BOXES_ROUNDED = "boxes moved to whole pixels", "", ""  # tools that label rarely keep to them
    BOXES_REPEATED = "boxes that repeat another", "boxes repeated", "{count}, kept"
    CROWDS = "crowd boxes left out", "crowd boxes left out", "{count}"
    FLAT = "boxes without width or height left out", "boxes without width or height", "{count}"
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
        "images with an EXIF rotation, of which no size says whether the labels know it",
        "EXIF rotation",
        "{orientation}; look whether the boxes are in place",
    )
    WITHOUT_IMAGE = "annotations left out, no image", "no image", "left out"
    WITHOUT_FILE = "images left out, no file", "no image", "left out"
    UNNAMED = "other images left alone", "not in the COCO file", "left alone"
    CLASS_WITHOUT_BOX = "classes without a box", "", ""
    GROUP = "categories left out, which only group others", "", ""
    STRAY = "other files left alone", "stray file", "left alone"


@dataclass
class Notes:
    """What a step met out of the ordinary."""

    _found: dict = field(default_factory=lambda: {oddity: {} for oddity in Oddity})

    def add(self, oddity: Oddity, name: str, count: int = 1, **values) -> None:
        """Notes that something was met `count` times in what has this name; nothing of 0 times."""
        if count:
            self._found[oddity][name] = {"count": count, **values}

    def add_missing(self, oddity, names, allow_missing, source, images_dir) -> None:
        """Notes what a source says of images that aren't there; raises DataError unless allowed."""
        if names and not allow_missing:
            raise DataError(
                f"{source}: no image in {images_dir} for {name_some(names)}.\n"
                "  Convert the missing images, or give --allow_missing to leave these out."
            )
        for name in names:
            self.add(oddity, name)

    def __getitem__(self, oddity: Oddity) -> dict:
        """Returns {name: count} of what was met."""
        return {name: values["count"] for name, values in self._found[oddity].items()}

    def summaries(self) -> list:
        """Returns what `command.print_notes` prints."""
        return [(odd.value[0], sum(self[odd].values()), list(self[odd])) for odd in Oddity]

    def problems(self) -> list:
        """Returns the ProblemRows, sorted."""
        return sorted(
            ProblemRow(name, oddity.value[1], oddity.value[2].format(**values))
            for oddity, found in self._found.items()
            if oddity.value[1]
            for name, values in found.items()
        )


def count_repeats(boxes: list) -> int:
    """Returns how many of an image's AnnotationRows are the same as one before them."""
    return len(boxes) - len(set(boxes))


class Gathered(NamedTuple):
    """What `gather_annotations` found."""

    images: list  # of ImageRow, sorted by filename
    boxes: list  # of AnnotationRow, in the order of images and of the lines of each annotation
    notes: Notes  # on annotations, and Oddity.UNLISTED on images


def gather_annotations(annotations, images_dir, image_list=None, allow_missing=False):
    """Reads every annotation and fits it to its converted image.

    An annotation `<image name>.txt` belongs to the image with the same stem, in either case.

    Args:
        annotations: folder of class folders of bbGt files, or a zip archive of it.
        images_dir: the folder with the converted images, `<stem>.jpg`.
        image_list: path of imageclasslist.txt, or None.
        allow_missing: leave annotations without image out instead of raising.

    Returns:
        Gathered. A box that reaches outside its image is clipped to it.

    Raises:
        DataError: annotations that can't be read (all of them are named), images without
            annotation, annotations without image, two annotations of one image.
    """
    files = list_files(annotations, "annotations")
    texts, strays = [], []
    for file in files:
        found = file.name.lower().endswith(".txt") and not is_stray(file.name)
        (texts if found else strays).append(file)
    images = images_by_stem(images_dir)
    facts = _read_facts(image_list)
    by_stem = _by_stem(texts, annotations)
    _check_annotated(by_stem, images, annotations, images_dir)
    missing = [file.name for stem, file in by_stem.items() if stem not in images]
    notes = Notes()
    notes.add_missing(Oddity.WITHOUT_IMAGE, missing, allow_missing, annotations, images_dir)
    for file in strays:
        notes.add(Oddity.STRAY, file.name)
    found, errors = Gathered([], [], notes), []
    for stem, path in images.items():
        file = by_stem[stem]
        name, fact = facts.get(stem, (_image_name(file), _NO_FACTS))
        if image_list and stem not in facts:
            notes.add(Oddity.UNLISTED, path.name)
        try:
            _add_image(found, path, file, name, fact)
        except DataError as error:
            errors.append(error)
    if errors:
        raise join_errors(errors)
    return found


def images_by_stem(images_dir):
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


def image_stem(name, flatten=False):
    """Returns what an image's file has in common with its converted form: its stem's `name_key`.

    Args:
        name: a file name or path, parts divided by "/", with or without an image's extension.
        flatten: as of `tables.converted_name`.
    """
    name = posixpath.splitext(name)[0] if is_image_name(name) else name
    return name_key(flat_name(name, flatten))


def _add_image(found, path, file, name, facts):
    if file.size > MOST_BYTES:
        raise DataError(
            f"{file.place}: {file.size:,} bytes, and no image's annotation has over "
            f"{MOST_BYTES:,}.\n  Replace or remove it."
        )
    width, height = image_size(path)
    boxes = parse_bbgt(file.read(), file.place)
    edges = [clip_box(box.pixel_ltwh, (width, height), f"{file.place}:{box.line}") for box in boxes]
    rows = [
        AnnotationRow(path.name, width, height, box.name, *inside)
        for box, (_, inside) in zip(boxes, edges, strict=True)
    ]
    outside = [np.abs(np.subtract(whole, inside)).max() for whole, inside in edges]
    clipped = sum(pixels > 0 for pixels in outside)
    by = f", by {max(outside, default=0)} px at most"
    found.notes.add(Oddity.BOXES_CLIPPED, file.name, clipped, by=by)
    found.notes.add(Oddity.BOXES_REPEATED, file.name, count_repeats(rows))
    if not rows:
        found.notes.add(Oddity.WITHOUT_BOXES, file.name)
    elif file.folder in CLASSES and all(row.class_name != file.folder for row in rows):
        found.notes.add(Oddity.WITHOUT_FOLDER_CLASS, file.name)
    found.boxes.extend(rows)
    source = f"{file.folder}/{name}"
    found.images.append(ImageRow(path.name, source, width, height, *facts, len(rows)))


def clip_box(pixel_ltwh, size, place):
    """Returns a box and the part of it that lies in its image, both pixel_xyxy.

    Args:
        size: the image's (width, height); place: how a message names the box.

    Raises:
        DataError: the box lies wholly outside.
    """
    whole = pixel_ltwh_to_pixel_xyxy(pixel_ltwh)
    inside = clip_pixel_xyxy(whole, *size)
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise DataError(
            f"{place}: the box {pixel_ltwh} (left, top, width, height) lies wholly outside its "
            f"image of {size[0]}x{size[1]} pixels.\n  Correct or remove it."
        )
    return whole, inside


def _read_facts(image_list):
    """Returns {stem in lower case: (image's name, ImageFacts)}."""
    if image_list is None:
        return {}
    path = existing_file(image_list, "Check --image_list.")
    facts = parse_image_list(path.read_bytes(), path)
    return {image_stem(name): (name, fact) for name, fact in facts.items()}


def _image_name(file):
    return posixpath.basename(file.name)[: -len(".txt")]


def _by_stem(texts, annotations):
    if not texts:
        raise DataError(
            f"{annotations}: holds no annotation (.txt).\n"
            "  --annotations is ExDark_Annno, the folder of class folders or its zip archive."
        )
    by_stem = {}
    for file in texts:
        other = by_stem.setdefault(image_stem(_image_name(file)), file)
        if other is not file:
            raise DataError(
                f"{file.place}: annotates the same image as {other.name}.\n  Remove one of them."
            )
    return by_stem


def _check_annotated(by_stem, images, annotations, images_dir):
    """Raises DataError for images without annotation."""
    alone = [path.name for stem, path in images.items() if stem not in by_stem]
    if alone:
        raise DataError(
            f"{images_dir}: no annotation in {annotations} for {name_some(alone)}.\n"
            "  Add the annotation (a bbGt file without boxes will do) or remove the image."
        )
