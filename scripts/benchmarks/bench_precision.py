r"""Shows that mixed precision learns as float32 does, on the drawn sample data.

  python scripts/benchmarks/bench_precision.py --data_dir=data/sample --steps=300

Trains the sample config's model from the same first weights on the same batches in both precisions,
step by step in turns, and scores both on the test images in float32. --data_dir holds what
make_tfrecords.py wrote. The last line is one JSON object.
"""

import json
import sys
import tempfile
from pathlib import Path

SCRIPTS = Path(__file__).parents[1]
sys.path.insert(0, str(SCRIPTS))

from absl import flags  # noqa: E402

from lowlight.core import command  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", "data/sample", "train.tfrecord, test.tfrecord, label_map.txt.")
flags.DEFINE_string("config", str(SCRIPTS.parent / "configs/sample.config"), "The config to train.")
flags.DEFINE_integer("steps", 300, "Training steps; the learning-rate schedule ends with them.", 1)
flags.DEFINE_integer("seed", 0, "What weights, order and augmentations come from.")
flags.DEFINE_integer("sample_1_of_n", 1, "Score every n-th test image.", 1)

METRICS = {"map": "DetectionBoxes_Precision/mAP", "map50": "DetectionBoxes_Precision/mAP@.50IOU"}


def main():
    """Trains both, scores both and prints the figures."""
    config = read_config()
    trainings = {str(p or "float32"): Training(config, p) for p in (None, "mixed")}
    for number in range(1, FLAGS.steps + 1):
        losses = {name: training.step() for name, training in trainings.items()}
        if number % 20 == 0 or number == FLAGS.steps:
            shown = "  ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
            print(f"step {number}/{FLAGS.steps}  loss: {shown}", flush=True)
    figures = {"steps": FLAGS.steps, "batch": config.train_config.batch_size}
    for name, training in trainings.items():
        scores = training.score()
        figures |= {f"{key}_{name}": round(scores[m], 4) for key, m in METRICS.items()}
    figures["mixed"] = trainings["mixed"].precision
    print(json.dumps(figures))


def read_config():
    """Returns the config on the data's records, with a schedule of the steps asked for."""
    from lowlight.tfod import model as tfod

    config, folder = tfod.read_config(FLAGS.config), Path(FLAGS.data_dir)
    for reader, name in (
        (config.train_input_reader, "train.tfrecord"),
        (config.eval_input_reader[0], "test.tfrecord"),
    ):
        reader.label_map_path = str(folder / "label_map.txt")
        reader.tf_record_input_reader.input_path[:] = [str(folder / name)]
    config.train_config.num_steps = FLAGS.steps
    rate = config.train_config.optimizer.adam_optimizer.learning_rate
    rate.cosine_decay_learning_rate.total_steps = FLAGS.steps
    return config


class Training:
    """A model in training, at float32 or mixed precision."""

    def __init__(self, config, mixed):
        import tensorflow as tf

        from lowlight.tfod.trainee import make_trainee
        from lowlight.training.step import choose_precision, make_train_step, training_batches

        tf.keras.utils.set_random_seed(FLAGS.seed)
        self.precision = choose_precision(bool(mixed))
        self._config, strategy = config, tf.distribute.get_strategy()
        self._trainee, batches = make_trainee(
            config, lambda model: training_batches(config, strategy, FLAGS.seed, 0, model)
        )
        self._batches = iter(batches)
        self._step = make_train_step(
            self._trainee.model,
            config,
            self._trainee.optimizer,
            strategy,
            self.precision,
            FLAGS.seed,
        )

    def step(self):
        """Makes a step and returns its loss."""
        values = self._step(*next(self._batches))
        self._trainee.schedule_step.assign_add(1)
        self._trainee.step.assign_add(1)
        return float(values["Loss/total_loss"])

    def score(self):
        """Returns the COCO numbers on the test records, of a float32 model with these weights."""
        from google.protobuf import text_format

        from lowlight.evaluation.evaluation import evaluate_model
        from lowlight.training.step import choose_precision

        choose_precision(False)
        with tempfile.TemporaryDirectory() as folder:
            config = text_format.MessageToString(self._config)
            Path(folder, "pipeline.config").write_text(config, encoding="utf-8")
            self._trainee.checkpoint().save(f"{folder}/ckpt")
            metrics, *_ = evaluate_model(folder, sample_1_of_n=FLAGS.sample_1_of_n)
        return metrics


if __name__ == "__main__":
    command.run(main)
