"""Finds objects in images with a trained model, whichever form it is stored in.

from lowlight.detector.detector import Detector

detector = Detector("checkpoint/")            # an export, a run, or a folder of runs
image = np.asarray(Image.open("street.jpg"))  # RGB, uint8 [H, W, 3]
found = detector.detect(image).over(0.3)
print(found.boxes, found.classes, found.scores)
found.to_frame({1: "Bicycle", 2: "Boat"})     # pandas
supervision.Detections(**found.to_supervision())
"""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.detector.detections import Detections, merge_views, views_of
from lowlight.detector.engines import Setup
from lowlight.detector.loading import WholeModel, load_network
from lowlight.detector.runs import Model, find_model
from lowlight.images.boxes import unit_yxyx_to_pixel_xyxy

# Views of an image that are made ready at once; more would hold too much memory.
_MOST_READY = 4


class Input(NamedTuple):
    """What a network takes of one view."""

    pixels: np.ndarray  # a batch of one
    resized: tuple  # (width, height) of the view within it
    size: tuple  # (width, height) of the view itself


class Prepared(NamedTuple):
    """An image on its way through a model."""

    regions: list  # [[View]], as of `views_of`
    inputs: list[Input] | None  # of each view; None makes them while the network runs
    image: np.ndarray | None  # held where there are no inputs
    size: tuple  # (width, height) of the image, in pixels

    def views(self) -> list:
        """Returns the views of all regions."""
        return list(itertools.chain.from_iterable(self.regions))


class Detector:
    """A model, loaded. It is traced once at most, whatever sizes the images have.

    `detect` is `finish(run(p), p)` of p = `prepare(image)`. The three may run in threads of their
    own; as many as `parallel` may be in `run` or `run_many` at a time.
    """

    def __init__(
        self,
        model_dir: Path | str | Model,
        engine: str | None = None,
        precision: str = "float32",
        device: str = "auto",
        least_score: float = 0.0,
        most_iou: float | None = None,
        most: int | None = None,
        tta: bool = False,
        tile: int | None = None,
        batch_size: int | None = None,
    ):
        """Loads a model.

        Args:
            model_dir: an export, a run, a folder of runs, of which the newest is taken, or an
                ONNX file of export_model.py.
            engine: as `engines.choose_engine` takes it; None is TensorFlow, for an ONNX file ONNX
                Runtime.
            precision, device, batch_size: as in `engines.Setup`.
            least_score: detections with a lower score aren't looked for.
            most_iou: of two boxes of a class that overlap more, the better remains; by default as
                the model was trained to be used.
            most: detections in an image; by default as the model says.
            tta, tile: look at an image several times, as `detections.views_of` says.

        Raises:
            DataError: no model, a damaged one, one with another signature, a checkpoint without its
                pipeline.config, or an engine, a device or an option that isn't to be had.
        """
        self.model = find_model(model_dir)
        self._least, self._tta, self._tile = least_score, tta, tile
        limits = {"most_iou": most_iou, "most": most}
        limits = {name: value for name, value in limits.items() if value is not None}
        setup = Setup(precision, device, batch_size)
        self._network, self._engine = load_network(self.model, limits, engine, setup)
        self.engine, self.parallel = self._engine.name, self._engine.parallel
        self.batch_size, self.runs_whole = self._engine.batch, isinstance(self._network, WholeModel)

    def detect(self, image: np.ndarray) -> Detections:
        """Returns the Detections in an RGB image, uint8 [H, W, 3].

        Raises:
            ValueError: not such an array, or too extreme a shape for the model's resizer.
        """
        prepared = self.prepare(image)
        return self.finish(self.run(prepared), prepared)

    def prepare(self, image: np.ndarray) -> Prepared:
        """Returns the image as the model takes it; raises as `detect`."""
        image = np.asarray(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"not an RGB image, uint8 [H, W, 3]: {image.dtype} {image.shape}")
        size = image.shape[1], image.shape[0]
        found = Prepared(views_of(*size, self._tta, self._tile), None, image, size)
        if len(found.views()) > _MOST_READY:
            return found
        return found._replace(inputs=self._inputs(found.views(), image), image=None)

    def _inputs(self, views, image):
        inputs = []
        for view in views:
            pixels, resized = self._network.prepare(view.pixels(image))
            inputs.append(Input(pixels[np.newaxis], resized, (view.width, view.height)))
        return inputs

    def run(self, prepared: Prepared) -> list:
        """Runs the network; raises ValueError as `detect`."""
        return self.run_many([prepared])[0]

    def run_many(self, prepared: list[Prepared]) -> list:
        """Runs the network on several images, as many at a time as it takes; as `run` of each."""
        raws = self._run_inputs([given for one in prepared for given in one.inputs or ()])
        return [
            self._run_in_parts(one)
            if one.inputs is None
            else list(itertools.islice(raws, len(one.inputs)))
            for one in prepared
        ]

    def _run_inputs(self, inputs):
        """Yields what the network gives for each input."""
        for start in range(0, len(inputs), self.batch_size):
            pixels = [given.pixels for given in inputs[start : start + self.batch_size]]
            found = self._engine.run(np.concatenate(pixels) if len(pixels) > 1 else pixels[0])
            yield from zip(*found, strict=True)

    def _run_in_parts(self, prepared):
        """Returns what is found in each view, whose inputs are held for one batch at a time."""
        views, found = prepared.views(), []
        for start in range(0, len(views), self.batch_size):
            inputs = self._inputs(views[start : start + self.batch_size], prepared.image)
            found += map(self._finish, self._run_inputs(inputs), inputs)
        return found

    def _finish(self, raw, given):
        """Returns the Detections of one view in its pixels."""
        least = self._least / 3 if self._tta else self._least  # of three looks one may be enough
        boxes, classes, scores = self._network.choose(*raw, given.resized, least)
        pixels = unit_yxyx_to_pixel_xyxy(boxes, *given.size)
        found = Detections(pixels, classes + 1, scores)
        return found.over(least) if least else found

    def finish(self, raw: list, prepared: Prepared) -> Detections:
        """Returns the Detections, in pixels of the image, of what `run` gave."""
        found = raw
        if prepared.inputs is not None:
            found = list(map(self._finish, raw, prepared.inputs))
        if len(found) == 1:
            return found[0]
        limits = self._network.suppression
        size, most_iou, most = prepared.size, limits.most_iou, limits.most
        return merge_views(prepared.regions, found, size, most_iou, most).over(self._least)
