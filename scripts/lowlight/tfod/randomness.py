"""Makes what TFOD and Keras draw at random follow from a seed, while a function is traced."""

import collections
import contextlib
import contextvars
import itertools
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from unittest import mock

import tensorflow as tf
from object_detection.core import preprocessor
from tensorflow.compat import v2  # what Keras calls tf


@contextlib.contextmanager
def replaced(members: Iterable[tuple]) -> Iterator[None]:
    """Sets attributes for the time of the block: [(owner, name, value)]."""
    with contextlib.ExitStack() as stack:
        for member in members:
            stack.enter_context(mock.patch.object(*member))
        yield


def seeded_augmentation(seed: tf.Tensor) -> AbstractContextManager:
    """Makes the random functions that TFOD calls stateless, while a function is traced.

    The n-th number drawn in the block follows from the seed, int64 [2], and n.
    """
    calls = itertools.count()

    def seeded(function):
        def call(*args, **kwargs):
            kwargs.pop("seed", None), kwargs.pop("seed2", None)
            own = tf.random.experimental.stateless_fold_in(seed, next(calls))
            return function(*args, seed=own, **kwargs)

        return call

    def uniform(shape, minval=0, maxval=None, dtype=tf.float32, seed=None, name=None):
        maxval = 1 if maxval is None and dtype.is_floating else maxval
        return tf.random.stateless_uniform(shape, seed, minval, maxval, dtype, name)

    def normal(shape, mean=0.0, stddev=1.0, dtype=tf.float32, seed=None, name=None):
        return tf.random.stateless_normal(shape, seed, mean, stddev, dtype, name)

    v1 = preprocessor.tf  # tensorflow.compat.v1, as all of TFOD's modules see it
    box = tf.image.stateless_sample_distorted_bounding_box
    shuffle = tf.random.experimental.stateless_shuffle
    members = [
        (v1, "random_uniform", uniform),
        (v1.random, "uniform", uniform),
        (v1, "random_normal", normal),
        (v1.random, "normal", normal),
        (v1, "random_shuffle", shuffle),
        (v1.random, "shuffle", shuffle),
        (v1.image, "sample_distorted_bounding_box", box),
    ]
    return replaced([(owner, name, seeded(function)) for owner, name, function in members])


# (a part's number from 0, how many there are) of what a replica takes at a time
_PART = contextvars.ContextVar("part", default=(0, 1))


@contextlib.contextmanager
def part_of_batch(number: tf.Tensor, parts: int) -> Iterator[None]:
    """Tells `seeded_dropout` which part of a replica's images, int32 from 0, a block is given."""
    token = _PART.set((number, parts))
    try:
        yield
    finally:
        _PART.reset(token)


def seeded_dropout(seed: int | None, step: tf.Tensor | tf.Variable) -> AbstractContextManager:
    """Makes Keras's dropout layers that are called in the block draw from a seed, if there is one.

    An image's numbers follow from seed, step, layer and the image's place in the global batch, not
    from how many replicas share the batch, nor from the parts in which they take it.
    """
    calls = collections.defaultdict(itertools.count)  # each replica is traced in its own thread

    def dropout(x, rate, noise_shape=None, seed=None, name=None):
        del seed  # Keras's own
        layer = next(calls[threading.get_ident()])
        pair = tf.random.experimental.stateless_fold_in(
            tf.stack([base, tf.cast(step, tf.int64)]), layer
        )
        shape = tf.shape(x) if noise_shape is None else noise_shape
        context = tf.distribute.get_replica_context()
        part, parts = _PART.get()
        whole = tf.concat([shape[:1] * parts * context.num_replicas_in_sync, shape[1:]], 0)
        kept = tf.random.stateless_uniform(whole, pair) >= rate
        kept = kept[(context.replica_id_in_sync_group * parts + part) * shape[0] :][: shape[0]]
        return tf.multiply(x, tf.cast(kept, x.dtype) / (1 - rate), name=name)

    if seed is None:
        return contextlib.nullcontext()
    base = tf.constant(seed, tf.int64)
    return replaced([(v2.nn, "dropout", dropout)])
