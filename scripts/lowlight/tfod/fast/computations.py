"""What a TFOD model is made of, computed the same in less time on a CPU."""

from collections.abc import Sequence

import tensorflow as tf

# oneDNN's filter gradient of a depthwise convolution takes several times as long with more columns.
FAST_COLUMNS = 3


def pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the convolution of [N, H, W, C] with a [1, 1, C, C'] filter, as a matrix product.

    oneDNN's product takes some tenths less time than its convolution, the gradients' too.
    """
    _, height, width, channels = x.shape
    kernel = tf.reshape(kernel, [channels, kernel.shape[-1]])
    product = tf.matmul(tf.reshape(x, [-1, channels]), kernel)
    return tf.reshape(product, [-1, height, width, kernel.shape[-1]])


def depthwise(x: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int]) -> tf.Tensor:
    """Returns tf.nn.depthwise_conv2d with padding SAME; its gradient is by `filter_gradient`."""

    @tf.custom_gradient
    def convolve(x, kernel):
        def gradient(dy):
            dx = tf.nn.depthwise_conv2d_backprop_input(tf.shape(x), kernel, dy, strides, "SAME")
            # In bfloat16 this takes several times as long.
            wide_x, wide_dy = tf.cast(x, tf.float32), tf.cast(dy, tf.float32)
            dw = filter_gradient(wide_x, kernel.shape, wide_dy, strides)
            return dx, tf.cast(dw, kernel.dtype)

        return tf.nn.depthwise_conv2d(x, kernel, strides, "SAME"), gradient

    return convolve(x, kernel)


def filter_gradient(
    x: tf.Tensor, shape: Sequence[int], dy: tf.Tensor, strides: Sequence[int]
) -> tf.Tensor:
    """Returns the gradient of a depthwise convolution with padding SAME by its filter, in parts.

    Its input is [N, H, W, C], the filter [R, S, C, M], the strides [1, s, s, 1]; `dy` is the
    gradient by its output, [N, H', W', C * M].
    """
    rows, columns, *channels = shape
    padding = (_same_padding(x.shape[axis], shape[axis - 1], strides[axis]) for axis in (1, 2))
    x = tf.pad(x, [[0, 0], *padding, [0, 0]])
    reach, parts = (dy.shape[2] - 1) * strides[2], []
    for first in range(0, columns, FAST_COLUMNS):
        width = min(FAST_COLUMNS, columns - first)
        met = x[:, :, first : first + reach + width]  # the columns that these taps meet
        part = tf.nn.depthwise_conv2d_backprop_filter(
            met, [rows, width, *channels], dy, strides, "VALID"
        )
        parts.append(part)
    return tf.concat(parts, 1)


def _same_padding(size, taps, stride):
    """Returns what padding SAME adds before and after."""
    total = max((-(-size // stride) - 1) * stride + taps - size, 0)
    return total // 2, total - total // 2


def fast_attention(inputs: Sequence[tf.Tensor], weights: tf.Tensor) -> tf.Tensor:
    """Adds up feature maps of one shape by normalized weights, [n, 1], as EfficientDet does.

    Source: EfficientDet (arxiv.org/abs/1911.09070), section 3.3. TFOD stacks the maps and
    multiplies matrices of a single column.
    """
    weights = tf.nn.relu(tf.convert_to_tensor(weights))
    weights = tf.unstack(tf.squeeze(weights / (tf.reduce_sum(weights) + 1e-4), -1))
    return tf.add_n([x * weight for x, weight in zip(inputs, weights, strict=True)])


def nearest_neighbor_upsampling(
    x: tf.Tensor,
    scale: int | None = None,
    height_scale: int | None = None,
    width_scale: int | None = None,
    name: str | None = None,
) -> tf.Tensor:
    """Returns [B, H, W, C] feature maps with each pixel repeated; the arguments are TFOD's.

    TFOD stacks and reshapes, for TPUs; the gradient of that copies several times.
    """
    is_known = x.shape[1:3].is_fully_defined()
    height, width = x.shape[1:3] if is_known else tf.unstack(tf.shape(x)[1:3])
    size = [height * (height_scale or scale), width * (width_scale or scale)]
    return tf.compat.v1.image.resize_nearest_neighbor(x, size, name=name)


@tf.custom_gradient
def swish(x: tf.Tensor) -> tf.Tensor:
    """Returns x * sigmoid(x); its gradient is one pass over memory, compiled by XLA."""

    def gradient(dy):
        return _swish_gradient(dy, x)

    return x * tf.sigmoid(x), gradient


@tf.custom_gradient
def swish_and_mean(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns swish of [N, H, W, C] and its mean over H and W, [N, C].

    Both gradients are one pass over memory, compiled by XLA. All of the shape is static.
    """
    y = x * tf.sigmoid(x)
    size = x.shape[1] * x.shape[2]

    def gradient(dy, dmean):
        return _swish_gradient(dy, x, dmean[:, tf.newaxis, tf.newaxis] / size)

    return (y, tf.squeeze(_spatial_mean(y), [1, 2])), gradient


@tf.custom_gradient
def gated(x: tf.Tensor, gate: tf.Tensor) -> tf.Tensor:
    """Returns [N, H, W, C] times [N, 1, 1, C], as in squeeze and excitation; shapes are static."""

    def gradient(dy):
        return _product(dy, gate), _spatial_mean(dy * x) * (x.shape[1] * x.shape[2])

    return _product(x, gate), gradient


@tf.function(jit_compile=True)
def _product(x, y):
    return x * y


@tf.function(jit_compile=True)
def _swish_gradient(dy, x, more=0.0):
    """Returns the gradient of x by that of swish(x), which is dy + more."""
    wide = tf.cast(x, tf.float32)
    sigmoid = tf.sigmoid(wide)
    dy = tf.cast(dy, tf.float32) + tf.cast(more, tf.float32)
    return tf.cast(dy * (sigmoid * (1 + wide * (1 - sigmoid))), x.dtype)


def _spatial_mean(x):
    """Returns the mean over H and W of [N, H, W, C], [N, 1, 1, C], with oneDNN's pooling."""
    return tf.nn.avg_pool2d(x, x.shape[1:3], 1, "VALID")


def focal_loss(
    logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, gamma: float, alpha: float | None
) -> tf.Tensor:
    """Returns the sigmoid focal loss of each logit, of the logits' shape, [B, N, C].

    Source: RetinaNet (arxiv.org/abs/1708.02002), equation 5. TFOD takes general powers, and their
    gradient again: with m for 1 - p_t, this shares m ** (gamma - 1) between loss and gradient.

    Targets, [B, N, C], are from 0 to 1; weights are [B, N, C] or [B, N, 1]; they get no gradient.
    Gamma is 1 or more; alpha is the weight of positives, and None weighs both alike.
    """

    @tf.custom_gradient
    def loss(logits):
        p = tf.sigmoid(logits)
        m = p + targets * (1 - 2 * p)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
        factor = weights if alpha is None else weights * (1 - alpha + (2 * alpha - 1) * targets)
        factor = factor * m ** (gamma - 1)  # TensorFlow makes a root of 0.5

        def gradient(upstream):
            of_m = gamma * p * (1 - p) * (1 - 2 * targets)
            return upstream * factor * (of_m * entropy + m * (p - targets))

        return factor * m * entropy, gradient

    return loss(logits)
