"""Makes one training step: losses of a batch, gradients, and the optimizer's update."""

import tensorflow as tf

from lowlight.tfod import fast
from lowlight.tfod import training as tfod_training
from lowlight.tfod.randomness import seeded_dropout


def choose_precision(mixed_precision):
    """Sets what Keras layers made from now on compute in; call it before the model is built.

    Args:
        mixed_precision: whether they compute in half precision. Variables stay float32.

    Returns:
        "float16" where there is a GPU, else "bfloat16"; None without mixed precision. It is what
        `make_train_step` and `tfod_training.build_optimizer` take.
    """
    half = "float16" if tf.config.list_physical_devices("GPU") else "bfloat16"
    precision = half if mixed_precision else None
    policy = f"mixed_{precision}" if precision else "float32"
    tf.keras.mixed_precision.set_global_policy(policy)
    return precision


def make_train_step(model, config, optimizer, strategy, mixed_precision=None, seed=None):
    """Makes the function that trains on one global batch.

    It does what TFOD's `model_lib_v2.eager_train_step` does: the losses of the replicas are divided
    by their number and added up, and each replica's gradients are clipped before they are added.

    Args:
        model: the detection model.
        config: TrainEvalPipelineConfig.
        optimizer: as of `tfod_training.build_optimizer`.
        strategy: the tf.distribute strategy that all of them were made under.
        mixed_precision: what `choose_precision` returned before the model was built. With
            "float16" the optimizer is the one with loss scaling.
        seed: an int that the model's dropout follows from, together with the optimizer's steps;
            None leaves it to chance.

    Returns:
        A function of (features, labels), a batch of `TrainingInput`'s, that makes a step and
        returns {name: float32 scalar tensor}: TFOD's losses ("Loss/total_loss", ...),
        "gradient_norm" (global, before clipping; with several replicas the sum of theirs, which is
        at least the whole gradient's, and is it where they agree) and "learning_rate" (the one the
        step was made with). It doesn't count the step that the learning-rate schedule reads.
    """
    replicas = strategy.num_replicas_in_sync
    clip_norm = config.train_config.gradient_clipping_by_norm

    def step(features, labels):
        if mixed_precision:
            image = tfod_training.FIELDS.image
            features = {**features, image: tf.cast(features[image], mixed_precision)}
        with tf.GradientTape() as tape:
            losses = tfod_training.losses(model, config, features, labels, optimizer.iterations)
            losses = {name: loss / replicas for name, loss in losses.items()}
            target = losses["Loss/total_loss"]
            if mixed_precision == "float16":
                target = optimizer.get_scaled_loss(target)
        variables = model.trainable_variables
        gradients = tape.gradient(target, variables)
        if mixed_precision == "float16":
            gradients = optimizer.get_unscaled_gradients(gradients)
        norm = tf.linalg.global_norm(gradients)
        if clip_norm > 0:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {**losses, "gradient_norm": norm}

    @tf.function
    def distributed_step(features, labels):
        rate = tf.identity(_learning_rate(optimizer))
        with fast.switched_on(), seeded_dropout(seed, optimizer.iterations):
            results = strategy.run(step, args=(features, labels))
        total = tf.distribute.ReduceOp.SUM
        results = {
            name: strategy.reduce(total, value, axis=None) for name, value in results.items()
        }
        return {**results, "learning_rate": rate}

    return distributed_step


def _learning_rate(optimizer):
    """Returns the learning rate of a Keras optimizer, a scalar tensor, at its present step."""
    rate = optimizer.learning_rate
    return tf.cast(rate() if callable(rate) else rate, tf.float32)
