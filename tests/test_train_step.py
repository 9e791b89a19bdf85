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
def both(tmp_path_factory):
    """Losses and weights of STEPS steps: of TFOD's eager_train_step and of our own, in this order.

    Both begin with the same weights, see the same batches and drop the same connections; gradients
    are clipped.
    """
    import tensorflow as tf
    from google.protobuf import text_format

    from lowlight import tfod_training
    from lowlight.tfod_trainee import make_trainee
    from lowlight.train_input import training_batches

    folder = tmp_path_factory.mktemp("noise")
    write_shards(folder)
    config = make_config(folder, 2)
    config.train_config.gradient_clipping_by_norm = CLIP
    config.train_config.ClearField("optimizer")
    text_format.Parse(MOMENTUM, config.train_config.optimizer)
    strategy = tf.distribute.get_strategy()
    tf.keras.utils.set_random_seed(1)
    trainee, batches = make_trainee(
        config, lambda model: training_batches(config, strategy, 1, 0, model)
    )
    batches = list(batches.take(STEPS))
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
    from lowlight.train_step import make_train_step

    return make_train_step(model, config, optimizer, strategy, seed=1)


def _stock_step(model, config, optimizer, strategy):
    import tensorflow as tf
    from object_detection import model_lib_v2

    from lowlight.fast_operations import seeded_dropout

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


@pytest.mark.parametrize(
    ("height", "width", "taps", "stride", "multiplier"),
    [
        (9, 11, 5, 1, 1),
        (8, 8, 5, 2, 1),
        (7, 9, 5, 2, 2),
        (6, 6, 4, 1, 1),
        (10, 9, 7, 2, 1),
        (2, 2, 5, 2, 1),
    ],
)
def test_a_wide_depthwise_filter_has_the_gradient_it_had(height, width, taps, stride, multiplier):
    import tensorflow as tf

    from lowlight.fast_operations import filter_gradient

    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(2, height, width, 3)), tf.float32)
    kernel = tf.constant(rng.normal(size=(taps, taps, 3, multiplier)), tf.float32)
    strides = [1, stride, stride, 1]
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        y = tf.nn.depthwise_conv2d(x, kernel, strides, "SAME")
        loss = tf.reduce_sum(y * y)
    found = filter_gradient(x, kernel.shape, 2 * y, strides)
    np.testing.assert_allclose(found, tape.gradient(loss, kernel), rtol=1e-4, atol=1e-3)


def test_fast_attention_is_the_matrix_product_it_was():
    import tensorflow as tf

    from lowlight.fast_operations import fast_attention

    maps = [tf.constant([[[[1.0, -2.0]]]]), tf.constant([[[[3.0, 4.0]]]])]
    found = fast_attention(maps, tf.constant([[3.0], [1.0]]))
    np.testing.assert_allclose(found, [[[[1.5, -0.5]]]], rtol=1e-4)


@pytest.mark.parametrize("scale", [2, 4])
def test_fast_upsampling_is_tfods_and_so_is_its_gradient(scale):
    from lowlight import tfod  # noqa: F401  it repairs TFOD

    # isort: split
    import tensorflow as tf
    from object_detection.utils import ops

    from lowlight.fast_operations import nearest_neighbor_upsampling

    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(2, 3, 5, 4)), tf.float32)
    upstream = tf.constant(rng.normal(size=(2, 3 * scale, 5 * scale, 4)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        theirs = ops.nearest_neighbor_upsampling(x, scale=scale)
        ours = nearest_neighbor_upsampling(x, scale=scale)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(
        tape.gradient(ours, x, upstream), tape.gradient(theirs, x, upstream), rtol=1e-4, atol=1e-5
    )
