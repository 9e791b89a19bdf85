"""Finds the ground truth of a file of results, and the facts and pictures that go with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

from lowlight.core.errors import DataError, name_some
from lowlight.core.files import existing_dir
from lowlight.core.parallel import Progress, map_in_threads
from lowlight.dataset.classes import read_label_map
from lowlight.dataset.records import name_images, read_encoded, read_records
from lowlight.dataset.tables import ImageRow, read_table
from lowlight.evaluation.matching import rows_by_image
from lowlight.evaluation.results import Found
from lowlight.evaluation.truth import (
    Truth,
    find_records,
    ids_of_tables,
    read_truth_of_coco,
    read_truth_of_tables,
    truth_of_records,
)
from lowlight.images.boxes import clip_corners, ltwh_to_xyxy
from lowlight.images.reading import open_reduced, read_image

_SIDE = 256  # pixels at least of the picture that brightness is measured in
_BRIGHTNESS = "measured brightness"
# What every images.csv has and no slice is made of; the rest of its columns are facts.
_NO_FACTS = {"filename", "source", "width", "height", "folder_class", "official_split", "boxes"}


class Facts(NamedTuple):
    """Facts on images and boxes, in the order of a Truth."""

    columns: dict  # {column: a text for each image, "" where it isn't known}
    brightness: np.ndarray | None = None  # float [N], mean luma of the image, 0 to 255
    box_brightness: np.ndarray | None = None  # float [G], of each box
    notes: tuple = ()  # sentences on what isn't known


def read_columns(path: Path, filenames: Sequence[str]) -> Facts:
    """Reads the facts that images.csv holds: lighting, location, and any column of the user's own.

    The file may be missing; the filenames are those of the images that are scored.

    Raises:
        DataError: the file isn't an images.csv, or lacks some of the images.
    """
    if not path.is_file():
        return Facts({}, notes=(f"There is no {path}, so lighting and location are left out.",))
    table = read_table(path, ImageRow, "make_annotations_csv.py writes it; check --data_dir.")
    table = table.drop_duplicates("filename", keep="last").set_index("filename")
    missing = [name for name in filenames if name not in table.index]
    if missing:
        raise DataError(
            f"{path}: lacks {len(missing)} of the {len(filenames)} scored images "
            f"({name_some(missing)}).\n  Give the --data_dir that the images belong to."
        )
    columns, notes = {}, []
    for name, column in table.loc[list(filenames)].items():
        if name in _NO_FACTS:
            continue
        values = tuple(column.str.strip())
        unknown = values.count("")
        if unknown < len(values):
            columns[name] = values
        if unknown:
            of = "any image" if unknown == len(values) else f"{unknown} of the images"
            notes.append(f"{path} has no {name} for {of}, which are left out of its slices.")
    return Facts(columns, notes=tuple(notes))


def list_facts(facts: Facts) -> list[dict]:
    """Returns a {fact: value} for each image, [] where nothing is known; see `gather_facts`."""
    columns = dict(facts.columns)
    if facts.brightness is not None:
        columns[_BRIGHTNESS] = np.round(facts.brightness, 1).tolist()
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def gather_facts(rows: Sequence) -> Facts:
    """Returns the Facts of what `list_facts` gave, an empty one where an image has none."""
    if not all(isinstance(row, dict) for row in rows):
        return Facts({})
    names = [name for name in rows[0] if all(name in row for row in rows)] if rows else []
    columns = {name: tuple(str(row[name]) for row in rows) for name in names}
    values = columns.pop(_BRIGHTNESS, None)
    return Facts(columns, None if values is None else np.array(values, float))


def measure_brightness(
    image: Image.Image, ltwh: np.ndarray, size: Sequence
) -> tuple[float, np.ndarray]:
    """Returns (the image's mean luma, that of each box [M]), 0 to 255; nan for a box outside.

    The boxes, [M, 4], are in pixels of the stored image of this size, which may be larger.
    """
    image = image.reduce(max(min(image.size) // _SIDE, 1)).convert("L")
    grey = np.asarray(image, float)
    # The luma left of and above each corner of a box, which may lie between pixels.
    sums = np.pad(grey.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    scale = np.tile(np.divide(image.size, size), 2)
    left, top, right, bottom = clip_corners(ltwh_to_xyxy(ltwh) * scale, image.size).T
    corners = [bottom, bottom, top, top], [right, left, right, left]
    inside = [1, -1, -1, 1] @ map_coordinates(sums, corners, order=1, mode="nearest")
    areas = (right - left) * (bottom - top)
    means = np.divide(inside, areas, out=np.full(len(areas), np.nan), where=areas > 1e-6)
    return float(grey.mean()), np.clip(means, 0, 255)


def _find_images(folder, names):
    """Returns {name: path} of the images that are in a folder; a name may not lead out of it."""
    paths = {name: Path(folder, name) for name in names if ".." not in Path(name).parts}
    return {n: p for n, p in paths.items() if p.is_relative_to(folder) and p.is_file()}


def read_pictures(records: Sequence, folder: Path | str | None, names: Iterable[str]) -> dict:
    """Returns {filename: bytes} of the images in a folder; without one ("", None) in records."""
    if folder:
        return {name: path.read_bytes() for name, path in _find_images(folder, names).items()}
    return read_encoded(records, names) if records else {}


def measure_images(
    images_dir: Path, truth: Truth, found: Found
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Measures the mean luma, 0 to 255, of the images of a folder, their boxes and detections.

    Returns:
        Floats, [N], [G] and [D]; None where an image is missing.
    """
    paths = _find_images(images_dir, truth.filenames)
    count = len(truth.filenames)
    if len(paths) < len(set(truth.filenames)):
        return None
    of_boxes, of_found = (rows_by_image(part.images, count) for part in (truth, found))
    lumas, of_box, of_detection = map(np.zeros, (count, len(truth.images), len(found.images)))

    def measure(place):
        path, size = paths[truth.filenames[place]], truth.sizes[place].tolist()
        ltwh = np.concatenate([truth.ltwh[of_boxes[place]], found.ltwh[of_found[place]]])
        image = open_reduced(read_image(path, *size), path, "L", _SIDE)
        return measure_brightness(image, ltwh, size)

    with Progress(count, "brightness of image") as progress:
        for place, (mean, means) in enumerate(map_in_threads(measure, range(count))):
            box_count = len(of_boxes[place])
            lumas[place] = mean
            of_box[of_boxes[place]], of_detection[of_found[place]] = np.split(means, [box_count])
            progress.update()
    return lumas, of_box, of_detection


@dataclass
class TruthSource:
    """Where the ground truth of a file of results comes from, by evaluate.py's flags.

    Raises:
        DataError: none of the first three given, --truth beside --records, or no such records.
    """

    data_dir: Path | str | None = None  # with csv files
    coco: Path | str | None = None  # --truth
    records: Sequence[str] | None = None  # paths or globs, and then the paths
    label_map_path: str | None = None  # of the records; by default label_map.txt beside them
    split: str = "test"  # of the csv files, or "all"
    images_dir: Path | str | None = None

    def __post_init__(self):
        if not (self.data_dir or self.coco or self.records):
            raise DataError(
                "no ground truth to score --detections against.\n"
                "  Give --data_dir, --records, or a COCO file by --truth."
            )
        if self.coco and self.records:
            raise DataError("--truth and --records: only one can be the ground truth.")
        self.records = find_records(self.records) if self.records else []

    @property
    def place(self) -> str:
        """How a title names it."""
        part = "all images" if self.split == "all" else f"split {self.split}"
        return self.coco or ", ".join(self.records) or f"{self.data_dir} ({part})"

    @property
    def folder(self) -> Path | None:
        """Where the images are, None for nowhere."""
        if self.images_dir:
            return existing_dir(self.images_dir, "images_dir")
        folder = Path(self.data_dir) / "images" if self.data_dir else None
        return folder if folder and folder.is_dir() else None

    def read(self) -> Truth:
        """Returns the Truth."""
        if self.coco:
            return read_truth_of_coco(self.coco)
        if not self.records:
            return read_truth_of_tables(self.data_dir, None if self.split == "all" else self.split)
        beside = Path(self.records[0]).with_name("label_map.txt")
        names = read_label_map(self.label_map_path or beside)
        records = [replace(one, encoded=b"") for one in read_records(self.records, names.ids)]
        images, ids = name_images(self.records), ids_of_tables(self.data_dir)
        return truth_of_records(records, images, names, self.records[0], ids)

    def facts(self, truth: Truth, found: Found) -> tuple[Facts, Found]:
        """Returns (Facts, Found with brightness) by images.csv and the images that are there."""
        table = Path(self.data_dir or Path(self.coco or self.records[0]).parent) / "images.csv"
        facts = read_columns(table, truth.filenames)
        measured = measure_images(self.folder, truth, found) if self.folder else None
        if measured is None:
            return facts, found
        of_images, of_boxes, of_found = measured
        facts = facts._replace(brightness=of_images, box_brightness=of_boxes)
        return facts, found._replace(brightness=of_found)

    def pictures(self, filenames: Iterable[str]) -> dict:
        """Returns {filename: bytes} of the images that are there."""
        return read_pictures(self.records, self.folder, filenames)
