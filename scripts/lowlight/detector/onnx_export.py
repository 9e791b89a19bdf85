"""Writes a network as ONNX: bare, for ONNX Runtime here, and whole, for other programs."""

import json

import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.tensorflow import is_installed
from lowlight.detector.network import ENCODINGS, IMAGES, SCORES, Network

OPSET = 17
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
after (float[N,A,4] encodings, float[A,2] centres, float[A,2] sides, float[4] box_scale,
       int64[1] zero, int64[1] two, int64[1] four, float half)
    => (float[N,A,4] boxes) {
  offsets = Div(encodings, box_scale)
  last = Constant<value_ints=[-1]>()
  moves = Slice(offsets, zero, two, last)
  sizes = Slice(offsets, two, four, last)
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
        float[1] least_score, int64[1] most, int64[1] zero, int64[1] two, int64[1] four, float one)
    => (float[N,K,4] detection_boxes) {
  by_class = Transpose<perm=[0,2,1]>(scores)
  chosen = NonMaxSuppression(boxes, by_class, most_each, most_iou, least_score)
  kept_scores = GatherND(by_class, chosen)
  shape = Shape(by_class)
  nothing = ConstantOfShape(shape)
  kept = ScatterND(nothing, chosen, kept_scores)
  zero_float = Sub(one, one)
  clipped = Clip(boxes, zero_float, one)
  tail = Constant<value_ints=[-1]>()
  first = Slice(clipped, zero, two, tail)
  other = Slice(clipped, two, four, tail)
  extents = Sub(other, first)
  shortest = ReduceMin<axes=[-1], keepdims=0>(extents)
  is_box = Greater(shortest, zero_float)
  as_float = Cast<to=1>(is_box)
  second = Constant<value_ints=[1]>()
  per_class = Unsqueeze(as_float, second)
  valid = Mul(kept, per_class)
  rows = Constant<value_ints=[0, -1]>()
  flat = Reshape(valid, rows)
  detection_scores, places = TopK(flat, most)
  anchors = Shape<start=2, end=3>(by_class)
  numbers = Div(places, anchors)
  anchor = Mod(places, anchors)
  is_found = Greater(detection_scores, zero_float)
  found = Cast<to=1>(is_found)
  at = Unsqueeze(anchor, tail)
  picked = GatherND<batch_dims=1>(clipped, at)
  found_rows = Unsqueeze(found, tail)
  detection_boxes = Mul(picked, found_rows)
  number_floats = Cast<to=1>(numbers)
  found_numbers = Mul(number_floats, found)
  detection_classes = Add(found_numbers, one)
  num_detections = ReduceSum<keepdims=0>(found, second)
}
"""


_CHOSEN = {"detection_boxes": [4], "detection_classes": [], "detection_scores": []}


def check_installed():
    """Raises DataError where a package that writes ONNX isn't installed."""
    missing = [name for name in _NEEDED if not is_installed(name)]
    if missing:
        raise DataError(
            f"{', '.join(missing)}: not installed, and needed to write a network as ONNX.\n"
            "  pip install -r requirements/onnx.txt where the model is exported, and export it "
            "with --format=saved_model,onnx."
        )


def convert_network(network: Network):
    """Returns a network as an onnx.ModelProto: its graph's tensors, with any number of images.

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


def whole_model(bare, network: Network, names: dict | None = None, with_choice: bool = False):
    """Returns a model that other programs run by itself, an onnx.ModelProto.

    It takes `images`, uint8 [N, height, width, 3], any N: RGB, resized as the metadata says. It
    gives `boxes`, float32 [N, A, 4] (ymin, xmin, ymax, xmax as fractions of the input), and
    `scores`, float32 [N, A, C]; with the choice of boxes instead `detection_boxes`,
    `detection_classes` (from 1), `detection_scores` and `num_detections`, as TFOD's exports do.

    Args:
        bare: of `convert_network`.
        network: what it was made of.
        names: {class id: name}, for the metadata.
        with_choice: choose among the boxes by the network's own thresholds.
    """
    import onnx

    texts = (_BEFORE, _AFTER, _CHOICE) if with_choice else (_BEFORE, _AFTER)
    before, *after = (onnx.parser.parse_graph(text) for text in texts)
    model = onnx.ModelProto()
    model.CopyFrom(bare)
    graph = model.graph
    names_outside = {IMAGES: "floats", ENCODINGS: "encodings", SCORES: "scores"}
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names_outside.get(name, name) for name in tensors]
    nodes = [*before.node, *graph.node, *(node for part in after for node in part.node)]
    for field in ("node", "input", "output", "value_info"):
        graph.ClearField(field)
    graph.node.extend(nodes)
    side = network.preprocess.height, network.preprocess.width
    graph.input.append(_tensor("images", onnx.TensorProto.UINT8, ["N", *side, 3]))
    rows = len(network.decoder.anchors)
    shapes = {"boxes": ["N", rows, 4], "scores": ["N", rows, None]}
    if with_choice:
        most = network.suppression.most
        shapes = {name: ["N", most, *more] for name, more in _CHOSEN.items()}
        shapes["num_detections"] = ["N"]
    graph.output.extend(
        _tensor(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()
    )
    used = {name for node in nodes for name in node.input}
    numbers = {name: value for name, value in _numbers(network).items() if name in used}
    for name, value in numbers.items():
        graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    onnx.helper.set_model_props(model, _metadata(network, names))
    onnx.checker.check_model(model, full_check=True)
    return model


def _tensor(name, kind, shape):
    from onnx import helper

    return helper.make_tensor_value_info(name, kind, shape)


def _numbers(network):
    """Returns the initializers that the parts around the network name."""
    anchors, wanted = network.decoder.anchors, network.suppression
    floats = {
        "scale": network.preprocess.scale,
        "offset": network.preprocess.offset,
        "centres": anchors[:, :2],
        "sides": anchors[:, 2:],
        "box_scale": network.decoder.scale,
        "half": 0.5,
        "one": 1,
        "most_iou": [wanted.most_iou],
        "least_score": [wanted.least_score],
    }
    whole = {"most_each": [wanted.most_each], "most": [wanted.most]}
    whole |= {"zero": [0], "two": [2], "four": [4]}
    return {name: np.array(value, np.float32) for name, value in floats.items()} | {
        name: np.array(value, np.int64) for name, value in whole.items()
    }


def _metadata(network, names):
    """Returns {key: text} of what a program must know to use the model."""
    given = network.preprocess
    pad = (np.array(given.padding) - given.offset) / given.scale
    values = {
        "classes": names,
        "preprocess": given._asdict() | {"pad_colour": np.rint(pad).clip(0, 255).tolist()},
        "suppression": network.suppression._asdict(),
    }
    return {name: json.dumps(value) for name, value in values.items() if value is not None}
