"""Loads a model as three stages: what it takes of an image, its network, and what that found."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.tensorflow import is_installed, plain_message
from lowlight.detector.detections import Detections
from lowlight.detector.engines import TensorFlowEngine, choose_engine
from lowlight.detector.network import Network, Setup, cached_network, keep_network, kept_folder
from lowlight.detector.onnx_engine import OnnxEngine, OnnxFileEngine
from lowlight.detector.onnx_files import read_network
from lowlight.detector.runs import Model

# What TensorFlow raises on damaged files.
_UNREADABLE = OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError
_FOUND = "detection_boxes", "detection_classes", "detection_scores"
_OUTPUTS = {*_FOUND, "num_detections"}


class Input(NamedTuple):
    """What a model takes of one view."""

    pixels: np.ndarray  # a batch of one
    resized: tuple  # (width, height) of the view within it
    size: tuple  # (width, height) of the view itself


class _NetworkStages:
    """The network alone, run by an engine, with our own steps before and after it."""

    runs_whole = False

    def __init__(self, network: Network, engine: object):
        self._network, self._engine = network, engine
        self.engine, self.parallel, self.batch = engine.name, engine.parallel, engine.batch
        self.limits = network.suppression.most_iou, network.suppression.most

    def prepare(self, pixels: np.ndarray) -> Input:
        found, resized = self._network.preprocess.apply(pixels)
        return Input(found[np.newaxis], resized, pixels.shape[1::-1])

    def run(self, inputs: list[Input]) -> list:
        pixels = [given.pixels for given in inputs]
        found = self._engine.run(np.concatenate(pixels) if len(pixels) > 1 else pixels[0])
        return list(zip(*found, strict=True))

    def finish(self, raw: tuple, given: Input, least: float) -> Detections:
        boxes, classes, scores = self._network.choose(*raw, given.resized, least)
        return Detections.from_unit_yxyx(boxes, classes + 1, scores, given.size)


class _WholeModel:
    """A model as TFOD runs it, for those that have no network of one shape, and checkpoints."""

    engine, parallel, batch = TensorFlowEngine.name, 1, 1
    limits = 0.5, 100  # of merging several views; TFOD's own
    runs_whole = True

    def __init__(self, function: Callable, path: Path):
        """Takes a function of uint8 [1, H, W, 3] that returns TFOD's dict, and the model's path."""
        self._function, self._path = function, path

    def prepare(self, pixels: np.ndarray) -> Input:
        return Input(pixels[np.newaxis], pixels.shape[1::-1], pixels.shape[1::-1])

    def run(self, inputs: list[Input]) -> list:
        return [self._run(given) for given in inputs]

    def _run(self, given):
        import tensorflow as tf

        try:
            found = self._function(tf.constant(given.pixels))
        except tf.errors.OpError as error:
            width, height = given.size
            if "output dimensions must be positive" in str(error):
                error_of_image = f"{width}x{height} pixels can't be resized for the model"
                raise ValueError(error_of_image) from error
            raise DataError(
                f"{self._path}: fails on an image of {width}x{height} pixels "
                f"({plain_message(error)}).\n  Try it on other images; export_model.py writes a "
                "model that takes any."
            ) from error
        count = int(found["num_detections"][0])
        return [found[name][0, :count].numpy() for name in _FOUND]

    def finish(self, raw: tuple, given: Input, least: float) -> Detections:
        boxes, classes, scores = raw
        return Detections.from_unit_yxyx(boxes, classes.astype(np.int64), scores, given.size)


def load_stages(
    model: Model, limits: dict, engine: str | None, setup: Setup
) -> _NetworkStages | _WholeModel:
    """Returns a model's stages; raises as `detector.Detector`.

    Args:
        model: of `runs.find_model`.
        limits: {"most_iou", "most"}, those that aren't to be the model's.
        engine: as `engines.choose_engine` takes it; None for the model's default.
        setup: for the engine; its folder is the model's.
    """
    engine = engine or model.default_engine
    if model.is_onnx:
        chosen, found = _check_onnx(model, engine), read_network(model.path)
    else:
        chosen = choose_engine(engine)
        found = _load(model, always=chosen is not TensorFlowEngine)
    if isinstance(found, _WholeModel):
        _check_whole(model, engine, limits, setup.precision)
        return found
    theirs = found.suppression
    if theirs.sigma and "most_iou" in limits:
        raise DataError(
            f"{model.path}: lowers the scores of boxes that overlap (soft_nms_sigma: "
            f"{theirs.sigma:g}), so that there is no most overlap.\n  Leave out --nms_iou."
        )
    most_each = max(theirs.most_each, limits.get("most", 0))
    found = found._replace(suppression=theirs._replace(most_each=most_each, **limits))
    folder = kept_folder(model.path) if model.is_exported else None
    return _NetworkStages(found, chosen(found, setup._replace(folder=folder, model=model.path)))


def _check_onnx(model, engine):
    """Returns the engine of an ONNX file; raises DataError where another is asked for."""
    if engine not in (OnnxEngine.name, "auto"):
        raise DataError(
            f"--engine={engine}: {model.path} is an ONNX file, which ONNX Runtime runs.\n"
            "  Leave --engine out, or give the run or its SavedModel as --model_dir."
        )
    choose_engine(OnnxEngine.name)  # says so where it isn't installed
    return OnnxFileEngine


def _load(model, always):
    """Returns a model's Network, or a _WholeModel.

    A SavedModel's network is kept for the next start, which then is faster. A checkpoint is run
    whole unless its network is `always` wanted: building it takes longer than it spares on a few
    hundred images.
    """
    network = cached_network(model.path) if model.is_exported else None
    if network is not None:
        return network
    if not is_installed("tensorflow"):
        raise DataError(
            f"{model.path}: holds no network that runs without TensorFlow.\n"
            "  Export it again with export_model.py --format=saved_model,onnx, give its "
            "model.onnx as --model_dir, or install requirements.txt."
        )
    if not model.is_exported:
        module, config = _build_module(model, model.path, model.raw_weights)
        network = _trace(module, config, module.__call__) if always else None
        return network or _WholeModel(module.__call__, model.path)
    function = _load_signature(model.path)
    network = _network_beside(model, function)
    if network is None:
        return _WholeModel(function, model.path)
    keep_network(network, model.path)
    return network


def _network_beside(model, function):
    """Returns the Network of an export from the config and checkpoint beside it, or None.

    TFOD's exporter writes both. Those of another model than the SavedModel's give none.
    """
    if model.checkpoint is None or not model.config_path.is_file():
        return None
    importlib.import_module("lowlight.tfod")  # says so where TFOD isn't installed
    try:
        # An export's checkpoint holds the weights that it has, averages among them.
        module, config = _build_module(model, model.checkpoint, raw_weights=True)
    except DataError:
        return None
    return _trace(module, config, function)


def _build_module(model, checkpoint, raw_weights):
    """Returns (TFOD's inference module, its config)."""
    from lowlight.tfod import model as tfod

    config = tfod.read_config(model.config_path)
    return tfod.detection_module(config, checkpoint, raw_weights), config


def _trace(module, config, function):
    from lowlight.detector.tracing import trace_network

    return trace_network(module, config, function)


def _load_signature(path):
    """Returns a SavedModel as a function of uint8 [1, H, W, 3] that returns TFOD's dict.

    TFOD's exporter writes models of other inputs, too: floats, and images as PNG or JPEG.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
    except (*_UNREADABLE, tf.errors.OpError) as error:
        raise DataError(
            f"{path}: can't be loaded ({plain_message(error)}).\n  export_model.py writes it again."
        ) from error
    specs = signature.structured_input_signature[1]
    forms = {
        tf.uint8: tf.identity,
        tf.float32: lambda image: tf.cast(image, tf.float32),
        tf.string: lambda image: tf.io.encode_png(image[0])[tf.newaxis],
    }
    is_one = len(specs) == 1 and all(spec.dtype in forms for spec in specs.values())
    if not is_one or not set(signature.structured_outputs) >= _OUTPUTS:
        raise DataError(
            f"{path}: takes {', '.join(sorted(specs))} and gives "
            f"{', '.join(sorted(signature.structured_outputs))}, which isn't TFOD's form: one "
            f"image, and {', '.join(sorted(_OUTPUTS))}.\n"
            "  export_model.py writes the form that is needed."
        )
    ((name, spec),) = specs.items()

    def run(image, _kept=loaded):  # a signature alone doesn't keep its variables alive
        return signature(**{name: forms[spec.dtype](image)})

    if spec.dtype == tf.string:
        _check_decodes(run, path)
    return run


def _check_decodes(run, path):
    """Raises DataError where a SavedModel takes texts that aren't images."""
    import tensorflow as tf

    try:
        run(tf.zeros([1, 64, 64, 3], tf.uint8))
    except tf.errors.OpError as error:
        raise DataError(
            f"{path}: takes records (tf.train.Example), not images.\n"
            "  Export it with --input_type=image_tensor, or by export_model.py."
        ) from error


def _check_whole(model, engine, limits, precision):
    """Raises DataError where a model that is run whole can't be run as wanted."""
    is_plain = engine in ("tensorflow", "auto") and precision != "bfloat16"
    if not is_plain or limits:
        what = "a checkpoint" if not model.is_exported else "a model of this architecture"
        raise DataError(
            f"{model.path}: {what} is run whole, by TensorFlow, in float32, with its own limits.\n"
            "  export_model.py makes an export of a checkpoint; otherwise leave out --engine, "
            "--precision, --nms_iou and --max_detections."
        )
