"""Makes a run's training steps, does what comes between them, and ends when it is told to."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import NamedTuple

import tensorflow as tf

from lowlight.core.errors import DataError, Interrupted, Signals, signal
from lowlight.core.parallel import Progress
from lowlight.core.tensorflow import plain_message
from lowlight.core.tensorflow_files import how_to_go_back
from lowlight.tfod.training import Trainee
from lowlight.training.checkpoints import Checkpoints
from lowlight.training.config import TrainingOptions
from lowlight.training.workers import LOST_WORKER, Workers

# How a progress line calls TFOD's losses, in its order.
_WORDS = {
    "Loss/classification_loss": "class",
    "Loss/localization_loss": "box",
    "Loss/regularization_loss": "reg",
}
_TOTAL = "Loss/total_loss"
# Steps between two times that several workers ask each other whether to stop.
_STEPS_TO_AGREE = 10
_PATIENCE = 2.0  # seconds that a training told to stop waits for its next batch


class TrainingSignals(Signals):
    """The signal that came while a training ran, 0 for none.

    Until there is a step to keep, and at a second Ctrl-C, it ends the process at once: an exception
    wouldn't find its way out of TensorFlow while that traces a model.
    """

    def __init__(self):
        super().__init__()
        self.at_end = lambda reason: None  # called before the process ends at once

    def stop(self, number: int, twice: bool) -> None:
        """Ends the process."""
        del twice
        self.leave(Interrupted(number))

    def leave(self, interrupted: Interrupted) -> None:
        """Ends the process as `command.run` does, without a wait for TensorFlow's threads."""
        with contextlib.suppress(Exception):
            self.at_end(str(interrupted))
        super().leave(interrupted)


class Fetcher:
    """Takes batches from an iterator, in a thread of its own, so that a wait for one can end."""

    def __init__(self, batches: Iterable, signals: Signals):
        """Takes batches, and the signals that end a wait."""
        self._iterator, self._signals = iter(batches), signals
        self._thread = futures.ThreadPoolExecutor(1)

    def next(self) -> object | None:
        """Returns the next batch, or raises what the iterator does.

        It is None where a signal came and there is none within seconds.
        """
        fetched = self._thread.submit(next, self._iterator)
        while not futures.wait([fetched], _PATIENCE).done:
            if self._signals.number:
                return None
        return fetched.result()

    def close(self) -> None:
        """Ends the thread. Not to be called while it waits for a batch.

        One that still was inside TensorFlow when Python ends would abort the process.
        """
        self._thread.shutdown()


class Totals(NamedTuple):
    """What a session took so far, evaluations apart."""

    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0  # seconds of them, for the next batch

    def plus(self, steps: int = 0, seconds: float = 0.0, waited: float = 0.0) -> "Totals":
        """Returns the totals with some more."""
        return Totals(self.steps + steps, self.seconds + seconds, self.waited + waited)

    def rates(self, before: "Totals", batch_size: int) -> dict[str, float]:
        """Returns {tag: number} of the steps since `before`, which were at least one."""
        steps, seconds = self.steps - before.steps, self.seconds - before.seconds
        return {
            "steps_per_sec": steps / seconds,
            "images_per_sec": steps * batch_size / seconds,
            "input_wait_share": (self.waited - before.waited) / seconds,
        }


class TrainingLoop:
    """Trains from one step to another.

    A session may set:
        images: a record.TrainingImages, which draws what TensorBoard shows of a batch.
        evaluate: evaluate(step) scores the newest checkpoint; it returns whether to stop here.
        on_save: on_save() is called after each checkpoint.
        explain_input: explain_input(step, error) says what a step's batch failed with.
    """

    def __init__(
        self,
        trainee: Trainee,
        train_step: Callable,
        checkpoints: Checkpoints,
        signals: TrainingSignals,
        workers: Workers,
    ):
        """Takes what a run consists of; `train_step` is a step.TrainStep or does the same."""
        self._trainee, self._train_step, self._workers = trainee, train_step, workers
        self.checkpoints, self.signals = checkpoints, signals
        self.step, self.totals = int(trainee.step.numpy()), Totals()
        self.evaluation_seconds = 0.0
        self.images = self.evaluate = None
        self.on_save, self.explain_input = lambda: None, lambda step, error: str(error)
        self._unread = None  # the step and values whose loss wasn't looked at yet
        self._shown = self._summarized = None  # Totals when numbers were last shown, written

    def run(
        self,
        batches: Iterable,
        batch_size: int,
        options: TrainingOptions,
        progress: Progress,
        writer: tf.summary.SummaryWriter,
    ) -> None:
        """Trains to the options' num_steps, and keeps a checkpoint of it.

        The batches are (features, labels), from the next step on; `batch_size` is that of all
        devices together. The writer is for the run's train/.

        Raises:
            Interrupted: by a signal, after a checkpoint was kept.
            DataError: a loss that is not a finite number; a step that doesn't fit into memory, or
                can't be made repeatable; a batch that can't be read, after a checkpoint was kept;
                as `Checkpoints.save`.
        """
        stop = False
        if self.step == 0:
            self.checkpoints.save()  # as TFOD's loop does
        with contextlib.closing(Fetcher(batches, self.signals)) as fetcher:
            while self.step < options.num_steps and not stop:
                features, labels, values = self._advance(fetcher)
                progress.update(lambda values=values: self._detail(values, batch_size))
                if self._summarized is None or self.step % options.summarize_every_n == 0:
                    self._summarize(writer, values, batch_size, features, labels)
                if self._is_told_to_stop():
                    raise self._stopped()
                last, since = self.step == options.num_steps, self.checkpoints.saved_step
                if last or self.step - since >= options.checkpoint_every_n:
                    self._save()
                if self.evaluate and (last or self.step % options.eval_every_n == 0):
                    stop = self._evaluate(progress)

    def _advance(self, fetcher):
        """Makes one step; returns its features, labels and values, which may not be ready yet."""
        began = time.monotonic()
        features, labels = self._next_batch(fetcher)
        waited = time.monotonic() - began
        with _refusals_of_gpus(self.checkpoints.run_dir):
            values = self._train_step(features, labels)
        self._trainee.step.assign_add(1)
        self._trainee.schedule_step.assign_add(1)
        # The step before is done by now: to read it doesn't keep the device from this one.
        self._check_loss()
        self.step += 1
        self._unread = self.step, values
        self.signals.something_to_keep = True
        self.totals = self.totals.plus(1, time.monotonic() - began, waited)
        return features, labels, values

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

    def _check_loss(self):
        """Raises DataError where the loss of the step last made is not a finite number."""
        if self._unread is None:
            return
        (step, values), self._unread = self._unread, None
        total = float(values[_TOTAL])
        if not math.isfinite(total):
            run_dir, newest = self.checkpoints.run_dir, self.checkpoints.newest
            raise DataError(
                f"{run_dir}: the loss at step {step} is {total}; it isn't saved.\n"
                "  Lower learning_rate_base or lengthen warmup_steps in the config and run the\n"
                f"  same command again: it continues from {newest} (step "
                f"{self.checkpoints.saved_step}).\n  Where that is too late already, take an "
                f"earlier one. {how_to_go_back(run_dir, newest)}"
            )

    def _save(self):
        self._check_loss()
        began = time.monotonic()
        self.checkpoints.save()
        self.totals = self.totals.plus(seconds=time.monotonic() - began)
        self.on_save()

    def _is_told_to_stop(self):
        if self._workers.count == 1:
            return self.signals.number != 0
        return self.step % _STEPS_TO_AGREE == 0 and self._workers.any(self.signals.number)

    def _stopped(self):
        """Saves; returns an Interrupted that says what was kept."""
        self._save()
        number = self.signals.number or signal.SIGTERM  # another worker's
        return Interrupted(number, f"Kept: {self.checkpoints.newest} (step {self.step}).")

    def _evaluate(self, progress):
        """Scores the model as it is; returns whether to stop here."""
        self._save()
        began = time.monotonic()
        stop = self._workers.any(self._workers.is_chief and self.evaluate(self.step))
        seconds = time.monotonic() - began
        self.evaluation_seconds += seconds
        progress.leave_out(seconds)
        return stop

    def _detail(self, values, batch_size):
        """Returns losses, learning rate and pace as text."""
        others = [name for name in values if name.startswith("Loss/") and name != _TOTAL]
        names = [n for n in _WORDS if n in others] + [n for n in others if n not in _WORDS]
        words = [_WORDS.get(name, name.removeprefix("Loss/")) for name in names]
        shown = [f"{w} {float(values[n]):.4f}" for w, n in zip(words, names, strict=True)]
        text = f"loss {float(values[_TOTAL]):.4f}"
        if shown:
            text += f" = {' + '.join(shown)}"
        text += f", lr {float(values['learning_rate']):.5f}"
        if self._shown is not None and self._shown.steps < self.totals.steps:
            rates = self.totals.rates(self._shown, batch_size)
            text += f", {rates['images_per_sec']:.1f} images/s"
            text += f", input {rates['input_wait_share']:.0%}"
        self._shown = self.totals
        return text

    def _summarize(self, writer, values, batch_size, features, labels):
        """Writes a step's numbers and images to TensorBoard, under TFOD's tags."""
        numbers = {name: float(value) for name, value in values.items()}
        if self._summarized is not None:
            numbers |= self.totals.rates(self._summarized, batch_size)
        with writer.as_default(step=self.step):
            for tag, number in numbers.items():
                tf.summary.scalar(tag, number)
            if self.images is not None:
                part = self._workers.first_part
                pictures = self.images.draw(part(features), part(labels))
                tf.summary.image("train_input_images", pictures, max_outputs=len(pictures))
        self._summarized = self.totals


@contextlib.contextmanager
def _refusals_of_gpus(run_dir):
    """Says what helps where a step doesn't fit into memory, or can't be made repeatable."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise DataError(
            f"{run_dir}: a step doesn't fit into memory ({plain_message(error)}).\n"
            "  A higher --accumulate (4, say) takes each batch in more parts; or lower batch_size "
            "in the\n  config, and learning_rate_base by the same factor."
        ) from error
    except tf.errors.UnimplementedError as error:
        if "eterministic" not in str(error):
            raise
        raise DataError(
            f"--seed: {plain_message(error)}\n"
            "  Train without it; the order of the images is kept in run.json all the same."
        ) from error
