"""Runs a network in ONNX Runtime, for which TensorFlow needn't be installed."""

from lowlight.core.errors import DataError
from lowlight.core.files import whole_file
from lowlight.core.parallel import thread_limit
from lowlight.detector.network import ENCODINGS, IMAGES, SCORES, onnx_path
from lowlight.detector.onnx_export import convert_network

# Providers of ONNX Runtime that "gpu" means, the faster first.
_GPU_PROVIDERS = "TensorrtExecutionProvider", "CUDAExecutionProvider"
_CPU_PROVIDER = "CPUExecutionProvider"


class OnnxEngine:
    """A network as ONNX, on a CPU or a GPU."""

    name, parallel = "onnxruntime", 1

    def __init__(self, network, folder=None, precision="float32", device="auto", batch=None):
        """Loads a network.

        Args:
            network: network.Network.
            folder: where the network is kept as ONNX; None keeps nothing.
            precision: "float32" or "auto", which is the same.
            device: "auto" (a GPU that ONNX Runtime finds, or the CPU), "cpu", "gpu" or "gpu:1".
            batch: images at a time; None is 8 on a GPU and 1 on a CPU.
        """
        import onnxruntime

        if precision == "bfloat16":
            raise DataError(
                "--precision=bfloat16: ONNX Runtime runs a network in float32.\n"
                "  Leave it out, or take another --engine."
            )
        providers = _providers(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_limit()
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(_onnx_of(network, folder), options, providers)
        self.batch = batch or (1 if providers == [_CPU_PROVIDER] else 8)

    def run(self, images):
        """Returns (encodings, scores) of images."""
        return tuple(self._session.run([ENCODINGS, SCORES], {IMAGES: images}))


def _providers(device, there):
    """Returns ONNX Runtime's providers for a device; raises DataError for one that isn't there."""
    name, _, number = device.lower().partition(":")
    gpus = [(p, {"device_id": int(number or 0)}) for p in _GPU_PROVIDERS if p in there]
    if name == "cpu" or (name == "auto" and not gpus):
        return [_CPU_PROVIDER]
    if name not in ("auto", "gpu") or not gpus or not number.isdecimal() and number:
        raise DataError(
            f"--device={device}: not a device that ONNX Runtime finds here.\n"
            f"  It has {', '.join(there)}; auto takes the best."
        )
    return [*gpus, _CPU_PROVIDER]


def _onnx_of(network, folder):
    """Returns the network as ONNX, bytes, which are kept in the folder."""
    path = onnx_path(folder, network) if folder else None
    if path and path.is_file():
        return path.read_bytes()
    data = convert_network(network).SerializeToString()
    if path:
        with whole_file(path) as partial:
            partial.write_bytes(data)
    return data
