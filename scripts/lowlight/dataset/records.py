"""Writes and reads TFRecords of tf.train.Examples with TFOD's standard keys."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError
from lowlight.dataset.tfrecords import Example, frame, read_frames
from lowlight.images.boxes import pixel_xyxy_to_unit_yxyx
from lowlight.images.reading import read_image

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
    edges = [pixel_xyxy_to_unit_yxyx(box[4:], box.width, box.height) for box in boxes]
    names = [box.class_name for box in boxes]
    filename = image.filename.encode()
    features = {
        "image/height": ("int64_list", [image.height]),
        "image/width": ("int64_list", [image.width]),
        "image/filename": ("bytes_list", [filename]),
        "image/source_id": ("bytes_list", [filename]),
        "image/key/sha256": ("bytes_list", [hashlib.sha256(encoded).hexdigest().encode()]),
        "image/encoded": ("bytes_list", [encoded]),
        "image/format": ("bytes_list", [b"jpeg"]),
        "image/object/bbox/ymin": ("float_list", [edge[0] for edge in edges]),
        "image/object/bbox/xmin": ("float_list", [edge[1] for edge in edges]),
        "image/object/bbox/ymax": ("float_list", [edge[2] for edge in edges]),
        "image/object/bbox/xmax": ("float_list", [edge[3] for edge in edges]),
        "image/object/class/text": ("bytes_list", [name.encode() for name in names]),
        "image/object/class/label": ("int64_list", [class_ids[name] for name in names]),
    }
    example = Example()
    for key, (kind, values) in features.items():
        feature = getattr(example.features.feature[key], kind)
        feature.SetInParent()  # also where there is no value
        feature.value.extend(values)
    return example


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

    def make(entry):
        image, boxes = entry
        data = read_image(Path(images_dir) / image.filename, image.width, image.height)
        serialized = make_example(image, boxes, data, class_ids).SerializeToString(
            deterministic=True
        )
        head, foot = frame(serialized)
        return head, serialized, foot

    with open(path, "wb") as file:
        for entry in entries:  # one after the other: threads would wait for Python's lock
            file.writelines(make(entry))
            on_image()


def count_records(paths):
    """Returns how many images the files hold; raises DataError as `read_frames`."""
    return sum(1 for path in paths for _ in read_frames(path))


def read_records(paths):
    """Yields a Record for each image of TFRecord files, in order.

    Raises:
        DataError: a file that is missing, damaged, or holds something else than TFOD's examples.
    """
    for path in paths:
        for number, serialized in enumerate(read_frames(path), 1):
            yield parse_record(serialized, f"{path}: record {number}")


def parse_record(serialized, place):
    """Returns the Record of an example's bytes.

    Raises:
        DataError: they are something else; the message begins with `place`.
    """

    def many(key):
        return features[key].bytes_list.value or features[key].int64_list.value

    try:
        features = Example.FromString(serialized).features.feature
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
