"""Sets TensorFlow up: Keras 2, and no messages that a user can do nothing about."""

import contextlib
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path


def prepare_tensorflow() -> None:
    """Sets what TensorFlow reads when it is imported; packages that stand on it call this first.

    Variables of the environment that are set already stay, but for Keras 2, which TFOD's layers
    are. Nothing is written into the home folder. TensorFlow logs nothing that doesn't end it: what
    it calls errors are mostly none, and those of no GPU `find_gpus` says in a user's words. What
    2.21 logs while it is imported is dropped, unless TF_CPP_MIN_LOG_LEVEL is 0.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime's
    os.environ.setdefault("KERAS_HOME", os.devnull)
    # No folder, so matplotlib makes one in /tmp for the time of the process.
    os.environ.setdefault("MPLCONFIGDIR", os.devnull)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns of that
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    is_first = not any(isinstance(finder, _SilentTensorFlow) for finder in sys.meta_path)
    if is_first and os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0":
        sys.meta_path.insert(0, _SilentTensorFlow())


_DRIVER = Path("/proc/driver/nvidia/version")  # there while NVIDIA's driver is loaded
_GPU_DEVICES = "nvidia[0-9]*", "dxg", "kfd"  # NVIDIA's, Windows's for WSL, AMD's


class _SilentTensorFlow(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as Python does, and drops what its import writes."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = silent_stderr()(spec.loader.exec_module)
        return spec


def find_gpus() -> list[str]:
    """Returns TensorFlow's names of the GPUs, "GPU:0" and so on.

    Where it finds none though NVIDIA's driver is there, that is said once, to standard error.
    """
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    if not found and _DRIVER.exists() and "CUDA_VISIBLE_DEVICES" not in os.environ:
        _tell_of_no_gpu()
    return [device.name.removeprefix("/physical_device:") for device in found]


def share_gpus() -> None:
    """Has this process take as much of a GPU's memory as it needs, where it doesn't use it yet."""
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):  # in use, by a training that evaluates itself
            tf.config.experimental.set_memory_growth(gpu, True)


@contextlib.contextmanager
def whole_float32() -> Iterator[None]:
    """Has GPUs multiply float32 as such in the block, not as TF32, which is right to 3 digits."""
    import tensorflow as tf

    usual = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(usual)


def has_gpu() -> bool:
    """Returns whether TensorFlow finds a GPU; it isn't loaded where no driver has made a device."""
    devices = [path for pattern in _GPU_DEVICES for path in Path("/dev").glob(pattern)]
    return bool(devices and is_installed("tensorflow") and find_gpus())


@functools.cache
def _tell_of_no_gpu():
    print(
        "NVIDIA's driver is installed, but TensorFlow finds no GPU and takes the CPU.\n"
        "  pip install -r requirements/gpu.txt brings CUDA's libraries; TF_CPP_MIN_LOG_LEVEL=0\n"
        "  says what TensorFlow misses, and CUDA_VISIBLE_DEVICES= that the CPU is meant.",
        file=sys.stderr,
    )


def is_installed(package: str) -> bool:
    """Returns whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


_silenced = []  # standard error's descriptors, kept while `silent_stderr` drops what is written


def real_stderr() -> int:
    """Returns the descriptor of standard error, also within `silent_stderr`."""
    return _silenced[0] if _silenced else 2


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Drops what is written to standard error meanwhile, by TensorFlow's C++ side too.

    That of other threads is dropped as well: keep it short.
    """
    sys.stderr.flush()
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        _silenced.append(stderr)
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        _silenced.remove(stderr)
        os.close(stderr)
        os.close(nothing)


@functools.cache
def prepare_xla() -> None:
    """Lets XLA compile a first time without the message that it writes then."""
    import tensorflow as tf

    with silent_stderr():
        tf.function(lambda: tf.random.uniform([]) + 1, jit_compile=True)()


@functools.cache
def prepare_sessions() -> None:
    """Lets a session run a first time without the message that TensorFlow writes then.

    It runs without GPUs, of which it would take all memory.
    """
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    with silent_stderr(), tf.Graph().as_default(), tf.compat.v1.Session(config=config) as session:
        session.run(tf.constant(0))


# How lines begin that say where in a graph something happened, not what.
_TRACES = "Graph execution error", "Detected at node", "<stack traces", "File ", "[["
_MARKS = re.compile(r"\{\{.*?\}\}|\[Op:.*?\]|^ *\(\d+\) |\d+ root error.*", re.MULTILINE)


def plain_message(error: Exception) -> str:
    """Returns what an error of TensorFlow says, in one line, without its marks of functions."""
    lines = [line.strip() for line in _MARKS.sub("", str(error)).splitlines()]
    return next((x for x in lines if x and not x.startswith(_TRACES)), type(error).__name__)
