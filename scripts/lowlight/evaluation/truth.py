"""The ground truth that detections are scored against, from csv tables, records or COCO's JSON."""

from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import existing_dir, existing_file
from lowlight.core.json_texts import coco_box, coco_image, format_coco
from lowlight.dataset.classes import read_classes
from lowlight.dataset.coco import parse_coco
from lowlight.dataset.split import split_by_file
from lowlight.dataset.tables import read_tables
from lowlight.images.boxes import pixel_xyxy_to_pixel_ltwh, unit_yxyx_to_whole_ltwh


class Truth(NamedTuple):
    """Images and their boxes; an image's or class's place in a list stands for it elsewhere."""

    class_ids: tuple  # ascending, from the label map or the categories
    names: tuple  # of the classes
    filenames: tuple  # of the images
    image_ids: np.ndarray  # int [N]
    sizes: np.ndarray  # int [N, 2], width and height in pixels
    images: np.ndarray  # int [G], each box's image
    labels: np.ndarray  # int [G], each box's class
    ltwh: np.ndarray  # float [G, 4], pixels
    areas: np.ndarray  # float [G], square pixels; a COCO file may say less than width by height
    crowd: np.ndarray  # bool [G], one box around many objects
    other_ids: frozenset  # ids of images of the data set that aren't scored

    @property
    def boxes(self):
        """How many boxes are to be found."""
        return int(np.sum(~self.crowd))

    def limited_to(self, count):
        """Returns the truth of the first images alone; None for all of them."""
        if count is None or count >= len(self.filenames):
            return self
        boxes = self.images < count
        parts = (getattr(self, name)[boxes] for name in _OF_BOXES)
        return self._replace(
            filenames=self.filenames[:count],
            image_ids=self.image_ids[:count],
            sizes=self.sizes[:count],
            other_ids=self.other_ids | set(self.image_ids[count:].tolist()),
            **dict(zip(_OF_BOXES, parts, strict=True)),
        )


_OF_BOXES = "images", "labels", "ltwh", "areas", "crowd"


def make_truth(classes, images, boxes, other_ids=()):
    """Makes a Truth.

    Args:
        classes: {id: name}.
        images: [(id, filename, width, height)]; equal scores are ranked in this order.
        boxes: [(image id, class id, (left, top, width, height), area or None, crowd)].
        other_ids: of images that are known but not scored.
    """
    class_ids = tuple(sorted(classes))
    places = {image[0]: place for place, image in enumerate(images)}
    labels = {number: place for place, number in enumerate(class_ids)}
    ltwh = np.array([box[2] for box in boxes], float).reshape(-1, 4)
    areas = ltwh[:, 2] * ltwh[:, 3]
    given = [place for place, box in enumerate(boxes) if box[3] is not None]
    areas[given] = [boxes[place][3] for place in given]
    return Truth(
        class_ids,
        tuple(classes[number] for number in class_ids),
        tuple(image[1] for image in images),
        np.array([image[0] for image in images], np.int64),
        np.array([image[2:] for image in images], np.int64).reshape(-1, 2),
        np.array([places[box[0]] for box in boxes], np.int64),
        np.array([labels[box[1]] for box in boxes], np.int64),
        ltwh,
        areas,
        np.array([box[4] for box in boxes], bool),
        frozenset(other_ids),
    )


def read_truth_of_tables(data_dir, split=None):
    """Reads the ground truth of a part of a data set from its csv files.

    Args:
        data_dir: the folder with images.csv and annotations.csv, and split.csv where a split is
            asked for.
        split: "train", "val" or "test"; None takes all images.

    Returns:
        Truth; ids as `coco.tables_to_coco` gives them.

    Raises:
        DataError: a table that is missing or wrong, or a split without images.
    """
    data_dir = existing_dir(data_dir, "data_dir")
    classes = dict(enumerate(read_classes(data_dir), 1))
    entries = read_tables(data_dir, classes.values())
    chosen = {image.filename for image, _ in entries}
    if split is not None:
        rows = split_by_file(chosen, data_dir / "split.csv")
        chosen = {row.filename for row in rows if row.split == split}
        if not chosen:
            parts = name_some(sorted({row.split for row in rows}))
            raise DataError(
                f"{data_dir / 'split.csv'}: no image is in {split!r}; there are: {parts}.\n"
                "  Choose another --split; --split=all takes all images."
            )
    if not chosen:
        raise DataError(f"{data_dir / 'images.csv'}: holds no image.\n  Check --data_dir.")
    ids = {image.filename: number for number, (image, _) in enumerate(entries, 1)}
    label_of = {name: number for number, name in classes.items()}
    here = [entry for entry in entries if entry[0].filename in chosen]
    images = [(ids[i.filename], i.filename, i.width, i.height) for i, _ in here]
    boxes = [
        (
            ids[b.filename],
            label_of[b.class_name],
            pixel_xyxy_to_pixel_ltwh(b.pixel_xyxy),
            None,
            False,
        )
        for _, bs in here
        for b in bs
    ]
    others = set(ids.values()) - {image[0] for image in images}
    return make_truth(classes, images, boxes, others)


def read_truth_of_coco(path):
    """Reads the ground truth from a COCO file of object detection, crowds and areas included.

    Raises:
        DataError: no such file, not of this form, without images, or an image without a size,
            or with a text as id.
    """
    path = existing_file(path, "Check --truth: a COCO file of object detection.")
    coco = parse_coco(path.read_bytes(), path)
    if not coco.images:
        raise DataError(f"{path}: holds no image.\n  Check --truth.")
    unsized = [image.place for image in coco.images.values() if image.width is None]
    texts = [number for number in (*coco.images, *coco.categories) if isinstance(number, str)]
    if unsized or texts:
        lacks = f"{unsized[0]}: no 'width'" if unsized else f"{path}: the id {texts[0]!r} is a text"
        raise DataError(
            f"{lacks}.\n  Detections are scored against numbered images of known sizes. Complete "
            "the file, or score against what import_coco.py makes of it: --data_dir."
        )
    images = [(n, i.file_name, i.width, i.height) for n, i in sorted(coco.images.items())]
    boxes = [(b.image_id, b.category_id, b.pixel_ltwh, b.area, b.crowd) for b in coco.boxes]
    return make_truth(coco.categories, images, boxes)


def truth_of_records(records, images, names, place, ids=None):
    """Makes the ground truth from records, sorted by name as TFOD's evaluator sorts.

    Box edges that float32 fractions moved off their whole pixels are put back.

    Args:
        records: Records; their images aren't needed.
        images: ImageNames of them.
        names: {class id: name}.
        place: how a message names the records.
        ids: {filename: id} of the tables. Where they lack an image, and the records give no
            numbers, ids count from 1.

    Raises:
        DataError: no record, or a class that the label map lacks.
    """
    if not records:
        raise DataError(f"{place}: holds no image.\n  make_tfrecords.py writes records.")
    unknown = [(r, n) for r in records for n in r.classes.tolist() if n not in names]
    if unknown:
        record, number = unknown[0]
        raise DataError(
            f"{record.place} ({record.filename}) has class {number}, which the label map lacks.\n"
            "  Give the label map that the records were written with."
        )
    if images.numbers:
        ids = dict(zip(images.names, images.numbers, strict=True))
    elif ids is None or not set(images.names) <= set(ids):
        ids = {name: number for number, name in enumerate(sorted(images.names), 1)}
    rows, boxes = [], []
    for name, record in sorted(zip(images.names, records, strict=True), key=lambda pair: pair[0]):
        rows.append((ids[name], name, record.width, record.height))
        ltwh = unit_yxyx_to_whole_ltwh(record.unit_yxyx, record.width, record.height)
        areas = [None] * len(ltwh) if record.areas is None else record.areas.tolist()
        parts = ltwh, record.classes.tolist(), areas, record.crowd.tolist()
        for box, number, area, crowd in zip(*parts, strict=True):
            boxes.append((ids[name], number, box, area, crowd))
    others = set(ids.values()) - {row[0] for row in rows}
    return make_truth(names, rows, boxes, others)


def format_truth(truth, facts=None):
    """Returns the ground truth as the text of a COCO file that `read_truth_of_coco` reads.

    Args:
        truth: Truth.
        facts: a JSON value for each image, kept with it under "facts"; None for none.
    """
    sizes = truth.sizes.tolist()
    images = [
        coco_image(number, name, *size)
        for number, name, size in zip(truth.image_ids.tolist(), truth.filenames, sizes, strict=True)
    ]
    for image, values in zip(images, facts or (), strict=False):
        image["facts"] = values
    columns = (
        truth.image_ids[truth.images].tolist(),
        [truth.class_ids[label] for label in truth.labels],
        truth.ltwh.tolist(),
        truth.areas.tolist(),
        truth.crowd.tolist(),
    )
    boxes = [coco_box(number, *box) for number, box in enumerate(zip(*columns, strict=True), 1)]
    return format_coco(images, boxes, dict(zip(truth.class_ids, truth.names, strict=True)))


def stem(filename):
    """Returns an image's name without folder and extension, which other tools call it by."""
    return PurePosixPath(filename).stem


def ids_of_tables(data_dir):
    """Returns {filename: id} as in `read_truth_of_tables`, None where there is no images.csv."""
    if not (Path(data_dir) / "images.csv").is_file():
        return None
    rows = read_tables(data_dir, read_classes(data_dir))
    return {image.filename: number for number, (image, _) in enumerate(rows, 1)}
