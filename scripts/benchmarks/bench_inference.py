"""Times run_inference.py beside the original's manner, TFOD's exported model and the bare network.

  python scripts/benchmarks/bench_inference.py --model_dir=checkpoint/d1 \
    --label_map_path=data/label_map.txt

Without --images_folder_dir it makes 18 pictures of the sizes of the original's test photographs.
The original's manner is a tf.function without a signature, which is traced for each size: open at
full size, detect, draw, save. Both sides run in turn, --rounds times; each ratio is of the medians.
--engine is auto, as in run_inference.py. Longer parts can be left out: --parts=folder,stream.
The last line is JSON.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from lowlight.dataset.classes import read_label_map  # noqa: E402
from lowlight.detector.engines import ENGINES  # noqa: E402
from lowlight.inference import folder as inference  # noqa: E402
from lowlight.inference import inputs  # noqa: E402

PARTS = "folder", "process", "stream", "memory"
SIZES = (
    (275, 183), (300, 168), (640, 426), (1024, 683), (1280, 720), (1280, 853), (1600, 900),
    (1600, 1067), (1920, 1080), (1920, 1280), (2048, 1365), (2400, 1600), (2560, 1440),
    (2560, 1707), (3000, 2000), (3840, 2160), (4000, 2667), (4736, 3033),
)  # fmt: skip
STREAM_SIZE, STREAM = (640, 480), 24
FLOPS = 12.2e9  # of a D1 at 640 pixels, an image; multiply and add counted apart
ORIGINAL = "--original"  # a process of this script in the original's manner

FLAGS = flags.FLAGS
flags.DEFINE_string("images_folder_dir", None, "Photographs; by default pictures are made.")
flags.DEFINE_string("model_dir", None, "An exported D1.", required=True)
flags.DEFINE_string("label_map_path", None, "Its label map.", required=True)
flags.DEFINE_enum("engine", "auto", (*ENGINES, "auto"), "As run_inference.py's.")
flags.DEFINE_list("parts", list(PARTS), "What to time.")
flags.DEFINE_integer("rounds", 3, "How often each side is timed.", 1)
flags.DEFINE_boolean("original", False, "Detect in the original's manner, once; for this script.")
flags.DEFINE_boolean("memory", False, "Print the peak memory of a run, in KiB; for this script.")


def main(argv):
    """Times what is asked for and prints it."""
    del argv
    if FLAGS.original or FLAGS.memory:
        run_once()
        return
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        images = FLAGS.images_folder_dir or make_images(Path(folder) / "photographs", SIZES)
        parts = {"folder": time_folder, "process": time_process, "stream": time_stream}
        for name in FLAGS.parts:
            if name == "memory":
                figures |= measure_memory(Path(folder))
            else:
                figures |= parts[name](images, Path(folder))
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def make_images(folder, sizes):
    """Writes pictures of dark scenes' smoothness, and returns their folder."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, size in enumerate(sizes):
        coarse = rng.integers(0, 110, (24, 32, 3), np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:03}.jpg", quality=90)
    return folder


def exported_model():
    """Returns the model's folder and its signature, as TFOD's users load it."""
    import tensorflow as tf

    from lowlight.detector.runs import find_model

    path = find_model(FLAGS.model_dir).path
    loaded = tf.saved_model.load(str(path))
    return path, loaded, loaded.signatures["serving_default"]


class Original:
    """The original's manner, with a model in a tf.function that has no signature."""

    def __init__(self):
        import tensorflow as tf

        from lowlight.detector.runs import find_checkpoint, find_model
        from lowlight.tfod import model as tfod

        model = find_model(FLAGS.model_dir)
        config = tfod.read_config(model.config_path)
        prefix = model.checkpoint if model.is_exported else find_checkpoint(FLAGS.model_dir).path
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


def our_job(save_dir, engine=None, precision="float32"):
    """Returns the Job of run_inference.py's defaults."""
    from lowlight.detector.detector import Detector

    names = read_label_map(FLAGS.label_map_path)
    detector = Detector(FLAGS.model_dir, engine or FLAGS.engine, precision, least_score=0.3)
    thresholds = dict.fromkeys(names, 0.3)
    return inference.Job(detector, names, thresholds, save_dir, quiet=True)


def in_turn(sides):
    """Returns {name: median seconds} of functions that run in turn."""
    seconds = {name: [] for name in sides}
    for _ in range(FLAGS.rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            side()
            seconds[name].append(time.perf_counter() - began)
    for name, values in seconds.items():
        print(f"  {name:<44} {np.median(values):8.3f} s  ({min(values):.3f} to {max(values):.3f})")
    return {name: float(np.median(values)) for name, values in seconds.items()}


def time_folder(images, folder):
    """Times a folder in a warm process, with models that haven't seen its sizes."""
    save_dir = folder / "out"
    save_dir.mkdir()
    job = our_job(save_dir)
    files = inputs.find_images(str(images))
    inference.detect_files(files[:1], job)
    print(f"a folder of {len(files)} images, warm process, {job.detector.engine}:")

    original = Original()
    original.run(make_images(folder / "warm", [(64, 64)]), save_dir, job.names)
    found = in_turn(
        {
            "original": lambda: original.run(images, save_dir, job.names),
            "ours": lambda: inference.detect_files(files, job),
        }
    )
    return {"folder_speedup": found["original"] / found["ours"]}


def time_process(images, folder):
    """Times whole processes, from start to exit."""
    save_dir = folder / "processes"
    common = f"--model_dir={FLAGS.model_dir}", f"--label_map_path={FLAGS.label_map_path}"
    common = *common, f"--images_folder_dir={images}"
    ours = [sys.executable, str(ROOT / "run_inference.py"), *common, f"--engine={FLAGS.engine}"]
    ours += ["--save_detection=True", f"--save_path={save_dir}", "--quiet"]
    theirs = [sys.executable, __file__, *common, ORIGINAL]
    print("whole processes:")

    def run(command):
        return lambda: subprocess.run(command, check=True, capture_output=True)

    found = in_turn({"original": run(theirs), "ours": run(ours)})
    return {"process_speedup": found["original"] / found["ours"]}


def time_stream(images, folder):
    """Times many images of one size on each engine, beside TFOD's exported model."""
    del images
    pictures = make_images(folder / "stream", [STREAM_SIZE] * STREAM)
    files = inputs.find_images(str(pictures))
    import tensorflow as tf

    _, loaded, signature = exported_model()
    arrays = [np.asarray(inputs.read_upright(file)) for file in files]

    def exported():
        for array in arrays:
            signature(input_tensor=tf.constant(array[np.newaxis]))["num_detections"].numpy()

    sides = {"TFOD's exported model": exported}
    jobs = {}
    for engine, precision in engines():
        name = f"{engine} {precision}"
        save_dir = folder / name.replace(" ", "-")
        save_dir.mkdir()
        jobs[name] = our_job(save_dir, engine, precision)
        sides[f"{name}, bare network"] = bare_network(jobs[name].detector, arrays)
        sides[f"{name}, files to files"] = lambda job=jobs[name]: inference.detect_files(files, job)
    for side in sides.values():
        side()  # warm-up
    print(f"{STREAM} images of {STREAM_SIZE[0]}x{STREAM_SIZE[1]}:")
    found = in_turn(sides)
    del loaded
    print_limits(found)
    theirs = found["TFOD's exported model"]
    totals = {name: found[f"{name}, files to files"] for name in jobs}
    best = min((name for name in totals if name.endswith("float32")), key=totals.get)
    reduced = [name for name in totals if name.endswith("bfloat16")]
    figures = {
        "stream_speedup_float32": theirs / totals[best],
        "fraction_of_network": found[f"{best}, bare network"] / totals[best],
    }
    if reduced:
        figures["stream_speedup_reduced"] = theirs / min(totals[name] for name in reduced)
    return figures


def engines():
    """Returns [(engine, precision)] of what is installed."""
    from importlib.util import find_spec

    found = [("tensorflow", "float32")]
    if find_spec("openvino"):
        found += [("openvino", "float32"), ("openvino", "bfloat16")]
    if find_spec("onnxruntime"):
        found.append(("onnxruntime", "float32"))
    return found


def bare_network(detector, arrays):
    """Returns a function that runs the network alone, its inputs ready in memory."""
    from lowlight.core.parallel import map_in_threads

    prepared = [detector.prepare(array) for array in arrays]
    return lambda: list(map_in_threads(detector.run, prepared, detector.parallel, ahead=2))


def print_limits(found):
    """Prints what an image takes, and what it would at the speed of a matrix product."""
    side, count = 2048, 3
    matrix = np.random.default_rng(0).random((side, side), np.float32)
    matrix @ matrix
    began = time.perf_counter()
    for _ in range(count):
        matrix @ matrix
    rate = count * 2 * side**3 / (time.perf_counter() - began)
    for name, seconds in found.items():
        print(f"  {name:<44} {seconds / STREAM:8.4f} s an image")
    print(f"  {'a float32 matrix product of as many FLOPs':<44} {FLOPS / rate:8.4f} s an image")


def measure_memory(folder):
    """Measures the peak memory of a process for 100 images and for 400."""
    peaks = {}
    for count in (100, 400):
        images = make_images(folder / f"{count}", [STREAM_SIZE] * count)
        command = [sys.executable, __file__, "--memory", f"--images_folder_dir={images}"]
        command += [f"--{name}={FLAGS[name].value}" for name in ("model_dir", "label_map_path")]
        command += [f"--engine={FLAGS.engine}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[count] = int(done.stdout.split()[-1])
        print(f"peak memory for {count} images: {peaks[count] / 1024:.0f} MiB")
    return {"memory_growth": peaks[400] / peaks[100]}


def run_once():
    """Runs one side, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        if FLAGS.original:
            names = read_label_map(FLAGS.label_map_path)
            Original().run(FLAGS.images_folder_dir, Path(folder), names)
            return
        files = inputs.find_images(FLAGS.images_folder_dir)
        inference.detect_files(files, our_job(Path(folder)))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(main)
