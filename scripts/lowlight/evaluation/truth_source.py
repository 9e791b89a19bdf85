"""Finds the ground truth of a file of results, and the facts and pictures that go with it."""

import glob
from pathlib import Path
from typing import NamedTuple

from lowlight.core.errors import DataError
from lowlight.core.files import existing_dir
from lowlight.dataset.classes import read_label_map
from lowlight.dataset.records import read_records
from lowlight.evaluation.facts import measure_images, read_columns
from lowlight.evaluation.truth import (
    ids_of_tables,
    read_truth_of_coco,
    read_truth_of_tables,
    truth_of_records,
)


class TruthSource(NamedTuple):
    """Where the ground truth of a file of results comes from: one of the first three."""

    data_dir: str | None = None
    coco: str | None = None
    records: tuple = ()
    split: str | None = "test"
    label_names: dict | None = None  # {id: name}, for the records
    images_dir: str | None = None

    @property
    def place(self):
        """How a title names it."""
        return self.coco or ", ".join(map(str, self.records)) or f"{self.data_dir} ({self.part})"

    @property
    def part(self):
        """The name of the part of the tables."""
        return f"split {self.split}" if self.split else "all images"

    def names(self):
        """Returns what metrics.json says of it."""
        folder = self._images_dir()
        return {
            "records": [str(path) for path in self.records],
            "ground_truth": self.place,
            "images_dir": str(folder) if folder else None,
        }

    def read(self):
        """Returns the Truth."""
        if self.coco:
            return read_truth_of_coco(self.coco)
        if self.records:
            rows = [(r.filename, r.width, r.height, *r[4:6]) for r in read_records(self.records)]
            ids = ids_of_tables(self.data_dir) if self.data_dir else None
            return truth_of_records(rows, self.label_names, self.records[0], ids)
        return read_truth_of_tables(self.data_dir, self.split)

    def facts(self, truth, found):
        """Returns (Facts, brightness of each detection or None) by images.csv and the images."""
        table = Path(self.data_dir or Path(self.coco or self.records[0]).parent) / "images.csv"
        facts = read_columns(table, truth.filenames)
        folder = self._images_dir()
        measured = measure_images(folder, truth, found) if folder else None
        if measured is None:
            return facts, None
        brightness, box_brightness, found_brightness = measured
        facts = facts._replace(brightness=brightness, box_brightness=box_brightness)
        return facts, found_brightness

    def _images_dir(self):
        if self.images_dir:
            return existing_dir(self.images_dir, "images_dir")
        folder = Path(self.data_dir) / "images" if self.data_dir else None
        return folder if folder and folder.is_dir() else None

    def pictures(self, filenames):
        """Returns {filename: bytes} of the images that are there."""
        folder = self._images_dir()
        if folder:
            paths = {name: folder / name for name in filenames}
            return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
        return pick_encoded(self.records, filenames) if self.records else {}


def find_truth(data_dir, coco, records, label_map_path, split, images_dir):
    """Returns the TruthSource that flags name.

    Args:
        data_dir, coco, records, images_dir: None where not given; records may be globs.
        label_map_path: of the records; by default label_map.txt beside them.
        split: None for all images of the tables.

    Raises:
        DataError: none of them given, --truth beside --records, or no such records.
    """
    if not (data_dir or coco or records):
        raise DataError(
            "no ground truth to score --detections against.\n"
            "  Give --data_dir, --records, or a COCO file by --truth."
        )
    if coco and records:
        raise DataError("--truth and --records: only one can be the ground truth.")
    paths = sorted({path for pattern in records or () for path in glob.glob(pattern)})
    if records and not paths:
        raise DataError(f"{', '.join(records)}: no such record file.\n  Check --records.")
    names = None
    if paths:
        names = read_label_map(label_map_path or Path(paths[0]).parent / "label_map.txt")
    return TruthSource(data_dir, coco, tuple(paths), split, names, images_dir)


def pick_encoded(records, filenames):
    """Returns {filename: bytes} of some images that record files hold."""
    wanted = set(filenames)
    return {
        record.filename: record.encoded
        for record in read_records(records)
        if record.filename in wanted
    }
