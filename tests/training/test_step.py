"""A training step computes what TFOD's own does; in parts of a batch, what it does as a whole."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from noise_records import make_config, write_shards
from object_detection import model_lib_v2
from tiny_training import begin, tiny_config

from lowlight.tfod import training as tfod_training
from lowlight.tfod.model import PipelineConfig, read_config
from lowlight.tfod.randomness import seeded_dropout
from lowlight.training.step import TrainStep

pytestmark = pytest.mark.slow

STEPS, PARTS = 3, 4
CLIP = 0.2
# A weight moves by the gradient itself, so that weights compare gradients.
MOMENTUM = """momentum_optimizer {
  learning_rate { constant_learning_rate { learning_rate: 0.5 } }
  momentum_optimizer_value: 0.9
}
use_moving_average: false"""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Losses and weights of STEPS steps: of TFOD's eager_train_step and of our own, in this order.

    Both begin with the same weights, see the same batches, drop the same connections, and clip.
    """
    folder = tmp_path_factory.mktemp("noise")
    write_shards(folder)
    config = make_config(folder, 2)
    config.train_config.gradient_clipping_by_norm = CLIP
    config.train_config.ClearField("optimizer")
    text_format.Parse(MOMENTUM, config.train_config.optimizer)
    tf.keras.utils.set_random_seed(1)
    trainee, batches = begin(config)
    batches, variables = list(batches.take(STEPS)), trainee.model.variables
    first = [variable.numpy() for variable in variables]
    results = []
    for make_step in (_stock_step, _own_step):
        assign(variables, first)
        counter = tf.Variable(0, dtype=tf.int64)
        optimizer, _ = tfod_training.build_optimizer(config, counter)
        optimizer._create_all_weights(trainee.model.trainable_variables)
        step = make_step(trainee.model, config, optimizer)
        losses = []
        for batch in batches:
            losses.append(floats(step(*batch)))
            counter.assign_add(1)
        results.append((losses, {v.name: v.numpy() for v in variables}))
    return results


def assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def floats(values):
    return {name: float(value) for name, value in values.items()}


def _own_step(model, config, optimizer, parts=1):
    return TrainStep(model, config, optimizer, tf.distribute.get_strategy(), seed=1, parts=parts)


def _stock_step(model, config, optimizer):
    @tf.function
    def step(features, labels):
        with seeded_dropout(1, optimizer.iterations):
            return model_lib_v2.eager_train_step(
                model,
                features,
                labels,
                unpad_groundtruth_tensors=False,
                optimizer=optimizer,
                training_step=optimizer.iterations,
                clip_gradients_value=config.train_config.gradient_clipping_by_norm,
            )

    return step


def test_losses_are_tfods(both):
    (stock, _), (own, _) = both
    assert len(stock) == STEPS
    for ours, theirs in zip(own, stock, strict=True):
        assert set(ours) - set(theirs) == {"gradient_norm", "learning_rate"}
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-4)


def test_gradients_are_tfods_and_clipped(both):
    (_, stock), (losses, own) = both
    for name, value in stock.items():
        np.testing.assert_allclose(own[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    assert min(one["gradient_norm"] for one in losses) > CLIP
    assert losses[0]["learning_rate"] == 0.5


def test_losses_and_gradients_of_parts_are_those_of_the_whole_batch(tmp_path):
    write_shards(tmp_path)
    config = read_config(tiny_config(tmp_path, {"train.tfrecord": "train.tfrecord-*"}))
    tf.keras.utils.set_random_seed(1)
    trainee, batches = begin(config)
    batch, variables = next(iter(batches)), trainee.model.trainable_variables
    boxes = batch[1]["num_groundtruth_boxes"].numpy()
    assert len(boxes) == PARTS
    assert len(set(boxes)) > 2  # so that the parts weigh differently
    first = [variable.numpy() for variable in variables]
    found = []
    for parts in (1, PARTS):
        assign(variables, first)
        optimizer = tf.keras.optimizers.SGD(1.0)  # a weight moves by its gradient
        losses = floats(_own_step(trainee.model, config, optimizer, parts)(*batch))
        found.append((losses, [variable.numpy() for variable in variables]))
    (losses, whole), (own_losses, own) = found
    assert own_losses == pytest.approx(losses, rel=1e-5)
    for variable, ours, theirs in zip(variables, own, whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=variable.name)


@pytest.mark.parametrize(
    ("order", "keepdims"), [("channels_last", False), ("channels_first", True)]
)
def test_a_step_in_float16_pools_maps_of_more_pixels_than_its_largest_number(order, keepdims):
    height = 1 if order == "channels_last" else 2
    shape = np.insert([2, 3], height, [300, 300])
    maps = np.random.default_rng(0).normal(1, 1, shape).astype(np.float16)
    layer = tf.keras.layers.GlobalAveragePooling2D(order, keepdims, dtype="mixed_float16")
    text = f"train_config {{ optimizer {{ {MOMENTUM} }} }}"
    config = text_format.Parse(text, PipelineConfig())
    optimizer, _ = tfod_training.build_optimizer(config, tf.Variable(0, dtype=tf.int64))
    step = TrainStep(layer, config, optimizer, tf.distribute.get_strategy())

    def pool(features, labels):
        with tf.GradientTape() as tape:
            tape.watch(features)
            mean = layer(features)
        return {"mean": mean, "gradient": tape.gradient(mean, features)}

    step._run_replica = pool
    values = step(tf.constant(maps), {})
    means = maps.mean((height, height + 1), np.float64, keepdims=keepdims)
    np.testing.assert_allclose(values["mean"], means, rtol=2e-3)
    np.testing.assert_allclose(values["gradient"], 1 / 300**2, rtol=1e-2)
