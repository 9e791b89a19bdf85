"""Gathers ExDark's annotations (bbGt) and its list of images into the rows of the tables."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError, kept_in, name_some, raise_any
from lowlight.core.files import existing_file
from lowlight.core.sources import SourceFile, is_stray, list_files
from lowlight.dataset.classes import CLASSES, LIGHTINGS, LOCATIONS, SPLITS
from lowlight.dataset.labels import (
    Labels,
    Notes,
    Oddity,
    clip_box,
    decode_label,
    image_stem,
    images_by_stem,
    read_label_file,
)
from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.images.reading import image_size

_HEADER = "% bbGt"
_WHOLE = re.compile("[+-]?[0-9]{1,9}")
_LIST_COLUMNS = "name class light in/out train/val/test"
_WORDS = [  # {number: word} of each of its numbers
    dict(enumerate(words, 1)) for words in (CLASSES, LIGHTINGS, LOCATIONS, SPLITS)
]


class BbGtBox(NamedTuple):
    """One line of a bbGt file."""

    line: int  # from 1
    name: str  # the class
    pixel_ltwh: tuple  # left, top, width, height; integers


class ImageFacts(NamedTuple):
    """One line of imageclasslist.txt, its numbers as words."""

    folder_class: str = ""
    lighting: str = ""
    location: str = ""
    official_split: str = ""


def parse_bbgt(data: bytes, place: object) -> list[BbGtBox]:
    """Reads the annotation of one image, which messages name by its place.

    It holds `% bbGt version=3`, then `class left top width height` and unused columns for each box
    (https://pdollar.github.io/toolbox/detector/bbGt.html).

    Raises:
        DataError: another format, an unknown class, or a box that isn't four integers with a width
            and height of 1 or more.
    """
    lines = decode_label(data, place).splitlines()
    if not lines or not lines[0].startswith(_HEADER):
        raise DataError(
            f"{place}:1: not an annotation of ExDark: the first line should be "
            f"'{_HEADER} version=3'.\n  Add it, or move the file away."
        )
    numbered = [(number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    return [_parse_box(line, number, place) for number, line in numbered]


def _parse_box(line, number, place):
    name, *texts = line.split()[:5]
    if name in CLASSES and len(texts) == 4 and all(map(_WHOLE.fullmatch, texts)):
        box = tuple(map(int, texts))
        if min(box[2:]) >= 1:
            return BbGtBox(number, name, box)
    raise DataError(
        f"{place}:{number}: {line[:200]!r} isn't a class, left, top, width and height.\n"
        f"  Known classes: {', '.join(CLASSES)}. The others are whole pixels, width and height 1 "
        "or more. Correct the line and run this step again."
    )


def parse_image_list(data: bytes, place: object) -> dict[str, ImageFacts]:
    """Reads imageclasslist.txt and returns {image's file name: ImageFacts}.

    It holds a header, which may be missing, then five columns a line: an image's name and the
    numbers, from 1, of its class, lighting, location and official split.

    Raises:
        DataError: a line of another form, or an image that is named twice.
    """
    facts = {}
    for number, line in enumerate(decode_label(data, place).splitlines(), 1):
        name, *numbers = line.split() or [""]
        found = _facts_of(numbers)
        if not name or (number == 1 and found is None):
            continue
        if found is None:
            raise DataError(
                f"{place}:{number}: {line!r} isn't '{_LIST_COLUMNS}' with numbers in range.\n"
                f"  Correct the line, or take the list as ExDark's authors hand it out."
            )
        if name in facts:
            raise DataError(f"{place}:{number}: {name} stands here twice.\n  Remove one line.")
        facts[name] = found
    return facts


def _facts_of(numbers):
    """Returns the ImageFacts of a line's numbers, None where they aren't four in range."""
    if len(numbers) != len(_WORDS) or not all(re.fullmatch("[0-9]{1,3}", n) for n in numbers):
        return None
    words = [table.get(int(text)) for table, text in zip(_WORDS, numbers, strict=True)]
    return None if None in words else ImageFacts(*words)


def gather_annotations(
    annotations: str | Path,
    images_dir: str | Path,
    image_list: str | Path | None = None,
    allow_missing: bool = False,
) -> Labels:
    """Reads every annotation and fits it to its converted image.

    An annotation `<image name>.txt` belongs to the image with the same stem, in either case. A box
    that reaches outside its image is clipped to it. With `allow_missing` annotations without image
    are left out.

    Raises:
        DataError: annotations that can't be read (all of them are named), images without
            annotation, annotations without image, two annotations of one image.
    """
    labels = Labels([], [], Notes())
    by_stem = _find_annotations(annotations, labels.notes)
    images = images_by_stem(images_dir)
    facts = _read_facts(image_list)
    alone = [path.name for stem, path in images.items() if stem not in by_stem]
    if alone:
        raise DataError(
            f"{images_dir}: no annotation in {annotations} for {name_some(alone)}.\n"
            "  Add the annotation (a bbGt file without boxes will do) or remove the image."
        )
    missing = [file.name for stem, file in by_stem.items() if stem not in images]
    labels.notes.add_missing(Oddity.WITHOUT_IMAGE, missing, allow_missing, annotations, images_dir)
    errors = []
    for stem, path in images.items():
        if image_list and stem not in facts:
            labels.notes.add(Oddity.UNLISTED, path.name)
        with kept_in(errors):
            _add_image(labels, path, by_stem[stem], facts.get(stem))
    raise_any(errors)
    return labels


def _find_annotations(annotations, notes):
    """Returns {image's stem: its annotation's SourceFile}; notes the other files."""
    by_stem = {}
    for file in list_files(annotations, "annotations"):
        if not file.name.lower().endswith(".txt") or is_stray(file.name):
            notes.add(Oddity.STRAY, file.name)
            continue
        other = by_stem.setdefault(image_stem(Path(file.name).stem), file)
        if other is not file:
            raise DataError(
                f"{file.place}: annotates the same image as {other.name}.\n  Remove one of them."
            )
    if not by_stem:
        raise DataError(
            f"{annotations}: holds no annotation (.txt).\n"
            "  --annotations is ExDark_Annno, the folder of class folders or its zip archive."
        )
    return by_stem


def _read_facts(image_list):
    """Returns {image's stem: (its name, ImageFacts)}."""
    if image_list is None:
        return {}
    path = existing_file(image_list, "Check --image_list.")
    facts = parse_image_list(path.read_bytes(), path)
    return {image_stem(name): (name, fact) for name, fact in facts.items()}


def _add_image(labels: Labels, path: Path, file: SourceFile, listed) -> None:
    """Adds an image's rows and notes to the labels; `listed` is of `_read_facts`, or None."""
    width, height = image_size(path)
    rows, outside = [], []
    for box in parse_bbgt(read_label_file(file), file.place):
        whole, inside = clip_box(box.pixel_ltwh, (width, height), f"{file.place}:{box.line}")
        outside.append(np.abs(np.subtract(whole, inside)).max())
        rows.append(AnnotationRow(path.name, width, height, box.name, *inside))
    clipped, by = np.count_nonzero(outside), f", by {max(outside, default=0)} px at most"
    labels.notes.add(Oddity.BOXES_CLIPPED, file.name, clipped, by=by)
    labels.notes.add(Oddity.BOXES_REPEATED, file.name, len(rows) - len(set(rows)))
    if not rows:
        labels.notes.add(Oddity.WITHOUT_BOXES, file.name)
    elif file.folder in CLASSES and all(row.class_name != file.folder for row in rows):
        labels.notes.add(Oddity.WITHOUT_FOLDER_CLASS, file.name)
    name, facts = listed or (Path(file.name).stem, ImageFacts())
    image = ImageRow(
        filename=path.name,
        source=f"{file.folder}/{name}",
        width=width,
        height=height,
        **facts._asdict(),
        boxes=len(rows),
    )
    labels.boxes.extend(rows)
    labels.images.append(image)
