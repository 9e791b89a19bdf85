r"""Compares a training step and the input pipeline with stock model_main_tf2's.

  python scripts/benchmarks/bench_train.py --exdark_root=/path/to/exdark

Each side trains the config's D1 from random weights in a process of its own; the sides take turns,
a few steps each, so that a busy machine slows them alike. Stock is TFOD's `model_lib_v2.train_loop`
with its own input pipeline, under the same repairs; it is never asked for a summary, and its blocks
are as long as a turn instead of 100 steps. All train on every GPU there is; of its memory a side
takes as much as it needs, so where two don't fit beside each other give --one_by_one. Without
--exdark_root the images are drawn. The last line is one JSON object.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from absl import flags
from train_sides import SIDES, run_side

from lowlight.core import command

FLAGS = flags.FLAGS
SCRIPTS = Path(__file__).parents[1]
_USUAL = ["stock", "float32", "mixed", "stock_input", "input"]
flags.DEFINE_string(
    "config",
    str(SCRIPTS.parent / "configs/ssd_efficientdet_d1_640x640_coco17_tpu-8.config"),
    "The pipeline config to train.",
)
flags.DEFINE_string("exdark_root", os.environ.get("EXDARK_ROOT"), "ExDark, or a part of it.")
flags.DEFINE_integer("batch_size", 2, "Images a step.", 1)
flags.DEFINE_integer("steps", 3, "Steps of a turn.", 1)
flags.DEFINE_integer("turns", 5, "Turns of each side.", 1)
flags.DEFINE_integer("input_batches", 40, "Batches of an input pipeline's turn.", 1)
flags.DEFINE_list("sides", _USUAL, f"What to compare, of {', '.join(SIDES)}.")
flags.DEFINE_boolean("one_by_one", False, "End each side before the next begins.")

_IMAGES_A_SECOND = 180  # what a present GPU machine may train


def main():
    """Prints a table of all sides and the JSON line."""
    with tempfile.TemporaryDirectory() as folder:
        records = make_records(folder)
        turns = {side: [] for side in FLAGS.sides}
        for kind in ("train", "input"):
            sides = [side for side in FLAGS.sides if SIDES[side].kind == kind]
            for together in [[side] for side in sides] if FLAGS.one_by_one else [sides]:
                take_turns(together, records, turns)
    print_table(turns)
    report(turns)


def print_table(turns):
    """Prints what a step takes, or an image for input, and the images a second."""
    head = f"{'wall s':>10} {'(fastest to slowest)':>22}{'CPU s':>10}{'images/s':>10}{'GPU GB':>8}"
    print(f"\n{'':12}{head}   a step or image")
    for side, found in turns.items():
        walls, cpus, gpu_bytes = zip(*found, strict=True)
        spread = f"({min(walls):.4f} to {max(walls):.4f})"
        images = FLAGS.batch_size if SIDES[side].kind == "train" else 1
        print(
            f"{side:12}{median(walls):10.4f} {spread:>22}{median(cpus):10.4f}"
            f"{images / median(walls):10.1f}{max(gpu_bytes) / 1e9:8.1f}"
        )


def take_turns(sides, records, turns):
    """Lets the sides take turns, in processes that stay.

    Args:
        sides: keys of SIDES, all of one kind.
        records: their folder.
        turns: {side: list}, to which each Turn is added.
    """
    context = multiprocessing.get_context("spawn")
    workers = {}
    for side in sides:
        ours, theirs = context.Pipe()
        arguments = (side, FLAGS.config, records, FLAGS.batch_size, FLAGS.steps)
        process = context.Process(
            target=run_side, args=(*arguments, FLAGS.input_batches, theirs), daemon=True
        )
        process.start()
        theirs.close()
        print(f"{side}: warming up", flush=True)
        ours.recv()
        workers[side] = (process, ours)
    for turn in range(FLAGS.turns):
        for side in sides if turn % 2 else sides[::-1]:
            workers[side][1].send("go")
            turns[side].append(workers[side][1].recv())
    for process, _ in workers.values():
        process.kill()
        process.join()


def report(turns):
    """Prints the sentence on cores and the JSON line."""
    figures = {}
    own = [side for side, (kind, is_stock, *_) in SIDES.items() if kind == "train" and not is_stock]
    compared = [(f"speedup_{side}", side, "wall") for side in own]
    for name, side, clock in (*compared, ("cpu_speedup_float32", "float32", "cpu")):
        if {side, "stock"} <= set(turns):
            ratios = [
                getattr(stock, clock) / getattr(ours, clock)
                for stock, ours in zip(turns["stock"], turns[side], strict=True)
            ]
            figures[name] = round(median(ratios), 3)
            print(f"{name}: {min(ratios):.2f} to {max(ratios):.2f} by turn")
    for name, side in (
        ("input_images_per_s_per_core", "input"),
        ("stock_input_images_per_s_per_core", "stock_input"),
    ):
        if side in turns:
            figures[name] = rate = round(1 / median(turn.cpu for turn in turns[side]), 1)
            cores = _IMAGES_A_SECOND / rate
            print(f"{side}: {cores:.1f} cores feed {_IMAGES_A_SECOND} images/s")
    print(json.dumps(figures))


def make_records(folder):
    """Writes training records and returns their folder."""
    root, data = FLAGS.exdark_root, Path(folder)
    if not root:
        _run("make_sample_data.py", f"--output_dir={data}", "--images=64", "--width=640")
        root = data
    _run("convert_images.py", f"--input_dir={root}/ExDark", f"--output_dir={data}/images")
    zipped = Path(root, "ExDark_Annno.zip")
    annotations = zipped if zipped.is_file() else Path(root, "ExDark_Annno")
    images = f"--images_dir={data}/images"
    _run(
        "make_annotations_csv.py",
        f"--annotations={annotations}",
        images,
        f"--output_dir={data}",
        "--allow_missing",
    )
    _run("make_tfrecords.py", f"--data_dir={data}", images, f"--output_dir={data}")
    return str(data)


def _run(script, *arguments):
    subprocess.run(
        [sys.executable, SCRIPTS / script, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    command.run(main)
