"""An exported ONNX file that finds coloured squares, made and run without TensorFlow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from lowlight.detector.network import ENCODINGS, IMAGES, SCORES, Network, Preprocess
from lowlight.detector.onnx_files import whole_model
from lowlight.detector.postprocess import BoxDecoder, Suppression

SIDE, CELL = 32, 8  # pixels of the input, and of the squares that it looks at
NAMES = {1: "Red", 2: "Green", 3: "Blue"}  # a class a channel; the score is how bright it is
SOURCE = {"step": 7, "sha256": "0", "num_classes": 3}
_ROOT = Path(__file__).parents[1]
# What an environment for detection alone lacks.
_HIDDEN = "tensorflow tf_keras object_detection openvino onnx tf2onnx pandas scipy pyarrow"
_HIDDEN = (*_HIDDEN.split(), "matplotlib", "google_crc32c")


def write_onnx_model(path, names=None, source=None, with_choice=False):
    """Writes it as export_model.py does; the classes are those of NAMES."""
    starts = np.arange(0, SIDE, CELL) + CELL / 2
    centres = np.stack(np.meshgrid(starts, starts, indexing="ij"), -1).reshape(-1, 2) / SIDE
    anchors = np.hstack([centres, np.full_like(centres, CELL / SIDE)]).astype(np.float32)
    network = Network(
        b"",
        Preprocess(SIDE, SIDE, SIDE, (1 / 255,) * 3, (0.0,) * 3, (0.0,) * 3),
        Suppression(0.1, 0.5, 10, 10),
        BoxDecoder(anchors, (10.0, 10.0, 5.0, 5.0)),
    )
    Path(path).write_bytes(whole_model(_squares(), network, names, with_choice, source))
    return Path(path)


def _squares():
    """Returns the bare network: the mean of each square's channels, and boxes that stay put."""
    from onnx import TensorProto, helper

    node, sides = helper.make_node, [CELL, CELL]
    shape = helper.make_tensor("flat_shape", TensorProto.INT64, [3], [0, 3, -1])
    still = helper.make_tensor("still", TensorProto.FLOAT, [], [0.0])
    nodes = [
        node("Transpose", [IMAGES], ["planes"], perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], ["means"], kernel_shape=sides, strides=sides),
        node("Reshape", ["means", "flat_shape"], ["flat_planes"]),
        node("Transpose", ["flat_planes"], [SCORES], perm=[0, 2, 1]),
        node("ReduceMean", [SCORES], ["grey"], axes=[-1]),
        node("Concat", ["grey"] * 4, ["any"], axis=-1),
        node("Mul", ["any", "still"], [ENCODINGS]),
    ]
    graph = helper.make_graph(nodes, "squares", [], [], [shape, still])
    imports = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="test")
    return model.SerializeToString()


def picture_with_a_square():
    """Returns uint8 [32, 32, 3], black but for a red square at x 8 to 16 and y 16 to 24."""
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[16:24, 8:16, 0] = 204
    return picture


def infer_without_tensorflow(folder, pixels, model_dir, *flags):
    """Runs run_inference.py on a picture where only requirements/run.txt seems to be installed.

    Returns:
        The CompletedProcess; what is found is in `out` in the folder.
    """
    (folder / "in").mkdir()
    Image.fromarray(pixels).save(folder / "in" / "a.png")
    program = (
        f"import sys, runpy; sys.modules.update(dict.fromkeys({_HIDDEN!r}));"
        f"sys.argv[0] = {str(_ROOT / 'run_inference.py')!r};"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    given = f"--images_folder_dir={folder / 'in'}", f"--model_dir={model_dir}", *flags
    given += "--save_detection=True", f"--save_path={folder / 'out'}"
    command = [sys.executable, "-c", program, *given]
    return subprocess.run(command, capture_output=True, text=True, check=False)
