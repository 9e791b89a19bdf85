"""Operations that compute the same as those a TFOD model is made of, in less time."""

import collections
import contextlib
import itertools
import threading

import tensorflow as tf
from tensorflow.compat import v2  # what Keras calls tf

from lowlight.tfod.fast.convolutions import pointwise, with_fast_gradient
from lowlight.tfod.fast.features import (
    fast_attention,
    gated,
    nearest_neighbor_upsampling,
    swish,
    swish_and_mean,
)
from lowlight.tfod.fast.losses import focal_loss

_SWISHES = "simple_swish", "silu", "swish"


@contextlib.contextmanager
def replaced(members):
    """Sets attributes for the time of the block: [(owner, name, value)]."""
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in members]
    for owner, name, value in members:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in originals:
            setattr(owner, name, value)


def is_on_cpu():
    """Returns whether this process has neither GPU nor TPU."""
    return not any(map(tf.config.list_logical_devices, ("GPU", "TPU")))


def in_use(combine_layer, upsampling_module, focal_loss_class):
    """Makes layers and losses that are called in the block use faster operations.

    Args:
        combine_layer: TFOD's class of layers that add up a BiFPN node's inputs.
        upsampling_module: TFOD's module with nearest_neighbor_upsampling.
        focal_loss_class: TFOD's class of the sigmoid focal loss.

    Returns:
        A context manager; a graph traced in its block keeps the operations. All but the combination
        of inputs are for the CPU, and stay as they are where there is a GPU or TPU.
    """
    layers = tf.keras.layers
    combine = combine_layer.call

    def call_combine(self, inputs):
        if self.combine_method != "fast_attention":
            return combine(self, inputs)
        return fast_attention(inputs, self.per_input_weights)

    members = [(combine_layer, "call", call_combine)]
    if is_on_cpu():
        means = {}
        members += [
            (v2.nn, "depthwise_conv2d", with_fast_gradient(v2.nn.depthwise_conv2d)),
            (layers.Conv2D, "convolution_op", _with_pointwise(layers.Conv2D.convolution_op)),
            (layers.Activation, "call", _with_swish(layers.Activation.call, "activation", means)),
            (layers.Lambda, "call", _with_swish(layers.Lambda.call, "function", means)),
            (layers.GlobalAveragePooling2D, "call", _with_means(means)),
            (layers.Multiply, "call", _with_gate(layers.Multiply.call)),
            (upsampling_module, "nearest_neighbor_upsampling", nearest_neighbor_upsampling),
            (focal_loss_class, "_compute_loss", _with_fast_focal_loss(focal_loss_class)),
        ]
    return replaced(members)


def seeded_dropout(seed, step):
    """Makes Keras's dropout layers that are called in the block draw from a seed.

    An image's numbers follow from seed, step, layer and the image's place in the global batch, not
    from how many replicas share the batch.

    Args:
        seed: an int; step: int64 scalar tensor or variable.

    Returns:
        A context manager.
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
        whole = tf.concat([shape[:1] * context.num_replicas_in_sync, shape[1:]], 0)
        kept = tf.random.stateless_uniform(whole, pair) >= rate
        kept = kept[context.replica_id_in_sync_group * shape[0] :][: shape[0]]
        return tf.multiply(x, tf.cast(kept, x.dtype) / (1 - rate), name=name)

    base = tf.constant(seed, tf.int64)
    return replaced([(v2.nn, "dropout", dropout)])


def _with_swish(call, attribute, means):
    """Returns a layer's `call` that takes `swish` where the layer's function is one.

    Where a GlobalAveragePooling2D follows, the output's mean is put into `means`, a dict by the
    output's `ref()`.
    """

    def call_layer(self, inputs, *args, **kwargs):
        is_swish = getattr(getattr(self, attribute), "__name__", "") in _SWISHES
        if not (is_swish and tf.convert_to_tensor(inputs).shape.is_fully_defined()):
            return call(self, inputs, *args, **kwargs)  # XLA compiles anew for each shape
        pooling = tf.keras.layers.GlobalAveragePooling2D
        if not any(isinstance(node.layer, pooling) for node in self.outbound_nodes):
            return swish(inputs)
        outputs, mean = swish_and_mean(inputs)
        means[outputs.ref()] = mean
        return outputs

    return call_layer


def _with_means(means):
    """Returns a GlobalAveragePooling2D's `call` that takes the mean from `means` if it is there."""
    call = tf.keras.layers.GlobalAveragePooling2D.call

    def call_layer(self, inputs):
        known = self.data_format == "channels_last" and not self.keepdims
        mean = means.get(inputs.ref()) if known else None
        return call(self, inputs) if mean is None else mean

    return call_layer


def _with_gate(call):
    """Returns a Multiply layer's `call` that takes `gated` for a feature map and a gate."""

    def call_layer(self, inputs):
        shapes = [value.shape for value in inputs]
        is_gate = len(shapes) == 2 and all(len(s) == 4 and s.is_fully_defined() for s in shapes)
        if is_gate and shapes[1] == [shapes[0][0], 1, 1, shapes[0][3]]:
            return gated(*inputs)
        return call(self, inputs)

    return call_layer


def _with_pointwise(convolve):
    """Returns a Conv2D layer's `convolution_op` that takes `pointwise` where it can.

    With a bias, oneDNN adds it and its gradient up within the convolutions.
    """

    def convolution_op(self, inputs, kernel):
        is_pointwise = (
            self.kernel_size == self.strides == self.dilation_rate == (1, 1)
            and self.data_format == "channels_last"
            and self.groups == 1
            and not self.use_bias
            and inputs.shape.rank == 4
            and inputs.shape[1:].is_fully_defined()
        )
        if is_pointwise:
            return pointwise(inputs, tf.convert_to_tensor(kernel))
        return convolve(self, inputs, kernel)

    return convolution_op


def _with_fast_focal_loss(focal_loss_class):
    """Returns a focal loss's `_compute_loss` that takes `fast_losses.focal_loss` where it can."""
    compute = focal_loss_class._compute_loss

    def compute_loss(self, prediction_tensor, target_tensor, weights, class_indices=None):
        if class_indices is not None or not self._gamma or self._gamma < 1:
            return compute(self, prediction_tensor, target_tensor, weights, class_indices)
        return focal_loss(prediction_tensor, target_tensor, weights, self._gamma, self._alpha)

    return compute_loss
