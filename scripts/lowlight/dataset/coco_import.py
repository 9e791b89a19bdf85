"""Fits the boxes of a COCO file to the images they belong to, as table rows."""

from typing import NamedTuple

from lowlight.core.errors import DataError, join_errors, name_some
from lowlight.core.files import existing_dir, existing_file
from lowlight.dataset.annotations import image_stem, images_by_stem
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.coco import parse_coco
from lowlight.dataset.tables import AnnotationRow, ImageRow, ProblemRow
from lowlight.images.boxes import clip_pixel_xyxy, pixel_ltwh_to_pixel_xyxy, round_pixel_xyxy
from lowlight.images.reading import image_size


class Imported(NamedTuple):
    """What `import_coco` found; all but the first three say what is out of the ordinary."""

    images: list  # of ImageRow, sorted by filename
    boxes: list  # of AnnotationRow, in the order of images and of the COCO file
    classes: tuple  # names in the order of their ids from 1
    clipped: dict  # {filename: number of its boxes that reached outside the image}
    rounded: dict  # {filename: number of its boxes whose edges lay between pixels}
    crowds: dict  # {filename: number of its crowd boxes, which are left out}
    without_boxes: list  # filenames
    without_image: list  # file_names of the COCO file, left out because the image is missing
    unnamed: list  # filenames that the COCO file doesn't name, left out


def import_coco(coco_path, images_dir, allow_missing=False):
    """Reads a COCO file and fits it to converted images.

    An item of `images` belongs to the image with the stem of its `file_name`, in either case. A box
    is clipped to its image, and its edges go to the nearest whole pixel, which moves them by 0.25
    pixels on average and to neither side. A crowd box (iscrowd 1) is left out: it goes around many
    objects, and would teach that they are one.

    Args:
        coco_path: the JSON file.
        images_dir: the folder with the converted images, `<stem>.jpg`.
        allow_missing: leave items without image out instead of raising.

    Returns:
        Imported.

    Raises:
        DataError: as `parse_coco`; items without image or of another size than it, two items of
            one image, a box wholly outside its image.
    """
    path = existing_file(coco_path, "Check --coco.")
    coco = parse_coco(path.read_bytes(), path)
    paths = images_by_stem(existing_dir(images_dir, "images_dir"))
    if not paths:
        raise DataError(
            f"{images_dir}: holds no .jpg image.\n  Run convert_images.py, or check --images_dir."
        )
    items = _by_stem(coco)
    missing = [coco.images[number].file_name for stem, number in items.items() if stem not in paths]
    if missing and not allow_missing:
        raise DataError(
            f"{path}: no image in {images_dir} for {name_some(missing)}.\n"
            "  Convert the missing images, or give --allow_missing to leave them out."
        )
    unnamed = [image.name for stem, image in paths.items() if stem not in items]
    found = Imported([], [], order_classes(coco.categories), {}, {}, {}, [], missing, unnamed)
    _fit(found, coco, {items[stem]: image for stem, image in paths.items() if stem in items})
    return found


def list_problems(found):
    """Returns the ProblemRows, sorted, of all that Imported holds out of the ordinary.

    That edges went to whole pixels isn't: tools that label rarely keep to them.
    """
    rows = [
        ProblemRow(name, problem, str(count))
        for counts, problem in (
            (found.clipped, "boxes clipped"),
            (found.crowds, "crowd boxes left out"),
        )
        for name, count in counts.items()
    ]
    for names, problem, detail in (
        (found.without_boxes, "no boxes", "kept as an image of background"),
        (found.without_image, "no image", "left out"),
        (found.unnamed, "not in the COCO file", "left alone"),
    ):
        rows += [ProblemRow(name, problem, detail) for name in names]
    return sorted(rows)


def order_classes(categories):
    """Returns the classes' names in the order of their ids from 1.

    They are ExDark's twelve, numbered as ExDark numbers them, where all categories are among
    them; otherwise all categories, in the order of their ids.

    Args:
        categories: {id: name}.
    """
    if set(categories.values()) <= set(CLASSES):
        return CLASSES
    return tuple(categories[number] for number in sorted(categories))


def _by_stem(coco):
    """Returns {stem in lower case: image id}."""
    items = {}
    for number, image in coco.images.items():
        other = items.setdefault(image_stem(image.file_name.replace("\\", "/")), number)
        if other != number:
            raise DataError(
                f"{image.place}: {image.file_name} has the same stem as "
                f"{coco.images[other].file_name}.\n  Rename or remove one of them."
            )
    return items


def _fit(found, coco, paths):
    """Adds the rows of the images, {image id: path} sorted by name, to `found`."""
    boxes_of = {number: [] for number in coco.images}
    for box in coco.boxes:
        boxes_of[box.image_id].append(box)
    errors = []
    for number, path in paths.items():
        try:
            _fit_image(found, coco.images[number], path, boxes_of[number], coco.categories)
        except DataError as error:
            errors.append(error)
    if errors:
        raise join_errors(errors)


def _fit_image(found, image, path, boxes, categories):
    size = image_size(path)
    if size != (image.width, image.height):
        raise DataError(
            f"{image.place}: {image.width}x{image.height} pixels, but {path} has "
            f"{size[0]}x{size[1]}.\n  Boxes must be in the pixels as stored, to which no EXIF "
            "rotation is applied. Turn the image itself, or correct the COCO file."
        )
    single = [box for box in boxes if not box.crowd]
    if len(boxes) > len(single):
        found.crowds[path.name] = len(boxes) - len(single)
    if not single:
        found.without_boxes.append(path.name)
    found.boxes.extend(_box_row(found, box, path.name, size, categories) for box in single)
    found.images.append(
        ImageRow(path.name, image.file_name, *size, "", "", "", "", boxes=len(single))
    )


def _box_row(found, box, filename, size, categories):
    """Returns the box's row; counts in `found` what was done to it."""
    whole = pixel_ltwh_to_pixel_xyxy(box.pixel_ltwh)
    inside = clip_pixel_xyxy(whole, *size)
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise DataError(
            f"{box.place}: the box {box.pixel_ltwh} (left, top, width, height) lies wholly "
            f"outside its image of {size[0]}x{size[1]} pixels.\n  Correct or remove it."
        )
    xyxy = round_pixel_xyxy(inside)
    for count, changed in ((found.clipped, inside != whole), (found.rounded, xyxy != inside)):
        if changed:
            count[filename] = count.get(filename, 0) + 1
    return AnnotationRow(filename, *size, categories[box.category_id], *xyxy)
