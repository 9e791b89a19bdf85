"""Shows in TensorBoard what a model is trained on, and what it finds beside what is there."""

import numpy as np
import tensorflow as tf
from PIL import Image, ImageStat

from lowlight.detector.detector import Detections
from lowlight.images.boxes import unit_yxyx_to_pixel_xyxy
from lowlight.images.drawing import brightened, draw_detections, draw_frames

_MOST_IMAGES = 3  # of a batch, as TFOD shows
_SIDE = 640  # pixels of the longer side of an evaluated image
_LEAST_SCORE = 0.3  # of a detection that is drawn, as in run_inference.py


class TrainingImages:
    """Shows images of training batches as the model gets them: augmented, with their boxes."""

    def __init__(self, model, fields):
        """Takes TFOD's detection model and its names of a batch's tensors (InputDataFields)."""
        self._fields = fields
        # What preprocessing makes of black and of white tells how to undo it.
        ends = tf.stack([tf.zeros([64, 64, 3]), tf.fill([64, 64, 3], 255.0)])
        seen = tf.cast(model.preprocess(ends)[0], tf.float32)
        self._black, self._white = seen[:, seen.shape[1] // 2, seen.shape[2] // 2].numpy()

    def write(self, writer, step, features, labels):
        """Writes a batch's first images at a training step, under TFOD's tag.

        Args:
            writer: a tf.summary writer.
            step: int.
            features, labels: the batch, or a replica's part of it.
        """
        pictures = self.draw(features, labels)
        with writer.as_default(step=step):
            tf.summary.image("train_input_images", pictures, max_outputs=_MOST_IMAGES)

    def draw(self, features, labels):
        """Returns a batch's first images as they are drawn, uint8 [up to 3, H, W, 3] RGB."""
        names = self._fields
        images = tf.cast(features[names.image][:_MOST_IMAGES], tf.float32).numpy()
        pixels = 255 * (images - self._black) / (self._white - self._black)
        pictures = []
        for number, image in enumerate(np.clip(pixels, 0, 255).astype(np.uint8)):
            count = int(labels[names.num_groundtruth_boxes][number])
            boxes = labels[names.groundtruth_boxes][number][:count].numpy()
            classes = labels[names.groundtruth_classes][number][:count].numpy()
            height, width = image.shape[:2]
            picture = _brightened(Image.fromarray(image))
            pixel_xyxy = unit_yxyx_to_pixel_xyxy(boxes, width, height)
            draw_frames(picture, pixel_xyxy, classes.argmax(axis=-1) + 1, max(1, width // 200))
            pictures.append(np.asarray(picture))
        return np.stack(pictures)


def draw_beside_truth(image, detections, truth, names):
    """Draws detections on the left and ground truth on the right, both on a brightened image.

    Args:
        image: uint8 [H, W, 3] RGB.
        detections: Detections in its pixels; those with a score of 0.3 are drawn.
        truth: (boxes float32 [M, 4] pixel xyxy, classes int [M] from 1).
        names: {class id: name}.

    Returns:
        uint8 [h, 2 w, 3], with the longer side of an image at most 640 pixels.
    """
    picture = Image.fromarray(image)
    scale = min(1.0, _SIDE / max(picture.size))
    picture = _brightened(picture.resize([max(1, round(side * scale)) for side in picture.size]))
    both = Image.new("RGB", (2 * picture.width, picture.height))
    boxes, classes = truth
    shown = (
        detections.over(_LEAST_SCORE),
        Detections(boxes, classes, np.ones(len(classes), np.float32)),
    )
    for number, found in enumerate(shown):
        half = picture.copy()
        draw_detections(half, found._replace(boxes=found.boxes * scale), names)
        both.paste(half, (number * picture.width, 0))
    return np.asarray(both)


def write_beside_truth(writer, step, pictures):
    """Writes what `draw_beside_truth` returned of some images, under TFOD's tags."""
    with writer.as_default(step=step):
        for number, picture in enumerate(pictures):
            tf.summary.image(f"eval_side_by_side_{number}", picture[np.newaxis])


def _brightened(picture):
    return brightened(picture, ImageStat.Stat(picture.convert("L")).mean[0])
