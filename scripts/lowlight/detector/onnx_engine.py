"""ONNX Runtime runs a network, or a whole exported ONNX file; TensorFlow needn't be installed."""

from pathlib import Path

import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.parallel import thread_limit
from lowlight.detector.network import ENCODINGS, GPU_BATCH, IMAGES, SCORES, Network, Setup
from lowlight.detector.onnx_export import BOXES, PIXELS, WHOLE_SCORES, convert_network

# Providers of ONNX Runtime that "gpu" means, the faster first.
_GPU_PROVIDERS = "TensorrtExecutionProvider", "CUDAExecutionProvider"
_CPU_PROVIDER = "CPUExecutionProvider"
_BEST = "the best. An NVIDIA GPU needs onnxruntime-gpu in place of onnxruntime"
_PLAIN = Setup()


class OnnxEngine:
    """A network as ONNX."""

    name, parallel = "onnxruntime", 1

    def __init__(self, network: Network, setup: Setup = _PLAIN):
        """Loads a network; auto is a GPU that ONNX Runtime finds, or the CPU."""
        import onnxruntime

        if setup.precision == "bfloat16":
            raise DataError(
                "--precision=bfloat16: ONNX Runtime runs a network in float32.\n"
                "  Leave it out, or take another --engine."
            )
        providers = _providers(setup, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_limit()
        options.log_severity_level = 3  # errors
        model = self._model_of(network, setup.folder)
        self._session = _open_session(onnxruntime, model, options, providers, setup.model)
        has_gpu = self._session.get_providers() != [_CPU_PROVIDER]
        if not has_gpu and setup.device.lower().startswith("gpu"):
            raise DataError(
                f"--device={setup.device}: ONNX Runtime can't load what it needs for a GPU.\n"
                "  Install CUDA and cuDNN as onnxruntime-gpu asks for them, or leave it out."
            )
        self.batch = setup.batch or (GPU_BATCH if has_gpu else 1)

    def run(self, images: np.ndarray) -> tuple:
        """Returns (encodings, scores) of images."""
        return tuple(self._session.run([ENCODINGS, SCORES], {IMAGES: images}))

    @staticmethod
    def _model_of(network: Network, folder: Path | None) -> bytes:
        """Returns the network as ONNX, which is kept in the folder."""

        def make():
            return {"onnx": convert_network(network).SerializeToString()}

        return network.in_form("onnx", make, folder)["onnx"]


class OnnxFileEngine(OnnxEngine):
    """An exported file, which takes whole pixels, and gives boxes instead of encodings."""

    def run(self, images: np.ndarray) -> tuple:
        """Returns (boxes, scores) of images, whose pixels are rounded."""
        pixels = np.rint(images).astype(np.uint8)
        return tuple(self._session.run([BOXES, WHOLE_SCORES], {PIXELS: pixels}))

    @staticmethod
    def _model_of(network: Network, folder: Path | None) -> bytes:
        del folder
        return network.graph


def _providers(setup, there):
    """Returns ONNX Runtime's providers for a device."""
    name, _, number = setup.device.lower().partition(":")
    gpus = [provider for provider in _GPU_PROVIDERS if provider in there]
    if name == "cpu" or (name == "auto" and not gpus):
        return [_CPU_PROVIDER]
    if name not in ("auto", "gpu") or not gpus or not (number or "0").isdecimal():
        raise setup.refused_device("ONNX Runtime", there, _BEST)
    return [*((gpu, {"device_id": int(number or 0)}) for gpu in gpus), _CPU_PROVIDER]


def _open_session(onnxruntime, model, options, providers, place):
    """Returns a session; raises DataError where the model, bytes, can't be loaded."""
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
