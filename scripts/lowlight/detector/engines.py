"""Chooses what runs a network: TensorFlow, or what else is installed.

An engine is a class with `name`, `parallel` (how many threads at a time make it faster), `batch`
(how many images it takes at a time), a constructor (network, folder, precision, device, batch), and
`run`, which takes images as float32 [B, height, width, 3], B up to `batch`, and returns the
network's encodings and scores. `ENGINES` names them all.
"""

import itertools
import threading
from pathlib import Path

from lowlight.core.errors import DataError
from lowlight.core.parallel import thread_limit
from lowlight.core.tensorflow import is_installed, prepare_sessions
from lowlight.detector.network import ENCODINGS, IMAGES, SCORES
from lowlight.detector.onnx_engine import OnnxEngine
from lowlight.detector.openvino_engine import OpenVinoEngine

PRECISIONS = "float32", "bfloat16", "auto"
_GPU_DEVICES = "nvidia[0-9]*", "dxg", "kfd"  # NVIDIA's, Windows's for WSL, AMD's
# Images at a time where it isn't said: a GPU is kept busy, a CPU is with one.
_GPU_BATCH = 8


class TensorFlowEngine:
    """A frozen graph in a TensorFlow session, one on each device."""

    name = "tensorflow"

    def __init__(self, network, folder=None, precision="float32", device="auto", batch=None):
        """Loads a network.

        Args:
            network: network.Network.
            folder: not used here; where an engine may keep files.
            precision: one of PRECISIONS; auto is float32.
            device: "auto" (all GPUs there are, or the CPU), "cpu", "gpu" or "gpu:1".
            batch: images at a time; None is 8 on a GPU and 1 on a CPU.
        """
        import tensorflow as tf

        config = tf.compat.v1.ConfigProto(
            allow_soft_placement=True, intra_op_parallelism_threads=thread_limit()
        )
        config.gpu_options.allow_growth = True
        if precision == "bfloat16":
            options = config.graph_options.rewrite_options
            options.auto_mixed_precision_onednn_bfloat16 = options.ON
        definition = tf.compat.v1.GraphDef.FromString(network.graph)
        devices = _tensorflow_devices(device)
        prepare_sessions()
        self.batch = batch or (_GPU_BATCH if "GPU" in devices[0] else 1)
        calls = [_session_call(definition, place, config) for place in devices]
        self.parallel = len(calls)
        self._turns, self._lock = itertools.cycle(calls), threading.Lock()

    def run(self, images):
        """Returns (boxes, scores) of images, on the device whose turn it is."""
        with self._lock:
            call = next(self._turns)
        return call(images)


def _tensorflow_devices(device):
    """Returns TensorFlow's names of the devices that are meant; raises DataError for none."""
    import tensorflow as tf

    there = [
        one.name.removeprefix("/physical_device:") for one in tf.config.list_physical_devices()
    ]
    gpus = [name for name in there if name.startswith("GPU")]
    wanted = {"auto": gpus or ["CPU:0"], "cpu": ["CPU:0"], "gpu": gpus[:1]}.get(
        device.lower(), [device.upper()]
    )
    if not wanted or not set(wanted) <= set(there):
        raise DataError(
            f"--device={device}: not a device that TensorFlow finds here.\n"
            f"  It finds {', '.join(name.lower() for name in there)}; auto takes the best."
        )
    return [f"/{name}" for name in wanted]


def _session_call(definition, device, config):
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default(), graph.device(device):
        tf.graph_util.import_graph_def(definition, name="")
    session = tf.compat.v1.Session(graph=graph, config=config)
    return session.make_callable([ENCODINGS, SCORES], feed_list=[IMAGES])


ENGINES = {engine.name: engine for engine in (TensorFlowEngine, OpenVinoEngine, OnnxEngine)}
# Where an engine's package is listed.
_LISTS = {"openvino": "requirements/openvino.txt", "onnxruntime": "requirements/onnx.txt"}


def choose_engine(name: str) -> type:
    """Returns the class of an engine.

    Args:
        name: one of ENGINES, or "auto": OpenVINO where it is installed and there is no GPU that
            TensorFlow could use, TensorFlow otherwise, and ONNX Runtime where it alone is there.

    Raises:
        DataError: the engine is asked for and isn't installed.
    """
    if name == "auto":
        order = ["openvino", "tensorflow", "onnxruntime"]
        if _has_gpu():
            order = ["tensorflow", "openvino", "onnxruntime"]
        name = next((engine for engine in order if is_installed(engine)), "tensorflow")
    if not is_installed(name):
        remedy = _LISTS.get(name, "requirements.txt")
        raise DataError(
            f"--engine={name}: the package isn't installed.\n"
            f"  pip install -r {remedy}, or take another --engine."
        )
    return ENGINES[name]


def _has_gpu():
    """Returns whether TensorFlow finds a GPU; it isn't loaded where no driver has made a device."""
    devices = [path for pattern in _GPU_DEVICES for path in Path("/dev").glob(pattern)]
    if not devices or not is_installed("tensorflow"):
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
