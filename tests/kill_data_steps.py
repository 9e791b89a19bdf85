r"""Kills the data steps at random moments, and compares what a last run makes with a quiet run's.

  python tests/kill_data_steps.py --kills=20

The three steps run one after the other, on drawn images of several forms. SIGKILL ends them at
moments drawn from the time that they take; each next run continues with the files as they are.
Where a run reaches its end, its files are compared, and the next begins in an empty folder.
It prints what it counted, and exits with status 1 where a byte differs.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
_DRAWN = "--images=80", "--width=640", "--height=480"  # pixels
STEPS = r"""
set -e
step() { echo "$1"; "$PYTHON" "$SCRIPTS/$1" "${@:2}" --output_dir="$OUT"; }
images="$OUT/images"
OUT="$images" step convert_images.py --input_dir="$RAW/ExDark"
step make_annotations_csv.py --annotations="$RAW/ExDark_Annno" --images_dir="$images"
step make_tfrecords.py --data_dir="$OUT" --images_dir="$images" --shards=3 --verify
"""


def start_steps(raw, out):
    """Starts the three steps as a shell does, and returns the process."""
    names = {"PYTHON": sys.executable, "SCRIPTS": str(SCRIPTS), "RAW": str(raw), "OUT": str(out)}
    return subprocess.Popen(
        ["bash", "-c", STEPS],
        env=os.environ | names,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def finish(raw, out):
    """Runs the steps to their end and returns the seconds they took."""
    began = time.monotonic()
    process = start_steps(raw, out)
    process.communicate()
    if process.returncode:
        sys.exit(f"error: the steps ended with status {process.returncode}.")
    return time.monotonic() - began


def kill(raw, out, seconds):
    """Kills the steps after some seconds and returns the one that ran, None where all had ended."""
    process = start_steps(raw, out)
    try:
        process.wait(seconds)
        return None
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return [line for line in process.communicate()[0].split() if line.endswith(".py")][-1]


def contents(folder):
    """Returns {path: SHA-256 sum} of all files below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def survive(folder, kills, seed=0):
    """Kills the steps in a folder, and compares what they make when they aren't killed.

    Returns:
        (Counter of the steps that were killed, how many ends were compared, how many files each
        has, names of files that one side lacks or that differ).
    """
    draw = [sys.executable, SCRIPTS / "make_sample_data.py", f"--output_dir={folder / 'raw'}"]
    subprocess.run([*draw, *_DRAWN], check=True, stdout=subprocess.DEVNULL)
    seconds = finish(folder / "raw", folder / "quiet")
    quiet = set(contents(folder / "quiet").items())
    rng, killed, ends, differ = random.Random(seed), Counter(), 0, set()
    while killed.total() < kills or not ends:
        out = folder / f"killed {ends}"
        step = kill(folder / "raw", out, rng.uniform(0.1, seconds))
        killed[step] += step is not None
        if step is None or killed.total() == kills:
            finish(folder / "raw", out)
            ends += 1
            differ |= quiet ^ set(contents(out).items())
    return +killed, ends, len(quiet), sorted({name for name, _ in differ})


def main():
    """Parses the flags, kills, and prints what it counted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        killed, ends, files, differ = survive(Path(folder), given.kills, given.seed)
    print(f"{killed.total()} kills:")
    for step, count in killed.most_common():
        print(f"  in {step}: {count}")
    print(f"{ends} runs to the end, {files} files each; differing from a quiet run: {len(differ)}")
    sys.exit(f"error: {', '.join(differ)}" if differ else 0)


if __name__ == "__main__":
    main()
