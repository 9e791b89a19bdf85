"""Finds objects in images with a trained model, whichever form it is stored in.

from lowlight.detector import Detector

detector = Detector("checkpoint/")            # an export, a run, or a folder of runs
image = np.asarray(Image.open("street.jpg"))  # RGB, uint8 [H, W, 3]
found = detector.detect(image).over(0.3)
print(found.boxes, found.classes, found.scores)
found.to_frame({1: "Bicycle", 2: "Boat"})     # pandas
supervision.Detections(**found.to_supervision())
"""

from typing import NamedTuple

import numpy as np

from lowlight.boxes import unit_yxyx_to_pixel_xyxy
from lowlight.detections import Detections
from lowlight.engines import choose_engine
from lowlight.errors import DataError
from lowlight.network import cached_network, keep_network, kept_folder
from lowlight.runs import Model, find_model


class Prepared(NamedTuple):
    """An image on its way through a model."""

    pixels: np.ndarray  # what the model takes, a batch of one
    size: tuple  # (width, height) of the image within it
    width: int  # of the image itself
    height: int


class Detector:
    """A model, loaded. It is traced once at most, whatever sizes the images have.

    `detect` is `finish(run(p), p)` of p = `prepare(image)`. The three may run in threads of their
    own; as many as `parallel` may be in `run` at a time.
    """

    def __init__(
        self,
        model_dir,
        engine: str = "tensorflow",
        precision: str = "float32",
        device: str = "auto",
        least_score: float = 0.0,
        most_iou: float | None = None,
        most: int | None = None,
    ):
        """Loads a model.

        Args:
            model_dir: path of an export, a run or a folder of runs, of which the newest is taken,
                or what `runs.find_model` returned.
            engine: "tensorflow", "openvino", or "auto", as `engines.choose_engine` says.
            precision: one of `engines.PRECISIONS`.
            device: as the engines say.
            least_score: detections with a lower score aren't looked for.
            most_iou: of two boxes of a class that overlap more, the better remains; by default as
                the model was trained to be used.
            most: detections in an image; by default as the model says.

        Raises:
            DataError: no model, a damaged one, one with another signature, a checkpoint without its
                pipeline.config, or an engine, a device or an option that isn't to be had.
        """
        self.model = model_dir if isinstance(model_dir, Model) else find_model(model_dir)
        chosen, self._least = choose_engine(engine), least_score
        network = _find_network(self.model, always=chosen.name != "tensorflow")
        if isinstance(network, _Whole):
            _check_whole(self.model, engine, (most_iou, most), precision)
            self._stages, self.engine, self.parallel = network, "tensorflow", 1
            return
        limits = {"most_iou": most_iou, "most": most, "most_each": most}
        limits = {name: value for name, value in limits.items() if value is not None}
        network = network._replace(suppression=network.suppression._replace(**limits))
        folder = kept_folder(self.model.path) if self.model.is_exported else None
        loaded = chosen(network, folder, precision, device)
        self._stages, self.engine, self.parallel = (
            _Bare(network, loaded),
            loaded.name,
            loaded.parallel,
        )

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
        return self._stages.prepare(image)

    def run(self, prepared: Prepared):
        """Runs the network; raises ValueError as `detect`."""
        return self._stages.run(prepared)

    def finish(self, raw, prepared: Prepared) -> Detections:
        """Returns the Detections, in pixels of the image, of what `run` gave."""
        unit_yxyx, classes, scores = self._stages.finish(raw, prepared, self._least)
        boxes = unit_yxyx_to_pixel_xyxy(unit_yxyx, prepared.width, prepared.height)
        found = Detections(boxes, classes, scores)
        return found.over(self._least) if self._least else found


class _Bare:
    """The network alone, with our own steps before and after it."""

    def __init__(self, network, engine):
        self._network, self._engine = network, engine

    def prepare(self, image):
        pixels, size = self._network.preprocess.apply(image)
        return Prepared(pixels[np.newaxis], size, image.shape[1], image.shape[0])

    def run(self, prepared):
        return tuple(part[0] for part in self._engine.run(prepared.pixels))

    def finish(self, raw, prepared, least):
        unit_yxyx, classes, scores = self._network.choose(*raw, prepared.size, least)
        return unit_yxyx, classes + 1, scores


class _Whole:
    """A model as TFOD runs it, for those that have no network of one shape, and checkpoints."""

    def __init__(self, function):
        """Takes a function of one uint8 tensor [1, H, W, 3] that returns TFOD's detection dict."""
        self._function = function

    def prepare(self, image):
        height, width = image.shape[:2]
        return Prepared(image[np.newaxis], (width, height), width, height)

    def run(self, prepared):
        import tensorflow as tf

        try:
            found = self._function(tf.constant(prepared.pixels))
        except tf.errors.InvalidArgumentError as error:
            size = f"{prepared.width}x{prepared.height}"
            raise ValueError(f"{size} pixels can't be resized for the model") from error
        count = int(found["num_detections"][0])
        names = "detection_boxes", "detection_classes", "detection_scores"
        return tuple(found[name][0, :count].numpy() for name in names)

    def finish(self, raw, prepared, least):
        boxes, classes, scores = raw
        return boxes, classes.astype(np.int64), scores


def load_detector(model, **options):
    """Loads a model that `runs.find_model` found, as `Detector` does."""
    return Detector(model, **options)


def _find_network(model, always):
    """Returns a model's Network, or a _Whole.

    A SavedModel's network is kept for the next start, which then is faster. A checkpoint is run
    whole unless its network is `always` wanted: freezing takes longer than it spares on a few
    hundred images.
    """
    if not model.is_exported:
        from lowlight import tfod

        function = tfod.detection_function(model.config_path, model.path)
        if not always:
            return _Whole(function)
        from lowlight.freezing import freeze_network

        return freeze_network(function.get_concrete_function()) or _Whole(function)
    network = cached_network(model.path)
    if network is not None:
        return network
    function, loaded = _load_signature(model.path)
    from lowlight.freezing import freeze_network

    network = freeze_network(function)
    if network is None:
        # A signature alone doesn't keep its variables alive, so `loaded` is kept with it.
        return _Whole(lambda image, _kept=loaded: function(input_tensor=image))
    keep_network(network, model.path)
    return network


def _load_signature(path):
    """Returns a SavedModel's signature and what keeps its variables alive."""
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        function = loaded.signatures["serving_default"]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        raise DataError(
            f"{path}: can't be loaded ({error}).\n  export_model.py writes it anew."
        ) from error
    names = set(function.structured_input_signature[1])
    if names != {"input_tensor"}:
        raise DataError(
            f"{path}: takes {', '.join(sorted(names))}, not one image as input_tensor.\n"
            "  export_model.py writes the form that is needed."
        )
    return function, loaded


def _check_whole(model, engine, limits, precision):
    """Raises DataError where a model that is run whole can't be run as wanted."""
    is_plain = engine != "openvino" and precision != "bfloat16"
    if not is_plain or any(limit is not None for limit in limits):
        what = "a checkpoint" if not model.is_exported else "a model of this architecture"
        raise DataError(
            f"{model.path}: {what} is run whole, by TensorFlow, in float32, with its own limits.\n"
            "  export_model.py makes an export of a checkpoint; otherwise leave out --engine, "
            "--precision, --nms_iou and --max_detections."
        )
