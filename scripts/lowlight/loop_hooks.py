"""Hooks around TFOD's training loop: progress, exact steps, and which checkpoints are kept."""

import contextlib
import math
from typing import NamedTuple

import tensorflow as tf

from lowlight.errors import DataError
from lowlight.runs import how_to_go_back


class Step(NamedTuple):
    """One training step as reported by `train`."""

    number: int  # steps made since the run began, from 1
    losses: dict  # TFOD's names ("Loss/total_loss", ...) -> float
    learning_rate: float


class LoopHooks:
    """Stands between TFOD's training loop and TensorFlow where the loop offers no hook itself."""

    def __init__(self, model_dir, on_step, summarize_every_n, checkpoint_every_n, last_step):
        self.manager = None
        self._model_dir, self._on_step = model_dir, on_step
        self._summarize_every_n, self._checkpoint_every_n = summarize_every_n, checkpoint_every_n
        self._last_step = last_step
        self._values = {}
        self._unsaved_steps = 0
        # Read by the traced training step, which is one graph for summarised and other steps.
        self._due = tf.Variable(True, trainable=False, name="summary_due")

    @contextlib.contextmanager
    def installed(self, v2):
        """Puts the hooks in place for the time of the block.

        Args:
            v2: the module tf.compat.v2 as the loop sees it.
        """
        self._scalar, self._record_if = v2.summary.scalar, v2.summary.record_if
        self._manager_class = v2.train.CheckpointManager
        v2.summary.scalar, v2.summary.record_if = self._on_scalar, self._record_when_due
        v2.train.CheckpointManager = self._make_manager
        try:
            yield
        finally:
            v2.summary.scalar, v2.summary.record_if = self._scalar, self._record_if
            v2.train.CheckpointManager = self._manager_class

    def save_unsaved_steps(self):
        """Keeps a checkpoint of the steps made since the last one."""
        if self._unsaved_steps:
            self._read()
            self.manager.save()

    def _make_manager(self, *args, **kwargs):
        hooks = self

        class Manager(self._manager_class):
            """Counts as saved what the loop itself saves."""

            def save(self, *args, **kwargs):
                path = super().save(*args, **kwargs)
                hooks._unsaved_steps = 0
                return path

        self.manager = Manager(*args, **kwargs)
        return self.manager

    def _record_when_due(self, condition):
        del condition  # The loop's own: true in every block, and here a block is one step.
        return self._record_if(lambda: self._due)

    def _on_scalar(self, name, data, step=None, description=None):
        self._scalar(name, data, step=step, description=description)
        if not tf.executing_eagerly():
            return
        self._values[name] = data
        if name == "learning_rate":  # the last one that the loop writes of a step
            self._end_step(step, self._values)
            self._values = {}

    def _end_step(self, step, values):
        self._unsaved_steps += 1
        number = int(step.numpy())
        self._due.assign((number + 1) % self._summarize_every_n == 0)

        def read():
            losses = {name: float(v) for name, v in values.items() if name.startswith("Loss/")}
            self._check_loss(number, losses["Loss/total_loss"])
            return Step(number, losses, float(values["learning_rate"]))

        self._read = read
        self._on_step(read)
        if self._unsaved_steps >= self._checkpoint_every_n:
            read()  # The loop itself saves now.
        elif number == self._last_step:
            self.save_unsaved_steps()

    def _check_loss(self, number, total):
        if not math.isfinite(total):
            raise DataError(
                f"{self._model_dir}: the loss at step {number} is {total}; it isn't saved.\n"
                "  Lower learning_rate_base or lengthen warmup_steps in the config and run the\n"
                "  same command again: it goes on from the newest checkpoint. Where that is too\n"
                "  late already, take an earlier one. "
                f"{how_to_go_back(self._model_dir, self.manager.latest_checkpoint)}"
            )
