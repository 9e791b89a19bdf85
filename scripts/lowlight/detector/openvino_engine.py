"""Runs a network in OpenVINO, which converts it by itself and keeps what it made."""

import os
import queue
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.parallel import thread_limit
from lowlight.detector.network import ENCODINGS, SCORES


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
        ov = import_openvino()
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
        if thread_limit():
            options["INFERENCE_NUM_THREADS"] = thread_limit()
        if folder is not None:
            options["CACHE_DIR"] = str(folder)
        self.batch = batch or 1
        try:
            self._compiled = self._compile(network, folder, device, options)
        except RuntimeError:
            if folder is None:
                raise
            for pattern in ("network-*", "*.blob"):  # what is kept is damaged: make it anew
                for path in Path(folder).glob(pattern):
                    path.unlink(missing_ok=True)
            self._compiled = self._compile(network, folder, device, options)
        self.parallel = self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._free = queue.SimpleQueue()  # all made here, by one thread
        for _ in range(self.parallel):
            self._free.put(self._compiled.create_infer_request())
        # Two threads that ask this for the first time at once wait for each other for ever (2026.4:
        # one holds Python's lock, the other one of OpenVINO's); each request asks it.
        ov.Type.f32.to_dtype()

    def _compile(self, network, folder, device, options):
        model = _convert(self._core, network, folder)
        model.reshape([self.batch, network.preprocess.height, network.preprocess.width, 3])
        return self._core.compile_model(model, device, options)

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
            return tuple(found[name][:count] for name in (ENCODINGS, SCORES))
        finally:
            self._free.put(request)


def import_openvino():
    """Returns OpenVINO, without the part that tells its makers of each start over the network."""
    sys.modules.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def _convert(core, network, folder):
    """Returns the converted model, which is kept in the folder."""
    if folder is None:
        return _convert_graph(network)
    path = Path(folder) / f"network-{network.digest()[:12]}.xml"
    if not path.is_file():
        model = _convert_graph(network)
        partial = Path(tempfile.mkdtemp(dir=folder, prefix=".openvino-"))
        try:
            import_openvino().save_model(model, partial / path.name, compress_to_fp16=False)
            for end in (".bin", ".xml"):  # with the last the model is whole
                os.replace((partial / path.name).with_suffix(end), path.with_suffix(end))
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return core.read_model(path)


def _convert_graph(network):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pb"
        path.write_bytes(network.graph)
        return import_openvino().convert_model(path)
