"""Writes a network as ONNX, bare for our engine or whole for other programs, and reads the latter.

Only what writes needs TensorFlow, and the packages of requirements/onnx.txt.
"""

import functools
import itertools
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from lowlight.core.errors import DataError
from lowlight.core.tensorflow import is_installed
from lowlight.core.tensorflow_files import message_class
from lowlight.detector.network import ENCODINGS, IMAGES, SCORES, Network, Preprocess
from lowlight.detector.postprocess import Suppression

OPSET = 17
_FOUND = {"boxes", "scores"}  # what a whole model gives where it doesn't choose among the boxes
_NEEDED = "tensorflow", "tf2onnx", "onnx"

# What stands around the network; the numbers come as initializers. N images, A anchors, C classes.
_BEFORE = """
before (uint8[N,H,W,3] images, float[3] scale, float[3] offset) => (float[N,H,W,3] floats) {
  values = Cast<to=1>(images)
  scaled = Mul(values, scale)
  floats = Add(scaled, offset)
}
"""
_AFTER = """
after (float[N,A,4] encodings, float[A,2] centres, float[A,2] sides, float[4] box_scale, float half)
    => (float[N,A,4] boxes) {
  offsets = Div(encodings, box_scale)
  moves, sizes = Split<axis=-1>(offsets)
  moved = Mul(moves, sides)
  middles = Add(moved, centres)
  factors = Exp(sizes)
  lengths = Mul(factors, sides)
  halves = Mul(lengths, half)
  low = Sub(middles, halves)
  high = Add(middles, halves)
  boxes = Concat<axis=-1>(low, high)
}
"""
# As TFOD: of a class the best that don't overlap, then clipped to the image, those without area
# left out, then the best of all classes; the rest of the rows is zeros of class 1.
_CHOICE = """
choice (float[N,A,4] boxes, float[N,A,C] scores, int64[1] most_each, float[1] most_iou,
        float[1] least_score, int64[1] most, float zero, float one)
    => (float[N,K,4] detection_boxes) {
  by_class = Transpose<perm=[0,2,1]>(scores)
  chosen = NonMaxSuppression(boxes, by_class, most_each, most_iou, least_score)
  kept_scores = GatherND(by_class, chosen)
  shape = Shape(by_class)
  nothing = ConstantOfShape(shape)
  kept = ScatterND(nothing, chosen, kept_scores)
  clipped = Clip(boxes, zero, one)
  first_corner, second_corner = Split<axis=-1>(clipped)
  extents = Sub(second_corner, first_corner)
  shortest = ReduceMin<axes=[-1], keepdims=0>(extents)
  is_box = Greater(shortest, zero)
  as_float = Cast<to=1>(is_box)
  class_axis = Constant<value_ints=[1]>()
  per_class = Unsqueeze(as_float, class_axis)
  valid = Mul(kept, per_class)
  rows = Constant<value_ints=[0, -1]>()
  flat = Reshape(valid, rows)
  detection_scores, places = TopK(flat, most)
  anchors = Shape<start=2, end=3>(by_class)
  numbers = Div(places, anchors)
  anchor = Mod(places, anchors)
  is_found = Greater(detection_scores, zero)
  found = Cast<to=1>(is_found)
  last_axis = Constant<value_ints=[-1]>()
  at = Unsqueeze(anchor, last_axis)
  picked = GatherND<batch_dims=1>(clipped, at)
  found_rows = Unsqueeze(found, last_axis)
  detection_boxes = Mul(picked, found_rows)
  number_floats = Cast<to=1>(numbers)
  found_numbers = Mul(number_floats, found)
  detection_classes = Add(found_numbers, one)
  num_detections = ReduceSum<keepdims=0>(found, class_axis)
}
"""


def check_installed() -> None:
    """Raises DataError where a package that writes ONNX isn't installed."""
    missing = [name for name in _NEEDED if not is_installed(name)]
    if missing:
        raise DataError(
            f"{', '.join(missing)}: not installed, and needed to write a network as ONNX.\n"
            "  pip install -r requirements/onnx.txt where the model is exported, and export it "
            "with --format=saved_model,onnx."
        )


def convert_network(network: Network, folder: Path | None = None) -> bytes:
    """Returns a network as ONNX: its graph's tensors, with any number of images.

    A folder, as of `Network.in_form`, keeps it. Raises DataError as `check_installed`.
    """

    def make():
        check_installed()
        import tensorflow as tf
        import tf2onnx

        graph = tf.compat.v1.GraphDef.FromString(network.graph)
        model, _ = tf2onnx.convert.from_graph_def(
            graph, input_names=[IMAGES], output_names=[ENCODINGS, SCORES], opset=OPSET
        )
        return {"onnx": model.SerializeToString()}

    return network.in_form("onnx", make, folder)["onnx"]


def whole_model(
    bare: bytes,
    network: Network,
    names: dict | None = None,
    with_choice: bool = False,
    source: dict | None = None,
) -> bytes:
    """Returns a model that other programs run by itself.

    It takes `images`, uint8 [N, height, width, 3], any N: RGB, resized as the metadata says. It
    gives `boxes`, float32 [N, A, 4] (ymin, xmin, ymax, xmax as fractions of the input), and
    `scores`, float32 [N, A, C]; with the choice of boxes instead `detection_boxes`,
    `detection_classes` (from 1), `detection_scores` and `num_detections`, as TFOD's exports do.

    Args:
        bare: of `convert_network`.
        network: what it was made of.
        names: {class id: name}, for the metadata.
        with_choice: choose among the boxes by the network's own thresholds.
        source: what it was made from, for the metadata.
    """
    import onnx

    model = onnx.ModelProto.FromString(bare)
    graph = model.graph
    outside = {IMAGES: "floats", ENCODINGS: "encodings", SCORES: "scores"}
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [outside.get(name, name) for name in tensors]
    parts = [onnx.parser.parse_graph(text).node for text in (_BEFORE, _AFTER, _CHOICE)]
    before, *after = parts if with_choice else parts[:2]
    nodes = [*before, *graph.node, *itertools.chain(*after)]
    for field in ("node", "input", "output", "value_info"):
        graph.ClearField(field)
    graph.node.extend(nodes)
    signature = onnx.parser.parse_graph(_signature(network, with_choice))
    graph.input.extend(signature.input)
    graph.output.extend(signature.output)
    used = {name for node in nodes for name in node.input}
    for name, value in _numbers(network).items():
        if name in used:
            graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    onnx.helper.set_model_props(model, _metadata(network, names, source))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _signature(network, with_choice):
    """Returns a graph without nodes, as text, that takes and gives what a whole model does."""
    rows, most = len(network.decoder.anchors), network.suppression.most
    given = f"uint8[N,{network.preprocess.height},{network.preprocess.width},3] images"
    found = f"float[N,{rows},4] boxes, float[N,{rows},?] scores"
    if with_choice:
        found = (
            f"float[N,{most},4] detection_boxes, float[N,{most}] detection_classes, "
            f"float[N,{most}] detection_scores, float[N] num_detections"
        )
    return f"whole ({given}) => ({found}) {{}}"


def _numbers(network):
    """Returns the initializers that the parts around the network name."""
    anchors, wanted = network.decoder.anchors, network.suppression
    floats = {
        "scale": network.preprocess.scale,
        "offset": network.preprocess.offset,
        "centres": anchors[:, :2],
        "sides": anchors[:, 2:],
        "box_scale": network.decoder.scale,
        "zero": 0,
        "half": 0.5,
        "one": 1,
        "most_iou": [wanted.most_iou],
        "least_score": [wanted.least_score],
    }
    whole = {"most_each": [wanted.most_each], "most": [wanted.most]}
    return {name: np.array(value, np.float32) for name, value in floats.items()} | {
        name: np.array(value, np.int64) for name, value in whole.items()
    }


def _metadata(network, names, source):
    """Returns {key: text} of what a program must know to use the model."""
    given = network.preprocess
    pad = (np.array(given.padding) - given.offset) / given.scale
    values = {
        "classes": names,
        "preprocess": given._asdict() | {"pad_colour": np.rint(pad).clip(0, 255).tolist()},
        "suppression": network.suppression._asdict(),
        "source": source,
    }
    return {name: json.dumps(value) for name, value in values.items() if value is not None}


# What is read of onnx/onnx.proto; ONNX Runtime tells it only after it has made the whole network
# ready, and the package onnx isn't needed otherwise.
_ONNX = """
name: "onnx.proto"
package: "onnx"
message_type {
  name: "ModelProto"
  field { name: "producer_name" number: 2 type: TYPE_STRING }
  field { name: "producer_version" number: 3 type: TYPE_STRING }
  field { name: "graph" number: 7 type_name: "Graph" }
  field { name: "metadata_props" number: 14 label: LABEL_REPEATED type_name: "Entry" }
}
message_type {
  name: "Entry"
  field { name: "key" number: 1 type: TYPE_STRING }
  field { name: "value" number: 2 type: TYPE_STRING }
}
message_type {
  name: "Graph"
  field { name: "input" number: 11 label: LABEL_REPEATED type_name: "Tensor" }
  field { name: "output" number: 12 label: LABEL_REPEATED type_name: "Tensor" }
}
message_type { name: "Tensor" field { name: "name" number: 1 type: TYPE_STRING } }
"""
_ModelProto = message_class(_ONNX, "onnx.ModelProto")
_REMEDY = "export_model.py --format=onnx writes a model.onnx that can be run."


class OnnxFacts(NamedTuple):
    """What an exported ONNX file holds."""

    names: dict | None  # {class id: name}
    network: Network  # the file itself, for an OnnxEngine
    source: dict  # as far as it is known: step, num_classes, and sha256 of the checkpoint's index


def read_facts(path: Path | str) -> OnnxFacts:
    """Reads an exported file; loads neither TensorFlow nor ONNX Runtime.

    Raises:
        DataError: it is damaged, of another program, or chooses among the boxes by itself.
    """
    return _read_facts(str(path), os.stat(path).st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read_facts(path, changed):
    """As `read_facts`, read again where the file has changed."""
    del changed
    data, model = Path(path).read_bytes(), _ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        model.Clear()
    inputs, outputs = ([one.name for one in m] for m in (model.graph.input, model.graph.output))
    if not outputs:
        raise DataError(f"{path}: damaged, or not an ONNX file.\n  {_REMEDY}")
    try:
        entries = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
        given, names = entries["preprocess"], entries.get("classes")
        colour = tuple(given.pop("pad_colour"))
        # The network's own scale of the colours is in the file.
        preprocess = Preprocess(**given)._replace(scale=(1,) * 3, offset=(0,) * 3, padding=colour)
        network = Network(data, preprocess, Suppression(**entries["suppression"]), None)
        names = names and {int(number): str(name) for number, name in names.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        producer = f"{model.producer_name} {model.producer_version}".strip() or "not named"
        raise DataError(
            f"{path}: an ONNX file of another program.\n  It takes {', '.join(inputs)} and gives "
            f"{', '.join(outputs)}; its producer is {producer}.\n  {_REMEDY}"
        ) from error
    if set(outputs) != _FOUND:
        raise DataError(
            f"{path}: chooses among the boxes by itself, for other programs.\n"
            "  Give the model.onnx that was written beside it."
        )
    return OnnxFacts(names, network, entries.get("source", {}))
