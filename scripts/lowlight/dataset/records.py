"""Reads records with TFOD's keys as TFOD does, without TensorFlow."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from lowlight.core.errors import DataError, name_some
from lowlight.core.tfrecords import Example, find_frames, read_frame
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


def read_records(paths, ids):
    """Yields a Record for each image of TFRecord files, in order.

    Args:
        paths: the files.
        ids: {text: id}, what the label map calls each class.

    Raises:
        DataError: as `find_frames` and `parse_record`.
    """
    for path in paths:
        for frame in find_frames(path):
            yield parse_record(read_frame(path, frame), f"{path}: record {frame.number}", ids)


def parse_record(serialized, place, ids):
    """Returns the Record of an example's bytes. What TFOD has a default for may be missing.

    Classes are those of image/object/class/text by the label map, or of image/object/class/label
    where there is no text.

    Args:
        serialized: the bytes; place: how a message names the record; ids: as in `read_records`.

    Raises:
        DataError: they are something else; the message begins with `place`.
    """
    features = _parse_example(serialized, place)
    edges = [_values(features, f"image/object/bbox/{edge}", "float", place) for edge in _EDGES]
    count = len(edges[0])
    classes = _read_classes(features, place, ids)
    areas = _values(features, "image/object/area", "float", place)
    crowd = _values(features, "image/object/is_crowd", "int64", place)
    keys = {
        **{f"bbox/{name}": edge for name, edge in zip(_EDGES, edges, strict=True)},
        **{"class/text or class/label": classes, "area": areas, "is_crowd": crowd},
    }
    for key, values in keys.items():
        if len(values) != count and (len(values) or key not in ("area", "is_crowd")):
            raise DataError(
                f"{place}: image/object/{key} has {len(values)} values for {count} boxes.\n"
                "  Each box needs one; write the record anew."
            )
    encoded = _one(features, "image/encoded", place)
    width, height = _read_size(features, encoded, place)
    unit_yxyx = np.array(edges, np.float32).T.reshape(-1, 4)
    return Record(
        place,
        _text(features, "image/filename", place),
        encoded,
        width,
        height,
        clip_unit_yxyx_near_edges(unit_yxyx, width, height, _NOISE),
        np.array(classes, np.int64),
        tuple(_labels(features, place)),
        np.array(areas, np.float32) if len(areas) == count else None,
        np.array(crowd or [0] * count, bool),
        _text(features, "image/key/sha256", place),
    )


def _parse_example(serialized, place):
    try:
        return Example.FromString(serialized).features.feature
    except DecodeError as error:
        raise DataError(
            f"{place}: no tf.train.Example ({error}).\n  Write it as TFOD's records are written."
        ) from error


def _values(features, key, kind, place):
    """Returns a key's values; raises DataError where they are of another kind."""
    if key not in features or not (found := features[key].WhichOneof("kind")):
        return []
    if found != f"{kind}_list" and len(getattr(features[key], found).value):
        raise DataError(
            f"{place}: {key} is a {found}, not a {kind}_list.\n  Write the record anew so."
        )
    return getattr(features[key], f"{kind}_list").value


def _one(features, key, place):
    """Returns the value of a key of bytes, b"" where it has none."""
    values = _values(features, key, "bytes", place)
    return values[0] if values else b""


def _text(features, key, place):
    return _one(features, key, place).decode("utf-8", "replace")


def _read_classes(features, place, ids):
    """Returns the ids of the boxes' classes; raises DataError where the label map lacks one."""
    texts = _values(features, "image/object/class/text", "bytes", place)
    texts = [text.decode("utf-8", "replace") for text in texts]
    unknown = [text for text in texts if text not in ids]
    if unknown:
        raise DataError(
            f"{place}: class {unknown[0]!r} (image/object/class/text) isn't in the label map (it "
            f"has {name_some(ids, 20)}).\n  Give the label map that the records were made with, or "
            "write the records' texts as it does."
        )
    return [ids[text] for text in texts] or list(_labels(features, place))


def _labels(features, place):
    return _values(features, "image/object/class/label", "int64", place)


def _read_size(features, encoded, place):
    """Returns (width, height) by the record's keys, or by the image where one is missing."""
    width, height = (_values(features, f"image/{s}", "int64", place) for s in ("width", "height"))
    if width and height:
        return width[0], height[0]
    return open_image(encoded, f"{place}: image/encoded", whole=False).size


class ImageNames(NamedTuple):
    """What tells the images of some records from each other."""

    names: list  # each once
    numbers: list | None  # their source_ids, where these are numbers, each once


def name_images(paths):
    """Returns the ImageNames of the images of TFRecord files, in order.

    Their names are their source_ids where no two are alike, else their filenames, else their
    places. Numbers are no names where there are others.

    Raises:
        DataError: as `find_frames`; something else than an example.
    """
    filenames, source_ids, places = [], [], []
    for place, features in _read_features(paths):
        filenames.append(_text(features, "image/filename", place))
        source_ids.append(_text(features, "image/source_id", place))
        places.append(Path(place).name)
    are_numbers = all(text.isdecimal() and len(text) < 18 for text in source_ids)
    choices = (filenames, source_ids) if are_numbers else (source_ids, filenames)
    each_once = [texts for texts in choices if all(texts) and len(set(texts)) == len(texts)]
    numbers = list(map(int, source_ids)) if are_numbers and source_ids in each_once else None
    return ImageNames(each_once[0] if each_once else places, numbers)


def read_encoded(paths, names):
    """Returns {name: image file} of some of the images that `name_images` names."""
    wanted, found = set(names), {}
    pairs = zip(name_images(paths).names, _read_features(paths), strict=True)
    for name, (place, features) in pairs:
        if name in wanted:
            found[name] = _one(features, "image/encoded", place)
    return found


def _read_features(paths):
    """Yields (place, features) of each record."""
    for path in paths:
        for frame in find_frames(path):
            place = f"{path}: record {frame.number}"
            yield place, _parse_example(read_frame(path, frame), place)
