"""Detections in COCO's results form: read with every check, chosen among, and written."""

import reprlib
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd

from lowlight.core.errors import DataError, raise_any
from lowlight.core.files import existing_file
from lowlight.core.json_files import format_coco_results, parse_json
from lowlight.evaluation.truth import Truth

_FORM = (
    'COCO\'s results are a list of {"image_id", "category_id", "bbox": [left, top, width, height], '
    '"score"}.'
)
_REMEDY = "Correct it and run this step again."
_MOST = 1e9  # pixels; what is larger is no box of an image
_KEYS = "image_id", "category_id", "bbox", "score"


class Found(NamedTuple):
    """Detections; images and classes are places in Truth."""

    images: np.ndarray  # int [D]
    labels: np.ndarray  # int [D]
    ltwh: np.ndarray  # float [D, 4], pixels
    scores: np.ndarray  # float [D], 0 to 1
    brightness: np.ndarray | None = None  # float [D], mean luma; None where not measured

    @property
    def areas(self) -> np.ndarray:
        """Width by height, float [D], in square pixels."""
        return self.ltwh[:, 2] * self.ltwh[:, 3]

    def at(self, rows: np.ndarray) -> "Found":
        """Returns those in these rows."""
        return Found(*(None if part is None else part[rows] for part in self))


def make_found(
    images: Sequence = (), labels: Sequence = (), ltwh: Sequence = (), scores: Sequence = ()
) -> Found:
    """Makes a Found from lists."""
    return Found(
        np.array(images, np.int64),
        np.array(labels, np.int64),
        np.array(ltwh, float).reshape(-1, 4),
        np.array(scores, float),
    )


def read_results(path: Path | str, truth: Truth, ids_only: bool = False) -> tuple[Found, int]:
    """Reads a detector's results for the images of a ground truth.

    An image is known by its id, or by its file name with or without extension, as image_id or as
    file_name. Detections on images of the data set that aren't scored are left out.

    Args:
        path: a JSON file in COCO's results form (https://cocodataset.org/#format-results).
        ids_only: a number is an id, never that of a file's name.

    Returns:
        (Found, in the file's order; how many were left out).

    Raises:
        DataError: no such file, not of this form, an image or class that is unknown or fits
            several, or a wrong box or score. The first errors are given together.
    """
    items = _load(path)
    images = _Images(truth, items, ids_only)
    labels = {number: place for place, number in enumerate(truth.class_ids)}
    rows, errors = [], []
    for number, item in enumerate(items):
        try:
            _check(item, labels, truth)
            label = labels[item["category_id"]]
            rows.append((images.place_of(item), label, item["bbox"], item["score"]))
        except DataError as error:
            errors.append(DataError(f"{path}: item {number}: {error}"))
    raise_any(errors)
    scored = [row for row in rows if row[0] is not None]
    return make_found(*zip(*scored, strict=True)), len(rows) - len(scored)


def _load(path):
    data = existing_file(path, "Check --detections.").read_bytes()
    items = parse_json(data, path, _FORM)
    if isinstance(items, dict) and isinstance(items.get("images"), list):
        raise DataError(
            f"{path}: an object with images, not a list of results.\n"
            f"  {_FORM} evaluate.py writes such a detections.json."
        )
    if not isinstance(items, list):
        raise DataError(f"{path}: no list at the top.\n  {_FORM}")
    return items


class _Images:
    """Finds the image that a result is about.

    Some tools write the number in a file's name as image_id, COCO's own the image's id. Where all
    numbers of a file may be either, and don't mean the same, they are refused. The place of an
    image that isn't scored is None.
    """

    def __init__(self, truth, items, ids_only):
        self._ids = {number: {None} for number in truth.other_ids}
        self._ids |= {number: {place} for place, number in enumerate(truth.image_ids.tolist())}
        self._names, self._numbers = defaultdict(set), defaultdict(set)  # {what: places}
        self._whole = list(map(_same, truth.filenames))
        for place, path in enumerate(map(PurePosixPath, self._whole)):
            self._names[path.stem].add(place)
            self._names[path.name].add(place)
            if path.stem.isdecimal():
                self._numbers[int(path.stem)].add(place)
        self._names |= {name: {place} for place, name in enumerate(self._whole)}
        given = (item.get("image_id") for item in items if isinstance(item, dict))
        if ids_only or not set(filter(_is_whole, given)) <= self._numbers.keys():
            self._numbers = {}

    def place_of(self, item):
        """Returns the place of the image of a result; raises DataError."""
        image, name = item["image_id"], item.get("file_name")
        fits, named = self._fits(image), set()
        if isinstance(name, str):
            names = _same(name), _same(PurePosixPath(name).name)
            named = next((self._names[n] for n in names if n in self._names), set())
        if named and fits and not named & fits:
            raise DataError(
                f"file_name {name!r} and image_id {reprlib.repr(image)} are of two images.\n"
                "  Correct one of them, or leave file_name out."
            )
        fits = named & fits or named or fits
        if not fits:
            raise DataError(
                f"image_id {reprlib.repr(image)} isn't among the {len(self._whole)} images of the "
                "ground truth.\n  Score the detections against the data that they were made on."
            )
        if len(fits) > 1:
            raise DataError(
                f"image_id {reprlib.repr(image)} fits several images of the ground truth.\n"
                "  Give the whole file name as image_id or file_name."
            )
        return next(iter(fits))

    def _fits(self, image):
        """Returns the places of all images that an image_id may mean, a set."""
        if isinstance(image, str):
            if _same(image) in self._names:
                return self._names[_same(image)]
            is_number = image.isdecimal() and len(image) < 100  # Python reads 4300 digits at most
            image = int(image) if is_number else None
        if not _is_whole(image):
            return set()
        return self._ids.get(image, set()) | self._numbers.get(image, set())


def _same(name):
    """Returns a name in one form, as Unicode has several for letters such as ü."""
    return unicodedata.normalize("NFC", name)


def _check(item, labels, truth):
    """Raises DataError, without the place, unless this is a result for this truth."""
    if missing := [key for key in _KEYS if not isinstance(item, dict) or key not in item]:
        raise DataError(f"no {missing[0]!r}.\n  {_FORM}")
    _, category, box, score = (item[key] for key in _KEYS)
    if not ((isinstance(category, str) or _is_whole(category)) and category in labels):
        raise DataError(
            f"category_id {reprlib.repr(category)} isn't among the classes "
            f"({truth.class_ids[0]} to {truth.class_ids[-1]}).\n"
            "  Ids are those of the label map; count them from 1."
        )
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise DataError(f"bbox {reprlib.repr(box)} isn't four numbers of pixels.\n  {_FORM}")
    if box[2] < 0 or box[3] < 0:
        raise DataError(
            f"a box {box[2]:g} wide and {box[3]:g} high.\n"
            "  The last two numbers of bbox are width and height, not a corner. " + _REMEDY
        )
    if not _is_number(score) or not 0 <= score <= 1:
        raise DataError(
            f"score {reprlib.repr(score)} isn't a number from 0 to 1.\n"
            "  Write the detector's confidence. " + _REMEDY
        )


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    return (_is_whole(value) or isinstance(value, float)) and abs(value) < _MOST


def format_results(found: Found, truth: Truth) -> str:
    """Returns detections in COCO's results form as text, one a line."""
    return format_coco_results(
        zip(
            truth.image_ids[found.images].tolist(),
            [truth.class_ids[label] for label in found.labels],
            found.ltwh.tolist(),
            found.scores.tolist(),
            strict=True,
        )
    )


def keep(
    found: Found, score_threshold: float = 0.0, max_detections: int | None = None
) -> np.ndarray:
    """Returns the rows of the detections with this score at least, of each image the best."""
    rows = np.flatnonzero(found.scores >= score_threshold)
    if max_detections is None:
        return rows
    ranks = pd.Series(-found.scores[rows]).groupby(found.images[rows]).rank("first")
    return rows[ranks <= max_detections]
