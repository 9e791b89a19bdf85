"""Reads TFRecords of tf.train.Examples with TFOD's keys, without TensorFlow."""

import os
import struct
from typing import NamedTuple

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file

HEAD = struct.Struct("<QI")  # how many bytes follow, and the check sum of that number
SUM = struct.Struct("<I")
_MASK = 0xA282EAD8


class Frame(NamedTuple):
    """Where a record stands in its file."""

    number: int  # from 1
    offset: int  # bytes, of its head
    length: int  # bytes of the record itself, behind the head


def find_frames(path):
    """Yields a Frame for each record of a TFRecord file, by their heads alone.

    Raises:
        DataError: no such file, or it is damaged or cut short; the message says after which record.
    """
    path = existing_file(path, "make_tfrecords.py writes records.")
    number, offset = 0, 0
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while offset < size:
            head = os.pread(file.fileno(), HEAD.size, offset)
            length, length_sum = HEAD.unpack(head) if len(head) == HEAD.size else (size, 0)
            end = offset + HEAD.size + length + SUM.size
            if end > size or length_sum != masked_crc(head[:8]):
                raise _damaged(path, number)
            number += 1
            yield Frame(number, offset, length)
            offset = end


def read_frame(path, frame):
    """Returns the bytes of one record, checked against their check sum.

    Raises:
        DataError: the record is damaged.
    """
    with open(path, "rb", buffering=0) as file:
        framed = os.pread(file.fileno(), frame.length + SUM.size, frame.offset + HEAD.size)
    serialized = framed[: frame.length]
    if framed[frame.length :] != SUM.pack(masked_crc(serialized)):
        raise _damaged(path, frame.number - 1)
    return serialized


def _damaged(path, number):
    return DataError(f"{path}: damaged after record {number}.\n  make_tfrecords.py writes it anew.")


def masked_crc(data):
    """Returns the CRC-32C, turned and shifted (tensorflow/core/lib/hash/crc32c.h: Mask)."""
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


def count_records(paths):
    """Returns how many images the files hold; raises DataError as `find_frames`."""
    return sum(1 for path in paths for _ in find_frames(path))


def read_records(paths):
    """Yields a Record for each image of TFRecord files, in order.

    Raises:
        DataError: a file that is missing, damaged, or holds something else than TFOD's examples.
    """
    for path in paths:
        for frame in find_frames(path):
            yield parse_record(read_frame(path, frame), f"{path}: record {frame.number}")


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
