"""The fast losses are TFOD's, and so are their gradients."""

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0, 2.3])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_the_focal_loss_and_its_gradient_are_tfods(gamma, alpha):
    import tensorflow as tf
    from object_detection.core.losses import SigmoidFocalClassificationLoss

    from lowlight.tfod.fast.computations import focal_loss

    rng = np.random.default_rng(0)
    logits = tf.constant([-60.0, -20.0, *rng.normal(0, 4, 25), 0.0, 20.0, 60.0], tf.float32)
    logits = tf.reshape(logits, [2, 5, 3])
    targets = tf.constant(rng.choice([0.0, 1.0, 0.3], [2, 5, 3]), tf.float32)
    weights = tf.constant(rng.choice([0.0, 1.0, 2.0], [2, 5, 1]), tf.float32)
    stock = SigmoidFocalClassificationLoss(gamma, alpha)
    results = []
    for loss in (
        lambda x: stock._compute_loss(x, targets, weights),
        lambda x: focal_loss(x, targets, weights, gamma, alpha),
    ):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(logits)
        results.append((value, tape.gradient(value, logits, 1 + targets)))
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
