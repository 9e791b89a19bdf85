"""Chooses the devices that a run trains on, and lets several workers agree on what to do."""

import json
import os
import shutil
from typing import NamedTuple

import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.training.checkpoints import MOST_KEPT

_EXAMPLE = (
    'export TF_CONFIG=\'{"cluster": {"worker": ["10.0.0.1:12345", "10.0.0.2:12345"]}, '
    '"task": {"type": "worker", "index": 0}}\''
)


class Cluster(NamedTuple):
    """The workers of a run, as TF_CONFIG names them."""

    addresses: list  # "host:port" of each
    index: int  # this one's place in it; 0 is the chief, which writes the run


def read_cluster(num_workers):
    """Reads TF_CONFIG.

    Args:
        num_workers: how many workers there are to be.

    Returns:
        A Cluster; that of one worker alone where there is to be one.

    Raises:
        DataError: TF_CONFIG is missing, isn't what TensorFlow wants, or has another number.
    """
    if num_workers == 1:
        return Cluster([""], 0)
    text = os.environ.get("TF_CONFIG", "")
    remedy = f"\n  Set it on each worker, with an index of its own:\n    {_EXAMPLE}"
    try:
        config = json.loads(text)
        addresses, index = list(config["cluster"]["worker"]), int(config["task"]["index"])
        addresses[index]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        found = repr(text) if text else "not set"
        raise DataError(f"TF_CONFIG: {found}, but --num_workers={num_workers}.{remedy}") from error
    if len(addresses) != num_workers:
        raise DataError(
            f"TF_CONFIG: names {len(addresses)} workers, but --num_workers={num_workers}.{remedy}"
        )
    return Cluster(addresses, index)


def choose_strategy(num_workers=1, use_tpu=False, tpu_name=None):
    """Returns the tf.distribute strategy that TFOD's model_main_tf2 would choose.

    A MirroredStrategy over every GPU (the CPU where there is none); a TPUStrategy with `use_tpu`; a
    MultiWorkerMirroredStrategy, which takes the workers from TF_CONFIG and waits for them, with
    over one worker.
    """
    tf.config.set_soft_device_placement(True)
    if use_tpu:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu_name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    if num_workers > 1:
        cluster = read_cluster(num_workers)
        print(f"worker {cluster.index} of {', '.join(cluster.addresses)}: waiting for the others")
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy()


class Workers:
    """What the workers of a run know of each other."""

    def __init__(self, strategy, cluster):
        self._strategy, self.count, self.index = strategy, len(cluster.addresses), cluster.index
        self.is_chief = cluster.index == 0
        # A worker has to write checkpoints with the others, which nobody needs, as in TFOD's loop.
        self.folder = "" if self.is_chief else f"temp_worker_{cluster.index:03d}"
        self.most_kept = MOST_KEPT if self.is_chief else 1

        @tf.function(input_signature=[tf.TensorSpec([], tf.int64)])
        def total(number):
            numbers = strategy.run(lambda: tf.identity(number))
            return strategy.reduce(tf.distribute.ReduceOp.SUM, numbers, axis=None)

        self._total = total

    def from_chief(self, number):
        """Returns the chief's number, an int, to every worker; it waits for all of them."""
        if self.count == 1:
            return number
        total = int(self._total(tf.constant(number if self.is_chief else 0, tf.int64)))
        return total // (self._strategy.num_replicas_in_sync // self.count)

    def any(self, number):
        """Returns whether the number, from 0 up, isn't 0 at some worker; waits as `from_chief`."""
        if self.count == 1:
            return bool(number)
        return int(self._total(tf.constant(number, tf.int64))) > 0

    def remove_folder(self, run_dir):
        """Removes from a run what a worker had to write and nobody needs."""
        if not self.is_chief:
            shutil.rmtree(run_dir / self.folder, ignore_errors=True)

    def first_part(self, values):
        """Returns a dict of a batch's tensors as this worker's first device has them."""
        return {
            name: self._strategy.experimental_local_results(value)[0]
            for name, value in values.items()
        }
