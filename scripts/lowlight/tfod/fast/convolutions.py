"""Convolutions that compute the same as TensorFlow's, in less time on a CPU."""

import tensorflow as tf

# oneDNN's filter gradient of a depthwise convolution takes several times as long with more columns.
_FAST_COLUMNS = 3


def pointwise(x, kernel):
    """Returns the convolution of [N, H, W, C] with a [1, 1, C, C'] filter, as a matrix product.

    oneDNN's product takes some tenths less time than its convolution, the gradients' too.
    """
    _, height, width, channels = x.shape
    kernel = tf.reshape(kernel, [channels, kernel.shape[-1]])
    product = tf.matmul(tf.reshape(x, [-1, channels]), kernel)
    return tf.reshape(product, [-1, height, width, kernel.shape[-1]])


def with_fast_gradient(convolve):
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
    padding = (_same_padding(x.shape[axis], shape[axis - 1], strides[axis]) for axis in (1, 2))
    x = tf.pad(x, [[0, 0], *padding, [0, 0]])
    reach, parts = (dy.shape[2] - 1) * strides[2], []
    for first in range(0, columns, _FAST_COLUMNS):
        width = min(_FAST_COLUMNS, columns - first)
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
