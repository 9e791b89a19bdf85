"""The fast operations compute what TensorFlow's and TFOD's do, and so do their gradients."""

import numpy as np
import pytest
import tensorflow as tf
from object_detection.core.losses import SigmoidFocalClassificationLoss
from object_detection.utils import ops

from lowlight.tfod.fast.computations import (
    fast_attention,
    filter_gradient,
    focal_loss,
    gated,
    nearest_neighbor_upsampling,
    pointwise,
    swish,
    swish_and_mean,
)

pytestmark = pytest.mark.slow


def value_and_gradients(function, *inputs):
    """Returns a function's value, and its gradients for upstream gradients that aren't all 1."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = function(*inputs)
    upstream = tf.nest.map_structure(tf.sin, value)
    return [*tf.nest.flatten(value), *tape.gradient(value, inputs, upstream)]


def random_tensor(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def assert_same(function, stock, *inputs, rtol=1e-4, atol=1e-5):
    """Asserts that two functions give the same values and gradients."""
    found, expected = (value_and_gradients(f, *inputs) for f in (function, stock))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


def test_swish_with_its_mean():
    def stock(x):
        y = tf.nn.silu(x)
        return y, tf.reduce_mean(y, [1, 2])

    assert_same(swish_and_mean, stock, random_tensor(2, 5, 7, 3))
    assert_same(swish, tf.nn.silu, random_tensor(2, 5, 7, 3))


def test_a_gated_feature_map():
    inputs = random_tensor(2, 5, 7, 3), random_tensor(2, 1, 1, 3, seed=1)
    assert_same(gated, lambda x, gate: x * gate, *inputs)


def test_a_convolution_with_a_single_tap():
    inputs = random_tensor(2, 5, 7, 3), random_tensor(1, 1, 3, 4, seed=1)
    assert_same(pointwise, lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"), *inputs)


@pytest.mark.parametrize(
    ("height", "width", "taps", "stride", "multiplier"),
    [
        (9, 11, 5, 1, 1),
        (8, 8, 5, 2, 1),
        (7, 9, 5, 2, 2),
        (6, 6, 4, 1, 1),
        (10, 9, 7, 2, 1),
        (2, 2, 5, 2, 1),
    ],
)
def test_a_wide_depthwise_filter_has_the_gradient_it_had(height, width, taps, stride, multiplier):
    x = random_tensor(2, height, width, 3)
    kernel = random_tensor(taps, taps, 3, multiplier, seed=1)
    strides = [1, stride, stride, 1]
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        y = tf.nn.depthwise_conv2d(x, kernel, strides, "SAME")
        loss = tf.reduce_sum(y * y)
    found = filter_gradient(x, kernel.shape, 2 * y, strides)
    np.testing.assert_allclose(found, tape.gradient(loss, kernel), rtol=1e-4, atol=1e-3)


def test_fast_attention_is_the_matrix_product_it_was():
    maps = [tf.constant([[[[1.0, -2.0]]]]), tf.constant([[[[3.0, 4.0]]]])]
    found = fast_attention(maps, tf.constant([[3.0], [1.0]]))
    np.testing.assert_allclose(found, [[[[1.5, -0.5]]]], rtol=1e-4)


@pytest.mark.parametrize("scale", [2, 4])
def test_fast_upsampling_is_tfods_and_so_is_its_gradient(scale):
    x = random_tensor(2, 3, 5, 4)
    theirs = ops.nearest_neighbor_upsampling(x, scale=scale)
    np.testing.assert_array_equal(nearest_neighbor_upsampling(x, scale=scale), theirs)
    assert_same(
        lambda x: nearest_neighbor_upsampling(x, scale=scale),
        lambda x: ops.nearest_neighbor_upsampling(x, scale=scale),
        x,
    )


@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0, 2.3])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_the_focal_loss_and_its_gradient_are_tfods(gamma, alpha):
    rng = np.random.default_rng(0)
    logits = tf.constant([-60.0, -20.0, *rng.normal(0, 4, 25), 0.0, 20.0, 60.0], tf.float32)
    targets = tf.constant(rng.choice([0.0, 1.0, 0.3], [2, 5, 3]), tf.float32)
    weights = tf.constant(rng.choice([0.0, 1.0, 2.0], [2, 5, 1]), tf.float32)
    stock = SigmoidFocalClassificationLoss(gamma, alpha)
    assert_same(
        lambda x: focal_loss(x, targets, weights, gamma, alpha),
        lambda x: stock._compute_loss(x, targets, weights),
        tf.reshape(logits, [2, 5, 3]),
        atol=1e-6,
    )
