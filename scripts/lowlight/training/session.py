"""Begins a run's training or continues it: finds where it was, sets it up, keeps its record."""

import contextlib
import functools
import random
from pathlib import Path

import tensorflow as tf
from google.protobuf import text_format

from lowlight.core.checkpoint_files import checkpoint_step, latest_checkpoint
from lowlight.core.errors import DataError, Interrupted, format_count
from lowlight.core.files import write_text
from lowlight.core.parallel import Progress
from lowlight.dataset.classes import read_label_map
from lowlight.detector.runs import CONFIG
from lowlight.tfod import model as tfod
from lowlight.tfod import training as tfod_training
from lowlight.training.checkpoints import Checkpoints, newest_whole_checkpoint
from lowlight.training.input import TrainingInput
from lowlight.training.loop import Schedule, TrainingLoop, make_writer
from lowlight.training.pictures import TrainingImages
from lowlight.training.preflight import preflight
from lowlight.training.record import (
    RunEvaluation,
    RunRecord,
    data_fingerprint,
    git_commit,
    software,
    text_hash,
)
from lowlight.training.same_run import check_same_run
from lowlight.training.step import choose_precision, make_train_step


class Session:
    """What begins a run or continues it, to the step that it is to reach."""

    def __init__(self, run_dir, config_path, config, num_steps, options):
        """Takes what to train.

        Args:
            run_dir: the run's folder, a Path.
            config_path: the pipeline config's.
            config: TrainEvalPipelineConfig, as read from there.
            num_steps: the step to train to.
            options: train.Options.
        """
        self.dir, self._config_path, self._options = run_dir, config_path, options
        self._given, self._num_steps = config, num_steps
        self._config = tfod_training.final_config(config, num_steps)

    def check(self, replicas):
        """Checks what the training needs and prints it; raises DataError where it won't work."""
        lines = preflight(
            self._given,
            self._config_path,
            self.dir,
            replicas,
            self._num_steps,
            self._options.checkpoint_every_n,
            self._options.check_images,
        )
        print("\n".join(["preflight:", *lines]))

    def train(self, strategy, workers, signals):
        """Trains under a strategy to the last step.

        Args:
            strategy: tf.distribute strategy.
            workers: train.Workers of it.
            signals: stopping.TrainingSignals.

        Raises:
            DataError, Interrupted: as `train.train_run`.
        """
        checkpoint, done = self._find_checkpoint(workers)
        record = RunRecord(self.dir)
        data = self._data_fingerprint()
        changes = self._changes(checkpoint, record, data)
        batch_size, replicas = self._config.train_config.batch_size, strategy.num_replicas_in_sync
        print(
            f"training {self.dir}: step {done} to {self._num_steps}, batch {batch_size}, "
            + format_count(replicas, "device")
        )
        if done >= self._num_steps:
            print(f"nothing to do: {checkpoint} is at step {done}")
            return
        if workers.is_chief:
            self.check(replicas)
        seed, schedule_start = self._begin(record, done, workers)
        if workers.is_chief:
            write_text(self.dir / CONFIG, text_format.MessageToString(self._config))
            devices = strategy.extended.worker_devices
            record.begin(done, self._facts(devices, data, changes))
            record.save(done, 0)
            signals.at_end = functools.partial(record.save, done, 0)
        start = checkpoint, done, schedule_start, seed
        loop, batches, model = self._make_loop(start, strategy, workers, signals)
        self._run_loop(loop, batches, record, model, workers)
        workers.remove_folder(self.dir)
        text = f"trained to step {loop.step} in {loop.totals.seconds:.0f} s"
        if self._options.eval_every_n:
            text += f" (evaluations: {loop.evaluation_seconds:.0f} s)"
        print(f"{text}: {loop.checkpoints.newest}")

    def _make_loop(self, start, strategy, workers, signals):
        """Sets up what trains.

        Args:
            start: (checkpoint or None, its step, where the schedule begins, seed).
            strategy, workers, signals: as in `train`.

        Returns:
            (TrainingLoop, the training batches, the model).
        """
        print("the first step takes longest: it traces the model")
        checkpoint, done, schedule_start, seed = start
        config, precision = self._config, choose_precision(self._options.mixed_precision)
        records = TrainingInput(config, seed)
        with strategy.scope():
            trainee, batches = tfod_training.make_trainee(
                config,
                lambda model: records.batches(strategy, done, model),
                done,
                schedule_start,
                precision,
            )
            checkpoints = Checkpoints(
                self.dir, trainee.checkpoint(), self.dir / workers.folder, workers.most_kept
            )
            if checkpoint:
                checkpoints.restore(checkpoint)
        choose_precision(False)  # for the models that evaluations build
        model, batch_size = trainee.model, config.train_config.batch_size
        step = make_train_step(model, config, trainee.optimizer, strategy, precision, seed)
        loop = TrainingLoop(trainee, step, batch_size, checkpoints, signals, workers)
        loop.explain_input = functools.partial(records.failure, model=model)
        return loop, batches, model

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
            "flags": dict(self._options.flags),
            "config": str(self._config_path),
            "config_sha256": text_hash(text),
            "devices": list(devices),
            "data": data,
            "changes": changes,
        }

    def _run_loop(self, loop, batches, record, model, workers):
        """Runs the loop, and keeps run.json up to date."""
        options, ended = self._options, None
        writer = make_writer(self.dir, workers)

        def keep(ended=None):
            if workers.is_chief:
                record.save(loop.step, loop.totals.seconds, ended)

        loop.signals.at_end = keep
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
        except (Exception, Interrupted) as error:
            ended = str(error).split("\n")[0]
            raise
        finally:
            writer.close()
            with contextlib.suppress(OSError):  # a full disk is in the error already
                keep(ended)

    def _training_images(self, model, workers):
        if not (self._options.record_summaries and workers.is_chief):
            return None
        return TrainingImages(model, tfod_training.FIELDS)

    def _evaluation(self, record):
        if not self._options.eval_every_n:
            return None
        names = read_label_map(self._config.eval_input_reader[0].label_map_path)
        most = self._config.eval_config.num_visualizations
        return RunEvaluation(self.dir, record, names, self._options.patience, most)
