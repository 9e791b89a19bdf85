"""Adds up what the parts of a batch give to what the whole batch would, one part at a time."""

from collections.abc import Callable

import tensorflow as tf

from lowlight.tfod.randomness import part_of_batch


def accumulate(
    differentiate: Callable, batch: tuple[dict, dict], parts: int, variables: list[tf.Variable]
) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
    """Returns losses and gradients of a batch, holding the activations of one part of it at a time.

    Args:
        differentiate: takes (features, labels) of a part; returns {name: float32 scalar}, the
            gradients of these losses' sum, and by what number they were divided, as
            `tfod.training.loss_count` gives it.
        batch: (features, labels), tensors whose first axis `parts` divides.
        parts: how many there are.
        variables: what the gradients are of, in order.
    """
    names = []

    def add(place, count, losses, gradients):
        with part_of_batch(place, parts):
            found, fresh, matched = differentiate(*_part(batch, place, parts))
        names[:] = found
        weight = tf.maximum(matched, 1.0)
        losses += weight * tf.stack(list(found.values()))
        gradients = [total + weight * g for total, g in zip(gradients, fresh, strict=True)]
        return place + 1, count + matched, losses, gradients

    start = tf.constant(0), tf.constant(0.0), tf.zeros([1]), [tf.zeros(v.shape) for v in variables]
    any_number = tf.TensorShape([None])  # of losses, which the first part tells
    _, count, losses, gradients = tf.while_loop(
        lambda place, *_: place < parts,
        add,
        start,
        shape_invariants=(
            start[0].shape,
            start[1].shape,
            any_number,
            [zeros.shape for zeros in start[3]],
        ),
        parallel_iterations=1,
    )
    divisor = tf.maximum(count, 1.0)
    losses = tf.unstack(losses / divisor, num=len(names))
    return dict(zip(names, losses, strict=True)), [total / divisor for total in gradients]


def _part(batch, place, parts):
    """Returns a part of a batch, whose size is static."""

    def cut(tensor):
        size = tensor.shape[0] // parts
        part = tensor[place * size : (place + 1) * size]
        return tf.ensure_shape(part, [size, *tensor.shape[1:]])

    return tf.nest.map_structure(cut, batch)
