"""Fits the boxes of a COCO file, or of other labels, to their images, as table rows."""

import math
from collections import Counter
from pathlib import Path

from lowlight.core.errors import DataError, kept_in, raise_any
from lowlight.core.files import existing_file
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.coco import Coco, parse_coco
from lowlight.dataset.labels import (
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
from lowlight.images.reading import image_size, open_image, orientation_of

_ROUNDING = 1e-3  # what tools round edges and areas by, relative to the area


def import_coco(coco_path: str | Path, fitting: Fitting) -> Labels:
    """Reads a COCO file and fits it to converted images.

    An item of `images` belongs to the image with the stem of its `file_name`, in either case. A box
    is clipped to its image, and its edges go to the nearest whole pixel, which moves them by 0.25
    pixels on average and to neither side. A crowd box (iscrowd 1) is left out: it goes around many
    objects, and would teach that they are one. An area is kept where it isn't the box's own.

    Raises:
        DataError: as `parse_coco`; items without image or of another size than it, two items of
            one image, a box wholly outside its image, crowd boxes alone.
    """
    path = existing_file(coco_path, "Check --labels.")
    return fit_labels(_read(path, fitting.keep_crowds), path, fitting)


def fit_labels(coco: Coco, source: object, fitting: Fitting) -> Labels:
    """Fits labels in COCO's terms to converted images; raises as `import_coco`.

    `source` is the file or folder that the labels are from, for messages.
    """
    paths, items = images_by_stem(fitting.images_dir), _by_stem(coco, fitting.flatten)
    classes, notes = _choose_classes(coco)
    missing = [coco.images[number].file_name for stem, number in items.items() if stem not in paths]
    allow = fitting.allow_missing
    notes.add_missing(Oddity.WITHOUT_FILE, missing, allow, source, fitting.images_dir)
    for stem, image in paths.items():
        if stem not in items:
            notes.add(Oddity.UNNAMED, image.name)
    found = {items[stem]: image for stem, image in paths.items() if stem in items}
    images, boxes = _fit(coco, found, fitting.keep_crowds, notes)
    return Labels(images, boxes, notes, classes)


def _read(path, keep_crowds):
    """Returns the Coco. Where all its boxes are crowds, `keep_crowds` makes them single objects."""
    coco = parse_coco(path.read_bytes(), path)
    if not coco.boxes or not all(box.crowd for box in coco.boxes):
        return coco
    if not keep_crowds:
        raise DataError(
            f"{path}: all of its {len(coco.boxes)} boxes are crowds (iscrowd 1), which are left "
            "out.\n  CVAT writes so of masks. Where each is around one object, give --keep_crowds."
        )
    return coco._replace(boxes=[box._replace(crowd=False) for box in coco.boxes])


def _choose_classes(coco):
    """Returns (the classes, Notes that name those without a box)."""
    notes, boxed = Notes(), {box.category_id for box in coco.boxes}
    classes = {}
    for number, name in coco.categories.items():
        if number not in boxed and name in coco.supercategories:
            notes.add(Oddity.GROUP, name)
            continue
        classes[number] = name
        if number not in boxed:
            notes.add(Oddity.CLASS_WITHOUT_BOX, name)
    return order_classes(classes), notes


def order_classes(categories: dict) -> tuple[str, ...]:
    """Returns the names of categories, {id: name}, in the order of their classes' ids from 1.

    They are ExDark's twelve, numbered as ExDark numbers them, where all categories are among
    them; otherwise all categories, in the order of their ids.
    """
    if set(categories.values()) <= set(CLASSES):
        return CLASSES
    numbers = sorted(categories, key=lambda number: (isinstance(number, str), number))
    return tuple(categories[number] for number in numbers)


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


def _fit(coco: Coco, paths: dict, keep_crowds: bool, notes: Notes):
    """Returns (ImageRows, AnnotationRows) of the images, {image id: path} sorted by name."""
    converted = converted_images(next(iter(paths.values())).parent) if paths else {}
    boxes_of = {number: [] for number in coco.images}
    for box in coco.boxes:
        boxes_of[box.image_id].append(box)
    images, boxes, errors = [], [], []
    for number, path in paths.items():
        item = coco.images[number]
        with kept_in(errors):
            size = image_size(path)
            _check_turn(item, path, size, converted.get(path.name), notes)
            its = boxes_of[number]
            rows = _fit_boxes(its, path.name, size, coco.categories, keep_crowds, notes)
            boxes.extend(rows)
            row = ImageRow(path.name, item.file_name, *size, boxes=len(rows))
            images.append(row._replace(official_split=item.split))
    raise_any(errors)
    return images, boxes


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
            kind, flag = (
                ("picture as it is stored", "without --upright")
                if is_turned
                else ("upright picture, turned by its EXIF rotation", "with --upright")
            )
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
        counts[Oddity.CROWDS_KEPT] += box.crowd
        whole, inside = clip_box(box.pixel_ltwh, size, box.place)
        edges = round_pixel_xyxy(inside)
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
