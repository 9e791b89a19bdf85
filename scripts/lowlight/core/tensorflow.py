"""Sets TensorFlow up: Keras 2, and no messages that nobody can act on."""

import contextlib
import functools
import importlib.abc
import importlib.machinery
import logging
import os
import sys
from pathlib import Path


def prepare_tensorflow():
    """Call it before `import tensorflow`, wherever that stands.

    Keras 2 is what TFOD's layers are, and spares the import of Keras 3. TensorFlow's C++ side then
    logs errors only; without an NVIDIA driver not even those, which all say that there is no GPU.
    A TF_CPP_MIN_LOG_LEVEL that is set already stays. What TensorFlow 2.21 logs while it is imported
    isn't subject to it, and isn't heard unless the level is 0.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    has_gpu_driver = Path("/proc/driver/nvidia/version").exists()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_gpu_driver else "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "0":
        sys.meta_path.insert(0, _UnheardTensorFlow())


class _UnheardTensorFlow(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as Python does, and has its import heard by nobody."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = unheard()(spec.loader.exec_module)
        return spec


@contextlib.contextmanager
def unheard():
    """Drops what is written to standard error meanwhile, as by TensorFlow's C++ side at any level.

    What other threads write at the same moment isn't heard either: keep it short.
    """
    sys.stderr.flush()
    listening, nobody = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nobody, 2)
        yield
    finally:
        os.dup2(listening, 2)
        os.close(listening)
        os.close(nobody)


@functools.cache
def prepare_xla():
    """Has XLA compile for the first time while nobody listens: it tells of that one."""
    import tensorflow as tf

    with unheard():
        tf.function(lambda: tf.random.uniform([]) + 1, jit_compile=True)()


@functools.cache
def prepare_sessions():
    """Has a session run for the first time while nobody listens: it tells of that one."""
    import tensorflow as tf

    with unheard(), tf.Graph().as_default(), tf.compat.v1.Session() as session:
        session.run(tf.constant(0))
