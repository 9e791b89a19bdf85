"""Fits the boxes of a COCO file to the images they belong to, as table rows."""

from typing import NamedTuple

from lowlight.core.errors import DataError, join_errors
from lowlight.core.files import existing_file
from lowlight.dataset.annotations import (
    Notes,
    Oddity,
    clip_box,
    count_repeats,
    image_stem,
    images_by_stem,
)
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.coco import parse_coco
from lowlight.dataset.tables import AnnotationRow, ImageRow, converted_images
from lowlight.images.boxes import round_pixel_xyxy
from lowlight.images.reading import image_size, open_image, orientation_of


class Imported(NamedTuple):
    """What `import_coco` found."""

    images: list  # of ImageRow, sorted by filename
    boxes: list  # of AnnotationRow, in the order of images and of the COCO file
    classes: tuple  # names in the order of their ids from 1
    notes: Notes  # on images by filename, WITHOUT_FILE by the COCO file's name, and classes


def import_coco(coco_path, images_dir, allow_missing=False, flatten=False, keep_crowds=False):
    """Reads a COCO file and fits it to converted images.

    An item of `images` belongs to the image with the stem of its `file_name`, in either case. A box
    is clipped to its image, and its edges go to the nearest whole pixel, which moves them by 0.25
    pixels on average and to neither side. A crowd box (iscrowd 1) is left out: it goes around many
    objects, and would teach that they are one.

    Args:
        coco_path: the JSON file.
        images_dir: the folder with the converted images, `<stem>.jpg`.
        allow_missing: leave items without image out instead of raising.
        flatten: the images' names hold their folders, as of `tables.converted_name`.
        keep_crowds: take crowd boxes as others.

    Returns:
        Imported.

    Raises:
        DataError: as `parse_coco`; items without image or of another size than it, two items of
            one image, a box wholly outside its image, crowd boxes alone.
    """
    path = existing_file(coco_path, "Check --coco.")
    coco = parse_coco(path.read_bytes(), path)
    if keep_crowds:
        coco = coco._replace(boxes=[box._replace(crowd=False) for box in coco.boxes])
    if coco.boxes and all(box.crowd for box in coco.boxes):
        raise DataError(
            f"{path}: all of its {len(coco.boxes)} boxes are crowds (iscrowd 1), which are left "
            "out.\n  CVAT writes so of masks. Where each is around one object, give --keep_crowds."
        )
    paths, items = images_by_stem(images_dir), _by_stem(coco, flatten)
    missing = [coco.images[number].file_name for stem, number in items.items() if stem not in paths]
    classes, notes = _choose_classes(coco)
    notes.add_missing(Oddity.WITHOUT_FILE, missing, allow_missing, path, images_dir)
    for stem, image in paths.items():
        if stem not in items:
            notes.add(Oddity.UNNAMED, image.name)
    found = Imported([], [], classes, notes)
    _fit(found, coco, {items[stem]: image for stem, image in paths.items() if stem in items})
    return found


def _choose_classes(coco):
    """Returns (the classes, Notes that name those without a box)."""
    notes, boxed = Notes(), {box.category_id for box in coco.boxes}
    classes = {}
    for number, name in coco.categories.items():
        is_group = number not in boxed and name in coco.supercategories
        if is_group:
            notes.add(Oddity.GROUP, name)
        else:
            classes[number] = name
            notes.add(Oddity.CLASS_WITHOUT_BOX, name, number not in boxed)
    return order_classes(classes), notes


def order_classes(categories):
    """Returns the classes' names in the order of their ids from 1.

    They are ExDark's twelve, numbered as ExDark numbers them, where all categories are among
    them; otherwise all categories, in the order of their ids.

    Args:
        categories: {id: name}.
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


def _fit(found, coco, paths):
    """Adds the rows of the images, {image id: path} sorted by name, to `found`."""
    converted = converted_images(next(iter(paths.values())).parent) if paths else {}
    boxes_of = {number: [] for number in coco.images}
    for box in coco.boxes:
        boxes_of[box.image_id].append(box)
    errors = []
    for number, path in paths.items():
        image = coco.images[number]
        try:
            size = image_size(path)
            _check_turn(found.notes, image, path, size, converted.get(path.name))
            rows = _fit_boxes(found.notes, boxes_of[number], path.name, size, coco.categories)
        except DataError as error:
            errors.append(error)
            continue
        found.boxes.extend(rows)
        facts = ImageRow(path.name, image.file_name, *size, "", "", "", "", boxes=len(rows))
        found.images.append(facts)
    if errors:
        raise join_errors(errors)


def _check_turn(notes, image, path, size, row):
    """Raises DataError where the labels are of another picture; notes where they may be.

    Args:
        image: CocoImage; path: of the file; size: its (width, height).
        row: its ConvertedRow, or None.
    """
    how = row.how if row else "kept"
    orientation = row.orientation if row else orientation_of(open_image(path, path, whole=False))
    given = size if image.width is None else (image.width, image.height)
    if given != size:
        remedy = (
            "Boxes must be in the pixels as stored, to which no EXIF rotation is applied; "
            "convert_images.py --upright applies it. Or correct the COCO file."
        )
        if orientation > 4 and given == size[::-1]:
            remedy = (
                "The labels are of the picture as it is stored: run convert_images.py without "
                "--upright, and this step again."
                if how == "turned"
                else "The labels are of the upright picture, turned by its EXIF rotation: run "
                "convert_images.py with --upright, and this step again."
            )
        raise DataError(
            f"{image.place}: {given[0]}x{given[1]} pixels, but {path} has {size[0]}x{size[1]}.\n"
            f"  {remedy}"
        )
    says_nothing = orientation < 5 or size[0] == size[1] or image.width is None
    if orientation > 1 and says_nothing and how != "turned":
        notes.add(Oddity.MAYBE_TURNED, path.name, orientation=orientation)


def _fit_boxes(notes, boxes, filename, size, categories):
    """Returns the AnnotationRows of an image's boxes; notes what was done to them."""
    single = [box for box in boxes if not box.crowd]
    kept = [box for box in single if min(box.pixel_ltwh[2:]) > 0]
    clipped = [clip_box(box.pixel_ltwh, size, box.place) for box in kept]
    wholes, insides = zip(*clipped, strict=True) if clipped else ((), ())
    edges = [round_pixel_xyxy(inside) for inside in insides]
    rows = [
        AnnotationRow(filename, *size, categories[box.category_id], *xyxy)
        for box, xyxy in zip(kept, edges, strict=True)
    ]
    for oddity, count in (
        (Oddity.BOXES_CLIPPED, _count_different(insides, wholes)),
        (Oddity.BOXES_ROUNDED, _count_different(edges, insides)),
        (Oddity.BOXES_REPEATED, count_repeats(rows)),
        (Oddity.CROWDS, len(boxes) - len(single)),
        (Oddity.FLAT, len(single) - len(kept)),
        (Oddity.WITHOUT_BOXES, not rows),
    ):
        notes.add(oddity, filename, count, by="")
    return rows


def _count_different(some, others):
    return sum(one != other for one, other in zip(some, others, strict=True))
