"""Takes a TFRecord file apart into records, and a record into its features, without TensorFlow."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file

_HEAD = struct.Struct("<QI")  # how many bytes follow, and the check sum of that number
_SUM = struct.Struct("<I")


class Frame(NamedTuple):
    """Where a record stands in its file."""

    number: int  # from 1
    offset: int  # bytes, of its head
    length: int  # bytes of the record itself, behind the head


def find_frames(path: Path | str) -> Iterator[Frame]:
    """Yields a Frame for each record of a TFRecord file, by their heads alone.

    Raises DataError: no such file, or it is damaged or cut short, and after which record.
    """
    path = existing_file(path, "make_tfrecords.py writes records.")
    number, offset = 0, 0
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while offset < size:
            head = os.pread(file.fileno(), _HEAD.size, offset)
            length, length_sum = _HEAD.unpack(head) if len(head) == _HEAD.size else (size, 0)
            end = offset + _HEAD.size + length + _SUM.size
            if end > size or length_sum != _masked_crc(head[:8]):
                raise _damaged(path, number)
            number += 1
            yield Frame(number, offset, length)
            offset = end


def read_frame(path: Path | str, frame: Frame) -> bytes:
    """Returns the bytes of one record; raises DataError where they aren't those of its sum."""
    with open(path, "rb", buffering=0) as file:
        framed = os.pread(file.fileno(), frame.length + _SUM.size, frame.offset + _HEAD.size)
    serialized = framed[: frame.length]
    if framed[frame.length :] != _SUM.pack(_masked_crc(serialized)):
        raise _damaged(path, frame.number - 1)
    return serialized


def _damaged(path, number):
    with open(path, "rb") as file:
        if file.read(2) == b"\x1f\x8b":
            return DataError(
                f"{path}: compressed with GZIP, which TFOD's input_path doesn't read.\n"
                "  Unpack it with gunzip, and name the unpacked file."
            )
    return DataError(f"{path}: damaged after record {number}.\n  Copy or write it again.")


def frame_record(serialized: bytes) -> bytes:
    """Returns the head, the bytes and the check sum that a TFRecord file holds of a record."""
    length = struct.pack("<Q", len(serialized))
    head = length + _SUM.pack(_masked_crc(length))
    return head + serialized + _SUM.pack(_masked_crc(serialized))


def _masked_crc(data):
    """Returns the CRC-32C, turned and shifted (tensorflow/core/lib/hash/crc32c.h: Mask)."""
    import google_crc32c  # here, since detection alone does without it

    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def message_class(description: str, name: str) -> type:
    """Returns the class of a protobuf message.

    Args:
        description: of the file that defines it, a FileDescriptorProto in text form.
        name: the message's, with its package.
    """
    file = text_format.Parse(description, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()  # of its own: TensorFlow or TFOD may define it, too
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


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
