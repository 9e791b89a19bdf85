"""Tells the workers of a run apart by TF_CONFIG, and lets them agree on a number."""

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from lowlight.core.errors import DataError, format_count
from lowlight.core.tensorflow import find_gpus

# What TensorFlow raises, in any step that needs them all, where one of several workers has gone.
LOST_WORKER = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
_EXAMPLE = (
    'export TF_CONFIG=\'{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]}, '
    '"task": {"type": "worker", "index": 0}}\''
)
_KINDS = "chief", "worker"  # in the order in which TensorFlow counts them


class Cluster(NamedTuple):
    """The workers of a run, as TF_CONFIG names them."""

    addresses: list[str]  # "host:port" of each
    index: int  # this one's place in it; 0 is the chief, which writes the run


def read_cluster(num_workers: int) -> Cluster:
    """Reads TF_CONFIG, which one worker alone doesn't need.

    Raises:
        DataError: TF_CONFIG is missing, isn't what TensorFlow wants, or has another number.
    """
    text = os.environ.get("TF_CONFIG", "")
    remedy = f"\n  Set it on each worker, with an index of its own:\n    {_EXAMPLE}"
    if num_workers == 1:
        remedy = "\n  Unset it to train alone, or give --num_workers."
    try:
        config = json.loads(text or "{}")
        if num_workers == 1 and not config.get("cluster"):
            return Cluster([""], 0)
        kind, index = config["task"].get("type", "worker"), int(config["task"]["index"])
        jobs = {name: list(config["cluster"].get(name, [])) for name in _KINDS}
        if kind in jobs and index not in range(len(jobs[kind])):
            raise IndexError(index)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        found = repr(text) if text else "not set"
        raise DataError(f"TF_CONFIG: {found}, but --num_workers={num_workers}.{remedy}") from error
    if kind not in jobs:
        raise DataError(
            f"TF_CONFIG: the task's type is {kind!r}; train.py trains as chief or worker.\n"
            "  To score each checkpoint of a training run evaluate.py --watch instead."
        )
    addresses = [address for name in _KINDS for address in jobs[name]]
    if len(addresses) != num_workers:
        raise DataError(
            f"TF_CONFIG: names {len(addresses)} workers, but --num_workers={num_workers}.{remedy}"
        )
    return Cluster(addresses, index if kind == "chief" else index + len(jobs["chief"]))


def choose_strategy(num_workers: int = 1) -> tf.distribute.Strategy:
    """Returns the strategy that TFOD's model_main_tf2 would choose.

    A MirroredStrategy over every GPU (the CPU where there is none); with over one worker a
    MultiWorkerMirroredStrategy, which takes the workers from TF_CONFIG and waits for them.
    """
    tf.config.set_soft_device_placement(True)
    if num_workers > 1:
        cluster = read_cluster(num_workers)
        print(f"worker {cluster.index} of {', '.join(cluster.addresses)}: waiting for the others")
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy()


def count_devices(replicas: int) -> str:
    """Returns how many devices share a batch and what they are: "1 CPU", "2 GPUs"."""
    return format_count(replicas, "GPU" if find_gpus() else "CPU")


class Workers:
    """What the workers of a run know of each other."""

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster):
        self._strategy, self.count = strategy, len(cluster.addresses)
        self.is_chief = cluster.index == 0
        # A worker has to write checkpoints with the others, which nobody needs, as in TFOD's loop.
        self.folder = "" if self.is_chief else f"temp_worker_{cluster.index:03d}"

        @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])
        def total(number):
            numbers = strategy.run(lambda: tf.identity(number))
            return strategy.reduce(tf.distribute.ReduceOp.SUM, numbers, axis=None)

        self._total = total

    def from_chief(self, number: int) -> int:
        """Returns the chief's number to every worker; it waits for all of them."""
        if self.count == 1:
            return number
        total = int(self._total(tf.constant(number if self.is_chief else 0, tf.int64)))
        return total // (self._strategy.num_replicas_in_sync // self.count)

    def any(self, number: int) -> bool:
        """Returns whether the number, from 0 up, isn't 0 at some worker; waits as `from_chief`."""
        if self.count == 1:
            return bool(number)
        return int(self._total(tf.constant(number, tf.int64))) > 0

    def remove_folder(self, run_dir: Path) -> None:
        """Removes from a run what a worker had to write and nobody needs."""
        if not self.is_chief:
            shutil.rmtree(run_dir / self.folder, ignore_errors=True)

    def first_part(self, values: dict) -> dict:
        """Returns a batch's {name: tensor} as this worker's first device has them."""
        return {
            name: self._strategy.experimental_local_results(value)[0]
            for name, value in values.items()
        }
