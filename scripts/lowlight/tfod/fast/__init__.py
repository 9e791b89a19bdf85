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
from object_detection.meta_architectures.ssd_meta_arch import SSDMetaArch
from object_detection.models import ssd_efficientnet_bifpn_feature_extractor
from object_detection.utils import ops
from object_detection.utils.bifpn_utils import BiFPNCombineLayer
from tensorflow.compat import v2  # what Keras calls tf

from lowlight.core.tensorflow import prepare_xla
from lowlight.tfod.fast import computations
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
    layers = tf.keras.layers
    members = [
        _faster(BiFPNCombineLayer, "call", _add_up),
        _faster(SSDMetaArch, "preprocess", _preprocess),
    ]
    if not tf.config.list_logical_devices("GPU"):
        with tf.init_scope():
            prepare_xla()  # which compiles `swish` and its like
        members += [
            _faster(v2.nn, "depthwise_conv2d", _convolve_depthwise),
            _faster(layers.Conv2D, "convolution_op", _convolve_pointwise),
            _faster(layers.Activation, "call", _swish),
            _faster(layers.Lambda, "call", _swish),
            _faster(layers.GlobalAveragePooling2D, "call", _known_mean),
            _faster(layers.Multiply, "call", _gate),
            _faster(SigmoidFocalClassificationLoss, "_compute_loss", _focal_loss),
            (ops, "nearest_neighbor_upsampling", computations.nearest_neighbor_upsampling),
        ]
    return replaced(members)


def switched_on_for_inference() -> AbstractContextManager:
    """As `switched_on`, for a network that isn't trained: what is faster on all devices."""
    return replaced(
        [
            _faster(BiFPNCombineLayer, "call", _add_up),
            (ops, "nearest_neighbor_upsampling", computations.nearest_neighbor_upsampling),
        ]
    )


def _faster(owner: object, name: str, function: Callable) -> tuple[object, str, Callable]:
    """Returns what `replaced` takes to call the function first, and the original if it gives None.

    The functions below are such: they take what the original takes, and give None where it isn't
    what they compute.
    """
    original = getattr(owner, name)

    @functools.wraps(original)
    def call(*args, **kwargs):
        found = function(*args, **kwargs)
        return original(*args, **kwargs) if found is None else found

    return owner, name, call


def _add_up(node, inputs):
    if node.combine_method != "fast_attention":
        return None
    return computations.fast_attention(inputs, node.per_input_weights)


def _swish(layer, inputs, *args, **kwargs):
    """Notes the mean of its outputs for a GlobalAveragePooling2D that follows."""
    layers = tf.keras.layers
    function = layer.function if isinstance(layer, layers.Lambda) else layer.activation
    is_swish = getattr(function, "__name__", "") in _SWISHES
    if not (is_swish and tf.convert_to_tensor(inputs).shape.is_fully_defined()):
        return None  # XLA compiles once for each shape
    if not any(isinstance(n.layer, layers.GlobalAveragePooling2D) for n in layer.outbound_nodes):
        return computations.swish(inputs)
    outputs, outputs_mean = computations.swish_and_mean(inputs)
    outputs.known_mean = outputs_mean
    return outputs


def _known_mean(layer, inputs):
    is_plain = layer.data_format == "channels_last" and not layer.keepdims
    return getattr(inputs, "known_mean", None) if is_plain else None


def _gate(layer, inputs):
    """Multiplies a feature map by a gate."""
    shapes = [value.shape for value in inputs]
    is_gate = len(shapes) == 2 and all(len(s) == 4 and s.is_fully_defined() for s in shapes)
    if not is_gate or shapes[1] != [shapes[0][0], 1, 1, shapes[0][3]]:
        return None
    return computations.gated(*inputs)


def _convolve_pointwise(layer, inputs, kernel):
    """Not with a bias: oneDNN adds it and its gradient up within the convolutions."""
    is_pointwise = (
        layer.kernel_size == layer.strides == layer.dilation_rate == (1, 1)
        and layer.data_format == "channels_last"
        and layer.groups == 1
        and not layer.use_bias
        and inputs.shape.rank == 4
        and inputs.shape[1:].is_fully_defined()
    )
    return computations.pointwise(inputs, tf.convert_to_tensor(kernel)) if is_pointwise else None


def _convolve_depthwise(x, kernel, strides, padding, data_format=None, dilations=None, name=None):
    is_plain = (
        padding == "SAME"
        and data_format in (None, "NHWC")
        and all(rate == 1 for rate in dilations or ())
        and x.shape[1:].is_fully_defined()
    )
    if not is_plain or kernel.shape[1] <= computations.FAST_COLUMNS:
        return None
    return computations.depthwise(x, tf.convert_to_tensor(kernel), strides)


def _focal_loss(loss, logits, targets, weights, class_indices=None):
    if class_indices is not None or not loss._gamma or loss._gamma < 1:
        return None
    return computations.focal_loss(logits, targets, weights, loss._gamma, loss._alpha)


def _preprocess(model, inputs):
    """Gives the same, bit by bit, in fewer passes over memory: whole rows, not channel by channel.

    It takes float32 [1, H, W, 3], 0 to 255, of an EfficientDet, and returns (float32
    [1, H', W', 3], int32 [1, 3], the shape without padding).
    """
    if not isinstance(model._feature_extractor, _EFFICIENTNET) or inputs.shape[0] != 1:
        return None
    image, shape = _resized(model._image_resizer_fn, _normalized(inputs[0]))
    return image[tf.newaxis], shape[tf.newaxis]


def _normalized(image):
    """Returns (image / 255 - mean) / deviation, [H, W, 3]."""
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    rows = tf.reshape(image, [height, width * 3])
    mean, deviation = (tf.tile(np.float32(v), [width]) for v in (_MEAN, _DEVIATION))
    normalized = tf.reshape((rows / 255.0 - mean) / deviation, [height, width, 3])
    normalized.set_shape(image.shape)
    return normalized


def _resized(resizer, image):
    """Returns what an image resizer of TFOD does, all channels padded at once if they are alike."""
    settings = getattr(resizer, "keywords", {})
    values = set(settings.get("per_channel_pad_value", ()))
    is_known = getattr(resizer, "func", None) is preprocessor.resize_to_range
    if not (is_known and settings["pad_to_max_dimension"] and len(values) == 1):
        return resizer(image)
    image, size = resizer(image, pad_to_max_dimension=False)
    side = settings["max_dimension"]
    if image.shape[:2] != (side, side):
        padding = [[0, side - size[0]], [0, side - size[1]], [0, 0]]
        image = tf.pad(image, padding, constant_values=values.pop())
        image.set_shape([side, side, 3])
    return image, size
