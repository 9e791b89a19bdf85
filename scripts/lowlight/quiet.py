"""Sets TensorFlow up before it is first imported: Keras 2, and no messages nobody can act on."""

import logging
import os
from pathlib import Path


def prepare_tensorflow():
    """Call it before `import tensorflow`, wherever that stands.

    Keras 2 is what TFOD's layers are, and spares the import of Keras 3. TensorFlow's C++ side then
    logs errors only; without an NVIDIA driver not even those, which all say that there is no GPU.
    A TF_CPP_MIN_LOG_LEVEL that is set already stays.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    has_gpu_driver = Path("/proc/driver/nvidia/version").exists()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if has_gpu_driver else "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
