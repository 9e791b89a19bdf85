"""Trains a run: begins it or goes on with it, on whatever devices there are, to its last step."""

import contextlib
import random
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from google.protobuf import text_format

from lowlight import tfod, tfod_trainee
from lowlight.checkpoints import LOST_WORKER, Checkpoints, newest_whole_checkpoint
from lowlight.classes import read_label_map
from lowlight.errors import DataError
from lowlight.files import output_dir, write_text
from lowlight.interruption import Interrupted, noted_signals
from lowlight.pipeline import check_config, check_eval_input
from lowlight.progress import Progress
from lowlight.run_config import check_same_run
from lowlight.run_evaluation import RunEvaluation
from lowlight.run_lock import locked
from lowlight.run_record import RunRecord, data_fingerprint, git_commit, software, text_hash
from lowlight.runs import CONFIG, checkpoint_step, latest_checkpoint
from lowlight.train_input import training_batches
from lowlight.train_step import make_train_step
from lowlight.training_loop import Schedule, TrainingLoop, make_writer
from lowlight.training_summaries import TrainingImages
from lowlight.workers import Workers, read_cluster


class Options(NamedTuple):
    """How a run is trained, beside its config."""

    num_steps: int | None = None  # the step to train to; the config's num_steps by default
    checkpoint_every_n: int = 1000  # steps between two checkpoints
    summarize_every_n: int = 100  # steps between two TensorBoard summaries
    record_summaries: bool = True  # training images among them
    use_tpu: bool = False  # allows the config's use_bfloat16
    num_workers: int = 1  # processes that train together, as TF_CONFIG names them
    seed: int | None = None  # makes a run repeatable; None draws one
    restart_schedule: bool = False  # begin the learning rate's schedule anew at this step
    eval_every_n: int = 0  # steps between two evaluations; 0 for none
    patience: int = 0  # evaluations without a better score that end the training; 0 for no end
    dry_run: bool = False  # end after the checks
    flags: dict = {}  # what the user gave, for run.json


def train_run(config_path, model_dir, make_strategy, options=None):
    """Trains a run to its last step, going on from its newest whole checkpoint.

    The checkpoints, their names and folder, and TensorBoard's tags are those of TFOD's own loop, so
    each goes on with what the other began.

    Args:
        config_path: the pipeline config to train.
        model_dir: the run's folder, made where it is missing.
        make_strategy: returns the tf.distribute strategy to train under; called after the config
            was checked, since with several workers it waits for all of them.
        options: Options.

    Raises:
        DataError: as `check_config`; no number of steps; a batch that the replicas don't divide; a
            run of another config, or one that is being trained, in the folder; a loss that is not a
            finite number; a disk that refuses a checkpoint; another worker that has gone.
        Interrupted: by SIGTERM or Ctrl-C, after a checkpoint was kept.
    """
    options = options or Options()
    config = tfod.read_config(config_path)
    check_config(config, config_path)
    num_steps = options.num_steps or config.train_config.num_steps
    if not num_steps:
        raise DataError(f"{config_path}: no num_steps.\n  Add it, or give --num_train_steps.")
    if options.eval_every_n:
        check_eval_input(config, config_path)
    cluster = read_cluster(options.num_workers)
    run = _Run(Path(model_dir), config_path, config, num_steps, options)
    if options.dry_run:
        _check_batch(config_path, config, make_strategy())
        print("checked; nothing was trained (--dry_run)")
        return
    output_dir(model_dir)
    with locked(run.dir) if cluster.index == 0 else contextlib.nullcontext():
        try:
            with noted_signals() as signals:
                strategy = make_strategy()
                _check_batch(config_path, config, strategy)
                run.train(strategy, Workers(strategy, cluster), signals)
        except LOST_WORKER as error:
            if options.num_workers == 1:
                raise
            raise DataError(
                f"{model_dir}: another worker has gone ({str(error).splitlines()[0]}).\n"
                "  See what it says, and start all workers again: they go on from the newest "
                "checkpoint."
            ) from error


def _check_batch(config_path, config, strategy):
    batch_size, replicas = config.train_config.batch_size, strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise DataError(
            f"{config_path}: batch_size: {batch_size} can't be divided among {replicas} devices.\n"
            f"  Make it a multiple of {replicas}, or hide devices with CUDA_VISIBLE_DEVICES."
        )


class _Run:
    """A run's folder and what is to be done in it."""

    def __init__(self, run_dir, config_path, config, num_steps, options):
        self.dir, self._config_path, self._options = run_dir, config_path, options
        self._num_steps = num_steps
        self._config = tfod_trainee.final_config(config, num_steps, options.use_tpu)

    def train(self, strategy, workers, signals):
        """Trains under a strategy to the last step."""
        checkpoint, done = self._find_checkpoint(workers)
        record = RunRecord(self.dir)
        data = self._data_fingerprint()
        changes = self._changes(checkpoint, record, data)
        batch_size, replicas = self._config.train_config.batch_size, strategy.num_replicas_in_sync
        print(
            f"training {self.dir}: step {done} to {self._num_steps}, batch {batch_size}, "
            f"{replicas} device{'s' if replicas > 1 else ''}"
        )
        if done >= self._num_steps:
            print(f"nothing to do: {checkpoint} is at step {done}")
            return
        seed, schedule_start = self._begin(record, done, workers)
        if workers.is_chief:
            write_text(self.dir / CONFIG, text_format.MessageToString(self._config))
            devices = strategy.extended.worker_devices
            record.begin(done, self._facts(devices, data, changes))
            record.save(done, 0)
        print("the first step takes longest: it traces the model")
        with strategy.scope():
            trainee, batches = tfod_trainee.make_trainee(
                self._config,
                lambda model: training_batches(self._config, strategy, seed, done, model),
                done,
                schedule_start,
            )
            checkpoints = Checkpoints(
                self.dir, trainee.checkpoint(), self.dir / workers.folder, workers.most_kept
            )
            if checkpoint:
                checkpoints.restore(checkpoint)
        step = make_train_step(trainee.model, self._config, trainee.optimizer, strategy)
        loop = TrainingLoop(trainee, step, batch_size, checkpoints, signals, workers)
        self._run_loop(loop, batches, record, trainee.model, workers)
        workers.remove_folder(self.dir)
        evaluated = f" (evaluations: {loop.evaluation_seconds:.0f} s)" * bool(
            loop.evaluation_seconds
        )
        print(
            f"trained to step {loop.step} in {loop.totals.seconds:.0f} s{evaluated}: "
            f"{checkpoints.newest}"
        )

    def _find_checkpoint(self, workers):
        """Returns (prefix or None, step) of the checkpoint that every worker goes on from."""
        checkpoint = newest_whole_checkpoint(self.dir) if workers.is_chief else None
        done = checkpoint_step(checkpoint) if checkpoint else 0
        chiefs = workers.from_chief(done)  # it has mended the folder by now, where that was needed
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
        """Returns, as lines, what differs from the session before, and tells it.

        Raises:
            DataError: the run's checkpoints are of another config.
        """
        if not checkpoint:
            return []
        changes = []
        if (self.dir / CONFIG).is_file():
            own = tfod.read_config(self.dir / CONFIG)
            changes = check_same_run(own, self._config, self.dir, self._config_path)
        if record.last_session and record.last_session["data"] != data:
            changes += ["the records or the label map are others than before"]
        if changes:
            print("\n  ".join(["changed since this run was last trained:", *changes]))
        return changes

    def _data_fingerprint(self):
        reader = self._config.train_input_reader
        patterns = reader.tf_record_input_reader.input_path
        return data_fingerprint(patterns, reader.label_map_path)

    def _begin(self, record, done, workers):
        """Settles on a seed and on where the learning rate's schedule begins; returns both."""
        values, options = record.values, self._options
        own, given = values["seed"], options.seed
        seed = next(
            s for s in (given, own, random.SystemRandom().randrange(2**31)) if s is not None
        )
        values["seed"] = seed = workers.from_chief(seed)
        if given is not None and own not in (None, given):
            print(f"the run had seed {own}: from here on the data come as with seed {given}")
        if given is not None:
            tf.config.experimental.enable_op_determinism()
        tf.keras.utils.set_random_seed((seed + done) % 2**31)  # what first weights come from
        # The same command given again, after an interruption, doesn't restart the schedule again.
        if options.restart_schedule and values["schedule_restarted_for"] != self._num_steps:
            values |= {"schedule_start": done, "schedule_restarted_for": self._num_steps}
        values["schedule_start"] = start = workers.from_chief(values["schedule_start"])
        if start:
            print(f"the learning rate's schedule began anew at step {start}")
        return seed, start

    def _facts(self, devices, data, changes):
        """Returns what run.json keeps of a session."""
        text = Path(self._config_path).read_text(encoding="utf-8")
        return {
            "software": software(),
            "git_commit": git_commit(),
            "flags": self._options.flags,
            "config": str(self._config_path),
            "config_sha256": text_hash(text),
            "devices": list(devices),
            "data": data,
            "changes": changes,
        }

    def _run_loop(self, loop, batches, record, model, workers):
        """Runs the loop, and keeps run.json up to date."""
        options, ended = self._options, "error"
        writer = make_writer(self.dir, workers)

        def keep(ended=None):
            if workers.is_chief:
                record.save(loop.step, loop.totals.seconds, ended)

        schedule = Schedule(
            self._num_steps,
            options.checkpoint_every_n,
            options.summarize_every_n,
            options.eval_every_n,
        )
        try:
            with Progress(self._num_steps, "step", start=loop.step) as progress:
                images = self._training_images(model, workers)
                loop.run(
                    batches, schedule, progress, writer, images, self._evaluation(record), keep
                )
            ended = f"step {loop.step}"
        except (DataError, Interrupted) as error:
            ended = str(error).splitlines()[0]
            raise
        finally:
            writer.close()
            with contextlib.suppress(OSError):  # a full disk is told of already
                keep(ended)

    def _training_images(self, model, workers):
        if not (self._options.record_summaries and workers.is_chief):
            return None
        return TrainingImages(model, tfod_trainee.FIELDS)

    def _evaluation(self, record):
        if not self._options.eval_every_n:
            return None
        names = read_label_map(self._config.eval_input_reader[0].label_map_path)
        most = self._config.eval_config.num_visualizations
        return RunEvaluation(self.dir, record, names, self._options.patience, most)
