"""Models small enough for a test, whose detections differ from each other."""

from importlib.util import find_spec

import numpy as np
import pytest
from families import SSD

from lowlight.dataset.classes import format_label_map

CLASSES = "Bicycle", "Boat", "Bottle"
FIXED = "fixed_shape_resizer { height: 96 width: 96 }"
_PADDED = (
    "keep_aspect_ratio_resizer { min_dimension: 128 max_dimension: 128 pad_to_max_dimension: true }"
)

NEEDS_OPENVINO = pytest.mark.skipif(
    find_spec("openvino") is None, reason="needs requirements/openvino.txt"
)
NEEDS_ONNX = pytest.mark.skipif(
    not all(map(find_spec, ("onnxruntime", "tf2onnx", "onnx"))),
    reason="needs requirements/onnx.txt",
)
ENGINES = [
    "tensorflow",
    pytest.param("openvino", marks=NEEDS_OPENVINO),
    pytest.param("onnxruntime", marks=NEEDS_ONNX),
]


def two_convolutions():
    """Returns a config's text of an SSD whose network is built and traced in a second or two.

    Its colours are scaled and shifted, channel by channel, as those of a ResNet are.
    """
    import tensorflow as tf
    from object_detection.builders import model_builder
    from object_detection.meta_architectures.ssd_meta_arch import SSDKerasFeatureExtractor

    class TwoConvolutions(SSDKerasFeatureExtractor):
        def build(self, shape):
            self._first = tf.keras.layers.Conv2D(8, 7, 8, "same", activation="relu")
            self._second = tf.keras.layers.Conv2D(8, 3, 2, "same", activation="relu")
            super().build(shape)

        def preprocess(self, images):
            return (images - [123.68, 116.779, 103.939]) / 60

        def _extract_features(self, images):
            first = self._first(images)
            return [first, self._second(first)]

    known = model_builder.SSD_KERAS_FEATURE_EXTRACTOR_CLASS_MAP
    known.setdefault("two_convolutions", TwoConvolutions)
    text = SSD.replace("ssd_mobilenet_v2_keras", "two_convolutions")
    text = text.replace("num_layers: 6", "num_layers: 2")
    return text.replace("num_classes: 90", f"num_classes: {len(CLASSES)}")


def export_small_model(folder):
    """Writes a small SSD of random weights as TFOD exports it, and its label map.

    Its scores lie far apart, which an untrained model's don't. Its network is kept with it, for
    other processes, which don't know how to build it.

    Args:
        folder: gets saved_model/, checkpoint/, pipeline.config and label_map.txt.

    Returns:
        The path of saved_model/.
    """
    from lowlight.detector.detector import Detector
    from lowlight.tfod import model as tfod

    text = two_convolutions().replace(FIXED, _PADDED)
    text = text.replace("class_prediction_bias_init: -4.6", "class_prediction_bias_init: 0")
    (folder / "pipeline.config").write_text(text)
    (folder / "label_map.txt").write_text(format_label_map(CLASSES))
    config = tfod.read_config(folder / "pipeline.config")
    tfod.save_export(random_module(config), config, 0, folder)
    Detector(folder)
    return folder / "saved_model"


def random_module(config):
    """Returns TFOD's inference module of a config, with random weights whose scores lie apart."""
    from lowlight.tfod import model as tfod

    tfod.tf.keras.backend.set_learning_phase(False)
    model = tfod.build_model(config)
    module = tfod.exporter_lib_v2.DETECTION_MODULE_MAP["image_tensor"](model)
    module.__call__.get_concrete_function()  # makes the variables
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.shape.rank == 4:
            is_depthwise = "depthwise" in variable.name
            inputs = np.prod(variable.shape[: 2 if is_depthwise else 3])
            variable.assign(rng.normal(0, (2 / inputs) ** 0.5, variable.shape))
    return module


def assert_same_detections(found, expected, tolerance=1e-4):
    """Compares detections, whose order may differ where scores do by less than rounding.

    Args:
        found, expected: (boxes [N, 4] as fractions, classes [N], scores [N]).
    """
    assert len(found[2]) == len(expected[2])
    left = np.ones(len(found[2]), bool)
    for box, number, score in zip(*expected, strict=True):
        gaps = np.hstack([found[0] - box, (found[2] - score)[:, np.newaxis]])
        near = left & (found[1] == number) & (np.abs(gaps) <= tolerance).all(1)
        assert near.any(), (box, number, score)
        left[np.argmax(near)] = False
