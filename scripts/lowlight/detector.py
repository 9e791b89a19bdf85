"""Finds objects in an image with a trained model, whichever form it is stored in."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lowlight.boxes import unit_yxyx_to_pixel_xyxy
from lowlight.errors import DataError


class Detections(NamedTuple):
    """What was found in one image, best score first."""

    boxes: np.ndarray  # float32 [N, 4], pixel xyxy
    classes: np.ndarray  # int64 [N], ids from 1
    scores: np.ndarray  # float32 [N], 0 to 1

    def over(self, score):
        """Returns those that have this score at least."""
        chosen = self.scores >= score
        return Detections(self.boxes[chosen], self.classes[chosen], self.scores[chosen])


class Detector:
    """Runs a model on images of any size, without tracing it twice."""

    def __init__(self, function):
        """Takes a function of one uint8 tensor [1, H, W, 3] that returns TFOD's detection dict."""
        self._function = function

    def detect(self, image):
        """Returns the Detections in an RGB image, uint8 [H, W, 3].

        Raises:
            ValueError: the image's shape is too extreme for the model's resizer.
        """
        height, width = image.shape[:2]
        try:
            found = self._function(tf.constant(image[np.newaxis]))
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(f"{width}x{height} pixels can't be resized for the model") from error
        count = int(found["num_detections"][0])
        return Detections(
            unit_yxyx_to_pixel_xyxy(found["detection_boxes"][0, :count].numpy(), width, height),
            found["detection_classes"][0, :count].numpy().astype(np.int64),
            found["detection_scores"][0, :count].numpy(),
        )


def load_detector(model):
    """Loads a model.

    Args:
        model: what `runs.find_model` found. Only a checkpoint needs TFOD; a SavedModel doesn't
            import it.

    Returns:
        A Detector.

    Raises:
        DataError: a damaged SavedModel or checkpoint, one with another signature, or a checkpoint
            without its pipeline.config.
    """
    if not model.is_exported:
        from lowlight import tfod

        return Detector(tfod.detection_function(model.config_path, model.path))
    try:
        loaded = tf.saved_model.load(str(model.path))
        function = loaded.signatures["serving_default"]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        raise DataError(
            f"{model.path}: can't be loaded ({error}).\n  export_model.py writes it anew."
        ) from error
    names = set(function.structured_input_signature[1])
    if names != {"input_tensor"}:
        raise DataError(
            f"{model.path}: takes {', '.join(sorted(names))}, not one image as input_tensor.\n"
            "  export_model.py writes the form that is needed."
        )
    # A signature alone doesn't keep its variables alive, so `loaded` is kept with it.
    return Detector(lambda image, _kept=loaded: function(input_tensor=image))
