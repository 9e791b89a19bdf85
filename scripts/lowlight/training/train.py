"""Trains a run on whatever devices and workers there are, to its last step."""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import tensorflow as tf

from lowlight.core.errors import DataError, noted_signals
from lowlight.core.files import existing_file, locked, output_dir
from lowlight.core.tensorflow import plain_message
from lowlight.dataset.record_checks import record_files
from lowlight.tfod import model as tfod
from lowlight.training.checkpoints import LOST_WORKER, MOST_KEPT
from lowlight.training.preflight import check_config, check_local
from lowlight.training.session import Session
from lowlight.training.stopping import STOPPING, TrainingSignals

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
        cluster, task = config["cluster"], config["task"]
        kind, index = task.get("type", "worker"), int(task["index"])
        chiefs, workers = list(cluster.get("chief", [])), list(cluster.get("worker", []))
        addresses = chiefs + workers  # as TensorFlow counts them
        if kind in ("chief", "worker"):
            place = index + (len(chiefs) if kind == "worker" else 0)
            if addresses[place] not in cluster[kind] or index < 0:
                raise IndexError
            index = place
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        found = repr(text) if text else "not set"
        raise DataError(f"TF_CONFIG: {found}, but --num_workers={num_workers}.{remedy}") from error
    if kind not in ("chief", "worker"):
        raise DataError(
            f"TF_CONFIG: the task's type is {kind!r}; train.py trains as chief or worker.\n"
            "  To score each checkpoint of a training run evaluate.py --watch instead."
        )
    if len(addresses) != num_workers:
        raise DataError(
            f"TF_CONFIG: names {len(addresses)} workers, but --num_workers={num_workers}.{remedy}"
        )
    return Cluster(addresses, index)


def choose_strategy(num_workers=1):
    """Returns the tf.distribute strategy that TFOD's model_main_tf2 would choose.

    A MirroredStrategy over every GPU (the CPU where there is none); with over one worker a
    MultiWorkerMirroredStrategy, which takes the workers from TF_CONFIG and waits for them.
    """
    tf.config.set_soft_device_placement(True)
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


class Options(NamedTuple):
    """How a run is trained, beside its config."""

    num_steps: int | None = None  # the step to train to; the config's num_steps by default
    checkpoint_every_n: int = 1000  # steps between two checkpoints
    summarize_every_n: int = 100  # steps between two TensorBoard summaries
    record_summaries: bool = True  # training images among them
    num_workers: int = 1  # processes that train together, as TF_CONFIG names them
    seed: int | None = None  # makes a run repeatable; None draws one
    restart_schedule: bool = False  # begin the learning rate's schedule anew at this step
    eval_every_n: int = 0  # steps between two evaluations; 0 for none
    patience: int = 0  # evaluations without a better score that end the training; 0 for no end
    mixed_precision: bool = False  # compute in float16 on GPUs, in bfloat16 elsewhere
    dry_run: bool = False  # end after the checks
    check_images: bool = False  # decode all of them before training
    flags: Mapping[str, object] = MappingProxyType({})  # what the user gave, for run.json


def train_run(config_path, model_dir, make_strategy, options=None):
    """Trains a run to its last step, from its newest whole checkpoint where it has one.

    The checkpoints, their names and folder, and TensorBoard's tags are those of TFOD's own loop, so
    each continues what the other began.

    Args:
        config_path: the pipeline config to train.
        model_dir: the run's folder, made where it is missing.
        make_strategy: returns the tf.distribute strategy to train under; called after the config
            was checked, since with several workers it waits for all of them.
        options: Options.

    Raises:
        DataError: as `check_config` and `preflight`; a run of another config, or one that is being
            trained, in the folder; a loss that is not a finite number; a disk that refuses a
            checkpoint; another worker that has gone.
        Interrupted: by SIGTERM, SIGHUP or Ctrl-C, after a checkpoint was kept.
    """
    options = options or Options()
    check_local(model_dir, "--model_dir")
    config = tfod.read_config(config_path)
    check_config(config, config_path)
    num_steps = options.num_steps or config.train_config.num_steps
    if not num_steps:
        raise DataError(f"{config_path}: no num_steps.\n  Add it, or give --num_train_steps.")
    if options.eval_every_n:
        _check_eval_input(config, config_path)
    cluster = read_cluster(options.num_workers)
    session = Session(Path(model_dir), config_path, config, num_steps, options)
    if options.dry_run:
        session.check(make_strategy().num_replicas_in_sync)
        print("nothing was trained (--dry_run)")
        return
    output_dir(model_dir)
    with locked(session.dir) if cluster.index == 0 else contextlib.nullcontext():
        try:
            strategy = make_strategy()
            with noted_signals(TrainingSignals(), STOPPING) as signals:
                session.train(strategy, Workers(strategy, cluster), signals)
        except LOST_WORKER as error:
            if options.num_workers == 1:
                raise
            raise DataError(
                f"{model_dir}: another worker has gone ({plain_message(error)}).\n"
                "  See what it says, and start all workers again: they continue from the newest "
                "checkpoint."
            ) from error


def _check_eval_input(config, path):
    """Raises DataError unless a config names test records and a label map that are there."""
    if not config.eval_input_reader:
        raise DataError(f"{path}: no eval_input_reader to evaluate on.\n  Add one.")
    reader = config.eval_input_reader[0]
    existing_file(reader.label_map_path, f"Correct the eval_input_reader's in {path}.")
    record_files(reader.tf_record_input_reader.input_path, path)
