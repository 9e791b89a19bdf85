"""A training step computes what TFOD's own does, whatever it computes it with."""

import numpy as np
import pytest
from noise_records import make_config, write_shards

pytestmark = pytest.mark.slow

STEPS = 3
CLIP = 0.2
# A weight moves by the gradient itself, so that weights compare gradients.
MOMENTUM = """momentum_optimizer {
  learning_rate { constant_learning_rate { learning_rate: 0.5 } }
  momentum_optimizer_value: 0.9
}
use_moving_average: false"""


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """(config, Trainee, first batches, strategy) of a training whose gradients are clipped."""
    import tensorflow as tf
    from google.protobuf import text_format

    from lowlight.tfod.training import make_trainee
    from lowlight.training.step import TrainingInput

    folder = tmp_path_factory.mktemp("noise")
    write_shards(folder)
    config = make_config(folder, 2)
    config.train_config.gradient_clipping_by_norm = CLIP
    config.train_config.ClearField("optimizer")
    text_format.Parse(MOMENTUM, config.train_config.optimizer)
    strategy = tf.distribute.get_strategy()
    tf.keras.utils.set_random_seed(1)
    trainee, batches = make_trainee(
        config, lambda model: TrainingInput(config, 1).batches(strategy, 0, model)
    )
    return config, trainee, list(batches.take(STEPS)), strategy


@pytest.fixture(scope="module")
def both(setting):
    """Losses and weights of STEPS steps: of TFOD's eager_train_step and of our own, in this order.

    Both begin with the same weights, see the same batches and drop the same connections.
    """
    import tensorflow as tf

    from lowlight.tfod import training as tfod_training

    config, trainee, batches, strategy = setting
    variables = trainee.model.variables
    first = [variable.numpy() for variable in variables]
    results = []
    for make_step in (_stock_step, _own_step):
        for variable, value in zip(variables, first, strict=True):
            variable.assign(value)
        counter = tf.Variable(0, dtype=tf.int64)
        optimizer, _ = tfod_training.build_optimizer(config, counter)
        optimizer._create_all_weights(trainee.model.trainable_variables)
        step = make_step(trainee.model, config, optimizer, strategy)
        losses = []
        for batch in batches:
            losses.append({name: float(value) for name, value in step(*batch).items()})
            counter.assign_add(1)
        results.append((losses, {v.name: v.numpy() for v in variables}))
    return results


def _own_step(model, config, optimizer, strategy):
    from lowlight.training.step import TrainStep

    return TrainStep(model, config, optimizer, strategy, seed=1)


def _stock_step(model, config, optimizer, strategy):
    import tensorflow as tf
    from object_detection import model_lib_v2

    from lowlight.tfod.randomness import seeded_dropout

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


def test_gradients_are_tfods(both):
    (_, stock), (_, own) = both
    for name, value in stock.items():
        np.testing.assert_allclose(own[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_gradients_were_clipped(both):
    _, (own, _) = both
    assert min(losses["gradient_norm"] for losses in own) > CLIP
    assert own[0]["learning_rate"] == 0.5


def test_frozen_variables_stay_as_they_are_and_others_move(setting):
    config, trainee, (batch, *_), strategy = setting
    config = type(config).FromString(config.SerializeToString())
    config.train_config.update_trainable_variables.extend(["stack_", "BoxPredictor"])
    config.train_config.freeze_variables.append("^stack_[0-3]/")
    variables = trainee.model.trainable_variables
    before = [variable.numpy() for variable in variables]
    _own_step(trainee.model, config, trainee.optimizer, strategy)._run(*batch)
    moved = {
        variable.name
        for variable, value in zip(variables, before, strict=True)
        if not np.array_equal(variable.numpy(), value)
    }
    names = [variable.name for variable in variables]
    trained = {n for n in names if n.startswith(("WeightShared", "stack_4", "stack_5", "stack_6"))}
    assert moved <= trained
    # In a batch of few boxes some variables have no gradient.
    assert {n.split("/")[0] for n in moved} == {n.split("/")[0] for n in trained}
    assert len(moved) > len(trained) / 2
