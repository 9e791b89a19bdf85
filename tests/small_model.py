"""A model small enough for a test, whose detections differ from each other."""

import re
from pathlib import Path

import numpy as np

from lowlight.dataset.classes import format_label_map

CLASSES = "Bicycle", "Boat", "Bottle"
_CONFIG = Path(__file__).parents[1] / "configs" / "sample.config"
_SETTINGS = {
    "num_classes": len(CLASSES),
    "num_iterations": 1,
    "num_filters": 16,
    "depth": 16,
    "num_layers_before_predictor": 1,
    "class_prediction_bias_init": 0,
}


def export_small_model(folder):
    """Writes a small EfficientDet of random weights as TFOD exports it, and its label map.

    Its scores lie far apart, which an untrained model's don't.

    Args:
        folder: gets saved_model/, checkpoint/, pipeline.config and label_map.txt.

    Returns:
        The path of saved_model/.
    """
    from lowlight.tfod import model as tfod

    text = _CONFIG.read_text()
    for setting, value in _SETTINGS.items():
        text = re.sub(rf"\b{setting}: \S+", f"{setting}: {value}", text)
    (folder / "pipeline.config").write_text(text)
    (folder / "label_map.txt").write_text(format_label_map(CLASSES))
    config = tfod.read_config(folder / "pipeline.config")
    tfod.save_export(random_module(config), config, 0, folder)
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
