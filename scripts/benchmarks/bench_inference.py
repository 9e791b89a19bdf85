"""Times run_inference.py beside the original's manner, TFOD's exported model and the bare network.

  python scripts/benchmarks/bench_inference.py
  python scripts/benchmarks/bench_inference.py --model_dir=checkpoint/sample/exported \
    --label_map_path=data/sample/label_map.txt --parts=first,stream --run_python=run/bin/python

Without --model_dir it makes a D1 of random weights, checkpoint/bench_d1, once. Without
--images_folder_dir it makes 18 pictures of the sizes of the original's test photographs.
The original's manner is a tf.function without a signature, which is traced for each size: open at
full size, detect, draw, save. Both sides run in turn, --rounds times; each ratio is of the medians.
--engine is auto, as in run_inference.py. Longer parts can be left out: --parts=folder,stream.
The part stream times each engine that is installed. The part first, of an export with model.onnx,
times a process from its start to its end with one picture, by TensorFlow and, with --run_python, in
an environment of requirements/run.txt alone, and compares what is installed.
The last line is JSON.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from inference_sides import (  # noqa: E402
    Original,
    bare_network,
    exported_model,
    installed_bytes,
    jobs_of_engines,
    make_d1,
    make_images,
    our_job,
    seconds_of_process,
)

from lowlight.dataset.classes import read_label_map  # noqa: E402
from lowlight.detector.engines import ENGINES  # noqa: E402
from lowlight.images.reading import read_upright  # noqa: E402
from lowlight.inference import folder as inference  # noqa: E402
from lowlight.inference import inputs  # noqa: E402

PARTS = "folder", "process", "stream", "memory"  # and first
D1 = ROOT / "checkpoint" / "bench_d1"
SIZES = (
    (275, 183), (300, 168), (640, 426), (1024, 683), (1280, 720), (1280, 853), (1600, 900),
    (1600, 1067), (1920, 1080), (1920, 1280), (2048, 1365), (2400, 1600), (2560, 1440),
    (2560, 1707), (3000, 2000), (3840, 2160), (4000, 2667), (4736, 3033),
)  # fmt: skip
STREAM_SIZE = 640, 480
FLOPS = 12.2e9  # of a D1 at 640 pixels, an image; multiply and add counted apart
ORIGINAL = "--original"  # a process of this script in the original's manner

FLAGS = flags.FLAGS
flags.DEFINE_string("images_folder_dir", None, "Photographs; by default pictures are made.")
flags.DEFINE_string("model_dir", None, "An exported model; by default a D1 is made.")
flags.DEFINE_string("label_map_path", None, "Its label map; that of the D1 by default.")
flags.DEFINE_enum("engine", "auto", (*ENGINES, "auto"), "As run_inference.py's.")
flags.DEFINE_list("parts", list(PARTS), "What to time; first isn't by default.")
flags.DEFINE_string("run_python", None, "The Python of an environment of requirements/run.txt.")
flags.DEFINE_integer("stream", 24, "Pictures of the part stream.", 1)
flags.DEFINE_list("batch_sizes", [], "Pictures that TensorFlow takes at a time in it.")
flags.DEFINE_integer("rounds", 3, "How often each side is timed.", 1)
flags.DEFINE_boolean("original", False, "Detect in the original's manner, once; for this script.")
flags.DEFINE_boolean("memory", False, "Print the peak memory of a run, in KiB; for this script.")


def main(argv):
    """Times what is asked for and prints it."""
    del argv
    if FLAGS.original or FLAGS.memory:
        run_once()
        return
    if FLAGS.model_dir is None:
        if not (D1 / "exported" / "saved_model").is_dir():
            make_d1(ROOT, D1)
        FLAGS.model_dir, FLAGS.label_map_path = str(D1 / "exported"), str(D1 / "label_map.txt")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        images = FLAGS.images_folder_dir or make_images(Path(folder) / "photographs", SIZES)
        parts = {"folder": time_folder, "process": time_process, "stream": time_stream}
        parts["first"] = time_first
        for name in FLAGS.parts:
            if name == "memory":
                figures |= measure_memory(Path(folder))
            else:
                figures |= parts[name](images, Path(folder))
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


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
    names = read_label_map(FLAGS.label_map_path)
    job = our_job(FLAGS.model_dir, names, save_dir, FLAGS.engine)
    files = inputs.find_images(str(images))
    inference.detect_files(files[:1], job)
    print(f"a folder of {len(files)} images, warm process, {job.detector.engine}:")

    original = Original(FLAGS.model_dir)
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
    pictures = make_images(folder / "stream", [STREAM_SIZE] * FLAGS.stream)
    files = inputs.find_images(str(pictures))
    import tensorflow as tf

    loaded, signature = exported_model(FLAGS.model_dir)
    arrays = [np.asarray(read_upright(file.read(), file.place)) for file in files]

    def exported():
        for array in arrays:
            signature(input_tensor=tf.constant(array[np.newaxis]))["num_detections"].numpy()

    sides = {"TFOD's exported model": exported}
    names, batch_sizes = read_label_map(FLAGS.label_map_path), list(map(int, FLAGS.batch_sizes))
    jobs = jobs_of_engines(FLAGS.model_dir, names, folder, batch_sizes)
    for name, job in jobs.items():
        sides[f"{name}, bare network"] = bare_network(job.detector, arrays)
        sides[f"{name}, files to files"] = lambda job=job: inference.detect_files(files, job)
    for side in sides.values():
        side()  # warm-up
    print(f"{FLAGS.stream} images of {STREAM_SIZE[0]}x{STREAM_SIZE[1]}:")
    found = in_turn(sides)
    del loaded
    print_limits(found)
    theirs = found["TFOD's exported model"]
    totals = {name: found[f"{name}, files to files"] for name in jobs}
    best = min((name for name in totals if name.endswith("float32")), key=totals.get)
    reduced = [name for name in totals if name.endswith("bfloat16")]
    figures = {
        f"stream_speedup_{name.removesuffix(' float32')}": theirs / total
        for name, total in totals.items()
        if name.endswith("float32")
    }
    figures["stream_speedup_float32"] = theirs / totals[best]
    figures["fraction_of_network"] = found[f"{best}, bare network"] / totals[best]
    if reduced:
        figures["stream_speedup_reduced"] = theirs / min(totals[name] for name in reduced)
    return figures


def time_first(images, folder):
    """Times processes from their start to their end, with one picture."""
    picture = sorted(Path(images).iterdir())[0]
    common = [str(ROOT / "run_inference.py"), f"--images_folder_dir={picture}", "--quiet"]
    common += [f"--label_map_path={FLAGS.label_map_path}"]
    export = Path(FLAGS.model_dir)
    small = FLAGS.run_python or sys.executable
    kinds = {
        "TensorFlow, SavedModel": [sys.executable, f"--model_dir={export}", "--engine=tensorflow"],
        "ONNX Runtime, model.onnx": [small, f"--model_dir={export / 'model.onnx'}"],
    }
    commands = {name: [python, *common, *rest] for name, (python, *rest) in kinds.items()}
    processor = {name: [] for name in commands}

    def run(name):
        return lambda: processor[name].append(seconds_of_process(commands[name]))

    print("from the start to the end of a process with one picture:")
    for command in commands.values():
        seconds_of_process(command)  # warm-up, and what is kept for the next start
    found = in_turn({name: run(name) for name in commands})
    for name, values in processor.items():
        print(f"  {name:<44} {np.median(values):8.3f} s of processor time")
    theirs, ours = (float(np.median(values)) for values in processor.values())
    figures = {
        "first_seconds": found["ONNX Runtime, model.onnx"],
        "first_processor_seconds": ours,
        "first_speedup": found["TensorFlow, SavedModel"] / found["ONNX Runtime, model.onnx"],
        "first_processor_ratio": theirs / ours,
    }
    if FLAGS.run_python:
        large, little = installed_bytes(sys.executable), installed_bytes(small)
        print(f"  installed: {large / 1e6:.0f} MB, and {little / 1e6:.0f} MB without TensorFlow")
        figures |= {"installed_mb": little / 1e6, "installed_ratio": large / little}
    return figures


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
        print(f"  {name:<44} {seconds / FLAGS.stream:8.4f} s an image")
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
    names = read_label_map(FLAGS.label_map_path)
    with tempfile.TemporaryDirectory() as folder:
        if FLAGS.original:
            Original(FLAGS.model_dir).run(FLAGS.images_folder_dir, Path(folder), names)
            return
        files = inputs.find_images(FLAGS.images_folder_dir)
        job = our_job(FLAGS.model_dir, names, Path(folder), FLAGS.engine)
        inference.detect_files(files, job)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    app.run(main)
