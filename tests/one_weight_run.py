"""A run of a model with one weight, for tests of what comes between a training's steps."""

import types

import tensorflow as tf

from lowlight.core.errors import Signals
from lowlight.core.parallel import Progress
from lowlight.core.tensorflow_files import checkpoint_step
from lowlight.tfod.training import Trainee
from lowlight.training.checkpoints import Checkpoints, newest_whole_checkpoint
from lowlight.training.config import TrainingOptions
from lowlight.training.loop import TrainingLoop


class Run:
    """A run of a model with one weight, whose loss is the number of the step."""

    def __init__(self, run_dir, losses=None):
        def counter():
            return tf.Variable(0, dtype=tf.int64)

        self.weight, self.losses, self.run_dir = tf.Variable([0.0] * 100), losses or {}, run_dir
        self.trainee = Trainee(tf.Module(), tf.Module(), counter(), counter())
        self.trainee.model.weight = self.weight
        self.signals, self.saves = Signals(), []
        prefix = newest_whole_checkpoint(run_dir)
        self.checkpoints = Checkpoints(run_dir, self.trainee.checkpoint(), run_dir)
        if prefix:
            self.checkpoints.restore(prefix)
        workers = types.SimpleNamespace(count=1, is_chief=True, any=bool)
        self.loop = TrainingLoop(self.trainee, self._step, self.checkpoints, self.signals, workers)

    def _step(self, features, labels):
        self.weight.assign_add(tf.ones_like(self.weight))
        step = int(self.trainee.step.numpy()) + 1
        loss = tf.constant(self.losses.get(step, float(step)))
        return {"Loss/total_loss": loss, "learning_rate": tf.constant(0.1)}

    def train(self, last_step, every=2, evaluate=None, eval_every=0, on_batch=None):
        def batches():
            while True:
                if on_batch:
                    on_batch(self.loop.step + 1)
                yield {}, {}

        self.loop.evaluate = evaluate
        self.loop.on_save = lambda: self.saves.append(self.loop.step)
        options = TrainingOptions(last_step, every, 1, eval_every_n=eval_every)
        with Progress(last_step, "step", start=self.loop.step) as progress:
            self.loop.run(batches(), 4, options, progress, tf.summary.create_noop_writer())
        return self


def steps_kept(run_dir):
    """Returns the steps of a run's checkpoints."""
    return sorted(checkpoint_step(path.with_suffix("")) for path in run_dir.glob("ckpt-*.index"))
