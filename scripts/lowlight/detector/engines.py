"""What runs a network: TensorFlow, OpenVINO or ONNX Runtime.

An engine is a class of a Network and a Setup. It has a `name`, `parallel` (how many threads at a
time make it faster), `batch` (how many images it takes at a time), and `run`, which takes images as
float32 [B, height, width, 3], B up to `batch`, and returns the network's (encodings, scores). It
raises DataError for a device or a precision that it hasn't. `ENGINES` names them all.
"""

import itertools
import os
import queue
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.parallel import thread_limit
from lowlight.core.tensorflow import (
    find_gpus,
    has_gpu,
    is_installed,
    plain_message,
    prepare_sessions,
)
from lowlight.detector.network import ENCODINGS, IMAGES, SCORES, Network
from lowlight.detector.onnx_files import convert_network

PRECISIONS = "float32", "bfloat16", "auto"
_GPU_BATCH = 8  # images at a time
# ONNX Runtime's providers that "gpu" means, the faster first, and that of the CPU.
_GPU_PROVIDERS = "TensorrtExecutionProvider", "CUDAExecutionProvider"
_CPU_PROVIDER = "CPUExecutionProvider"


class Setup(NamedTuple):
    """How a network is to be run."""

    precision: str = "float32"  # one of PRECISIONS; auto is bfloat16 where OpenVINO computes it
    device: str = "auto"  # or "cpu", "gpu", "gpu:1", or one of OpenVINO's names
    batch: int | None = None  # images at a time; None is 8 on a GPU and 1 elsewhere
    folder: Path | None = None  # keeps what is made of the network for the next start; or nothing
    model: Path | str = "the model"  # what errors call it

    def refused_device(self, engine: str, there: Iterable, best: str) -> DataError:
        """Returns the error of an engine that hasn't the device, but those that are there."""
        return DataError(
            f"--device={self.device.lower()}: not a device that {engine} finds here.\n"
            f"  It finds {', '.join(there)}; auto takes {best}."
        )


_PLAIN = Setup()


class TensorFlowEngine:
    """A frozen graph in a TensorFlow session, one on each device: auto takes all GPUs."""

    name = "tensorflow"

    def __init__(self, network: Network, setup: Setup = _PLAIN):
        import tensorflow as tf

        config = tf.compat.v1.ConfigProto(
            allow_soft_placement=True, intra_op_parallelism_threads=thread_limit()
        )
        config.gpu_options.allow_growth = True
        if setup.precision == "bfloat16":
            options = config.graph_options.rewrite_options
            options.auto_mixed_precision_onednn_bfloat16 = options.ON
        definition = tf.compat.v1.GraphDef.FromString(network.graph)
        devices = _tensorflow_devices(setup)
        prepare_sessions()
        self.batch = setup.batch or (_GPU_BATCH if "GPU" in devices[0] else 1)
        calls = [_session_call(definition, place, config) for place in devices]
        self.parallel = len(calls)
        self._turns, self._lock = itertools.cycle(calls), threading.Lock()

    def run(self, images: np.ndarray) -> tuple:
        """Returns (encodings, scores) of images, from the device whose turn it is.

        Raises DataError: they don't fit into its memory.
        """
        import tensorflow as tf

        with self._lock:
            call = next(self._turns)
        try:
            return call(images)
        except tf.errors.ResourceExhaustedError as error:
            raise DataError(
                f"--batch_size={self.batch}: doesn't fit into memory ({plain_message(error)}).\n"
                "  Give a lower one, or --device=cpu."
            ) from error


def _tensorflow_devices(setup):
    """Returns TensorFlow's names of the devices that are meant."""
    import tensorflow as tf

    there = [d.name.removeprefix("/physical_device:") for d in tf.config.list_physical_devices()]
    gpus = find_gpus()
    groups = {"auto": gpus or ["CPU:0"], "cpu": ["CPU:0"], "gpu": gpus[:1]}
    wanted = groups.get(setup.device.lower(), [setup.device.upper()])
    if not wanted or not set(wanted) <= set(there):
        raise setup.refused_device("TensorFlow", map(str.lower, there), "the best")
    return [f"/{name}" for name in wanted]


def _session_call(definition, device, config):
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default(), graph.device(device):
        tf.graph_util.import_graph_def(definition, name="")
    session = tf.compat.v1.Session(graph=graph, config=config)
    return session.make_callable([ENCODINGS, SCORES], feed_list=[IMAGES])


class OpenVinoEngine:
    """A network converted by OpenVINO's own converter; several requests run side by side.

    The device auto is the CPU.
    """

    name = "openvino"

    def __init__(self, network: Network, setup: Setup = _PLAIN):
        ov = _import_openvino()
        self.batch = setup.batch or 1
        core = ov.Core()
        device, options = _openvino_options(core, setup)
        files = network.in_form("openvino", lambda: _openvino_files(network), setup.folder)
        model = core.read_model(files["xml"], files["bin"])
        model.reshape([self.batch, network.preprocess.height, network.preprocess.width, 3])
        try:
            self._compiled = core.compile_model(model, device, options)
        except RuntimeError:
            if setup.folder is None:
                raise
            for path in setup.folder.glob("*.blob"):  # kept, and damaged: make it again
                path.unlink(missing_ok=True)
            self._compiled = core.compile_model(model, device, options)
        self.parallel = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._free = queue.SimpleQueue()  # all made here, by one thread
        for _ in range(self.parallel):
            self._free.put(self._compiled.create_infer_request())
        # Two threads that ask this for the first time at once wait for each other for ever (2026.4:
        # one holds Python's lock, the other one of OpenVINO's); each request asks it.
        ov.Type.f32.to_dtype()

    def run(self, images: np.ndarray) -> tuple:
        """Returns (encodings, scores) of images; waits where `parallel` threads are at it."""
        count = len(images)
        if count < self.batch:
            rest = np.zeros((self.batch - count, *images.shape[1:]), np.float32)
            images = np.concatenate([images, rest])
        request = self._free.get()
        try:
            found = request.infer({0: images}, share_inputs=True)
            return tuple(found[name][:count] for name in (ENCODINGS, SCORES))
        finally:
            self._free.put(request)


def _import_openvino():
    """Returns OpenVINO, without the part that tells its makers of each start over the network."""
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def _openvino_options(core, setup):
    """Returns (a device's name, what it is to be set to)."""
    device = "CPU" if setup.device == "auto" else setup.device.upper()
    if device.split(":")[0].split(".")[0] not in core.available_devices:
        there = map(str.lower, core.available_devices)
        raise setup.refused_device("OpenVINO", there, "the CPU")
    precision = setup.precision
    if precision == "auto":
        abilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        precision = "bfloat16" if "BF16" in abilities else "float32"
    options = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "PERFORMANCE_HINT": "THROUGHPUT",
    }
    if thread_limit():
        options["INFERENCE_NUM_THREADS"] = thread_limit()
    if setup.folder is not None and os.access(setup.folder, os.W_OK):
        options["CACHE_DIR"] = str(setup.folder)
    return device, options


def _openvino_files(network):
    """Returns the files of a network that OpenVINO converts, {"xml": bytes, "bin": bytes}."""
    ov = _import_openvino()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pb"
        path.write_bytes(network.graph)
        ov.save_model(ov.convert_model(path), path.with_suffix(".xml"), compress_to_fp16=False)
        return {kind: path.with_suffix(f".{kind}").read_bytes() for kind in ("xml", "bin")}


class OnnxEngine:
    """A network as ONNX, or an exported file; the device auto is a GPU that ONNX Runtime finds."""

    name, parallel = "onnxruntime", 1

    def __init__(self, network: Network, setup: Setup = _PLAIN):
        import onnxruntime

        if setup.precision == "bfloat16":
            raise DataError(
                "--precision=bfloat16: ONNX Runtime runs a network in float32.\n"
                "  Leave it out, or take another --engine."
            )
        providers = _onnx_providers(setup, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_limit()
        options.log_severity_level = 3  # errors
        model = network.graph if network.decoder is None else convert_network(network, setup.folder)
        self._session = _open_onnx_session(model, options, providers, setup.model)
        has_gpu = self._session.get_providers() != [_CPU_PROVIDER]
        if not has_gpu and setup.device.lower().startswith("gpu"):
            raise DataError(
                f"--device={setup.device}: ONNX Runtime can't load what it needs for a GPU.\n"
                "  Install CUDA and cuDNN as onnxruntime-gpu asks for them, or leave it out."
            )
        self.batch = setup.batch or (_GPU_BATCH if has_gpu else 1)
        (self._input,) = self._session.get_inputs()

    def run(self, images: np.ndarray) -> tuple:
        """Returns (encodings, scores) of images; an exported file takes rounded pixels."""
        if self._input.type == "tensor(uint8)":
            images = np.rint(images).astype(np.uint8)
        return tuple(self._session.run(None, {self._input.name: images}))


def _onnx_providers(setup, there):
    """Returns ONNX Runtime's providers for a device."""
    name, _, number = setup.device.lower().partition(":")
    gpus = [provider for provider in _GPU_PROVIDERS if provider in there]
    if name == "cpu" or (name == "auto" and not gpus):
        return [_CPU_PROVIDER]
    if name not in ("auto", "gpu") or not gpus or not (number or "0").isdecimal():
        best = "the best. An NVIDIA GPU needs onnxruntime-gpu in place of onnxruntime"
        raise setup.refused_device("ONNX Runtime", there, best)
    return [*((gpu, {"device_id": int(number or 0)}) for gpu in gpus), _CPU_PROVIDER]


def _open_onnx_session(model, options, providers, place):
    """Returns a session; raises DataError where the model, bytes, can't be loaded."""
    import onnxruntime

    state = onnxruntime.capi.onnxruntime_pybind11_state
    refusals = state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf
    refusals += state.NotImplemented, state.RuntimeException
    try:
        return onnxruntime.InferenceSession(model, options, providers)
    except refusals as error:
        raise DataError(
            f"{place}: ONNX Runtime can't load it ({str(error).splitlines()[0][:200]}).\n"
            "  Export it again with export_model.py --format=saved_model,onnx."
        ) from error


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
        if has_gpu():
            order = ["tensorflow", "openvino", "onnxruntime"]
        name = next((engine for engine in order if is_installed(engine)), "tensorflow")
    if not is_installed(name):
        remedy = _LISTS.get(name, "requirements.txt")
        raise DataError(
            f"--engine={name}: the package isn't installed.\n"
            f"  pip install -r {remedy}, or take another --engine."
        )
    return ENGINES[name]
