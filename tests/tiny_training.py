"""Data, config and runs of the smallest model that TFOD trains, for tests of whole trainings."""

import contextlib
import json
import socket
import time
from pathlib import Path

import forked
import numpy as np
import tensorflow as tf
from checks import write_examples
from pictures import encode
from PIL import Image

from lowlight.dataset.classes import CLASSES, format_label_map
from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.dataset.writing import make_example
from lowlight.tfod.training import make_trainee
from lowlight.training.step import TrainingInput

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
    return tiny_config(folder, {"train.tfrecord": "train.tfrecord-?????-of-?????"})


def _noise(seed):
    """Returns the JPEG of an image of coarse noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return encode(Image.fromarray(pixels).resize((_SIDE, _SIDE)), "JPEG")


def tiny_config(folder, changes):
    """Writes tiny.config for the data in a folder with {text: other text}; returns its path."""
    text, path = (ROOT / "tests" / "tiny.config").read_text(), folder / "tiny.config"
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text.replace("FOLDER", str(folder)))
    return path


def begin(config, strategy=None, **options):
    """Returns (Trainee, its training batches) of a config, as a training with seed 1 has them."""
    strategy = strategy or tf.distribute.get_strategy()
    return make_trainee(
        config, lambda model: TrainingInput(config, 1).batches(strategy, 0, model), **options
    )


def losses_of(run_dir):
    """Returns {step: total loss} of all that a run wrote for TensorBoard."""
    return scalars_of(run_dir / "train", "Loss/total_loss")


def scalars_of(folder, tag):
    """Returns {step: number} of what TensorBoard has under a tag, the last written of each step."""
    return {step: float(tf.make_ndarray(tensor)) for step, tensor in _events(folder, tag)}


def images_of(folder, tag):
    """Returns the (width, height) of the images that TensorBoard has under a tag."""
    found = (tf.make_ndarray(tensor) for _, tensor in _events(folder, tag))
    return {tuple(int(side) for side in value[:2]) for value in found}


def _events(folder, tag):
    """Yields (step, value) of what TensorBoard has under a tag."""
    for path in sorted(folder.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            yield from ((event.step, v.tensor) for v in event.summary.value if v.tag == tag)


@contextlib.contextmanager
def start_training(config, run_dir, log, *flags, workers=()):
    """Gives the process of a train.py that prints to the file `log`; the block's end kills it.

    Args:
        config, run_dir: paths.
        log: path.
        flags: further flags.
        workers: "host:port" of each worker and, last, the index of this one; () for no workers.
    """
    variables = {}
    if workers:
        *addresses, index = workers
        task = {"type": "worker", "index": index}
        variables["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        flags = (*flags, f"--num_workers={len(addresses)}")
    flags = f"--pipeline_config_path={config}", f"--model_dir={run_dir}", *flags
    log.write_text("")
    process = forked.start(forked.script, "train.py", *flags, out=log, **variables)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def wait_for(is_so, process, log):
    """Waits until is_so(), while the process runs; pytest's own limit ends a wait for ever."""
    while not is_so():
        assert process.is_alive(), log.read_text()
        time.sleep(0.1)


def free_addresses(number):
    """Returns that many addresses, "localhost:port", that nobody listens at."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(number)]
    addresses = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses
