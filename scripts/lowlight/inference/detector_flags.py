"""The flags that say how a model is run, which several commands have."""

from absl import flags

from lowlight.core.errors import DataError
from lowlight.detector.engines import PRECISIONS

flags.disclaim_key_flags()  # they belong to the command, whose --help shows them

_AUTO = "auto"
_LEAST_TILE = 64  # pixels


def define_detector_flags(engine):
    """Defines them.

    Args:
        engine: the engine that a command takes where none is given.
    """
    engines = "tensorflow", "openvino", _AUTO
    flags.DEFINE_enum("engine", engine, engines, "auto: OpenVINO if it is installed, and no GPU.")
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "auto: bfloat16 where that is fast.")
    flags.DEFINE_string("device", _AUTO, "cpu, gpu, gpu:1, ...; auto: all GPUs, or the CPU.")
    flags.DEFINE_string(
        "batch_size",
        _AUTO,
        "Images that the network takes at a time; auto: 8 on a GPU, 1 on a CPU.",
    )
    flags.DEFINE_boolean(
        "tta", False, "Look at each image as it is, mirrored and brightened, and merge the boxes."
    )
    flags.DEFINE_integer(
        "tile",
        None,
        "Look at tiles of so many pixels a side, too, for small objects in large photographs.",
        _LEAST_TILE,
    )


def detector_options():
    """Returns what the flags ask for, as `detector.Detector` takes it.

    Raises:
        DataError: --batch_size is neither a number nor auto.
    """
    given = flags.FLAGS
    batch = given.batch_size
    if batch != _AUTO and not (batch.isdecimal() and int(batch)):
        raise DataError(f"--batch_size={batch}: neither a number from 1 nor auto.\n  Correct it.")
    return {
        "engine": given.engine,
        "precision": given.precision,
        "device": given.device,
        "batch_size": None if batch == _AUTO else int(batch),
        "tta": given.tta,
        "tile": given.tile,
    }
