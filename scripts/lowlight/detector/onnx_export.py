"""Writes a network as ONNX: bare, for ONNX Runtime here, and whole, for other programs."""

import json
from typing import TYPE_CHECKING

import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.tensorflow import is_installed
from lowlight.detector.network import ENCODINGS, IMAGES, SCORES, Network

if TYPE_CHECKING:
    import onnx

OPSET = 17
# The tensors of a whole model's graph; the last are TFOD's.
PIXELS, BOXES, WHOLE_SCORES = "images", "boxes", "scores"
CHOSEN = {"detection_boxes", "detection_classes", "detection_scores", "num_detections"}
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


def convert_network(network: Network) -> "onnx.ModelProto":
    """Returns a network as ONNX: its graph's tensors, with any number of images.

    Raises:
        DataError: a package that is needed for it isn't installed.
    """
    check_installed()
    import tensorflow as tf
    import tf2onnx

    graph = tf.compat.v1.GraphDef.FromString(network.graph)
    model, _ = tf2onnx.convert.from_graph_def(
        graph, input_names=[IMAGES], output_names=[ENCODINGS, SCORES], opset=OPSET
    )
    return model


def whole_model(
    bare: "onnx.ModelProto",
    network: Network,
    names: dict | None = None,
    with_choice: bool = False,
    source: dict | None = None,
) -> "onnx.ModelProto":
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

    model = onnx.ModelProto()
    model.CopyFrom(bare)
    graph = model.graph
    _surround(graph, onnx.parser, (_AFTER, _CHOICE) if with_choice else (_AFTER,))
    used = {name for node in graph.node for name in node.input}
    for name, value in _numbers(network).items():
        if name in used:
            graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    tensor, kinds = onnx.helper.make_tensor_value_info, onnx.TensorProto
    side = network.preprocess.height, network.preprocess.width
    graph.input.append(tensor(PIXELS, kinds.UINT8, ["N", *side, 3]))
    shapes = _shapes(network, with_choice).items()
    graph.output.extend(tensor(name, kinds.FLOAT, shape) for name, shape in shapes)
    onnx.helper.set_model_props(model, _metadata(network, names, source))
    onnx.checker.check_model(model, full_check=True)
    return model


def _surround(graph, parser, after):
    """Puts the parts before and after a network's nodes into its graph, without outputs yet."""
    outside = {IMAGES: "floats", ENCODINGS: "encodings", SCORES: "scores"}
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [outside.get(name, name) for name in tensors]
    before, *rest = (parser.parse_graph(text).node for text in (_BEFORE, *after))
    nodes = [*before, *graph.node, *(node for part in rest for node in part)]
    for field in ("node", "input", "output", "value_info"):
        graph.ClearField(field)
    graph.node.extend(nodes)


def _shapes(network, with_choice):
    """Returns the shapes of what a whole model gives, {name: shape}."""
    if not with_choice:
        rows = len(network.decoder.anchors)
        return {BOXES: ["N", rows, 4], WHOLE_SCORES: ["N", rows, None]}
    most = network.suppression.most
    return {
        "detection_boxes": ["N", most, 4],
        "detection_classes": ["N", most],
        "detection_scores": ["N", most],
        "num_detections": ["N"],
    }


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
