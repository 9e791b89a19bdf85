"""A training keeps averages of its weights, whatever it computes in; a start has what it knows."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tiny_training import begin, write_tiny_data

from lowlight.dataset.classes import read_label_map
from lowlight.tfod.model import CHECKPOINT_V2, read_config
from lowlight.tfod.start_checkpoint import make_start
from lowlight.tfod.training import detection_losses, make_trainee
from lowlight.training.step import TrainStep

pytestmark = pytest.mark.slow
HALF = "float16"


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """(Trainee with averages that computes in float16, its TrainStep, a batch)."""
    config = read_config(write_tiny_data(tmp_path_factory.mktemp("averages")))
    config.train_config.optimizer.use_moving_average = True
    tf.keras.mixed_precision.set_global_policy(f"mixed_{HALF}")
    try:
        trainee, batches = begin(config, mixed_precision=HALF)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    # TensorFlow begins with 32,768, which the first gradients overflow at.
    trainee.optimizer._optimizer._loss_scale._current_loss_scale.assign(64.0)
    strategy = tf.distribute.get_strategy()
    step = TrainStep(trainee.model, config, trainee.optimizer, strategy, HALF)
    return trainee, step, next(iter(batches))


def values(trainee):
    """Returns the (weights, averages) of a Trainee, all in one array each."""
    variables = trainee.model.trainable_variables
    averages = [trainee.optimizer.get_slot(variable, "average") for variable in variables]
    return (np.concatenate([v.numpy().ravel() for v in some]) for some in (variables, averages))


def test_averages_begin_as_the_first_weights_and_follow_them(training):
    trainee, step, batch = training
    first, averages = values(trainee)
    np.testing.assert_array_equal(averages, first)
    step(*batch)
    weights, averages = values(trainee)
    assert np.abs(weights - first).max() > 0
    decay = (1 + 1) / (10 + 1)  # after one step
    np.testing.assert_allclose(averages, decay * first + (1 - decay) * weights, atol=1e-6)


def test_a_start_with_trained_heads_begins_with_a_lower_loss_than_one_whose_heads_are_not(
    training, tmp_path
):
    trainee, step, batch = training
    for _ in range(20):
        step(*batch)
        trainee.schedule_step.assign_add(1)
    run, config = tmp_path / "run", step.config
    config.eval_config.use_moving_averages = True
    tf.train.CheckpointManager(trainee.checkpoint(), str(run), 1).save(0)
    (run / "pipeline.config").write_text(text_format.MessageToString(config))
    names = read_label_map(config.train_input_reader.label_map_path)
    make_start(run, names, tmp_path / "start", {})
    config.train_config.fine_tune_checkpoint = f"{tmp_path}/start/ckpt-0"
    config.train_config.fine_tune_checkpoint_version = CHECKPOINT_V2
    losses = []
    for kind in ("full", "detection"):
        config.train_config.fine_tune_checkpoint_type = kind
        begun, _ = make_trainee(config, lambda model: None)
        found = detection_losses(begun.model, config, *batch, 0)
        losses.append(float(sum(found.values())))
    assert losses[0] < losses[1]


def test_a_step_that_float16_overflows_in_leaves_weights_and_averages_finite(training):
    trainee, step, batch = training
    before, _ = values(trainee)
    scaler = trainee.optimizer._optimizer
    scaler._loss_scale._current_loss_scale.assign(2.0**120)
    step(*batch)
    weights, averages = values(trainee)
    np.testing.assert_array_equal(weights, before)
    assert np.isfinite(averages).all()
    assert float(scaler.loss_scale) == 2.0**119
