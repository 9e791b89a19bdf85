"""Finds in a model's frozen graph the network, and what stands before it and after it."""

import numpy as np
import tensorflow as tf

from lowlight.detector.graph_rewriting import rewrite
from lowlight.detector.postprocess import probe_decoder

_SUPPRESSION = "NonMaxSuppressionV5"


class FrozenGraph:
    """The graph of a frozen function that takes one image and returns TFOD's detection dict."""

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

    def find_encodings(self, images, boxes):
        """Returns the name of the tensor that boxes are decoded from, and its BoxDecoder.

        It is the farthest from the boxes of those with their shape from which alone they come.
        Where there is none, (None, None).
        """
        shape = self._graph.get_tensor_by_name(boxes).shape
        for node in reversed(self._behind(boxes)):
            name = f"{node}:0"
            if self._nodes[node].op == "Const" or self._shape(name) != shape:
                continue
            if images.op.name not in self._behind(boxes, without=node):
                decoder = self._probe_decoder(name, boxes)
                if decoder is not None:
                    return name, decoder
        return None, None

    def _shape(self, name):
        try:
            return self._graph.get_tensor_by_name(name).shape
        except KeyError:  # an operation without a result
            return None

    def _behind(self, tensor, without=None):
        """Returns the names of the nodes that a tensor comes from, the nearest first."""
        names = {tensor.split(":")[0]: None}
        waiting = list(names)
        for name in waiting:
            if name == without:
                continue
            for found in (given.split(":")[0] for given in self._nodes[name].input):
                if not found.startswith("^") and found not in names:
                    names[found] = None
                    waiting.append(found)
        return list(names)

    def _probe_decoder(self, encodings, boxes):
        tensor = self._graph.get_tensor_by_name(encodings)
        decode = _wrap(self._cut(tensor, [boxes]), encodings, [boxes])
        return probe_decoder(lambda value: decode(tf.fill(tensor.shape, value))[0].numpy())

    def preprocessing(self, images):
        """Returns a function of a uint8 tensor [1, H, W, 3]: the resized images."""
        definition = _extract(self._definition, [images.name])
        return _wrap(definition, self._input, [images.name])

    def part(self, images, *outputs):
        """Returns what lies between the images and the outputs, rewritten, a GraphDef."""
        definition = self._cut(images, outputs)
        noise = np.random.default_rng(2).random(images.shape, np.float32)

        def evaluate(names):
            function = _wrap(definition, images.name, [f"{name.split(':')[0]}:0" for name in names])
            return [value.numpy() for value in function(tf.constant(noise))]

        rewritten = tf.compat.v1.GraphDef()
        rewritten.CopyFrom(definition)
        rewrite(rewritten, evaluate)
        return _extract(rewritten, outputs)

    def _cut(self, tensor, outputs):
        """Returns what lies between a tensor, then a Placeholder, and the outputs, a GraphDef.

        Without the control inputs: in a frozen graph they lead to nothing but assertions.
        """
        definition = tf.compat.v1.GraphDef()
        definition.CopyFrom(self._definition)
        for node in definition.node:
            data = [name for name in node.input if not name.startswith("^")]
            node.ClearField("input")
            node.input.extend(data)
        node = next(node for node in definition.node if node.name == tensor.op.name)
        node.Clear()
        node.name, node.op = tensor.op.name, "Placeholder"
        node.attr["dtype"].type = tensor.dtype.as_datatype_enum
        node.attr["shape"].shape.CopyFrom(tensor.shape.as_proto())
        return _extract(definition, outputs)


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
