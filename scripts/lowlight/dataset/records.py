"""Reads records with TFOD's keys as TFOD does, without TensorFlow."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from lowlight.core.errors import DataError, name_some
from lowlight.core.tensorflow_files import Example, find_frames, read_frame
from lowlight.images.boxes import clip_unit_yxyx_near_edges
from lowlight.images.reading import open_image

_EDGES = "ymin", "xmin", "ymax", "xmax"
_NOISE = 1.01  # pixels outside the image, from rounding or from counting pixels from 1


@dataclasses.dataclass(frozen=True)
class Record:
    """One image and its boxes as TFOD's data_decoders/tf_example_decoder.py reads a record."""

    place: str  # file and number, for messages
    filename: str  # "" where it gives none
    encoded: bytes  # the image file
    width: int  # pixels
    height: int
    unit_yxyx: np.ndarray  # float32 [N, 4]; what is a pixel outside the image is clipped
    classes: np.ndarray  # int64 [N], ids from 1
    labels: tuple  # the ids that the record itself gives, which TFOD overlooks where it has texts
    areas: np.ndarray | None  # float32 [N], square pixels, of masks perhaps; None for the boxes'
    crowd: np.ndarray  # bool [N], boxes around many objects
    sha256: str  # of `encoded` as its writer gave it, in hexadecimal; "" where it gave none


class ImageNames(NamedTuple):
    """What tells the images of some records from each other."""

    names: list  # each once
    numbers: list | None  # their source_ids, where these are numbers, each once


def read_records(paths: Iterable[Path | str], ids: dict[str, int]) -> Iterator[Record]:
    """Yields a Record for each image of TFRecord files, in order; raises as `parse_record`."""
    for path in paths:
        for frame in find_frames(path):
            yield parse_record(read_frame(path, frame), f"{path}: record {frame.number}", ids)


def parse_record(serialized: bytes, place: str, ids: dict[str, int]) -> Record:
    """Returns the Record of an example's bytes. What TFOD has a default for may be missing.

    Classes are those of image/object/class/text by the label map, or of image/object/class/label
    where there is no text.

    Args:
        place: how messages name the record.
        ids: {text: id}, what the label map calls each class.

    Raises:
        DataError: the bytes are something else, or a class isn't in the label map.
    """
    features = _Features(serialized, place)
    edges = {edge: features.values(f"image/object/bbox/{edge}", "float") for edge in _EDGES}
    labels = features.values("image/object/class/label", "int64")
    classes = _read_classes(features, ids) or list(labels)
    areas = features.values("image/object/area", "float")
    crowd = features.values("image/object/is_crowd", "int64")
    count = len(edges["ymin"])
    lists = {f"bbox/{edge}": values for edge, values in edges.items()}
    lists |= {"class/text or class/label": classes, "area": areas, "is_crowd": crowd}
    for key, values in lists.items():
        if len(values) != count and (len(values) or key not in ("area", "is_crowd")):
            raise DataError(
                f"{place}: image/object/{key} has {len(values)} values for {count} boxes.\n"
                "  Each box needs one; write the record again."
            )
    encoded = features.one("image/encoded")
    width, height = _read_size(features, encoded)
    unit_yxyx = np.array(list(edges.values()), np.float32).T.reshape(-1, 4)
    return Record(
        place=place,
        filename=features.text("image/filename"),
        encoded=encoded,
        width=width,
        height=height,
        unit_yxyx=clip_unit_yxyx_near_edges(unit_yxyx, width, height, _NOISE),
        classes=np.array(classes, np.int64),
        labels=tuple(labels),
        areas=np.array(areas, np.float32) if len(areas) == count else None,
        crowd=np.array(crowd or [0] * count, bool),
        sha256=features.text("image/key/sha256"),
    )


def _read_classes(features, ids):
    """Returns the ids of the boxes' classes by their texts, none where there is no text."""
    texts = features.values("image/object/class/text", "bytes")
    texts = [text.decode("utf-8", "replace") for text in texts]
    unknown = [text for text in texts if text not in ids]
    if unknown:
        raise DataError(
            f"{features.place}: class {unknown[0]!r} (image/object/class/text) isn't in the label "
            f"map (it has {name_some(ids, 20)}).\n  Give the label map that the records were made "
            "with, or write the records' texts as it does."
        )
    return [ids[text] for text in texts]


def _read_size(features, encoded):
    """Returns (width, height) by the record's keys, or by the image where one is missing."""
    width, height = (features.values(f"image/{side}", "int64") for side in ("width", "height"))
    if width and height:
        return width[0], height[0]
    return open_image(encoded, f"{features.place}: image/encoded", whole=False).size


def name_images(paths: Iterable[Path | str]) -> ImageNames:
    """Returns the names of the images of TFRecord files, in order.

    They are their source_ids where no two are alike, else their filenames, else their places.
    Numbers are no names where there are others.

    Raises:
        DataError: as `find_frames`; something else than an example.
    """
    filenames, source_ids, places = [], [], []
    for features in _read_features(paths):
        filenames.append(features.text("image/filename"))
        source_ids.append(features.text("image/source_id"))
        places.append(Path(features.place).name)
    are_numbers = all(text.isdecimal() and len(text) < 18 for text in source_ids)
    choices = (filenames, source_ids) if are_numbers else (source_ids, filenames)
    each_once = [texts for texts in choices if all(texts) and len(set(texts)) == len(texts)]
    numbers = list(map(int, source_ids)) if are_numbers and source_ids in each_once else None
    return ImageNames(each_once[0] if each_once else places, numbers)


def read_encoded(paths: Iterable[Path | str], names: Iterable[str]) -> dict[str, bytes]:
    """Returns {name: image file} of some of the images that `name_images` names."""
    wanted = set(names)
    pairs = zip(name_images(paths).names, _read_features(paths), strict=True)
    return {name: features.one("image/encoded") for name, features in pairs if name in wanted}


class _Features:
    """What an example holds by its keys, at a place that messages name."""

    def __init__(self, serialized, place):
        self.place = place
        try:
            self._features = Example.FromString(serialized).features.feature
        except DecodeError as error:
            raise DataError(
                f"{place}: no tf.train.Example ({error}).\n"
                "  Write it as TFOD's records are written."
            ) from error

    def values(self, key, kind):
        """Returns a key's values; raises DataError where they are of another kind."""
        if key not in self._features or not (found := self._features[key].WhichOneof("kind")):
            return []
        if found != f"{kind}_list" and len(getattr(self._features[key], found).value):
            raise DataError(
                f"{self.place}: {key} is a {found}, not a {kind}_list.\n"
                "  Write the record again so."
            )
        return getattr(self._features[key], f"{kind}_list").value

    def one(self, key):
        """Returns the value of a key of bytes, b"" where it has none."""
        return next(iter(self.values(key, "bytes")), b"")

    def text(self, key):
        return self.one(key).decode("utf-8", "replace")


def _read_features(paths):
    """Yields the _Features of each record."""
    for path in paths:
        for frame in find_frames(path):
            yield _Features(read_frame(path, frame), f"{path}: record {frame.number}")
