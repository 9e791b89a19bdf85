"""Trains a run to its last step: begins it or continues it, and keeps its record."""

import contextlib
import functools
import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import Message

from lowlight.core.errors import DataError, Interrupted, noted_signals
from lowlight.core.files import locked, output_dir, write_text
from lowlight.core.parallel import Progress
from lowlight.core.tensorflow import plain_message
from lowlight.core.tensorflow_files import checkpoint_step, latest_checkpoint
from lowlight.dataset.classes import read_label_map
from lowlight.detector.runs import CONFIG
from lowlight.tfod import model as tfod
from lowlight.tfod import training as tfod_training
from lowlight.training.checkpoints import MOST_KEPT, Checkpoints, newest_whole_checkpoint
from lowlight.training.config import (
    TrainingOptions,
    check_config,
    check_eval_input,
    check_local,
    check_same_run,
)
from lowlight.training.loop import TrainingLoop, TrainingSignals
from lowlight.training.preflight import find_balance, preflight
from lowlight.training.record import (
    RunEvaluation,
    RunRecord,
    TrainingImages,
    data_fingerprint,
    git_commit,
    software,
)
from lowlight.training.step import TrainingInput, TrainStep, choose_precision
from lowlight.training.workers import LOST_WORKER, Workers, count_devices, read_cluster


def train_run(
    config_path: Path | str,
    model_dir: Path | str,
    make_strategy: Callable[[], tf.distribute.Strategy],
    options: TrainingOptions | None = None,
) -> None:
    """Trains a run to its last step, from its newest whole checkpoint where it has one.

    The checkpoints, their names and folder, and TensorBoard's tags are those of TFOD's own loop, so
    each continues what the other began. `make_strategy` is called after the config was checked,
    since with several workers it waits for all of them.

    Raises:
        DataError: as `check_config` and `preflight`; a run of another config, or one that is being
            trained, in the folder; a loss that is not a finite number; a disk that refuses a
            checkpoint; another worker that has gone.
        Interrupted: by SIGTERM, SIGHUP or Ctrl-C, after a checkpoint was kept.
    """
    check_local(model_dir, "--model_dir")
    config = tfod.read_config(config_path)
    check_config(config, config_path)
    options = _complete(options or TrainingOptions(), config, config_path)
    cluster = read_cluster(options.num_workers)
    session = _Session(Path(model_dir), config_path, config, options)
    if options.dry_run:
        session.check(make_strategy().num_replicas_in_sync)
        print("nothing was trained (--dry_run)")
        return
    output_dir(model_dir)
    with locked(session.dir) if cluster.index == 0 else contextlib.nullcontext():
        try:
            strategy = make_strategy()
            with noted_signals(TrainingSignals()) as signals:
                session.train(strategy, Workers(strategy, cluster), signals)
        except LOST_WORKER as error:
            if options.num_workers == 1:
                raise
            raise DataError(
                f"{model_dir}: another worker has gone ({plain_message(error)}).\n  See what it "
                "says, and start all workers again: they continue from the newest checkpoint."
            ) from error


def _complete(options, config, path):
    """Returns options with num_steps; raises DataError where the config lacks what they need."""
    num_steps = options.num_steps or config.train_config.num_steps
    if not num_steps:
        raise DataError(f"{path}: no num_steps.\n  Add it, or give --num_train_steps.")
    if options.balance_share is not None and not options.balance:
        raise DataError("--balance_share: says nothing without --balance.\n  Add --balance.")
    if options.eval_every_n:
        check_eval_input(config, path)
    return replace(options, num_steps=num_steps)


class _Session:
    """What begins a run or continues it, to the options' num_steps."""

    def __init__(self, run_dir: Path, config_path: Path | str, config: Message, options):
        self.dir, self._config_path, self._options = run_dir, config_path, options
        self._given, self._config = config, tfod_training.final_config(config, options.num_steps)

    def check(self, replicas: int) -> None:
        """Checks what the training needs and prints it; raises DataError where it won't work."""
        lines = preflight(self._given, self._config_path, self.dir, self._options, replicas)
        print("\n".join(["preflight:", *lines]))

    def train(self, strategy, workers: Workers, signals: TrainingSignals) -> None:
        """Trains under a strategy to the last step; raises as `train_run`."""
        workers.remove_folder(self.dir)  # where a session was killed
        checkpoint, done = self._find_checkpoint(workers)
        record, reader = RunRecord(self.dir), self._config.train_input_reader
        records = reader.tf_record_input_reader.input_path
        data = data_fingerprint(records, reader.label_map_path)
        changes = self._changes(checkpoint, record, data)
        batch_size, replicas = self._config.train_config.batch_size, strategy.num_replicas_in_sync
        print(
            f"training {self.dir}: step {done} to {self._options.num_steps}, batch {batch_size}, "
            + count_devices(replicas)
        )
        if done >= self._options.num_steps:
            print(f"nothing to do: {checkpoint} is at step {done}")
            return
        if workers.is_chief:
            self.check(replicas)
        self._settle_start(done, record.values, workers)
        if workers.is_chief:
            write_text(self.dir / CONFIG, text_format.MessageToString(self._config))
            devices = strategy.extended.worker_devices
            record.begin(done, self._facts(devices, data, changes))
            record.save(done, 0)
            signals.at_end = functools.partial(record.save, done, 0)
        print("the first step takes longest: it traces the model")
        loop, batches = self._make_loop(checkpoint, record, strategy, workers, signals)
        self._run(loop, batches, record, workers)
        workers.remove_folder(self.dir)
        text = f"trained to step {loop.step} in {loop.totals.seconds:.0f} s"
        if self._options.eval_every_n:
            text += f" (evaluations: {loop.evaluation_seconds:.0f} s)"
        print(f"{text}: {loop.checkpoints.newest}")

    def _find_checkpoint(self, workers):
        """Returns (prefix or None, step) of the checkpoint that every worker continues from."""
        checkpoint = newest_whole_checkpoint(self.dir) if workers.is_chief else None
        done = checkpoint_step(checkpoint) if checkpoint else 0
        chiefs = workers.from_chief(done)  # it has put the folder right by now
        if not workers.is_chief:
            checkpoint = latest_checkpoint(self.dir)
            done = checkpoint_step(checkpoint) if checkpoint else 0
        if workers.any(done != chiefs):
            raise DataError(
                f"{self.dir}: is at step {done} here, and at step {chiefs} at the first worker.\n"
                "  All workers need the same folder: put --model_dir on storage that they share."
            )
        return checkpoint, done

    def _changes(self, checkpoint, record, data):
        """Returns, as lines, what differs from the session before, and prints it.

        Raises:
            DataError: the run's checkpoints are of another config.
        """
        if not checkpoint:
            return []
        changes, last = [], record.last_session or {"data": data}
        if (self.dir / CONFIG).is_file():
            own = tfod.read_config(self.dir / CONFIG)
            changes = check_same_run(own, self._config, self.dir, self._config_path)
        if last["data"] != data:
            changes += ["the records or the label map are others than before"]
        before, now = last.get("sampling", ""), self._options.sampling()
        if before != now:
            changes += [f"images are sampled {now or 'alike'}, before {before or 'alike'}"]
        if changes:
            print("\n  ".join(["changed since this run was last trained:", *changes]))
        return changes

    def _settle_start(self, done, values, workers):
        """Has run.json's values say the seed, and where the learning rate's schedule begins."""
        options = self._options
        own, given = values["seed"], options.seed
        drawn = random.SystemRandom().randrange(2**31)
        seed = next(s for s in (given, own, drawn) if s is not None)
        values["seed"] = seed = workers.from_chief(seed)
        if given is not None and own not in (None, given):
            print(f"the run had seed {own}: from here on the data come as with seed {given}")
        if given is not None:
            tf.config.experimental.enable_op_determinism()
        tf.keras.utils.set_random_seed((seed + done) % 2**31)  # what first weights come from
        # The same command given again, after an interruption, doesn't restart the schedule again.
        if options.restart_schedule and values["schedule_restarted_for"] != options.num_steps:
            values |= {"schedule_start": done, "schedule_restarted_for": options.num_steps}
        values["schedule_start"] = start = workers.from_chief(values["schedule_start"])
        if start:
            print(f"the learning rate's schedule began again at step {start}")

    def _facts(self, devices, data, changes):
        """Returns what run.json keeps of a session."""
        return {
            "software": software(),
            "git_commit": git_commit(),
            "flags": dict(self._options.flags),
            "config": str(self._config_path),
            "config_sha256": hashlib.sha256(Path(self._config_path).read_bytes()).hexdigest(),
            "devices": list(devices),
            "data": data,
            "sampling": self._options.sampling(),
            "changes": changes,
        }

    def _make_loop(self, checkpoint, record, strategy, workers, signals):
        """Sets up what trains; returns (TrainingLoop, the training batches)."""
        config, options, seed = self._config, self._options, record.values["seed"]
        done = checkpoint_step(checkpoint) if checkpoint else 0
        precision = choose_precision(options.mixed_precision)
        records = TrainingInput(config, seed, find_balance(config, options))
        with strategy.scope():
            trainee, batches = tfod_training.make_trainee(
                config,
                lambda model: records.batches(strategy, done, model),
                done,
                record.values["schedule_start"],
                precision,
            )
            most_kept = MOST_KEPT if workers.is_chief else 1
            write_dir = self.dir / workers.folder
            checkpoints = Checkpoints(self.dir, trainee.checkpoint(), write_dir, most_kept)
            if checkpoint:
                checkpoints.restore(checkpoint)
        choose_precision(False)  # for the models that evaluations build
        model = trainee.model
        step = TrainStep(
            model, config, trainee.optimizer, strategy, precision, seed, options.accumulate
        )
        loop = TrainingLoop(trainee, step, checkpoints, signals, workers)
        loop.explain_input = functools.partial(records.failure, model=model)
        if options.record_summaries and workers.is_chief:
            loop.images = TrainingImages(model)
        if options.eval_every_n:
            names = read_label_map(config.eval_input_reader[0].label_map_path)
            most = config.eval_config.num_visualizations
            loop.evaluate = RunEvaluation(self.dir, record, names, options.patience, most)
        return loop, batches

    def _run(self, loop, batches, record, workers):
        """Runs the loop, and keeps run.json up to date."""
        ended, num_steps = None, self._options.num_steps
        writer = tf.summary.create_noop_writer()
        if workers.is_chief:
            writer = tf.summary.create_file_writer(str(self.dir / "train"))

        def keep(ended=None):
            if workers.is_chief:
                record.save(loop.step, loop.totals.seconds, ended)

        loop.signals.at_end = loop.on_save = keep
        try:
            with Progress(num_steps, "step", start=loop.step) as progress:
                batch_size = self._config.train_config.batch_size
                loop.run(batches, batch_size, self._options, progress, writer)
            ended = f"step {loop.step}"
        except (Exception, Interrupted) as error:
            ended = str(error).split("\n")[0]
            raise
        finally:
            writer.close()
            with contextlib.suppress(OSError):  # a full disk is in the error already
                keep(ended)
