"""Writes and reads TFRecords of tf.train.Examples with TFOD's keys, without TensorFlow."""

import hashlib
import os
import struct
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file
from lowlight.images.boxes import pixel_xyxy_to_unit_yxyx
from lowlight.images.reading import read_image

_HEAD = struct.Struct("<QI")  # how many bytes follow, and the check sum of that number
_SUM = struct.Struct("<I")
_MASK = 0xA282EAD8


def frame(serialized):
    """Returns the bytes that stand before and behind a record in a TFRecord file.

    Each check sum is a CRC-32C, turned and shifted (tensorflow/core/lib/hash/crc32c.h: Mask).

    Args:
        serialized: the record's bytes.
    """
    length = struct.pack("<Q", len(serialized))
    return length + _SUM.pack(_masked_crc(length)), _SUM.pack(_masked_crc(serialized))


def read_frames(path):
    """Yields the bytes of each record of a TFRecord file, checked against their check sums.

    Raises:
        DataError: no such file, or it is damaged or cut short; the message says after which record.
    """
    path = existing_file(path, "make_tfrecords.py writes records.")
    size, number = path.stat().st_size, 0
    with open(path, "rb") as file:
        while head := file.read(_HEAD.size):
            serialized = _read_record(file, head, size)
            if serialized is None:
                raise _damaged(path, number)
            number += 1
            yield serialized


def _read_record(file, head, size):
    """Returns the record behind a head, None where either is damaged."""
    length = _length_of(head, size)
    if length is None:
        return None
    return _checked(file.read(length + _SUM.size), length)


def _length_of(head, size):
    """Returns how many bytes the record behind a head has, None where the head is damaged."""
    if len(head) < _HEAD.size:
        return None
    length, length_sum = _HEAD.unpack(head)
    return length if length_sum == _masked_crc(head[:8]) and length <= size else None


def _checked(framed, length):
    """Returns the record that its check sum follows, None where one of them is damaged."""
    if len(framed) < length + _SUM.size:
        return None
    serialized = framed[:length]
    return serialized if framed[length:] == _SUM.pack(_masked_crc(serialized)) else None


def find_frames(path):
    """Returns [(offset, length)] of the records of a TFRecord file, in bytes, by their heads alone.

    Raises:
        DataError: as `read_frames`, of a damaged head.
    """
    path = existing_file(path, "make_tfrecords.py writes records.")
    size, places, offset = path.stat().st_size, [], 0
    with open(path, "rb") as file:
        while head := os.pread(file.fileno(), _HEAD.size, offset):
            length = _length_of(head, size)
            if length is None:
                raise _damaged(path, len(places))
            places.append((offset + _HEAD.size, length))
            offset += _HEAD.size + length + _SUM.size
    return places


def read_frame(path, number, place):
    """Returns the bytes of one record, checked against their check sum.

    Args:
        path: the file; number: the record's, from 1; place: one of `find_frames`.

    Raises:
        DataError: the record is damaged.
    """
    offset, length = place
    with open(path, "rb", buffering=0) as file:
        serialized = _checked(os.pread(file.fileno(), length + _SUM.size, offset), length)
    if serialized is None:
        raise _damaged(path, number - 1)
    return serialized


def _damaged(path, number):
    return DataError(f"{path}: damaged after record {number}.\n  make_tfrecords.py writes it anew.")


def _masked_crc(data):
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def _make_example_class():
    """Returns the message class of tf.train.Example (tensorflow/core/example/*.proto).

    It is described here, in a pool of its own, since TensorFlow takes seconds to import.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="example.proto", package="tensorflow", syntax="proto3"
    )

    def add(message, name, number, kind, label=field.LABEL_OPTIONAL, **options):
        return message.field.add(name=name, number=number, type=kind, label=label, **options)

    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    kinds = (("bytes", field.TYPE_BYTES), ("float", field.TYPE_FLOAT), ("int64", field.TYPE_INT64))
    for number, (word, kind) in enumerate(kinds, 1):
        values = file.message_type.add(name=f"{word.capitalize()}List")
        add(values, "value", 1, kind, field.LABEL_REPEATED)
        type_name = f".tensorflow.{values.name}"
        add(feature, f"{word}_list", number, field.TYPE_MESSAGE, type_name=type_name, oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, type_name=".tensorflow.Feature")
    entry_name = ".tensorflow.Features.FeatureEntry"
    add(features, "feature", 1, field.TYPE_MESSAGE, field.LABEL_REPEATED, type_name=entry_name)
    example = file.message_type.add(name="Example")
    add(example, "features", 1, field.TYPE_MESSAGE, type_name=".tensorflow.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example = _make_example_class()


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
