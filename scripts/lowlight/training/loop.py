"""Makes a run's training steps, and does what comes between them."""

import contextlib
import math
import time
from typing import NamedTuple

import tensorflow as tf

from lowlight.core.checkpoint_files import how_to_go_back
from lowlight.core.errors import DataError, Interrupted, signal
from lowlight.training.checkpoints import LOST_WORKER
from lowlight.training.stopping import Fetcher

# How a progress line calls TFOD's losses.
_WORDS = {
    "Loss/classification_loss": "class",
    "Loss/localization_loss": "box",
    "Loss/regularization_loss": "reg",
}
_TOTAL = "Loss/total_loss"
# Steps between two times that several workers ask each other whether to stop.
_STEPS_TO_AGREE = 10


def write_numbers(writer, step, values):
    """Writes {tag: number} at a training step."""
    with writer.as_default(step=step):
        for tag, value in values.items():
            tf.summary.scalar(tag, value)


class Schedule(NamedTuple):
    """What is done at which steps."""

    last_step: int
    checkpoint_every_n: int
    summarize_every_n: int
    eval_every_n: int  # 0 for never


class Totals(NamedTuple):
    """What a session took so far, evaluations apart."""

    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0  # seconds of them, for the next batch

    def rates(self, before, batch_size):
        """Returns {tag: number} of the steps since `before`, which were at least one."""
        steps, seconds, waited = (a - b for a, b in zip(self, before, strict=True))
        return {
            "steps_per_sec": steps / seconds,
            "images_per_sec": steps * batch_size / seconds,
            "input_wait_share": waited / seconds,
        }


class TrainingLoop:
    """Trains from one step to another."""

    def __init__(self, trainee, train_step, batch_size, checkpoints, signals, workers):
        """Takes what a run consists of.

        Args:
            trainee: tfod_training.Trainee.
            train_step: as train_step.make_train_step makes it.
            batch_size: images a step, those of all devices together.
            checkpoints: Checkpoints.
            signals: stopping.TrainingSignals.
            workers: train.Workers.
        """
        self._trainee, self._train_step, self._batch_size = trainee, train_step, batch_size
        self.checkpoints, self.signals, self._workers = checkpoints, signals, workers
        self.step, self.totals = int(trainee.step.numpy()), Totals()
        self.evaluation_seconds = 0.0
        self.explain_input = lambda step, error: str(error)  # what a step's batch failed with
        self._unread = None  # the step and values whose loss wasn't looked at yet
        self._shown = self._summarized = None  # Totals when numbers were last shown, written

    def run(self, batches, schedule, progress, writer, images=None, evaluate=None, on_save=None):
        """Trains to the schedule's last step, and keeps a checkpoint of it.

        Args:
            batches: iterable of (features, labels), from the next step on.
            schedule: Schedule.
            progress: Progress, which counts the steps.
            writer: tf.summary writer for the run's train/.
            images: TrainingImages, None to write no images.
            evaluate: evaluate(step) scores the newest checkpoint; it returns whether to stop here.
            on_save: on_save() is called after each checkpoint.

        Raises:
            Interrupted: by a signal, after a checkpoint was kept.
            DataError: a loss that is not a finite number; a batch that can't be read, after a
                checkpoint was kept; as `Checkpoints.save`.
        """
        self._on_save, stop = on_save or (lambda: None), False
        if self.step == 0:
            self.checkpoints.save()  # as TFOD's loop does
        with contextlib.closing(Fetcher(batches, self.signals)) as fetcher:
            while self.step < schedule.last_step and not stop:
                features, labels, values = self._advance(fetcher)
                progress.update(lambda values=values: self._detail(values))
                if self._summarized is None or self.step % schedule.summarize_every_n == 0:
                    self._summarize(writer, values, images, features, labels)
                if self._told_to_stop():
                    raise self._stopped()
                last = self.step == schedule.last_step
                if last or self.step - self.checkpoints.saved_step >= schedule.checkpoint_every_n:
                    self._save()
                if evaluate and (last or self.step % schedule.eval_every_n == 0):
                    stop = self._evaluate(evaluate, progress)

    def _stopped(self):
        """Returns an Interrupted that says what was kept."""
        self._save()
        number = self.signals.number or signal.SIGTERM  # another worker's
        return Interrupted(number, f"Kept: {self.checkpoints.newest} (step {self.step}).")

    def _next_batch(self, fetcher):
        alone = self._workers.count == 1  # several save together, or not at all
        try:
            batch = fetcher.next()
        except tf.errors.OpError as error:
            if not alone and isinstance(error, LOST_WORKER):
                raise
            if alone and self.checkpoints.saved_step is not None:
                self._save()
            raise DataError(self.explain_input(self.step, error)) from error
        if batch is None:
            self.signals.leave(self._stopped() if alone else Interrupted(self.signals.number))
        return batch

    def _advance(self, fetcher):
        """Makes one step; returns its batch and its values, which may still be in the making."""
        began = time.monotonic()
        features, labels = self._next_batch(fetcher)
        waited = time.monotonic() - began
        values = self._train_step(features, labels)
        self._trainee.step.assign_add(1)
        self._trainee.schedule_step.assign_add(1)
        # The step before is done by now: to read it doesn't keep the device from this one.
        self._check_loss()
        self.step += 1
        self._unread = self.step, values
        self.signals.something_to_keep = True
        steps, seconds, waited_before = self.totals
        seconds += time.monotonic() - began
        self.totals = Totals(steps + 1, seconds, waited_before + waited)
        return features, labels, values

    def _check_loss(self):
        """Raises DataError where the loss of the step last made is not a finite number."""
        if self._unread is None:
            return
        (step, values), self._unread = self._unread, None
        total = float(values[_TOTAL])
        if not math.isfinite(total):
            run_dir = self.checkpoints.run_dir
            raise DataError(
                f"{run_dir}: the loss at step {step} is {total}; it isn't saved.\n"
                "  Lower learning_rate_base or lengthen warmup_steps in the config and run the\n"
                f"  same command again: it continues from {self.checkpoints.newest} (step "
                f"{self.checkpoints.saved_step}).\n  Where that is too late already, take an "
                f"earlier one. {how_to_go_back(run_dir, self.checkpoints.newest)}"
            )

    def _save(self):
        self._check_loss()
        began = time.monotonic()
        self.checkpoints.save()
        steps, seconds, waited = self.totals
        self.totals = Totals(steps, seconds + time.monotonic() - began, waited)
        self._on_save()

    def _told_to_stop(self):
        if self._workers.count == 1:
            return self.signals.number != 0
        return self.step % _STEPS_TO_AGREE == 0 and self._workers.any(self.signals.number)

    def _evaluate(self, evaluate, progress):
        """Scores the model as it is; returns whether to stop here."""
        self._save()
        began = time.monotonic()
        stop = self._workers.any(self._workers.is_chief and evaluate(self.step))
        seconds = time.monotonic() - began
        self.evaluation_seconds += seconds
        progress.leave_out(seconds)
        return stop

    def _detail(self, values):
        """Returns losses, learning rate and pace as text."""
        names = [name for name in values if name.startswith("Loss/") and name != _TOTAL]
        parts = {_WORDS.get(name, name.removeprefix("Loss/")): values[name] for name in names}
        order = [word for word in dict.fromkeys((*_WORDS.values(), *parts)) if word in parts]
        shown = [f"{word} {float(parts[word]):.4f}" for word in order]
        text = f"loss {float(values[_TOTAL]):.4f}"
        if shown:
            text += f" = {' + '.join(shown)}"
        text += f", lr {float(values['learning_rate']):.5f}"
        if self._shown is not None and self._shown.steps < self.totals.steps:
            rates = self.totals.rates(self._shown, self._batch_size)
            text += f", {rates['images_per_sec']:.1f} images/s"
            text += f", input {rates['input_wait_share']:.0%}"
        self._shown = self.totals
        return text

    def _summarize(self, writer, values, images, features, labels):
        """Writes a step's numbers and images to TensorBoard."""
        numbers = {name: float(value) for name, value in values.items()}
        if self._summarized is not None:
            numbers |= self.totals.rates(self._summarized, self._batch_size)
        write_numbers(writer, self.step, numbers)
        if images is not None:
            images.write(writer, self.step, *map(self._workers.first_part, (features, labels)))
        self._summarized = self.totals


def make_writer(run_dir, workers):
    """Returns a tf.summary writer for a run's train/, of which only the chief writes anything."""
    if not workers.is_chief:
        return tf.summary.create_noop_writer()
    return tf.summary.create_file_writer(str(run_dir / "train"))
