"""What training needs of TFOD: its reading of an example, its optimizer and its losses."""

import contextlib
import functools

import tensorflow as tf  # noqa: E402 I001
from object_detection import inputs, model_lib, model_lib_v2  # noqa: E402
from object_detection.builders import (  # noqa: E402
    decoder_builder,
    image_resizer_builder,
    optimizer_builder,
    preprocessor_builder,
)
from object_detection.core import preprocessor  # noqa: E402
from object_detection.utils import config_util  # noqa: E402

from lowlight import tfod  # noqa: F401  repairs TFOD, before object_detection is imported


def build_optimizer(config, step):
    """Returns TFOD's optimizer of a config.

    Args:
        config: TrainEvalPipelineConfig.
        step: int64 tf.Variable, the steps made, which the learning-rate schedule reads.

    Returns:
        (the optimizer, a function that returns the learning rate at `step`).
    """
    optimizer, (rate,) = optimizer_builder.build(config.train_config.optimizer, global_step=step)
    return optimizer, rate if callable(rate) else lambda: rate


def example_reader(config, preprocess):
    """Returns a function that reads a serialized tf.train.Example as TFOD's `inputs` do.

    Args:
        config: TrainEvalPipelineConfig; its train_config's augmentations are applied.
        preprocess: the detection model's `preprocess`.

    Returns:
        A function of (serialized, seed), strings and int64 [2] tensors, that gives the (features,
        labels) of one image in the form of TFOD's `inputs.train_input`. Every random number of an
        augmentation follows from the seed.
    """
    train, reader, model = config.train_config, config.train_input_reader, config.model
    classes = config_util.get_number_of_classes(model)
    resizer = config_util.get_image_resizer_config(model)
    decode = decoder_builder.build(reader).decode
    transform = functools.partial(
        inputs.transform_input_data,
        model_preprocess_fn=preprocess,
        image_resizer_fn=image_resizer_builder.build(resizer),
        num_classes=classes,
        data_augmentation_fn=functools.partial(
            inputs.augment_input_data,
            data_augmentation_options=[
                preprocessor_builder.build(step) for step in train.data_augmentation_options
            ],
        ),
        merge_multiple_boxes=train.merge_multiple_label_boxes,
        retain_original_image=train.retain_original_images,
        use_multiclass_scores=train.use_multiclass_scores,
        use_bfloat16=train.use_bfloat16,
        keypoint_type_weight=reader.keypoint_type_weight or None,
    )
    pad = functools.partial(
        inputs.pad_input_data_to_static_shapes,
        max_num_boxes=reader.max_number_of_boxes,
        num_classes=classes,
        spatial_image_shape=config_util.get_spatial_image_size(resizer),
        max_num_context_features=config_util.get_max_num_context_features(model),
        context_feature_length=config_util.get_context_feature_length(model),
    )

    def read(serialized, seed):
        with _random_numbers_from(seed):
            tensors = pad(transform(decode(serialized)))
            features = inputs._get_features_dict(tensors, reader.include_source_id)
        return features, inputs._get_labels_dict(tensors)

    return read


@contextlib.contextmanager
def _random_numbers_from(seed):
    """Makes the random functions that TFOD calls stateless, while a function is traced.

    Args:
        seed: int64 [2]; the n-th number drawn in the block follows from it and n.
    """
    calls = iter(range(1 << 30))

    def seeded(function):
        def call(*args, **kwargs):
            kwargs.pop("seed", None), kwargs.pop("seed2", None)
            own = tf.random.experimental.stateless_fold_in(seed, next(calls))
            return function(*args, seed=own, **kwargs)

        return call

    def uniform(shape, minval=0, maxval=None, dtype=tf.float32, seed=None, name=None):
        maxval = 1 if maxval is None and dtype.is_floating else maxval
        return tf.random.stateless_uniform(shape, seed, minval, maxval, dtype, name)

    def normal(shape, mean=0.0, stddev=1.0, dtype=tf.float32, seed=None, name=None):
        return tf.random.stateless_normal(shape, seed, mean, stddev, dtype, name)

    v1 = preprocessor.tf  # tensorflow.compat.v1, as all of TFOD's modules see it
    box = tf.image.stateless_sample_distorted_bounding_box
    shuffle = tf.random.experimental.stateless_shuffle
    replaced = [
        (v1, "random_uniform", uniform),
        (v1.random, "uniform", uniform),
        (v1, "random_normal", normal),
        (v1.random, "normal", normal),
        (v1, "random_shuffle", shuffle),
        (v1.random, "shuffle", shuffle),
        (v1.image, "sample_distorted_bounding_box", box),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, function in replaced:
        setattr(owner, name, seeded(function))
    try:
        yield
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


def losses(model, features, labels, unpad, training_step, add_regularization):
    """Returns TFOD's losses of a batch, {"Loss/total_loss": float32 scalar, ...}.

    Args:
        model: the detection model, built for training.
        features, labels: a batch of `example_reader`'s.
        unpad: the config's unpad_groundtruth_tensors.
        training_step: the steps made, for models whose losses are annealed.
        add_regularization: the config's add_regularization_loss.
    """
    model._is_training = True
    preprocessor.tf.keras.backend.set_learning_phase(True)
    labels = model_lib.unstack_batch(labels, unpad_groundtruth_tensors=unpad)
    found, _ = model_lib_v2._compute_losses_and_predictions_dicts(
        model, features, labels, training_step, add_regularization
    )
    return found
