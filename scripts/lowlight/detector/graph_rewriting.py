"""Rewrites what a frozen graph computes slowly, and lets it take any number of images at a time."""

import numpy as np
import tensorflow as tf


def rewrite(definition, evaluate):
    """Changes a GraphDef to one that computes the same, of a batch of any size.

    Of EfficientDet's feature pyramid it replaces two forms, which take a fifth of the network's
    time on a CPU: sums weighted by stacking the inputs and multiplying them with a matrix of one
    column, and enlarging by stacking an image with itself. Of all models it replaces the 1 at the
    head of fixed shapes.

    Args:
        definition: a GraphDef whose one Placeholder is a batch of one image; it is changed.
        evaluate: a function of tensor names that returns their values, each of a batch of one.
    """
    nodes = _Nodes(definition)
    _rewrite_weighted_sums(nodes, evaluate)
    _rewrite_enlargements(nodes, evaluate)
    _rewrite_shapes(nodes, evaluate)
    for node in definition.node:
        if node.op == "Placeholder":
            node.attr["shape"].shape.dim[0].size = -1


class _Nodes:
    """A GraphDef's nodes, to be looked at and changed."""

    def __init__(self, definition):
        self._definition = definition
        self._nodes = {node.name: node for node in definition.node}

    def of(self, *operations):
        """Returns the nodes of these operations."""
        return [node for node in self._definition.node if node.op in operations]

    def source(self, name):
        """Returns the node that a tensor comes from, behind those that only pass it on."""
        node = self._nodes[name.split(":")[0]]
        return self.source(node.input[0]) if node.op == "Identity" else node

    def add(self, name, operation, inputs):
        """Adds a node of float32 tensors, and returns its name."""
        self.become(self._definition.node.add(name=name), operation, inputs)
        return name

    def add_constant(self, name, value):
        """Adds a constant, and returns its name."""
        node = self._definition.node.add(name=name, op="Const")
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        return name

    @staticmethod
    def become(node, operation, inputs):
        """Makes a node another one of float32 tensors, under its name."""
        name = node.name
        node.Clear()
        node.name, node.op = name, operation
        node.input.extend(inputs)
        node.attr["T"].type = tf.float32.as_datatype_enum


def _rewrite_weighted_sums(nodes, evaluate):
    """Squeeze(stack([a, b], -1) @ [[u], [v]]) becomes u * a + v * b."""
    found = []
    for node in nodes.of("Squeeze"):
        product = nodes.source(node.input[0])
        if product.op != "BatchMatMulV2":
            continue
        stack = nodes.source(product.input[0])
        if stack.op == "Pack" and stack.attr["axis"].i == -1:
            found.append((node, list(stack.input), product.input[1]))
    for (node, inputs, _), weights in zip(found, evaluate([f[2] for f in found]), strict=True):
        if weights.shape != (len(inputs), 1):
            continue
        terms = []
        for place, (name, weight) in enumerate(zip(inputs, weights[:, 0], strict=True)):
            factor = nodes.add_constant(f"{node.name}/weight_{place}", np.float32(weight))
            terms.append(nodes.add(f"{node.name}/term_{place}", "Mul", [name, factor]))
        while len(terms) > 2:
            total = nodes.add(f"{node.name}/sum_{len(terms)}", "AddV2", terms[:2])
            terms = [total, *terms[2:]]
        nodes.become(node, "AddV2", terms)


def _rewrite_enlargements(nodes, evaluate):
    """Stacking along the columns, reshaping, and so along the rows becomes one enlargement."""
    found = []
    for node in nodes.of("Reshape"):
        rows = _repeated(nodes, node, axis=2)
        columns = rows and _repeated(nodes, nodes.source(rows), axis=3)
        if columns:
            found.append((node, columns))
    for (node, image), value in zip(found, evaluate([f[0].name for f in found]), strict=True):
        size = nodes.add_constant(f"{node.name}/size", np.int32(value.shape[1:3]))
        nodes.become(node, "ResizeNearestNeighbor", [image, size])


def _repeated(nodes, node, axis):
    """Returns what a reshaped stack repeats along an axis, None for something else."""
    stack = nodes.source(node.input[0]) if node.op == "Reshape" else node
    is_stack = stack.op == "Pack" and stack.attr["axis"].i == axis
    return stack.input[0] if is_stack and len(set(stack.input)) == 1 else None


def _rewrite_shapes(nodes, evaluate):
    """Reshaping to [1, ...] becomes reshaping to [any number, ...]."""
    found = nodes.of("Reshape")
    names = [name for node in found for name in (node.input[0], node.name)]
    values = evaluate(names)
    for node, before, after in zip(found, values[::2], values[1::2], strict=True):
        if before.shape[:1] == after.shape[:1] == (1,):
            shape = np.int32([-1, *after.shape[1:]])
            node.input[1] = nodes.add_constant(f"{node.name}/any_batch", shape)
            node.attr["Tshape"].type = tf.int32.as_datatype_enum
