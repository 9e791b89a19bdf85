"""The ground truth that detections are scored against, from csv tables, records or COCO's JSON."""

import glob
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import existing_dir, existing_file
from lowlight.core.json_files import coco_box, coco_image, format_coco
from lowlight.dataset.classes import read_classes
from lowlight.dataset.coco import parse_coco
from lowlight.dataset.labels import CocoBox
from lowlight.dataset.records import ImageNames, Record
from lowlight.dataset.split import split_by_file
from lowlight.dataset.tables import read_tables
from lowlight.images.boxes import pixel_xyxy_to_pixel_ltwh, unit_yxyx_to_whole_ltwh


@dataclass(frozen=True)
class Truth:
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
    def boxes(self) -> int:
        """How many boxes are to be found."""
        return int(np.sum(~self.crowd))

    def limited_to(self, count: int | None) -> "Truth":
        """Returns the truth of the first images alone; None for all of them."""
        if count is None or count >= len(self.filenames):
            return self
        of_boxes = "images", "labels", "ltwh", "areas", "crowd"
        chosen = self.images < count
        return replace(
            self,
            filenames=self.filenames[:count],
            image_ids=self.image_ids[:count],
            sizes=self.sizes[:count],
            other_ids=self.other_ids | set(self.image_ids[count:].tolist()),
            **{name: getattr(self, name)[chosen] for name in of_boxes},
        )


class TrueBox(NamedTuple):
    """A box to be found, as `make_truth` takes it."""

    image_id: int
    category_id: int
    pixel_ltwh: Sequence
    area: float | None = None  # square pixels; None for those of the box
    crowd: bool = False


def make_truth(
    classes: Mapping,
    images: Sequence[tuple],
    boxes: Sequence[TrueBox | CocoBox],
    known_ids: Iterable = (),
) -> Truth:
    """Makes a Truth.

    Args:
        classes: {id: name}.
        images: (id, filename, width, height) of each; equal scores are ranked in this order.
        boxes: of these images and classes.
        known_ids: of the whole data set's images.
    """
    class_ids = tuple(sorted(classes))
    places = {image[0]: place for place, image in enumerate(images)}
    labels = {number: place for place, number in enumerate(class_ids)}
    ltwh = np.array([box.pixel_ltwh for box in boxes], float).reshape(-1, 4)
    areas = np.array([np.nan if box.area is None else box.area for box in boxes], float)
    return Truth(
        class_ids=class_ids,
        names=tuple(classes[number] for number in class_ids),
        filenames=tuple(image[1] for image in images),
        image_ids=np.array([image[0] for image in images], np.int64),
        sizes=np.array([image[2:] for image in images], np.int64).reshape(-1, 2),
        images=np.array([places[box.image_id] for box in boxes], np.int64),
        labels=np.array([labels[box.category_id] for box in boxes], np.int64),
        ltwh=ltwh,
        areas=np.where(np.isnan(areas), ltwh[:, 2] * ltwh[:, 3], areas),
        crowd=np.array([box.crowd for box in boxes], bool),
        other_ids=frozenset(known_ids) - places.keys(),
    )


def read_truth_of_tables(data_dir: Path | str, split: str | None = None) -> Truth:
    """Reads the ground truth from a data set's csv files; ids are as in `tables_to_coco`.

    The split, by split.csv, is "train", "val" or "test"; None takes all images.

    Raises:
        DataError: a table that is missing or wrong, or a split without images.
    """
    data_dir = existing_dir(data_dir, "data_dir")
    classes = dict(enumerate(read_classes(data_dir), 1))
    entries = read_tables(data_dir, classes.values())
    chosen = names_in_split(data_dir, {image.filename for image, _ in entries}, split)
    label_of = {name: number for number, name in classes.items()}
    images, boxes = [], []
    for number, (image, its_boxes) in enumerate(entries, 1):
        if image.filename in chosen:
            images.append((number, image.filename, image.width, image.height))
            for box in its_boxes:
                ltwh = pixel_xyxy_to_pixel_ltwh(box.pixel_xyxy)
                label = label_of[box.class_name]
                boxes.append(TrueBox(number, label, ltwh, box.area, bool(box.is_crowd)))
    return make_truth(classes, images, boxes, range(1, len(entries) + 1))


def names_in_split(data_dir: Path, filenames: set[str], split: str | None) -> set[str]:
    """Returns the images that split.csv has in a split, all of them without a split.

    Raises:
        DataError: there is none; as `split.split_by_file`.
    """
    if split is not None:
        rows = split_by_file(filenames, data_dir / "split.csv")
        filenames = {row.filename for row in rows if row.split == split}
        if not filenames:
            parts = name_some(sorted({row.split for row in rows}))
            raise DataError(
                f"{data_dir / 'split.csv'}: no image is in {split!r}; there are: {parts}.\n"
                "  Choose another --split; --split=all takes all images."
            )
    if not filenames:
        raise DataError(f"{data_dir / 'images.csv'}: holds no image.\n  Check --data_dir.")
    return filenames


def read_truth_of_coco(path: Path | str) -> Truth:
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
            "the file, or score against what import_labels.py makes of it: --data_dir."
        )
    images = [(n, i.file_name, i.width, i.height) for n, i in sorted(coco.images.items())]
    return make_truth(coco.categories, images, coco.boxes)


def truth_of_records(
    records: Collection[Record],
    images: ImageNames,
    names: Mapping,
    place: Path | str,
    ids: Mapping | None = None,
) -> Truth:
    """Makes the ground truth from records, sorted by name as TFOD's evaluator sorts.

    Args:
        records: whose images may be left out.
        place: how a message names the records.
        ids: {filename: id} of the tables. Where they lack an image, and the records give no
            numbers, ids count from 1.

    Raises:
        DataError: no record, or a class that the label map lacks.
    """
    if not records:
        raise DataError(f"{place}: holds no image.\n  make_tfrecords.py writes records.")
    if images.numbers:
        ids = dict(zip(images.names, images.numbers, strict=True))
    elif ids is None or not set(images.names) <= set(ids):
        ids = {name: number for number, name in enumerate(sorted(images.names), 1)}
    rows, boxes = [], []
    for name, record in sorted(zip(images.names, records, strict=True), key=lambda pair: pair[0]):
        rows.append((ids[name], name, record.width, record.height))
        boxes += _boxes_of_record(record, ids[name], names)
    return make_truth(names, rows, boxes, ids.values())


def find_records(patterns: Iterable[str]) -> list[str]:
    """Returns the record files, sorted, that paths or globs name; raises DataError of none."""
    paths = sorted({path for pattern in patterns for path in glob.glob(pattern)})
    if not paths:
        raise DataError(
            f"{', '.join(patterns)}: no such record file (relative to {Path.cwd()}).\n"
            "  Give other --records, or run the command from the project's folder."
        )
    return paths


def _boxes_of_record(record, image_id, names):
    ltwh = unit_yxyx_to_whole_ltwh(record.unit_yxyx, record.width, record.height)
    areas = [None] * len(ltwh) if record.areas is None else record.areas.tolist()
    parts = record.classes.tolist(), ltwh, areas, record.crowd.tolist()
    for number, box, area, crowd in zip(*parts, strict=True):
        if number not in names:
            raise DataError(
                f"{record.place} ({record.filename}) has class {number}, which the label map "
                "lacks.\n  Give the label map that the records were written with."
            )
        yield TrueBox(image_id, number, box, area, crowd)


def format_truth(truth: Truth, facts: Sequence = ()) -> str:
    """Returns the ground truth as the text of a COCO file that `read_truth_of_coco` reads.

    Args:
        facts: a JSON value for each image, kept with it under "facts"; none for none.
    """
    image_ids = truth.image_ids.tolist()
    rows = zip(image_ids, truth.filenames, truth.sizes.tolist(), strict=True)
    images = [coco_image(number, name, *size) for number, name, size in rows]
    for image, values in zip(images, facts, strict=False):
        image["facts"] = values
    columns = truth.images, truth.labels, truth.ltwh.tolist(), truth.areas.tolist(), truth.crowd
    boxes = [
        coco_box(number, image_ids[image], truth.class_ids[label], *rest)
        for number, (image, label, *rest) in enumerate(zip(*columns, strict=True), 1)
    ]
    return format_coco(images, boxes, dict(zip(truth.class_ids, truth.names, strict=True)))


def ids_of_tables(data_dir: Path | str | None) -> dict | None:
    """Returns {filename: id} as in `read_truth_of_tables`, None where there is no images.csv."""
    if not (data_dir and (Path(data_dir) / "images.csv").is_file()):
        return None
    rows = read_tables(data_dir, read_classes(data_dir))
    return {image.filename: number for number, (image, _) in enumerate(rows, 1)}
