"""Finds label files, and fits labels of any form to their images, as rows of the tables."""

import math
import posixpath
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from lowlight.core.errors import DataError, kept_in, name_some, raise_any
from lowlight.core.sources import SourceFile
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.labels import (
    Coco,
    CocoBox,
    CocoImage,
    Fitting,
    Labels,
    Notes,
    Oddity,
    clip_box,
    image_stem,
    images_by_stem,
)
from lowlight.dataset.tables import AnnotationRow, ImageRow, converted_images
from lowlight.images.boxes import round_pixel_xyxy
from lowlight.images.reading import image_size, is_image_name, open_image, orientation_of

_ROUNDING = 1e-3  # what tools round edges and areas by, relative to the area


# Folders of label files, one an image, as YOLO and Pascal VOC have them. --------------------------


class LabelFolder(NamedTuple):
    """What is in a folder or archive with labels of one form."""

    source: object  # the folder or archive, for messages
    files: list  # of SourceFile, all that are there
    labels: list  # of (SourceFile, where its image is among the files, or would be)
    ending: str  # of the labels' names


def find_labels(
    source: object,
    files: list[SourceFile],
    ending: str,
    folders: tuple[str, str],
    apart: Collection[str] = (),
) -> LabelFolder:
    """Finds the label files among those of a folder or archive.

    Args:
        source: the folder or archive, for messages.
        ending: of the labels' names, in lower case.
        folders: the names of the folder of labels and of that of images which takes its place in an
            image's path. Where no folder of labels is in any path, images lie beside their labels.
        apart: names of files that hold no labels whatever their ending.

    Raises:
        DataError: there are none.
    """
    images = {posixpath.splitext(f.name)[0]: f.name for f in files if is_image_name(f.name)}
    found = [f for f in files if f.name.lower().endswith(ending) and f.name not in apart]
    below = [file for file in found if folders[0] in file.name.split("/")[:-1]]
    labels = []
    for file in below or found:
        *parents, name = posixpath.splitext(file.name)[0].split("/")
        if folders[0] in parents:
            parents[len(parents) - 1 - parents[::-1].index(folders[0])] = folders[1]
        stem = posixpath.join(*parents, name)
        labels.append((file, images.get(stem, f"{stem}.jpg")))
    if not labels:
        raise DataError(
            f"{source}: holds no label file ({ending}).\n  Check --labels and --format."
        )
    return LabelFolder(source, files, labels, ending)


def import_folder(
    folder: LabelFolder,
    fitting: Fitting,
    read: Callable[[SourceFile, str, Path | None], tuple[CocoImage, list[CocoBox]]],
    names: dict | None,
) -> Labels:
    """Reads label files and fits them to converted images.

    Args:
        read: reads one of the labels, (file, image); it is given its converted image's path, too,
            None where that is missing.
        names: {category id: class}; None where a category's id is the class itself, and the classes
            are those of the boxes.

    Raises:
        DataError: files that can't be read (all of them are named), images without labels, a second
            form beside this one, and as `fit_labels`.
    """
    paths = images_by_stem(fitting.images_dir)
    stems = [image_stem(image, fitting.flatten) for _, image in folder.labels]
    _refuse_other_form(folder, paths)
    lacking = sorted(paths[stem].name for stem in paths.keys() - set(stems))
    if lacking and not fitting.allow_missing and len(lacking) < len(paths):
        raise DataError(
            f"{folder.source}: no label file ({folder.ending}) for {name_some(lacking)}.\n"
            "  Add one, without boxes where nothing is to be found, or give --allow_missing to "
            "leave these images alone."
        )
    images, boxes, errors = {}, [], []
    for (file, image), stem in zip(folder.labels, stems, strict=True):
        with kept_in(errors):
            images[file.name], its_boxes = read(file, image, paths.get(stem))
            boxes += [box._replace(image_id=file.name) for box in its_boxes]
    raise_any(errors)
    if names is None:
        names = {box.category_id: box.category_id for box in boxes}
    return fit_labels(Coco(images, names, boxes, frozenset()), folder.source, fitting)


def _refuse_other_form(folder, paths):
    """Raises DataError where labels of the other form lie beside these, for images there are."""
    other = {".txt": ".xml", ".xml": ".txt"}[folder.ending]
    folders = {posixpath.dirname(file.name): file for file, _ in folder.labels}
    for file in folder.files:
        here = folders.get(posixpath.dirname(file.name))
        stem, ending = posixpath.splitext(file.name)
        if here and ending.lower() == other and image_stem(f"{stem}.jpg") in paths:
            raise DataError(
                f"{file.place}: a label of another form beside {posixpath.basename(here.name)}.\n"
                "  Which one counts isn't known: move the labels of one form to another folder."
            )


# Labels and their images. -------------------------------------------------------------------------


def fit_labels(coco: Coco, source: object, fitting: Fitting) -> Labels:
    """Fits labels in COCO's terms to converted images.

    An item of `images` belongs to the image with the stem of its `file_name`, in either case. A box
    is clipped to its image, and its edges go to the nearest whole pixel, which moves them by 0.25
    pixels on average and to neither side. A crowd box (iscrowd 1) is left out: it goes around many
    objects, and would teach that they are one. An area is kept where it isn't the box's own.

    Args:
        source: the file or folder that the labels are from, for messages.

    Raises:
        DataError: items without image or of another size than it, two items of one image, a box
            wholly outside its image.
    """
    paths, items = images_by_stem(fitting.images_dir), _by_stem(coco, fitting.flatten)
    notes = Notes()
    labels = Labels([], [], notes, _choose_classes(coco, notes))
    missing = [coco.images[number].file_name for stem, number in items.items() if stem not in paths]
    allow = fitting.allow_missing
    notes.add_missing(Oddity.WITHOUT_FILE, missing, allow, source, fitting.images_dir)
    converted, errors = converted_images(fitting.images_dir), []
    boxes_of = {number: [] for number in coco.images}
    for box in coco.boxes:
        boxes_of[box.image_id].append(box)
    for stem, path in paths.items():
        if stem not in items:
            notes.add(Oddity.UNNAMED, path.name)
            continue
        item, boxes = coco.images[items[stem]], boxes_of[items[stem]]
        with kept_in(errors):
            size = image_size(path)
            _check_turn(item, path, size, converted.get(path.name), notes)
            rows = _fit_boxes(boxes, path.name, size, coco.categories, fitting.keep_crowds, notes)
            row = ImageRow(path.name, item.file_name, *size, official_split=item.split)
            labels.images.append(row._replace(boxes=len(rows)))
            labels.boxes.extend(rows)
    raise_any(errors)
    return labels


def _by_stem(coco, flatten):
    """Returns {stem: image id}."""
    items = {}
    for number, image in coco.images.items():
        stem = image_stem(image.file_name.replace("\\", "/"), flatten)
        other = items.setdefault(stem, number)
        if other != number:
            raise DataError(
                f"{image.place}: {image.file_name} has the same stem as "
                f"{coco.images[other].file_name}.\n  Rename or remove one of them, or give "
                "--flatten to convert_images.py and to this step, which puts folders into names."
            )
    return items


def _choose_classes(coco, notes):
    """Returns the classes; notes those without a box, and categories that are none."""
    boxed, classes = {box.category_id for box in coco.boxes}, {}
    for number, name in coco.categories.items():
        if number not in boxed and name in coco.supercategories:
            notes.add(Oddity.GROUP, name)
            continue
        classes[number] = name
        if number not in boxed:
            notes.add(Oddity.CLASS_WITHOUT_BOX, name)
    return order_classes(classes)


def order_classes(categories: dict) -> tuple[str, ...]:
    """Returns the names of categories, {id: name}, in the order of their classes' ids from 1.

    They are ExDark's twelve, numbered as ExDark numbers them, where all categories are among
    them; otherwise all categories, in the order of their ids.
    """
    if set(categories.values()) <= set(CLASSES):
        return CLASSES
    numbers = sorted(categories, key=lambda number: (isinstance(number, str), number))
    return tuple(categories[number] for number in numbers)


def _check_turn(item, path, size, row, notes):
    """Raises DataError where the labels, a CocoImage's, are of another picture than the file's.

    It notes where they may be. `size` is the file's, `row` its ConvertedRow or None.
    """
    is_turned = row is not None and row.how == "turned"
    orientation = row.orientation if row else orientation_of(open_image(path, path, whole=False))
    given = size if item.width is None else (item.width, item.height)
    if given != size:
        remedy = (
            "Boxes must be in the pixels as stored, to which no EXIF rotation is applied; "
            "convert_images.py --upright applies it. Or correct the labels."
        )
        if orientation > 4 and given == size[::-1]:
            kind, flag = "upright picture, turned by its EXIF rotation", "with --upright"
            if is_turned:
                kind, flag = "picture as it is stored", "without --upright"
            remedy = (
                f"The labels are of the {kind}: run convert_images.py {flag}, and this step again."
            )
        raise DataError(
            f"{item.place}: {given[0]}x{given[1]} pixels, but {path} has {size[0]}x{size[1]}.\n"
            f"  {remedy}"
        )
    says_nothing = orientation < 5 or size[0] == size[1] or item.width is None
    if orientation > 1 and says_nothing and not is_turned:
        notes.add(Oddity.MAYBE_TURNED, path.name, orientation=orientation)


def _fit_boxes(boxes, filename, size, categories, keep_crowds, notes):
    """Returns the AnnotationRows of an image's boxes; notes what was done to them."""
    rows, counts = [], Counter()
    for box in boxes:
        left_out = box.crowd and not keep_crowds
        if left_out or min(box.pixel_ltwh[2:]) == 0:
            counts[Oddity.CROWDS if left_out else Oddity.FLAT] += 1
            continue
        whole, inside = clip_box(box.pixel_ltwh, size, box.place)
        edges = round_pixel_xyxy(inside)
        counts.update(box.marks)
        counts[Oddity.CROWDS_KEPT] += box.crowd
        counts[Oddity.BOXES_CLIPPED] += inside != whole
        counts[Oddity.BOXES_ROUNDED] += edges != inside
        name = categories[box.category_id]
        rows.append(
            AnnotationRow(filename, *size, name, *edges, int(box.crowd), _area_of_mask(box))
        )
    counts[Oddity.BOXES_REPEATED] = len(rows) - len(set(rows))
    counts[Oddity.WITHOUT_BOXES] = int(not rows)
    for oddity, count in counts.items():
        notes.add(oddity, filename, count, by="")
    return rows


def _area_of_mask(box):
    """Returns a CocoBox's area in square pixels, None where it is the box's own or says nothing."""
    own = box.pixel_ltwh[2] * box.pixel_ltwh[3]
    if not box.area or math.isclose(box.area, own, rel_tol=_ROUNDING):
        return None
    return float(box.area)
