"""Builds a Network from TFOD's Keras model, and checks that it finds what the model finds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from lowlight.core.tensorflow import share_gpus, silent_stderr, whole_float32
from lowlight.detector.engines import Setup, TensorFlowEngine
from lowlight.detector.network import ENCODINGS, SCORES, Network, Preprocess
from lowlight.detector.postprocess import BoxDecoder, Suppression
from lowlight.detector.runs import Model
from lowlight.tfod import model as tfod

_TOLERANCE = 1e-4
# Images that are tried, (width, height): square, 4:3, 16:9, tall, and tiny.
_TRIED = (300, 300), (640, 480), (320, 180), (90, 250), (3, 2)
_RAW_BOXES, _RAW_SCORES = "raw_detection_boxes", "raw_detection_scores"


def build_module(
    model: Model, checkpoint: Path | str, raw_weights: bool
) -> tuple[tf.Module, Message]:
    """Returns TFOD's inference module, as `tfod.detection_module`, and the config of a Model."""
    share_gpus()
    config = tfod.read_config(model.config_path)
    return tfod.detection_module(config, checkpoint, raw_weights), config


def trace_network(module: tf.Module, config: Message, function: Callable) -> Network | None:
    """Returns the Network of a model, None where it has none that finds what the model finds.

    TFOD's SSD models, EfficientDet among them, resize to one shape, run their network and suppress.

    Args:
        module, config: of `build_module`.
        function: the whole model, as the signature of TFOD's exports: uint8 [1, H, W, 3] -> TFOD's
            dict of detections.
    """
    if config.model.WhichOneof("model") != "ssd":
        return None
    ssd = config.model.ssd
    preprocess = _read_resizer(ssd.image_resizer, module)
    suppression = _read_suppression(ssd.post_processing.batch_non_max_suppression)
    is_usual = ssd.box_coder.WhichOneof("box_coder_oneof") == "faster_rcnn_box_coder"
    if preprocess is None or suppression is None or not is_usual:
        return None
    traced = tfod.trace_network(module, preprocess.height, preprocess.width)
    blank = tf.zeros([1, preprocess.height, preprocess.width, 3])
    decoder = _read_decoder(ssd.box_coder.faster_rcnn_box_coder, traced(blank)["anchors"].numpy())
    network = Network(_freeze(traced), preprocess, suppression, decoder)
    with whole_float32():
        return network if _finds_the_same(network, module, function) else None


def _read_resizer(config, module):
    """Returns the Preprocess of an image_resizer, None for one that doesn't give one shape."""
    kind = config.WhichOneof("image_resizer_oneof")
    resizer = getattr(config, kind)
    if kind == "fixed_shape_resizer":
        height, width, shortest, padding = resizer.height, resizer.width, None, ()
    elif kind == "keep_aspect_ratio_resizer" and resizer.pad_to_max_dimension:
        height = width = resizer.max_dimension
        shortest, padding = resizer.min_dimension, resizer.per_channel_pad_value
    else:
        return None
    if resizer.resize_method or resizer.convert_to_grayscale:  # not bilinear, which is 0
        return None
    black, white = (
        tfod.normalized(module, np.full((1, 1, 3), value, np.uint8))[0, 0] for value in (0, 255)
    )
    colours = (white - black) / 255, black, padding or (0, 0, 0)
    return Preprocess(height, width, shortest, *(tuple(map(float, part)) for part in colours))


def _read_suppression(config):
    """Returns the Suppression of a batch_non_max_suppression, None for a form of it that isn't."""
    if config.use_class_agnostic_nms or config.use_combined_nms:
        return None
    if not config.change_coordinate_frame:
        return None
    return Suppression(
        config.score_threshold,
        config.iou_threshold,
        config.max_detections_per_class,
        config.max_total_detections,
        config.soft_nms_sigma,
    )


def _read_decoder(config, anchors):
    """Returns the BoxDecoder of a faster_rcnn_box_coder for anchors, float32 [N, 4], unit yxyx."""
    sides = anchors[:, 2:] - anchors[:, :2]
    scale = config.y_scale, config.x_scale, config.height_scale, config.width_scale
    return BoxDecoder(np.hstack([anchors[:, :2] + sides / 2, sides]), scale)


def _freeze(traced):
    """Returns a traced network as a serialized GraphDef with its weights."""
    with silent_stderr():
        frozen = convert_variables_to_constants_v2(traced, lower_control_flow=False)
    names = [name.split(":")[0] for name in (ENCODINGS, SCORES)]
    graph = tf.compat.v1.graph_util.extract_sub_graph(frozen.graph.as_graph_def(), names)
    return graph.SerializeToString()


def _finds_the_same(network, module, function):
    """Says whether each step of a Network gives what that of the model gives, on the CPU.

    That the last step, the choice of boxes, is given the model's own boxes and scores makes the
    comparison one of numbers: of boxes that score alike, rounding alone decides which one hides
    the other.
    """
    engine, rng = TensorFlowEngine(network, Setup(device="cpu")), np.random.default_rng(0)
    for width, height in _TRIED:
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        with tf.device("cpu"):
            pixels, shape = tfod.preprocessed(module, image)
            found = {name: value[0] for name, value in function(image[np.newaxis]).items()}
        own_pixels, size = network.prepare(image)
        if size != (shape[1], shape[0]) or not _is_near(own_pixels, pixels):
            return False
        encodings, scores = (part[0] for part in engine.run(own_pixels[np.newaxis]))
        boxes, raw_boxes = network.decoder.decode(encodings, slice(None)), found[_RAW_BOXES].numpy()
        raw_scores = found[_RAW_SCORES].numpy()[:, -scores.shape[1] :]
        if not (_is_near(boxes, raw_boxes) and _is_near(scores, raw_scores)):
            return False
        chosen = network._replace(decoder=None).choose(raw_boxes, raw_scores, size)
        if not _is_chosen(chosen, found):
            return False
    return True


def _is_near(values, expected):
    return values.shape == expected.shape and np.allclose(values, expected, _TOLERANCE, _TOLERANCE)


def _is_chosen(chosen, found):
    """Says whether detections, as of `Network.choose`, are those of TFOD's dict.

    Their order may differ: Soft-NMS computes scores, and of those alike rounding decides.
    """
    count = int(found["num_detections"])
    names = "detection_boxes", "detection_classes", "detection_scores"
    boxes, classes, scores = (found[name].numpy()[:count] for name in names)
    own, expected = map(np.column_stack, (chosen, (boxes, classes - 1, scores)))
    near = np.isclose(own[:, np.newaxis], expected, _TOLERANCE, _TOLERANCE).all(2)
    return len(own) == count and near.any(0).all() and near.any(1).all()
