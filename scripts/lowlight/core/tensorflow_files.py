"""Reads TensorFlow's files: records, without TensorFlow, and a folder's newest checkpoint."""

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file
from lowlight.core.tensorflow import is_installed

_HEAD = struct.Struct("<QI")  # how many bytes follow, and the check sum of that number
_SUM = struct.Struct("<I")
_STEP = "step/.ATTRIBUTES/VARIABLE_VALUE"
_STATE = re.compile(r'^\s*model_checkpoint_path:\s*"([^"]*)"', re.MULTILINE)


# Records. -----------------------------------------------------------------------------------------


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
        is_packed = file.read(2) == b"\x1f\x8b"
    if is_packed:
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
name: "example.proto" package: "tensorflow" syntax: "proto3"
message_type { name: "BytesList"
  field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
message_type { name: "FloatList"
  field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED } }
message_type { name: "Int64List"
  field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
message_type { name: "Feature"
  field { name: "bytes_list" number: 1 type_name: "BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 type_name: "FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 type_name: "Int64List" oneof_index: 0 }
  oneof_decl { name: "kind" } }
message_type { name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type_name: "FeatureEntry" }
  nested_type { name: "FeatureEntry"
    field { name: "key" number: 1 type: TYPE_STRING }
    field { name: "value" number: 2 type_name: "Feature" }
    options { map_entry: true } } }
message_type { name: "Example" field { name: "features" number: 1 type_name: "Features" } }
"""
Example = message_class(_EXAMPLE, "tensorflow.Example")


# Checkpoints. -------------------------------------------------------------------------------------


def latest_checkpoint(folder: Path | str) -> str | None:
    """Returns the prefix of a folder's newest checkpoint, None where it has none.

    The folder may have been moved: of the path that its `checkpoint` file names the last part
    counts. Without that file it is the checkpoint that is there, if it is the only one.

    Raises:
        DataError: there are checkpoints, but none is marked as the newest.
    """
    folder = Path(folder)
    state, present = folder / "checkpoint", _names_in(folder)
    if state.is_file():
        found = _STATE.search(state.read_text("utf-8", errors="replace"))
        name = Path(found[1]).name if found else ""
    else:
        name = min(present) if len(present) == 1 else ""
    if name and (folder / f"{name}.index").is_file():
        return str(folder / name)
    if present:
        raise DataError(
            f"{state}: doesn't name a checkpoint that is there.\n  {how_to_go_back(folder)}"
        )
    return None


def how_to_go_back(folder: Path | str, unwanted: Path | str = "") -> str:
    """Returns the remedy that makes another checkpoint than the unwanted one a run's newest."""
    names = _names_in(Path(folder)) - {Path(unwanted).name}
    if not names:
        return "There is no other; remove the folder and begin again."
    *others, newest = sorted(names, key=lambda name: (len(name), name))
    return (
        f"There {'are' if others else 'is'} {', '.join([*others, newest])}. To continue from "
        f"{newest}:\n    echo 'model_checkpoint_path: \"{newest}\"' > {folder}/checkpoint"
    )


def _names_in(folder):
    return {path.stem for path in folder.glob("ckpt-*.index")}


def checkpoint_step(prefix: Path | str, unknown: int | None = None) -> int:
    """Returns the training step at which the checkpoint with this prefix was saved.

    Without a step in it, or without TensorFlow to read it, that is `unknown`, if that isn't None.

    Raises:
        DataError: the checkpoint can't be read, or isn't one of TFOD's training loop.
    """
    if unknown is not None and not is_installed("tensorflow"):
        return unknown
    import tensorflow as tf  # here, since exports are found without it

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        if unknown is not None and not reader.has_tensor(_STEP):
            return unknown
        return int(reader.get_tensor(_STEP))
    except (tf.errors.OpError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise DataError(
            f"{prefix}: damaged, or not a checkpoint of a training run.\n"
            f"  {how_to_go_back(Path(prefix).parent, prefix)}"
        ) from error
