"""Writes and reads TFRecords of tf.train.Examples with TFOD's standard keys."""

import hashlib
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lowlight.boxes import pixel_xyxy_to_unit_yxyx
from lowlight.errors import DataError
from lowlight.files import existing_file
from lowlight.images import check_image

_EDGES = "ymin", "xmin", "ymax", "xmax"


class Record(NamedTuple):
    """One image and its boxes as read from a record."""

    filename: str
    encoded: bytes  # the JPEG
    width: int  # pixels
    height: int
    unit_yxyx: np.ndarray  # float32 [N, 4]
    classes: np.ndarray  # int64 [N], ids from 1
    sha256: str  # of `encoded` as its writer gave it, in hexadecimal; "" where it gave none


def make_example(image, boxes, encoded, class_ids):
    """Makes the example of one image.

    Args:
        image: ImageRow.
        boxes: its AnnotationRows, in pixels with xmax and ymax exclusive.
        encoded: its JPEG's bytes.
        class_ids: {class name: id from 1}.

    Returns:
        A tf.train.Example with TFOD's keys
        (object_detection/data_decoders/tf_example_decoder.py): boxes as fractions of the image,
        each edge a list of its own.
    """
    edges = np.array(
        [pixel_xyxy_to_unit_yxyx(box[4:], box.width, box.height) for box in boxes], np.float32
    ).reshape(-1, 4)
    names = [box.class_name for box in boxes]
    features = {
        "image/height": _ints([image.height]),
        "image/width": _ints([image.width]),
        "image/filename": _bytes([image.filename.encode()]),
        "image/source_id": _bytes([image.filename.encode()]),
        "image/key/sha256": _bytes([hashlib.sha256(encoded).hexdigest().encode()]),
        "image/encoded": _bytes([encoded]),
        "image/format": _bytes([b"jpeg"]),
        "image/object/bbox/ymin": _floats(edges[:, 0]),
        "image/object/bbox/xmin": _floats(edges[:, 1]),
        "image/object/bbox/ymax": _floats(edges[:, 2]),
        "image/object/bbox/xmax": _floats(edges[:, 3]),
        "image/object/class/text": _bytes([name.encode() for name in names]),
        "image/object/class/label": _ints([class_ids[name] for name in names]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def write_records(path, entries, images_dir, class_ids, on_image):
    """Writes the examples of some images to one TFRecord file.

    Args:
        path: the file to write.
        entries: [(ImageRow, [AnnotationRow])], written in this order.
        images_dir: the folder with the images.
        class_ids: {class name: id from 1}.
        on_image: called without arguments after each image.

    Raises:
        DataError: an image is missing, or of another size than its row says.
    """
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image, boxes in entries:
            jpeg = Path(images_dir) / image.filename
            check_image(jpeg, image.width, image.height)
            example = make_example(image, boxes, jpeg.read_bytes(), class_ids)
            writer.write(example.SerializeToString(deterministic=True))
            on_image()


def count_records(paths):
    """Returns how many images the files hold; raises DataError as `read_records`."""
    return sum(1 for _ in _serialized(paths))


def read_records(paths):
    """Yields a Record for each image of TFRecord files, in order.

    Raises:
        DataError: a file that is missing, damaged, or holds something else than TFOD's examples.
    """
    for path, number, serialized in _serialized(paths):
        yield _parse(serialized, f"{path}: record {number}")


def _serialized(paths):
    """Yields (path, number from 1, bytes)."""
    for path in paths:
        existing_file(path, "make_tfrecords.py writes records.")
        records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        for number in itertools.count(1):
            try:
                serialized = next(records, None)
            except tf.errors.OpError as error:
                raise DataError(
                    f"{path}: damaged after record {number - 1}.\n"
                    "  make_tfrecords.py writes it anew."
                ) from error
            if serialized is None:
                break
            yield path, number, serialized


def _parse(serialized, place):
    def many(key):
        return features[key].bytes_list.value or features[key].int64_list.value

    try:
        features = tf.train.Example.FromString(serialized).features.feature
        edges = [features[f"image/object/bbox/{e}"].float_list.value for e in _EDGES]
        return Record(
            many("image/filename")[0].decode(),
            many("image/encoded")[0],
            many("image/width")[0],
            many("image/height")[0],
            np.array(edges, np.float32).T.reshape(-1, 4),
            np.array(many("image/object/class/label"), np.int64),
            (many("image/key/sha256") or [b""])[0].decode(),
        )
    except Exception as error:
        raise DataError(
            f"{place}: not an example with TFOD's keys ({error}).\n  make_tfrecords.py writes them."
        ) from error


def _ints(values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _bytes(values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
