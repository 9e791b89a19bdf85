"""Runs a network: in TensorFlow, or in OpenVINO where that is installed.

An engine is a class with `name`, `parallel` (how many threads at a time make it faster), `batch`
(how many images it takes at a time), a constructor (network, folder, precision, device, batch), and
`run`, which takes images as float32 [B, side, side, 3], B up to `batch`, and returns the network's
encodings and scores. `ENGINES` names them all.
"""

import importlib.util
import itertools
import os
import queue
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.tensorflow import prepare_sessions

PRECISIONS = "float32", "bfloat16", "auto"
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
            allow_soft_placement=True, intra_op_parallelism_threads=_threads()
        )
        config.gpu_options.allow_growth = True
        if precision == "bfloat16":
            options = config.graph_options.rewrite_options
            options.auto_mixed_precision_onednn_bfloat16 = options.ON
        definition = tf.compat.v1.GraphDef.FromString(network.graph)
        devices = _tensorflow_devices(device)
        prepare_sessions()
        self.batch = batch or (_GPU_BATCH if "GPU" in devices[0] else 1)
        calls = [_session_call(definition, network, place, config) for place in devices]
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


def _session_call(definition, network, device, config):
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default(), graph.device(device):
        tf.graph_util.import_graph_def(definition, name="")
    session = tf.compat.v1.Session(graph=graph, config=config)
    return session.make_callable([network.encodings, network.scores], feed_list=[network.images])


class OpenVinoEngine:
    """A network converted by OpenVINO's own converter, on a CPU or what else OpenVINO knows."""

    name = "openvino"

    def __init__(self, network, folder=None, precision="float32", device="auto", batch=None):
        """Loads a network.

        Args:
            network: network.Network.
            folder: where the converted and the compiled model are kept for the next start; None
                keeps nothing.
            precision: one of PRECISIONS; auto is bfloat16 where the device computes it itself.
            device: "auto" (the CPU) or one of OpenVINO's names.
            batch: images at a time; None is 1, since several are run side by side.
        """
        ov = _load_openvino()
        self._core = ov.Core()
        device = "CPU" if device == "auto" else device.upper()
        if device.split(":")[0].split(".")[0] not in self._core.available_devices:
            found = ", ".join(name.lower() for name in self._core.available_devices)
            raise DataError(
                f"--device={device.lower()}: not a device that OpenVINO finds here.\n"
                f"  It finds {found}; auto takes the CPU."
            )
        if precision == "auto":
            abilities = self._core.get_property(device, "OPTIMIZATION_CAPABILITIES")
            precision = "bfloat16" if "BF16" in abilities else "float32"
        options = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "PERFORMANCE_HINT": "THROUGHPUT",
        }
        if _threads():
            options["INFERENCE_NUM_THREADS"] = _threads()
        if folder is not None:
            options["CACHE_DIR"] = str(folder)
        model = _convert(ov, self._core, network, folder)
        self.batch = batch or 1
        model.reshape([self.batch, *[network.preprocess.side] * 2, 3])
        self._compiled = self._core.compile_model(model, device, options)
        self.parallel = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._outputs = network.encodings, network.scores
        self._free = queue.SimpleQueue()  # all made here, by one thread
        for _ in range(self.parallel):
            self._free.put(self._compiled.create_infer_request())
        # Two threads that ask this for the first time at once wait for each other for ever (2026.4:
        # one holds Python's lock, the other one of OpenVINO's); each request asks it.
        ov.Type.f32.to_dtype()

    def run(self, images):
        """Returns (boxes, scores) of images; waits where `parallel` threads are at it."""
        count = len(images)
        if count < self.batch:
            images = np.concatenate(
                [images, np.zeros((self.batch - count, *images.shape[1:]), np.float32)]
            )
        request = self._free.get()
        try:
            found = request.infer({0: images}, share_inputs=True)
            return tuple(found[name][:count] for name in self._outputs)
        finally:
            self._free.put(request)


def _load_openvino():
    """Returns the module openvino, made to report its use to nobody."""
    sys.modules.setdefault("openvino_telemetry", None)  # as if it weren't installed
    import openvino

    return openvino


def _convert(ov, core, network, folder):
    """Returns the converted model, which is kept in the folder."""
    if folder is None:
        return _convert_graph(ov, network)
    path = Path(folder) / f"network-{network.digest()[:12]}.xml"
    if not path.is_file():
        model = _convert_graph(ov, network)
        partial = Path(tempfile.mkdtemp(dir=folder, prefix=".openvino-"))
        try:
            ov.save_model(model, partial / path.name, compress_to_fp16=False)
            for end in (".bin", ".xml"):  # with the last the model is whole
                os.replace((partial / path.name).with_suffix(end), path.with_suffix(end))
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return core.read_model(path)


def _convert_graph(ov, network):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pb"
        path.write_bytes(network.graph)
        return ov.convert_model(path)


def _threads():
    """Returns OMP_NUM_THREADS, the customary limit of a process's threads, 0 for the engine's own.

    Ray sets it to the cores that a worker has.
    """
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() else 0


ENGINES = {engine.name: engine for engine in (TensorFlowEngine, OpenVinoEngine)}


def choose_engine(name):
    """Returns the class of an engine.

    Args:
        name: one of ENGINES, or "auto": OpenVINO where it is installed and there is no GPU that
            TensorFlow could use, TensorFlow otherwise.

    Raises:
        DataError: OpenVINO is asked for and isn't installed.
    """
    is_there = importlib.util.find_spec("openvino") is not None
    if name == "auto":
        name = "openvino" if is_there and not Path("/dev/nvidia0").exists() else "tensorflow"
    if name == "openvino" and not is_there:
        raise DataError(
            "--engine=openvino: the package isn't installed.\n"
            "  pip install -r requirements/openvino.txt, or take --engine=tensorflow."
        )
    return ENGINES[name]
