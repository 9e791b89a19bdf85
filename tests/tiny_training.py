"""Data, config and runs of the smallest model that TFOD trains, for tests of whole trainings."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from checks import write_examples
from pictures import encode
from PIL import Image

from lowlight.dataset.classes import CLASSES, format_label_map
from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.dataset.writing import make_example

ROOT = Path(__file__).parents[1]
_SIDE = 64
# Alike from the left and from the right, so that a mirrored image has as many anchors matched.
_BOXES = (8, 8, 56, 40), (20, 30, 44, 60)


def write_tiny_data(folder, images=12, shards=1):
    """Writes records, label map and config; returns the config's path.

    Every image is another noise with boxes at the same places, of other classes. So each has as
    many anchors matched as any other, and TFOD's loss, which a device divides by the matches in its
    part of a batch, is the same however a batch is shared.
    """
    ids = {name: number for number, name in enumerate(CLASSES, 1)}
    (folder / "label_map.txt").write_text(format_label_map())
    names = [f"train.tfrecord-{n:05}-of-{shards:05}" for n in range(shards)] + ["test.tfrecord"]
    for number, name in enumerate(names):
        examples = []
        for image in range(number, images, shards):
            row = ImageRow(f"{image}.jpg", "", _SIDE, _SIDE)
            boxes = [
                AnnotationRow(row.filename, _SIDE, _SIDE, CLASSES[(image + n) % 12], *box)
                for n, box in enumerate(_BOXES)
            ]
            examples.append(make_example(row, boxes, _noise(image), ids))
        write_examples(folder / name, *examples)
    text = (ROOT / "tests" / "tiny.config").read_text().replace("FOLDER", str(folder))
    path = folder / "tiny.config"
    path.write_text(text.replace("train.tfrecord", "train.tfrecord-?????-of-?????"))
    return path


def _noise(seed):
    """Returns the JPEG of an image of coarse noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return encode(Image.fromarray(pixels).resize((_SIDE, _SIDE)), "JPEG")


def losses_of(run_dir):
    """Returns {step: total loss} of all that a run wrote for TensorBoard."""
    return scalars_of(run_dir / "train", "Loss/total_loss")


def scalars_of(folder, tag, files="events*"):
    """Returns {step: number} of what TensorBoard has under a tag, the last written of each step."""
    import tensorflow as tf

    return {
        event.step: float(tf.make_ndarray(value.tensor))
        for path in sorted(folder.glob(files))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == tag
    }


def start_training(config, run_dir, log, *flags, workers=()):
    """Starts train.py and returns its Popen; what it prints goes to the file `log`.

    Args:
        config, run_dir: paths.
        log: path.
        flags: further flags.
        workers: "host:port" of each worker and, last, the index of this one; () for no workers.
    """
    environment = dict(os.environ)
    if workers:
        *addresses, index = workers
        task = {"type": "worker", "index": index}
        environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        flags = (*flags, f"--num_workers={len(addresses)}")
    command = [sys.executable, "scripts/train.py", f"--pipeline_config_path={config}"]
    with open(log, "w") as file:
        return subprocess.Popen(
            [*command, f"--model_dir={run_dir}", *flags],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def wait_for(is_so, process, log):
    """Waits until is_so(), while the process runs; pytest's own limit ends a wait for ever."""
    while not is_so():
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)


def free_addresses(number):
    """Returns that many addresses, "localhost:port", that nobody listens at."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(number)]
    addresses = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses
