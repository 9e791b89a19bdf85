"""Loads a model: its network and the engine that runs it, or the whole as TFOD runs it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.tensorflow import is_installed, plain_message, share_gpus
from lowlight.detector.engines import OnnxEngine, Setup, TensorFlowEngine, choose_engine
from lowlight.detector.network import EXTRA, Network, cached_network, keep_network
from lowlight.detector.onnx_files import read_facts
from lowlight.detector.postprocess import Suppression
from lowlight.detector.runs import Model

# What TensorFlow raises on damaged files.
_UNREADABLE = OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError
_FOUND = "detection_boxes", "detection_classes", "detection_scores"
_OUTPUTS = {*_FOUND, "num_detections"}


class WholeModel:
    """A model as TFOD runs it, for those that have no network of one shape, and checkpoints.

    It stands for a Network and for the engine that runs it.
    """

    name, parallel, batch = TensorFlowEngine.name, 1, 1
    suppression = Suppression(0.0, 0.5, 100, 100)  # of merging several views; TFOD's own

    def __init__(self, function: Callable, path: Path):
        """Takes a function of uint8 [1, H, W, 3] that returns TFOD's dict, and the model's path."""
        self._function, self._path = function, path

    def prepare(self, image: np.ndarray) -> tuple:
        """Returns the image as it is, and its (width, height)."""
        return image, image.shape[1::-1]

    def run(self, images: np.ndarray) -> tuple:
        """Returns (boxes, classes, scores) of one image, [1, N, ...]; raises as `Detector.run`."""
        import tensorflow as tf

        try:
            found = self._function(tf.constant(images))
        except tf.errors.OpError as error:
            size = f"{images.shape[2]}x{images.shape[1]} pixels"
            if "output dimensions must be positive" in str(error):
                raise ValueError(f"{size} can't be resized for the model") from error
            raise DataError(
                f"{self._path}: fails on an image of {size} ({plain_message(error)}).\n"
                "  Try it on other images; export_model.py writes a model that takes any."
            ) from error
        count = int(found["num_detections"][0])
        return tuple(found[name][:, :count].numpy() for name in _FOUND)

    def choose(
        self, boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray, *_limits: object
    ) -> tuple:
        """Returns the detections as `Network.choose` does; they are chosen already."""
        return boxes, classes.astype(np.int64) - 1, scores


def load_network(
    model: Model, limits: dict, engine: str | None, setup: Setup
) -> tuple[Network | WholeModel, object]:
    """Returns a model's network and the engine that runs it; raises as `detector.Detector`.

    Args:
        model: of `runs.find_model`.
        limits: {"most_iou", "most"}, those that aren't to be the model's.
        engine: as `engines.choose_engine` takes it; None for the model's default.
        setup: for the engine; its folder is the model's.
    """
    engine = engine or model.default_engine
    if model.is_onnx and engine not in (OnnxEngine.name, "auto"):
        raise DataError(
            f"--engine={engine}: {model.path} is an ONNX file, which ONNX Runtime runs.\n"
            "  Leave --engine out, or give the run or its SavedModel as --model_dir."
        )
    chosen = choose_engine(OnnxEngine.name if model.is_onnx else engine)
    network = _load(model, always=chosen is not TensorFlowEngine)
    if isinstance(network, WholeModel):
        _check_whole(model, engine, limits, setup.precision)
        return network, network
    theirs = network.suppression
    if theirs.sigma and "most_iou" in limits:
        raise DataError(
            f"{model.path}: lowers the scores of boxes that overlap (soft_nms_sigma: "
            f"{theirs.sigma:g}), so that there is no most overlap.\n  Leave out --nms_iou."
        )
    most_each = max(theirs.most_each, limits.get("most", 0))
    network = network._replace(suppression=theirs._replace(most_each=most_each, **limits))
    folder = model.path / EXTRA if model.is_exported else None
    return network, chosen(network, setup._replace(folder=folder, model=model.path))


def _load(model, always):
    """Returns a model's Network, or a WholeModel.

    A SavedModel's network is kept for the next start, which then is faster. A checkpoint is run
    whole unless its network is `always` wanted: building it takes longer than it spares on a few
    hundred images.
    """
    if model.is_onnx:
        return read_facts(model.path).network
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
        from lowlight.detector.tracing import build_module, trace_network

        module, config = build_module(model, model.path, model.raw_weights)
        network = trace_network(module, config, module.__call__) if always else None
        return network or WholeModel(module.__call__, model.path)
    function = _load_signature(model.path)
    network = _network_beside(model, function)
    if network is None:
        return WholeModel(function, model.path)
    keep_network(network, model.path)
    return network


def _network_beside(model, function):
    """Returns the Network of an export from the config and checkpoint beside it, or None.

    TFOD's exporter writes both. Those of another model than the SavedModel's give none.
    """
    if model.checkpoint is None or not model.config_path.is_file():
        return None
    # Says so where TFOD isn't installed.
    from lowlight.detector.tracing import build_module, trace_network

    try:
        # An export's checkpoint holds the weights that it has, averages among them.
        module, config = build_module(model, model.checkpoint, raw_weights=True)
    except DataError:
        return None
    return trace_network(module, config, function)


def _load_signature(path):
    """Returns a SavedModel as a function of uint8 [1, H, W, 3] that returns TFOD's dict.

    TFOD's exporter writes models of other inputs, too: floats, and images as PNG or JPEG.
    """
    import tensorflow as tf

    share_gpus()
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["serving_default"]
    except (*_UNREADABLE, tf.errors.OpError) as error:
        raise DataError(
            f"{path}: can't be loaded ({plain_message(error)}).\n  export_model.py writes it again."
        ) from error
    specs = signature.structured_input_signature[1]
    is_one = [spec.dtype in (tf.uint8, tf.float32, tf.string) for spec in specs.values()] == [True]
    if not is_one or not set(signature.structured_outputs) >= _OUTPUTS:
        raise DataError(
            f"{path}: takes {', '.join(sorted(specs))} and gives "
            f"{', '.join(sorted(signature.structured_outputs))}, which isn't TFOD's form: one "
            f"image, and {', '.join(sorted(_OUTPUTS))}.\n"
            "  export_model.py writes the form that is needed."
        )
    ((name, spec),) = specs.items()

    def run(image, _kept=loaded):  # a signature alone doesn't keep its variables alive
        is_text = spec.dtype == tf.string
        given = tf.io.encode_png(image[0])[tf.newaxis] if is_text else tf.cast(image, spec.dtype)
        return signature(**{name: given})

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
