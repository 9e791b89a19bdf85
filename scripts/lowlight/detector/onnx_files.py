"""Reads what an ONNX file says of itself, and takes the network of those that are exports."""

import functools
import json
import os
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import DecodeError, Message

from lowlight.core.errors import DataError
from lowlight.core.tensorflow_files import message_class
from lowlight.detector.network import Network, Preprocess
from lowlight.detector.onnx_export import BOXES, CHOSEN, WHOLE_SCORES
from lowlight.detector.postprocess import DecodedBoxes, Suppression

# What is read of onnx/onnx.proto; ONNX Runtime tells it only after it has made the whole network
# ready, and the package onnx isn't needed otherwise.
_ONNX = """
name: "onnx.proto"
package: "onnx"
message_type {
  name: "ModelProto"
  field { name: "producer_name" number: 2 type: TYPE_STRING }
  field { name: "producer_version" number: 3 type: TYPE_STRING }
  field { name: "graph" number: 7 type_name: "GraphProto" }
  field { name: "metadata_props" number: 14 label: LABEL_REPEATED type_name: "Entry" }
}
message_type {
  name: "Entry"
  field { name: "key" number: 1 type: TYPE_STRING }
  field { name: "value" number: 2 type: TYPE_STRING }
}
message_type {
  name: "GraphProto"
  field { name: "input" number: 11 label: LABEL_REPEATED type_name: "ValueInfoProto" }
  field { name: "output" number: 12 label: LABEL_REPEATED type_name: "ValueInfoProto" }
}
message_type {
  name: "ValueInfoProto"
  field { name: "name" number: 1 type: TYPE_STRING }
  field { name: "type" number: 2 type_name: "TypeProto" }
}
message_type {
  name: "TypeProto"
  field { name: "tensor_type" number: 1 type_name: "Tensor" }
}
message_type {
  name: "Tensor"
  field { name: "elem_type" number: 1 type: TYPE_INT32 }
  field { name: "shape" number: 2 type_name: "TensorShapeProto" }
}
message_type {
  name: "TensorShapeProto"
  field { name: "dim" number: 1 label: LABEL_REPEATED type_name: "Dimension" }
}
message_type {
  name: "Dimension"
  field { name: "dim_value" number: 1 type: TYPE_INT64 }
  field { name: "dim_param" number: 2 type: TYPE_STRING }
}
"""
_ModelProto = message_class(_ONNX, "onnx.ModelProto")
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 11: "float64"}
_REMEDY = "export_model.py --format=onnx writes a model.onnx that can be run."


class OnnxFacts(NamedTuple):
    """What an exported ONNX file says of itself."""

    names: dict | None  # {class id: name}
    preprocess: Preprocess  # for the pixels that the file takes
    suppression: Suppression
    source: dict  # as far as it is known: step, num_classes, and sha256 of the checkpoint's index


def read_facts(path: Path | str) -> OnnxFacts:
    """Returns what an exported file says of itself; loads neither TensorFlow nor ONNX Runtime.

    Raises:
        DataError: it is damaged, of another program, or chooses among the boxes by itself.
    """
    return _read_facts(str(path), os.stat(path).st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read_facts(path, changed):
    """As `read_facts`, read again where the file has changed."""
    del changed
    model = _parse(path)
    try:
        entries = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
        given, names = entries["preprocess"], entries.get("classes")
        colour = tuple(given.pop("pad_colour"))
        facts = OnnxFacts(
            names and {int(number): str(name) for number, name in names.items()},
            # The network's own scale of the colours is in the file.
            Preprocess(**given)._replace(scale=(1,) * 3, offset=(0,) * 3, padding=colour),
            Suppression(**entries["suppression"]),
            entries.get("source", {}),
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        facts = None
    outputs = {output.name for output in model.graph.output}
    if facts is not None and outputs == CHOSEN:
        raise DataError(
            f"{path}: chooses among the boxes by itself, for other programs.\n"
            "  Give the model.onnx that was written beside it."
        )
    if facts is None or outputs != {BOXES, WHOLE_SCORES}:
        raise DataError(f"{path}: an ONNX file of another program.\n{_describe(model)}  {_REMEDY}")
    return facts


def _parse(path):
    model = _ModelProto()
    try:
        model.ParseFromString(Path(path).read_bytes())
    except DecodeError as error:
        raise DataError(f"{path}: damaged, or not an ONNX file.\n  {_REMEDY}") from error
    if not model.graph.output:
        raise DataError(f"{path}: not an ONNX file; it holds no network.\n  {_REMEDY}")
    return model


def _describe(model: Message) -> str:
    """Returns lines that say what a file takes and gives, and what wrote it."""
    producer = f"{model.producer_name} {model.producer_version}".strip() or "not named"
    inputs, outputs = (
        ", ".join(map(_describe_tensor, tensors))
        for tensors in (model.graph.input, model.graph.output)
    )
    return f"  It takes {inputs} and gives {outputs}; its producer is {producer}.\n"


def _describe_tensor(value):
    tensor = value.type.tensor_type
    sides = ", ".join(str(one.dim_value or one.dim_param or "?") for one in tensor.shape.dim)
    return f"{value.name} {_TYPES.get(tensor.elem_type, 'of another type')} [{sides}]"


def read_network(path: Path) -> Network:
    """Returns the Network of an exported file, for an OnnxFileEngine; raises as `read_facts`."""
    facts = read_facts(path)
    return Network(path.read_bytes(), facts.preprocess, facts.suppression, DecodedBoxes())
