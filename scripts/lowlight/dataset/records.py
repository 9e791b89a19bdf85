"""Reads TFRecords of tf.train.Examples with TFOD's keys, without TensorFlow."""

import os
import struct
from typing import NamedTuple

import google_crc32c
import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file
from lowlight.dataset.classes import message_class

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


# tensorflow/core/example/*.proto; TensorFlow takes seconds to import.
_EXAMPLE = """
name: "example.proto"
package: "tensorflow"
syntax: "proto3"
message_type {
  name: "BytesList"
  field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED }
}
message_type {
  name: "FloatList"
  field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED }
}
message_type {
  name: "Int64List"
  field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED }
}
message_type {
  name: "Feature"
  field { name: "bytes_list" number: 1 type_name: "BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 type_name: "FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 type_name: "Int64List" oneof_index: 0 }
  oneof_decl { name: "kind" }
}
message_type {
  name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type_name: "FeatureEntry" }
  nested_type {
    name: "FeatureEntry"
    field { name: "key" number: 1 type: TYPE_STRING }
    field { name: "value" number: 2 type_name: "Feature" }
    options { map_entry: true }
  }
}
message_type { name: "Example" field { name: "features" number: 1 type_name: "Features" } }
"""
Example = message_class(_EXAMPLE, "tensorflow.Example")


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
