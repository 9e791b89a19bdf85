"""The sides that bench_inference.py compares, and the pictures and the D1 that they are given."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.classes import format_label_map, read_label_map
from lowlight.inference.steps import Job

_CONFIG = "configs/ssd_efficientdet_d1_640x640_coco17_tpu-8.config"
# What a Python has installed, in bytes.
_SIZE = """
import os, sysconfig
top = sysconfig.get_paths()["purelib"]
print(sum(os.lstat(os.path.join(f, n)).st_size for f, _, names in os.walk(top) for n in names))
"""


def make_images(folder, sizes):
    """Writes pictures of dark scenes' smoothness, and returns their folder."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, size in enumerate(sizes):
        coarse = rng.integers(0, 110, (24, 32, 3), np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:03}.jpg", quality=90)
    return folder


def make_d1(root, folder):
    """Writes and exports a D1 of random weights, as a training of no step would leave it.

    Its batch normalisation has the statistics of layers that change nothing, under which numbers
    stay small: those of a few steps at a training's rate let its boxes overflow, and the model runs
    whole.
    """
    import tensorflow as tf

    from lowlight.detector.export import export_run
    from lowlight.detector.runs import CONFIG, find_checkpoint
    from lowlight.tfod import model as tfod

    print(f"makes a D1 of random weights in {folder}", flush=True)
    folder.mkdir(parents=True)
    (folder / CONFIG).write_bytes((root / _CONFIG).read_bytes())
    tf.random.set_seed(0)
    model = tfod.build_model(tfod.read_config(folder / CONFIG))
    tfod.exporter_lib_v2.DETECTION_MODULE_MAP["image_tensor"](
        model
    ).__call__.get_concrete_function()
    checkpoint = tf.train.Checkpoint(model=model, step=tf.Variable(0, dtype=tf.int64))
    tf.train.CheckpointManager(checkpoint, str(folder), 1).save()
    (folder / "label_map.txt").write_text(format_label_map())
    formats = ["saved_model", *(["onnx"] if find_spec("tf2onnx") else [])]
    names = read_label_map(folder / "label_map.txt")
    export_run(find_checkpoint(folder), folder / "exported", formats, names=names)


def exported_model(model_dir):
    """Returns a SavedModel and its signature, as TFOD's users load it."""
    import tensorflow as tf

    from lowlight.detector.runs import find_model

    loaded = tf.saved_model.load(str(find_model(model_dir).path))
    return loaded, loaded.signatures["serving_default"]


class Original:
    """The original's manner, with a model in a tf.function that has no signature."""

    def __init__(self, model_dir):
        import tensorflow as tf

        from lowlight.detector.runs import find_checkpoint, find_model
        from lowlight.tfod import model as tfod

        model = find_model(model_dir)
        config = tfod.read_config(model.config_path)
        prefix = model.checkpoint if model.is_exported else find_checkpoint(model_dir).path
        network = tfod.build_model(config)
        tf.train.Checkpoint(model=network).restore(str(prefix)).expect_partial()
        self._network, self._tf = network, tf

    def _detect_all(self, image):
        image, shapes = self._network.preprocess(image)
        return self._network.postprocess(self._network.predict(image, shapes), shapes)

    def run(self, folder, save_dir, names):
        """Opens, detects, draws and saves, one image after another, with nothing traced yet."""
        from lowlight.detector.detections import Detections
        from lowlight.images.drawing import draw_detections

        detect = self._tf.function(self._detect_all)
        for path in sorted(Path(folder).iterdir()):
            image = Image.open(path).convert("RGB")
            pixels = np.asarray(image)
            found = detect(self._tf.constant(pixels[np.newaxis], self._tf.float32))
            boxes = found["detection_boxes"][0].numpy()[:, [1, 0, 3, 2]] * np.tile(image.size, 2)
            parts = boxes, found["detection_classes"][0].numpy() + 1
            found = Detections(*parts, found["detection_scores"][0].numpy()).over(0.3)
            draw_detections(image, found, names)
            image.save(save_dir / path.name)


def our_job(model_dir, names, save_dir, engine, precision="float32", batch_size=None):
    """Returns the Job of run_inference.py's defaults; prints that a model runs whole."""
    from lowlight.detector.detector import Detector

    detector = Detector(model_dir, engine, precision, least_score=0.3, batch_size=batch_size)
    if detector.runs_whole:
        print(f"  {detector.model.path} runs whole, by TensorFlow: it has no network by itself")
    thresholds = dict.fromkeys(names, 0.3)
    return Job(detector, names, thresholds, save_dir=save_dir, quiet=True)


def jobs_of_engines(model_dir, names, folder, batch_sizes):
    """Returns {"engine precision": Job} of what is installed; prints what the model refuses.

    Of TensorFlow there is one more for each batch size, "tensorflow/8 float32" and so on.
    """
    kinds = [("tensorflow", "float32", size) for size in (None, *batch_sizes)]
    if find_spec("openvino"):
        kinds += [("openvino", "float32", None), ("openvino", "bfloat16", None)]
    if find_spec("onnxruntime"):
        kinds.append(("onnxruntime", "float32", None))
    jobs = {}
    for engine, precision, size in kinds:
        name = f"{engine}/{size} {precision}" if size else f"{engine} {precision}"
        save_dir = folder / name.replace("/", " by ")
        save_dir.mkdir()
        try:
            jobs[name] = our_job(model_dir, names, save_dir, engine, precision, size)
        except DataError as error:
            print(f"  {name} is left out: {str(error).splitlines()[0]}")
    return jobs


def bare_network(detector, arrays):
    """Returns a function that runs the network alone, its inputs ready in memory."""
    from lowlight.core.parallel import map_in_threads

    prepared = [detector.prepare(array) for array in arrays]
    return lambda: list(map_in_threads(detector.run, prepared, detector.parallel, ahead=2))


def seconds_of_process(command):
    """Returns the processor time of a process that must end well, in seconds."""
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stderr}")
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def installed_bytes(python):
    """Returns how large the packages of an environment are."""
    return int(subprocess.check_output([python, "-c", _SIZE], text=True))
