"""Loads a model as three stages: what it takes of an image, its network, and what that found."""

from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError
from lowlight.detector.engines import choose_engine
from lowlight.detector.network import cached_network, keep_network, kept_folder


class Input(NamedTuple):
    """What a model takes of one view."""

    pixels: np.ndarray  # a batch of one
    size: tuple  # (width, height) of the view within it


def load_stages(model, limits, engine, precision, device, batch_size):
    """Returns a model's stages, with the arguments of `detector.Detector`; raises as that.

    Args:
        model: runs.Model.
        limits: {"most_iou", "most"}, those that aren't to be the model's.
    """
    chosen = choose_engine(engine)
    network = _find_network(model, always=chosen.name != "tensorflow")
    if isinstance(network, _Whole):
        _check_whole(model, engine, limits, precision)
        return network
    theirs = network.suppression
    most_each = max(theirs.most_each, limits.get("most", 0))
    suppression = theirs._replace(most_each=most_each, **limits)
    network = network._replace(suppression=suppression)
    folder = kept_folder(model.path) if model.is_exported else None
    return _Bare(network, chosen(network, folder, precision, device, batch_size))


class _Bare:
    """The network alone, with our own steps before and after it."""

    def __init__(self, network, engine):
        self._network, self._engine = network, engine
        self.engine, self.parallel = engine.name, engine.parallel
        self.batch = engine.batch if network.takes_batches else 1
        self.limits = network.suppression.most_iou, network.suppression.most

    def prepare(self, pixels):
        pixels, size = self._network.preprocess.apply(pixels)
        return Input(pixels[np.newaxis], size)

    def run(self, inputs):
        pixels = [given.pixels for given in inputs]
        found = self._engine.run(np.concatenate(pixels) if len(pixels) > 1 else pixels[0])
        return list(zip(*found, strict=True))

    def finish(self, raw, given, least):
        unit_yxyx, classes, scores = self._network.choose(*raw, given.size, least)
        return unit_yxyx, classes + 1, scores


class _Whole:
    """A model as TFOD runs it, for those that have no network of one shape, and checkpoints."""

    engine, parallel, batch = "tensorflow", 1, 1
    limits = 0.5, 100  # of merging several views; TFOD's own

    def __init__(self, function):
        """Takes a function of one uint8 tensor [1, H, W, 3] that returns TFOD's detection dict."""
        self._function = function

    def prepare(self, pixels):
        return Input(pixels[np.newaxis], pixels.shape[1::-1])

    def run(self, inputs):
        return [self._run(given) for given in inputs]

    def _run(self, given):
        import tensorflow as tf

        try:
            found = self._function(tf.constant(given.pixels))
        except tf.errors.InvalidArgumentError as error:
            width, height = given.size
            raise ValueError(f"{width}x{height} pixels can't be resized for the model") from error
        count = int(found["num_detections"][0])
        names = "detection_boxes", "detection_classes", "detection_scores"
        return tuple(found[name][0, :count].numpy() for name in names)

    def finish(self, raw, given, least):
        boxes, classes, scores = raw
        return boxes, classes.astype(np.int64), scores


def _find_network(model, always):
    """Returns a model's Network, or a _Whole.

    A SavedModel's network is kept for the next start, which then is faster. A checkpoint is run
    whole unless its network is `always` wanted: freezing takes longer than it spares on a few
    hundred images.
    """
    if not model.is_exported:
        from lowlight.tfod import model as tfod

        function = tfod.detection_function(model.config_path, model.path)
        if not always:
            return _Whole(function)
        from lowlight.detector.freezing import freeze_network

        return freeze_network(function.get_concrete_function()) or _Whole(function)
    network = cached_network(model.path)
    if network is not None:
        return network
    function, loaded = _load_signature(model.path)
    from lowlight.detector.freezing import freeze_network

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
    if not is_plain or limits:
        what = "a checkpoint" if not model.is_exported else "a model of this architecture"
        raise DataError(
            f"{model.path}: {what} is run whole, by TensorFlow, in float32, with its own limits.\n"
            "  export_model.py makes an export of a checkpoint; otherwise leave out --engine, "
            "--precision, --nms_iou and --max_detections."
        )
