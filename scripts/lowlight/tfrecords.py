"""Reads and writes TFRecord files and their tf.train.Examples without TensorFlow."""

import struct

import google_crc32c
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from lowlight.errors import DataError
from lowlight.files import existing_file

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
                raise DataError(
                    f"{path}: damaged after record {number}.\n  make_tfrecords.py writes it anew."
                )
            number += 1
            yield serialized


def _read_record(file, head, size):
    """Returns the record behind a head, None where either is damaged."""
    if len(head) < _HEAD.size:
        return None
    length, length_sum = _HEAD.unpack(head)
    if length_sum != _masked_crc(head[:8]) or length > size:
        return None
    serialized, data_sum = file.read(length), file.read(_SUM.size)
    if len(data_sum) < _SUM.size or data_sum != _SUM.pack(_masked_crc(serialized)):
        return None
    return serialized


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
