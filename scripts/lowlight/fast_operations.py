"""Operations that compute the same as those a TFOD model is made of, in less time."""

import collections
import contextlib
import itertools
import threading

import tensorflow as tf
from tensorflow.compat import v2  # what Keras calls tf

from lowlight.fast_losses import focal_loss

# oneDNN's filter gradient of a depthwise convolution takes several times as long with more columns.
_FAST_COLUMNS = 3
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
        members += [
            (v2.nn, "depthwise_conv2d", _with_fast_gradient(v2.nn.depthwise_conv2d)),
            (layers.Activation, "call", _with_swish(layers.Activation.call, "activation")),
            (layers.Lambda, "call", _with_swish(layers.Lambda.call, "function")),
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


def fast_attention(inputs, weights):
    """Adds up feature maps by normalized weights, as EfficientDet's fast attention does.

    Source: EfficientDet (arxiv.org/abs/1911.09070), section 3.3. TFOD stacks the maps and
    multiplies matrices of a single column.

    Args:
        inputs: n tensors of one shape.
        weights: [n, 1].
    """
    weights = tf.nn.relu(tf.convert_to_tensor(weights))
    weights = tf.unstack(tf.squeeze(weights / (tf.reduce_sum(weights) + 1e-4), -1))
    return tf.add_n([x * weight for x, weight in zip(inputs, weights, strict=True)])


def nearest_neighbor_upsampling(x, scale=None, height_scale=None, width_scale=None, name=None):
    """Returns [B, H, W, C] feature maps with each pixel repeated; the arguments are TFOD's.

    TFOD stacks and reshapes, for TPUs; the gradient of that copies several times.
    """
    height, width = tf.unstack(tf.shape(x)[1:3])
    size = [height * (height_scale or scale), width * (width_scale or scale)]
    return tf.compat.v1.image.resize_nearest_neighbor(x, size, name=name)


@tf.custom_gradient
def swish(x):
    """Returns x * sigmoid(x); its gradient is one pass over memory, compiled by XLA."""

    @tf.function(jit_compile=True)
    def gradient(dy, x):
        wide = tf.cast(x, tf.float32)
        sigmoid = tf.sigmoid(wide)
        dx = tf.cast(dy, tf.float32) * (sigmoid * (1 + wide * (1 - sigmoid)))
        return tf.cast(dx, x.dtype)

    return x * tf.sigmoid(x), lambda dy: gradient(dy, x)


def _with_swish(call, attribute):
    """Returns a layer's `call` that takes `swish` where the layer's function is one."""

    def call_layer(self, inputs, *args, **kwargs):
        is_swish = getattr(getattr(self, attribute), "__name__", "") in _SWISHES
        if is_swish and tf.convert_to_tensor(inputs).shape.is_fully_defined():
            return swish(inputs)  # XLA compiles anew for each shape
        return call(self, inputs, *args, **kwargs)

    return call_layer


def _with_fast_focal_loss(focal_loss_class):
    """Returns a focal loss's `_compute_loss` that takes `fast_losses.focal_loss` where it can."""
    compute = focal_loss_class._compute_loss

    def compute_loss(self, prediction_tensor, target_tensor, weights, class_indices=None):
        if class_indices is not None or not self._gamma or self._gamma < 1:
            return compute(self, prediction_tensor, target_tensor, weights, class_indices)
        return focal_loss(prediction_tensor, target_tensor, weights, self._gamma, self._alpha)

    return compute_loss


def _with_fast_gradient(convolve):
    """Returns a tf.nn.depthwise_conv2d whose filter's gradient is made of narrow filters'."""

    def depthwise_conv2d(x, kernel, strides, padding, data_format=None, dilations=None, name=None):
        kernel = tf.convert_to_tensor(kernel)
        plain = (
            kernel.shape[1] <= _FAST_COLUMNS
            or padding != "SAME"
            or data_format not in (None, "NHWC")
            or any(rate != 1 for rate in dilations or ())
            or not x.shape[1:].is_fully_defined()
        )
        if plain:
            return convolve(x, kernel, strides, padding, data_format, dilations, name)

        @tf.custom_gradient
        def with_gradient(x, kernel):
            def gradient(dy):
                dx = tf.nn.depthwise_conv2d_backprop_input(
                    tf.shape(x), kernel, dy, strides, padding
                )
                # In bfloat16 this takes several times as long.
                wide_x, wide_dy = tf.cast(x, tf.float32), tf.cast(dy, tf.float32)
                dw = filter_gradient(wide_x, kernel.shape, wide_dy, strides)
                return dx, tf.cast(dw, kernel.dtype)

            return convolve(x, kernel, strides, padding, data_format, dilations, name), gradient

        return with_gradient(x, kernel)

    return depthwise_conv2d


def filter_gradient(x, shape, dy, strides):
    """Returns the gradient of a depthwise convolution with padding SAME by its filter.

    Args:
        x: [N, H, W, C]; shape: the filter's, [R, S, C, M]; dy: [N, H', W', C * M].
        strides: [1, s, s, 1].
    """
    rows, columns, *channels = shape
    top, bottom = _same_padding(x.shape[1], rows, strides[1])
    left, _ = _same_padding(x.shape[2], columns, strides[2])
    reach = (dy.shape[2] - 1) * strides[2] - left  # the last column that tap 0 meets
    parts, done = [], 0
    while done < columns:
        first = max(min(done, columns - _FAST_COLUMNS), 0)
        width = min(_FAST_COLUMNS, columns)
        begin, end = first - left, reach + first + width  # the columns of x that these taps meet
        part = tf.nn.depthwise_conv2d_backprop_filter(
            x[:, :, max(begin, 0) : end],
            [rows, width, *channels],
            dy,
            strides,
            [[0, 0], [top, bottom], [max(-begin, 0), max(end - x.shape[2], 0)], [0, 0]],
        )
        parts.append(part[:, done - first :])
        done = first + width
    return tf.concat(parts, 1)


def _same_padding(size, taps, stride):
    """Returns what padding SAME adds before and after."""
    total = max((-(-size // stride) - 1) * stride + taps - size, 0)
    return total // 2, total - total // 2
