r"""Times the data steps against the original's manner and against the machine's limit.

  EXDARK_ROOT=/path/to/exdark python scripts/benchmarks/bench_data.py --fraction=0.25

From raw files to verified records, on images made like ExDark's (made_exdark.py), in one run:
  ours      convert_images, make_annotations_csv, make_tfrecords --verify: their library calls, one
            after the other
  reencode  the original's manner: one image at a time opened, converted to RGB, saved at Pillow's
            default quality, copied to a train or test folder; csv files gathered with pandas, and
            records written from them as TFOD's csv-to-record example does
  limit     a process a core, which only read each file, decode and encode those that aren't RGB
            JPEG, and write the images' bytes once

Each side runs --repeats times, in turn, each in a process of its own, whose imports aren't timed.
cost_growth compares what an image costs ours with what it costs on a quarter of the images;
peak_mib is the most resident memory of ours, all its processes together. The last line is one JSON
object.
"""

import functools
import io
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import sys
import tempfile
import threading
from pathlib import Path

import psutil
from absl import app, flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import data_sides  # noqa: E402
from made_exdark import make_exdark  # noqa: E402

from lowlight.core.parallel import cores  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_float("fraction", 0.25, "Share of the 7363 images.", 0.001, 1.0)
flags.DEFINE_integer("repeats", 3, "How often each side runs.", 1)
flags.DEFINE_string(
    "work_dir", None, "Where images are made, and kept for a next time; by default not kept."
)

_SIDES = "ours", "reencode", "limit"
_SPAWN = multiprocessing.get_context("spawn")  # a process that shares nothing with this one


def run_side(side, raw, folder):
    """Runs a side once.

    Returns:
        ({stage: seconds}, most resident memory in MiB, seconds of processor time).
    """
    out = Path(tempfile.mkdtemp(dir=folder, prefix=f"{side}-"))
    results = _SPAWN.Queue()
    process = _SPAWN.Process(target=_run, args=(side, raw, out, results))
    process.start()
    done, peak = threading.Event(), [0]
    watch = threading.Thread(target=_watch, args=(process.pid, done, peak))
    watch.start()
    process.join()
    done.set()
    watch.join()
    shutil.rmtree(out)
    if process.exitcode:
        sys.exit(f"error: {side} failed.")
    stages, processor = results.get()
    return stages, peak[0] / 2**20, processor


def _run(side, raw, out, results):
    sys.stderr = io.StringIO()  # the progress lines
    if side == "reencode":
        import pandas  # noqa: F401
        import tensorflow  # noqa: F401
    began = _processor_seconds()
    stages = dict(getattr(data_sides, side)(raw, out))
    results.put((stages, _processor_seconds() - began))


def _processor_seconds():
    """Returns the processor time of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _watch(pid, done, peak):
    process = psutil.Process(pid)
    while not done.wait(0.02):
        try:
            family = [process, *process.children(recursive=True)]
            peak[0] = max(peak[0], sum(member.memory_info().rss for member in family))
        except psutil.NoSuchProcess:
            return


def report(name, images, runs):
    """Prints a side's median and spread, its stages and its memory, and returns the median."""
    totals = [sum(stages.values()) for stages, *_ in runs]
    median = statistics.median(totals)
    print(
        f"{name} ({images} images): median {median:.2f} s, {min(totals):.2f} to {max(totals):.2f}"
    )
    for stage in runs[0][0]:
        print(f"    {stage:18} {statistics.median(run[0][stage] for run in runs):7.2f} s")
    processor = statistics.median(seconds for *_, seconds in runs)
    print(f"    {'processor time':18} {processor:7.2f} s")
    print(f"    {'resident memory':18} {max(peak for _, peak, _ in runs):7.0f} MiB")
    return median


def main(argv):
    """Makes the images, runs all sides in turn and prints what they took."""
    del argv
    root = os.environ.get("EXDARK_ROOT")
    if not root:
        sys.exit("error: EXDARK_ROOT isn't set; the sizes and annotations are those of ExDark.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(FLAGS.work_dir or temporary)
        sets = {}
        for fraction in (FLAGS.fraction, FLAGS.fraction / 4):
            raw = folder / f"exdark-{fraction:g}"
            sets[raw] = make_exdark(raw, fraction, root)
        whole, quarter = sets
        files = list((whole / "ExDark").rglob("*.*"))
        size = sum(path.stat().st_size for path in files)
        print(f"{len(files)} images of {size / len(files) / 1e3:.0f} KB, {cores()} cores")
        run = functools.partial(run_side, folder=temporary)
        runs = {name: [] for name in (*_SIDES, "quarter")}
        for _ in range(FLAGS.repeats):
            for side in _SIDES:
                runs[side].append(run(side, whole))
            runs["quarter"].append(run("ours", quarter))
    medians = {side: report(side, sets[whole], runs[side]) for side in _SIDES}
    medians["quarter"] = report("ours", sets[quarter], runs["quarter"])
    cost, quarter_cost = medians["ours"] / sets[whole], medians["quarter"] / sets[quarter]
    figures = {
        "speedup_over_reencode": medians["reencode"] / medians["ours"],
        "fraction_of_limit": medians["limit"] / medians["ours"],
        "peak_mib": max(peak for _, peak, _ in runs["ours"]),
        "cost_growth": cost / quarter_cost,
    }
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    app.run(main)
