"""Freezes a model's graph and finds in it the network, the resizer before and the choice after."""

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from lowlight.engines import TensorFlowEngine
from lowlight.network import Network
from lowlight.preprocess import Preprocess
from lowlight.suppression import Suppression

_BOXES, _SCORES = "raw_detection_boxes", "raw_detection_scores"
_SUPPRESSION = "NonMaxSuppressionV5"
_TOLERANCE = 1e-4


def freeze_network(function):
    """Returns the Network of a model, None where it has no network of one fixed shape.

    TFOD's SSD models, EfficientDet among them, resize to a square, run their network and suppress.
    What the graph does before and after is read from it, and tried: a Network is returned only
    where it finds in noise what the whole model finds.

    Args:
        function: a ConcreteFunction that takes one uint8 tensor [1, H, W, 3], and returns TFOD's
            detection dict.
    """
    outputs = function.structured_outputs
    if not {_BOXES, _SCORES, "detection_boxes"} <= set(outputs):
        return None
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    graph = _Graph(frozen)
    names = dict(zip(sorted(outputs), (tensor.name for tensor in frozen.outputs), strict=True))
    images, settings = graph.find_images(), graph.find_suppression()
    most = outputs["detection_boxes"].shape[1]
    if images is None or settings is None or most is None:
        return None
    columns, classes = outputs[_SCORES].shape[2], settings.pop("classes")
    if columns not in (classes, classes + 1):
        return None
    preprocess = _probe_preprocess(graph, images)
    part = graph.part(images, names[_BOXES], names[_SCORES])
    if preprocess is None or part is None:
        return None
    network = Network(
        part,
        images.name,
        names[_BOXES],
        names[_SCORES],
        columns > classes,
        preprocess,
        Suppression(most=int(most), **settings),
    )
    return network if _finds_the_same(network, frozen, names) else None


class _Graph:
    """A frozen function's graph, and what is looked for in it."""

    def __init__(self, frozen):
        self._graph, self._input = frozen.graph, frozen.inputs[0].name
        self._definition = frozen.graph.as_graph_def()
        self._nodes = {node.name: node for node in self._definition.node}

    def find_images(self):
        """Returns the tensor of the resized images, None where their shape isn't a fixed square."""
        stacks = [node.name for node in self._definition.node if node.op == "TensorListStack"]
        tensors = [self._graph.get_tensor_by_name(f"{name}:0") for name in stacks]
        found = [t for t in tensors if t.dtype == tf.float32 and t.shape.rank == 4]
        if len(found) != 1 or not found[0].shape.is_fully_defined():
            return None
        _, height, width, channels = found[0].shape
        return found[0] if height == width and channels == 3 else None

    def find_suppression(self):
        """Returns the settings and the number of classes, None where it isn't the usual form."""
        nodes = [node for node in self._definition.node if node.op == _SUPPRESSION]
        if not nodes:
            return None
        if len({node.input[0] for node in nodes}) != 1:  # boxes of their own for each class
            return None
        values = {tuple(map(self._constant, node.input[2:])) for node in nodes}
        if len(values) != 1 or None in (found := values.pop()) or found[3] != 0:
            return None
        most_each, most_iou, least_score, _ = found
        return {
            "classes": len(nodes),
            "most_each": int(most_each),
            "most_iou": float(most_iou),
            "least_score": float(least_score),
        }

    def _constant(self, name):
        """Returns the number that a tensor is, or is at most; None where it is neither."""
        node = self._nodes[name.lstrip("^").split(":")[0]]
        if node.op == "Const":
            return tf.make_ndarray(node.attr["value"].tensor).item()
        if node.op == "Minimum":
            found = {self._constant(part) for part in node.input} - {None}
            return found.pop() if len(found) == 1 else None
        return self._constant(node.input[0]) if node.op in ("Identity", "Cast") else None

    def preprocessing(self, images):
        """Returns a function of a uint8 tensor [1, H, W, 3]: the resized images."""
        definition = _extract(self._definition, [images.name])
        return _wrap(definition, self._input, [images.name])

    def part(self, images, *outputs):
        """Returns what lies between the images and the outputs, a GraphDef's bytes, or None.

        Without the control inputs: in a frozen graph they lead to nothing but assertions.
        """
        definition = tf.compat.v1.GraphDef()
        definition.CopyFrom(self._definition)
        for node in definition.node:
            data = [name for name in node.input if not name.startswith("^")]
            node.ClearField("input")
            node.input.extend(data)
        node = next(node for node in definition.node if node.name == images.op.name)
        node.Clear()
        node.name, node.op = images.op.name, "Placeholder"
        node.attr["dtype"].type = images.dtype.as_datatype_enum
        node.attr["shape"].shape.CopyFrom(images.shape.as_proto())
        found = _extract(definition, outputs)
        inputs = [node.name for node in found.node if node.op == "Placeholder"]
        return found.SerializeToString() if inputs == [images.op.name] else None


def _extract(definition, tensors):
    names = [name.split(":")[0] for name in tensors]
    return tf.compat.v1.graph_util.extract_sub_graph(definition, names)


def _wrap(definition, feed, fetches):
    """Returns a graph as a function."""
    imported = tf.compat.v1.wrap_function(
        lambda: tf.graph_util.import_graph_def(definition, name=""), []
    )
    tensor = imported.graph.get_tensor_by_name
    return imported.prune(tensor(feed), [tensor(fetch) for fetch in fetches])


def _probe_preprocess(graph, images):
    """Returns the Preprocess that does as the graph does to black, white and noise, or None."""
    function = graph.preprocessing(images)

    def run(image):
        return function(tf.constant(image[np.newaxis]))[0].numpy()[0]

    wide = np.zeros((4, 8, 3), np.uint8)
    black, white = run(wide), run(wide + 255)
    scale = (white[0, 0] - black[0, 0]) / 255
    keeps_ratio = bool((white[-1] != white[0, 0]).any())
    found = Preprocess(
        images.shape[1],
        keeps_ratio,
        *(tuple(map(float, part)) for part in (scale, black[0, 0], white[-1, -1])),
    )
    noise = np.random.default_rng(0).integers(0, 256, (61, 37, 3), np.uint8)
    for image in (noise, noise.swapaxes(0, 1)):
        expected = run(np.ascontiguousarray(image))
        gap = np.abs(found.apply(np.ascontiguousarray(image))[0] - expected).max()
        if gap > _TOLERANCE * max(1, np.abs(expected).max()):
            return None
    return found


def _finds_the_same(network, frozen, names):
    """Says whether the network with our steps around it finds in noise what the model does."""
    noise = np.random.default_rng(1).integers(0, 256, (90, 128, 3), np.uint8)
    outputs = frozen(tf.constant(noise[np.newaxis]))
    expected = {name: outputs[place].numpy()[0] for place, name in enumerate(names)}
    images, size = network.preprocess.apply(noise)
    boxes, scores = TensorFlowEngine(network, device="cpu").run(images[np.newaxis])
    found = network.choose(boxes[0], scores[0], size)
    count = int(expected["num_detections"])
    return len(found[2]) == count and np.allclose(
        found[2], expected["detection_scores"][:count], atol=_TOLERANCE
    )
