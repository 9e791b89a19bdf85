"""Gathers the facts of a data set that its page shows."""

from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd

from lowlight.core.errors import DataError, join_errors
from lowlight.core.files import existing_dir
from lowlight.core.parallel import Progress, map_in_threads
from lowlight.core.sources import name_key
from lowlight.dataset.classes import LIGHTINGS, LOCATIONS, SPLITS, read_classes
from lowlight.dataset.split import split_by_file
from lowlight.dataset.tables import (
    AnnotationRow,
    ImageRow,
    ProblemRow,
    read_table,
    read_tables,
    rows_of,
)
from lowlight.images.boxes import pixel_xyxy_to_pixel_ltwh
from lowlight.images.reading import open_reduced, read_image

_BRIGHTNESS_SIDE = 64  # pixels; the mean of an image needs no more of it


class Entry(NamedTuple):
    """One image and what is known of it."""

    image: ImageRow
    boxes: list  # of AnnotationRow
    split: str  # "" where there is no split.csv
    brightness: float  # mean luma, 0 to 255


class DataSet(NamedTuple):
    """A data set as it is described."""

    classes: tuple  # the names that boxes may have, in the order of their ids from 1
    entries: list  # of Entry, sorted by filename
    problems: dict  # {filename: [ProblemRow]}
    others: int  # rows of problems.csv whose image isn't in the data set
    missing: list  # sentences on what couldn't be shown

    @property
    def boxes(self):
        """How many boxes there are."""
        return sum(len(entry.boxes) for entry in self.entries)


class Count(NamedTuple):
    """How much of a data set has a value."""

    name: str
    images: int
    boxes: int
    brightness: float  # median of the images', nan where there are none


def read_data_set(data_dir, images_dir):
    """Reads the tables and measures every image.

    Args:
        data_dir: the folder with images.csv and annotations.csv, and maybe classes.txt, split.csv
            and problems.csv (columns file,problem,detail).
        images_dir: the folder with the images.

    Returns:
        DataSet.

    Raises:
        DataError: a table or an image is missing or can't be used, or there are no images.
    """
    data_dir = existing_dir(data_dir, "data_dir")
    images_dir = existing_dir(images_dir, "images_dir")
    classes = read_classes(data_dir)
    rows = read_tables(data_dir, classes)
    if not rows:
        raise DataError(f"{data_dir / 'images.csv'}: holds no image.\n  Check --data_dir.")
    names = [image.filename for image, _ in rows]
    splits = _read_splits(names, data_dir / "split.csv")
    problems, others = _read_problems(names, data_dir / "problems.csv")
    brightness = _measure_brightness([image for image, _ in rows], images_dir)
    entries = [
        Entry(image, boxes, splits.get(image.filename, ""), value)
        for (image, boxes), value in zip(rows, brightness, strict=True)
    ]
    return DataSet(classes, entries, problems, others, _list_missing(entries))


def _read_splits(names, path):
    return {row.filename: row.split for row in split_by_file(names, path)} if path.exists() else {}


def _read_problems(names, path):
    """Returns ({filename: [ProblemRow]}, how many rows are of no image here).

    A problem's file may be an image as it is converted, as it is in ExDark, or its annotation.
    """
    if not path.exists():
        return {}, 0
    by_stem = {name_key(PurePosixPath(name).stem): name for name in names}
    problems, others = {}, 0
    table = read_table(path, ProblemRow, "Its columns are file,problem,detail.")
    for row in rows_of(table, ProblemRow):
        file = PurePosixPath(row.file.removesuffix(".txt"))
        name = by_stem.get(name_key(file.stem)) or by_stem.get(name_key(file.name))
        if name is None:
            others += 1
        else:
            problems.setdefault(name, []).append(row)
    return dict(sorted(problems.items())), others


def _measure_brightness(images, images_dir):
    """Returns each image's mean luma, 0 to 255, rounded to tenths; raises DataError for all bad."""

    def measure(image):
        path = Path(images_dir) / image.filename
        try:
            data = read_image(path, image.width, image.height)
            return round(float(np.mean(open_reduced(data, path, "L", _BRIGHTNESS_SIDE))), 1)
        except DataError as error:
            return error

    values = []
    with Progress(len(images), "image") as progress:
        for value in map_in_threads(measure, images):
            values.append(value)
            progress.update()
    errors = [value for value in values if isinstance(value, DataError)]
    if errors:
        raise join_errors(errors)
    return values


def _list_missing(entries):
    missing = []
    if not any(entry.boxes for entry in entries):
        missing.append("No image has a box, so sizes and shapes are left out.")
    if not entries[0].split:
        missing.append(
            "There is no split.csv, so splits are left out; make_tfrecords.py writes it."
        )
    for fact in ("lighting", "location"):
        unknown = sum(not getattr(entry.image, fact) for entry in entries)
        if unknown == len(entries):
            missing.append(
                f"images.csv has no {fact}, so it is left out; "
                "make_annotations_csv.py takes it from --image_list."
            )
        elif unknown:
            missing.append(f"images.csv has no {fact} for {unknown} of its images.")
    return missing


def count_splits(entries):
    """Returns a Count of each split."""
    return _count_values(entries, [entry.split for entry in entries], SPLITS)


def count_lightings(entries):
    """Returns a Count of each lighting."""
    return _count_values(entries, [entry.image.lighting for entry in entries], LIGHTINGS)


def count_locations(entries):
    """Returns a Count of each location."""
    return _count_values(entries, [entry.image.location for entry in entries], LOCATIONS)


def _count_values(entries, values, order):
    """Returns a Count of each value that occurs: those of `order` in it, others after, "" last."""
    table = pd.DataFrame(
        {
            "boxes": [len(entry.boxes) for entry in entries],
            "brightness": [entry.brightness for entry in entries],
        }
    )
    names = [*order, *sorted(set(values) - {*order, ""}), ""]
    groups = table.groupby(pd.Categorical(values, names), observed=True)
    counts = groups.agg(
        images=("boxes", "size"), boxes=("boxes", "sum"), brightness=("brightness", "median")
    )
    return [Count(*row) for row in counts.itertuples(name=None)]


def count_classes(data_set):
    """Returns a Count of each of the data set's classes; an image counts for each that it holds."""
    boxes = _box_table(data_set.entries)
    images = boxes.drop_duplicates(["class_name", "filename"]).groupby("class_name").brightness
    counts = images.agg(["size", "median"]).assign(boxes=boxes.groupby("class_name").size())
    counts = counts.reindex(data_set.classes).fillna({"size": 0, "boxes": 0})
    counts = counts[["size", "boxes", "median"]].astype({"size": int, "boxes": int})
    return [Count(*row) for row in counts.itertuples(name=None)]


def count_boxes_by_split(data_set):
    """Returns {class: {split: boxes}} of the classes and splits that occur, in their order."""
    boxes = _box_table(data_set.entries)
    splits = [count.name for count in count_splits(data_set.entries)]
    counts = pd.crosstab(boxes.class_name, boxes.split).reindex(columns=splits, fill_value=0)
    classes = [name for name in data_set.classes if name in counts.index]
    return counts.loc[classes].to_dict("index")


def group_by_class(data_set):
    """Returns {class: [Entry with a box of it]}, every class of the data set in its order."""
    groups = {name: [] for name in data_set.classes}
    for entry in data_set.entries:
        for name in {box.class_name for box in entry.boxes}:
            groups[name].append(entry)
    return groups


def measure_boxes(entries, anchors):
    """Returns what the boxes are to a detector that resizes images as `anchors` says.

    Returns:
        (classes, sizes, ratios), arrays with a value a box: its class's name, the square root of
        its area in pixels of the resized image, and its width divided by its height.
    """
    boxes = _box_table(entries)
    edges = boxes.xmin, boxes.ymin, boxes.xmax, boxes.ymax
    _, _, widths, heights = pixel_xyxy_to_pixel_ltwh(edges)
    scales = [anchors.resize_scale(*size) for size in zip(boxes.width, boxes.height, strict=True)]
    sizes, ratios = scales * np.sqrt(widths * heights), widths / heights
    return boxes.class_name.to_numpy(), sizes.to_numpy(float), ratios.to_numpy(float)


def _box_table(entries):
    """Returns a DataFrame with a row a box: AnnotationRow's columns, split and brightness."""
    rows = [(*box, entry.split, entry.brightness) for entry in entries for box in entry.boxes]
    return pd.DataFrame(rows, columns=[*AnnotationRow._fields, "split", "brightness"])


def count_against(values, low, high):
    """Returns how many values are under a range, in it, and over it."""
    below, above = int(np.sum(values < low)), int(np.sum(values > high))
    return below, len(values) - below - above, above
