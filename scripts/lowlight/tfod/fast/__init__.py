"""What computes the same as TFOD does in less time: `switched_on` is the one line that takes it.

Nobody needs it to understand a training: without that line a step has the same results.
"""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import tensorflow as tf
from object_detection.core import preprocessor
from object_detection.core.losses import SigmoidFocalClassificationLoss
from object_detection.meta_architectures import ssd_meta_arch
from object_detection.models import ssd_efficientnet_bifpn_feature_extractor
from object_detection.utils import ops
from object_detection.utils.bifpn_utils import BiFPNCombineLayer
from tensorflow.compat import v2  # what Keras calls tf

from lowlight.core.tensorflow import prepare_xla
from lowlight.tfod.fast.computations import (
    fast_attention,
    focal_loss,
    gated,
    nearest_neighbor_upsampling,
    pointwise,
    swish,
    swish_and_mean,
    with_fast_gradient,
)
from lowlight.tfod.randomness import replaced

_SWISHES = "simple_swish", "silu", "swish"
_EFFICIENTNET = ssd_efficientnet_bifpn_feature_extractor.SSDEfficientNetBiFPNKerasFeatureExtractor
# ImageNet's, which EfficientNet was trained with; in fractions of 255.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def switched_on() -> AbstractContextManager:
    """Makes TFOD's and Keras's layers, losses and preprocessing faster where they are traced.

    A graph traced in its block keeps the operations. All but preprocessing and the sum of a BiFPN
    node's inputs are for the CPU, and stay as they are where there is a GPU.
    """
    layers, architecture = tf.keras.layers, ssd_meta_arch.SSDMetaArch
    members = [
        (BiFPNCombineLayer, "call", _with_fast_attention(BiFPNCombineLayer.call)),
        (architecture, "preprocess", with_fast_images(architecture.preprocess)),
    ]
    if not tf.config.list_logical_devices("GPU"):
        with tf.init_scope():
            prepare_xla()  # which compiles `swish` and its like
        means, loss = {}, SigmoidFocalClassificationLoss
        members += [
            (v2.nn, "depthwise_conv2d", with_fast_gradient(v2.nn.depthwise_conv2d)),
            (layers.Conv2D, "convolution_op", _with_pointwise(layers.Conv2D.convolution_op)),
            (layers.Activation, "call", _with_swish(layers.Activation.call, "activation", means)),
            (layers.Lambda, "call", _with_swish(layers.Lambda.call, "function", means)),
            (layers.GlobalAveragePooling2D, "call", _with_means(means)),
            (layers.Multiply, "call", _with_gate(layers.Multiply.call)),
            (ops, "nearest_neighbor_upsampling", nearest_neighbor_upsampling),
            (loss, "_compute_loss", _with_fast_focal_loss(loss._compute_loss)),
        ]
    return replaced(members)


def switched_on_for_inference() -> AbstractContextManager:
    """As `switched_on`, for a network that isn't trained: what is faster on all devices."""
    return replaced(
        [
            (BiFPNCombineLayer, "call", _with_fast_attention(BiFPNCombineLayer.call)),
            (ops, "nearest_neighbor_upsampling", nearest_neighbor_upsampling),
        ]
    )


def _with_fast_attention(call):
    """Returns a BiFPN node's `call` that takes `fast_attention` where the node's method is that."""

    def call_layer(self, inputs):
        if self.combine_method != "fast_attention":
            return call(self, inputs)
        return fast_attention(inputs, self.per_input_weights)

    return call_layer


def _with_swish(call, attribute, means):
    """Returns a layer's `call` that takes `swish` where the layer's function is one.

    Where a GlobalAveragePooling2D follows, the output's mean is put into `means`, a dict by the
    output's `ref()`.
    """

    def call_layer(self, inputs, *args, **kwargs):
        is_swish = getattr(getattr(self, attribute), "__name__", "") in _SWISHES
        if not (is_swish and tf.convert_to_tensor(inputs).shape.is_fully_defined()):
            return call(self, inputs, *args, **kwargs)  # XLA compiles once for each shape
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


def _with_fast_focal_loss(compute):
    """Returns a focal loss's `_compute_loss` that takes `focal_loss` where it can."""

    def compute_loss(self, prediction_tensor, target_tensor, weights, class_indices=None):
        if class_indices is not None or not self._gamma or self._gamma < 1:
            return compute(self, prediction_tensor, target_tensor, weights, class_indices)
        return focal_loss(prediction_tensor, target_tensor, weights, self._gamma, self._alpha)

    return compute_loss


def with_fast_images(preprocess: Callable) -> Callable:
    """Returns an SSD's `preprocess` that gives the same, bit by bit, in fewer passes over memory.

    It takes float32 [B, H, W, 3], 0 to 255, and returns (float32 [B, H', W', 3], int32 [B, 3], the
    shapes without padding). An EfficientDet's normalization and padding are done on whole rows;
    TFOD does them channel by channel. Other models, and batches of several images, keep TFOD's.
    """

    def call(self, inputs):
        if not isinstance(self._feature_extractor, _EFFICIENTNET) or inputs.shape[0] != 1:
            return preprocess(self, inputs)
        image, shape = _with_whole_padding(self._image_resizer_fn)(_normalized(inputs[0]))
        return image[tf.newaxis], shape[tf.newaxis]

    return call


def _normalized(image):
    """Returns (image / 255 - mean) / deviation, [H, W, 3]."""
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    rows = tf.reshape(image, [height, width * 3])
    mean, deviation = (tf.tile(np.float32(v), [width]) for v in (_MEAN, _DEVIATION))
    normalized = tf.reshape((rows / 255.0 - mean) / deviation, [height, width, 3])
    normalized.set_shape(image.shape)
    return normalized


def _with_whole_padding(resizer):
    """Returns an image resizer of TFOD that pads all channels at once, where that is the same."""
    settings = getattr(resizer, "keywords", {})
    values = set(settings.get("per_channel_pad_value", ()))
    is_known = getattr(resizer, "func", None) is preprocessor.resize_to_range
    if not (is_known and settings["pad_to_max_dimension"] and len(values) == 1):
        return resizer
    side, value = settings["max_dimension"], values.pop()
    resize = functools.partial(resizer, pad_to_max_dimension=False)

    def resize_and_pad(image):
        image, size = resize(image)
        if image.shape[:2] != (side, side):
            padding = [[0, side - size[0]], [0, side - size[1]], [0, 0]]
            image = tf.pad(image, padding, constant_values=value)
            image.set_shape([side, side, 3])
        return image, size

    return resize_and_pad
