"""Makes one training step: losses, gradients and the optimizer's update on every device."""

import tensorflow as tf

from lowlight import tfod_training


def make_train_step(model, config, optimizer, strategy, mixed_precision=None):
    """Makes the function that trains on one global batch.

    It does what TFOD's `model_lib_v2.eager_train_step` does: the losses of the replicas are divided
    by their number and added up, and each replica's gradients are clipped before they are added.

    Args:
        model: the detection model.
        config: TrainEvalPipelineConfig.
        optimizer: as of `tfod_training.build_optimizer`.
        strategy: the tf.distribute strategy that all of them were made under.
        mixed_precision: None, "bfloat16" or "float16".

    Returns:
        A function of (features, labels), a batch of `train_input.training_batches`, that makes a
        step and returns {name: float32 scalar tensor}: TFOD's losses ("Loss/total_loss", ...),
        "gradient_norm" (global, of the summed gradients before clipping where there is one
        replica) and "learning_rate" (the one the step was made with). It doesn't count the step
        that the learning-rate schedule reads.
    """
    replicas = strategy.num_replicas_in_sync
    train = config.train_config
    clip_norm = train.gradient_clipping_by_norm

    def step(features, labels):
        with tf.GradientTape() as tape:
            losses = tfod_training.losses(
                model,
                features,
                labels,
                train.unpad_groundtruth_tensors,
                optimizer.iterations,
                train.add_regularization_loss,
            )
            losses = {name: loss / replicas for name, loss in losses.items()}
        variables = model.trainable_variables
        gradients = tape.gradient(losses["Loss/total_loss"], variables)
        norm = tf.linalg.global_norm(gradients)
        if clip_norm > 0:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {**losses, "gradient_norm": norm}

    @tf.function
    def distributed_step(features, labels):
        rate = tf.identity(_learning_rate(optimizer))
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
