"""Gathers the facts of a data set that its page shows, and the anchors that it is compared with."""

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd

from lowlight.core.errors import DataError, raise_any
from lowlight.core.files import existing_dir, existing_file
from lowlight.core.parallel import Progress, map_in_threads
from lowlight.core.sources import name_key
from lowlight.dataset.classes import LIGHTINGS, LOCATIONS, SPLITS, read_classes
from lowlight.dataset.split import split_by_file
from lowlight.dataset.tables import AnnotationRow, ImageRow, ProblemRow, read_rows, read_tables
from lowlight.images.boxes import pixel_xyxy_to_pixel_ltwh
from lowlight.images.reading import open_reduced, read_image

_BRIGHTNESS_SIDE = 64  # pixels; the mean of an image needs no more of it
_REMEDY = (
    "--config is a pipeline config with a multiscale_anchor_generator and a "
    "keep_aspect_ratio_resizer."
)
# What a config may leave out, as in TFOD's multiscale_anchor_generator.proto and
# image_resizer.proto.
_ANCHOR_DEFAULTS = {"min_level": 3, "max_level": 7, "anchor_scale": 4.0, "scales_per_octave": 2}
_RESIZER_DEFAULTS = {"min_dimension": 600, "max_dimension": 1024}
_MOST = {"min_level": 30, "max_level": 30, "scales_per_octave": 100}  # 100,000 of the others


class DataSet(NamedTuple):
    """A data set as it is described."""

    classes: tuple  # the names that boxes may have, in the order of their ids from 1
    images: pd.DataFrame  # ImageRow's columns and those below, sorted by filename
    boxes: pd.DataFrame  # AnnotationRow's columns and those below, in the images' order
    problems: dict  # {filename: [ProblemRow]}
    others: int  # rows of problems.csv whose image isn't in the data set
    missing: list  # sentences on what couldn't be shown


class Anchors(NamedTuple):
    """What a config's anchors are, and how large it makes an image before they are laid over it."""

    config: str  # the file's name
    sizes: tuple  # square roots of their areas in pixels of the resized image, ascending
    ratios: tuple  # of width to height, ascending
    min_dimension: int  # pixels
    max_dimension: int

    def resize_scale(self, width: int, height: int) -> float:
        """Returns what TFOD's keep_aspect_ratio_resizer multiplies the sides of an image by."""
        return min(self.min_dimension / min(width, height), self.max_dimension / max(width, height))


def read_data_set(data_dir: str | Path, images_dir: str | Path) -> DataSet:
    """Reads images.csv and annotations.csv, the optional tables beside them, and every image.

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
    path = data_dir / "split.csv"
    splits = dict(split_by_file(names, path)) if path.exists() else {}
    problems, others = _read_problems(names, data_dir / "problems.csv")
    brightness = _measure_brightness([image for image, _ in rows], images_dir)
    images, boxes = make_frames(rows, splits, brightness)
    return DataSet(classes, images, boxes, problems, others, _list_missing(images))


def make_frames(
    rows: list[tuple], splits: dict[str, str], brightness: list[float]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the images and the boxes of [(ImageRow, [AnnotationRow])].

    Both have two columns more: the image's split, "" where there is none, and its brightness, the
    mean luma from 0 to 255.
    """
    images = pd.DataFrame([image for image, _ in rows], columns=ImageRow._fields)
    split = [splits.get(name, "") for name in images.filename]
    images["boxes"] = [len(boxes) for _, boxes in rows]
    images = images.assign(split=split, brightness=brightness)
    boxes = pd.DataFrame([b for _, boxes in rows for b in boxes], columns=AnnotationRow._fields)
    return images, boxes.merge(images[["filename", "split", "brightness"]])


def _read_problems(names, path):
    """Returns ({filename: [ProblemRow]}, how many rows are of no image here).

    A problem's file may be an image as it is converted, as it is in ExDark, or its annotation.
    """
    if not path.exists():
        return {}, 0
    by_stem = {name_key(PurePosixPath(name).stem): name for name in names}
    problems, others = {}, 0
    for row in read_rows(path, ProblemRow, "Its columns are file,problem,detail."):
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
        path = images_dir / image.filename
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
    raise_any(errors)
    return values


def _list_missing(images):
    missing = []
    if not any(images.boxes):
        missing.append("No image has a box, so sizes and shapes are left out.")
    if not any(images.split):
        missing.append(
            "There is no split.csv, so splits are left out; make_tfrecords.py writes it."
        )
    for fact in ("lighting", "location"):
        unknown = sum(images[fact] == "")
        if unknown == len(images):
            missing.append(
                f"images.csv has no {fact}, so it is left out; "
                "make_annotations_csv.py takes it from --image_list."
            )
        elif unknown:
            missing.append(f"images.csv has no {fact} for {unknown} of its images.")
    return missing


def count_values(images: pd.DataFrame, fact: str) -> list[tuple]:
    """Returns (name, images, boxes, median brightness) of each split, lighting or location.

    They stand in ExDark's order, then others that occur, then "", the unknown.
    """
    order = {"split": SPLITS, "lighting": LIGHTINGS, "location": LOCATIONS}[fact]
    names = [*order, *sorted(set(images[fact]) - {*order, ""}), ""]
    groups = images.groupby(pd.Categorical(images[fact], names), observed=True)
    counts = groups.agg(
        images=("boxes", "size"), boxes=("boxes", "sum"), brightness=("brightness", "median")
    )
    return list(counts.rename_axis("name").reset_index().itertuples(False, "Count"))


def count_classes(data_set: DataSet) -> list[tuple]:
    """Returns (name, images, boxes) of each class; an image counts for each that it holds."""
    names, of_class = list(data_set.classes), data_set.boxes.groupby("class_name").filename
    counts = of_class.agg(images="nunique", boxes="size").reindex(names, fill_value=0)
    return list(counts.rename_axis("name").reset_index().itertuples(False, "Count"))


def count_boxes_by_split(data_set: DataSet) -> dict[str, dict[str, int]]:
    """Returns {class: {split: boxes}} of the classes and splits that occur, in their order."""
    boxes = data_set.boxes
    splits = [count.name for count in count_values(data_set.images, "split")]
    counts = pd.crosstab(boxes.class_name, boxes.split).reindex(columns=splits, fill_value=0)
    classes = [name for name in data_set.classes if name in counts.index]
    return counts.loc[classes].to_dict("index")


def measure_boxes(boxes: pd.DataFrame, anchors: Anchors) -> pd.DataFrame:
    """Returns what the boxes are to a detector that resizes images as `anchors` says.

    A row a box: its class_name, its size, the square root of its area in pixels of the resized
    image, and its ratio, the width divided by the height.
    """
    edges = boxes.xmin, boxes.ymin, boxes.xmax, boxes.ymax
    _, _, widths, heights = pixel_xyxy_to_pixel_ltwh(edges)
    scales = [anchors.resize_scale(*size) for size in zip(boxes.width, boxes.height, strict=True)]
    return boxes[["class_name"]].assign(
        size=(scales * np.sqrt(widths * heights)).astype(float), ratio=widths / heights
    )


def count_against(values: np.ndarray, ascending: tuple) -> tuple[int, int, int]:
    """Returns how many values are under the first of ascending ones, between, over the last."""
    below, above = int(np.sum(values < ascending[0])), int(np.sum(values > ascending[-1]))
    return below, len(values) - below - above, above


def read_anchors(path: str | Path) -> Anchors:
    """Reads the anchors of a pipeline config as text, without TFOD.

    An anchor of level L has a size of anchor_scale * 2^L * 2^(k / scales_per_octave), for each k
    under scales_per_octave (object_detection/anchor_generators/
    multiscale_grid_anchor_generator.py).

    Raises:
        DataError: no such file, no such anchors or resizer in it, or values that can't be used.
    """
    text = existing_file(path, _REMEDY).read_text(encoding="utf-8", errors="replace")
    text = re.sub(r"#[^\n]*", "", text)
    fields, place = _read_block(text, "multiscale_anchor_generator", _ANCHOR_DEFAULTS, path)
    resizer, resizer_place = _read_block(text, "keep_aspect_ratio_resizer", _RESIZER_DEFAULTS, path)
    levels = np.arange(int(fields["min_level"]), int(fields["max_level"]) + 1)
    octaves = np.arange(int(fields["scales_per_octave"])) / max(int(fields["scales_per_octave"]), 1)
    sizes = (fields["anchor_scale"] * 2.0 ** np.add.outer(levels, octaves)).ravel()
    ratios = sorted(set(fields["aspect_ratios"]))
    if not sizes.size or sizes.min() <= 0 or not ratios or ratios[0] <= 0:
        raise DataError(f"{place}: the anchors have no size or no aspect_ratios.\n  {_REMEDY}")
    sides = int(resizer["min_dimension"]), int(resizer["max_dimension"])
    if min(sides) < 1:
        raise DataError(f"{resizer_place}: a dimension is below 1 pixel.\n  {_REMEDY}")
    return Anchors(Path(path).name, tuple(sorted(sizes.tolist())), tuple(ratios), *sides)


def _read_block(text, name, defaults, path):
    """Returns ({field: number, "aspect_ratios": numbers}, place) of the block of this name."""
    block = re.search(rf"\b{name}\s*:?\s*\{{([^{{}}]*)\}}", text)
    if block is None:
        raise DataError(f"{path}: no {name}.\n  {_REMEDY}")
    place = f"{path}:{text.count(chr(10), 0, block.start()) + 1}"
    fields = {**defaults, "aspect_ratios": []}
    for key, value in re.findall(r"(\w+)\s*:\s*(\[[^\]]*\]|[^\s,;]+)", block[1]):
        if key in fields:
            numbers = pd.to_numeric(re.findall(r"[^\s,\[\]]+", value), errors="coerce").tolist()
            most = _MOST.get(key, 100_000)
            if not (numbers and all(0 <= number <= most for number in numbers)):
                raise DataError(
                    f"{place}: {key} is {value!r}, not a number from 0 to {most:,}.\n  {_REMEDY}"
                )
            fields[key] = fields[key] + numbers if key == "aspect_ratios" else numbers[0]
    return fields, place
