"""What training needs of TFOD: its reading of an example, its optimizer and its losses."""

import functools
import itertools
from pathlib import Path

import tensorflow as tf
from google.protobuf import text_format
from object_detection import inputs, model_lib
from object_detection.builders import (
    decoder_builder,
    image_resizer_builder,
    optimizer_builder,
    preprocessor_builder,
)
from object_detection.core import losses as core_losses
from object_detection.core import preprocessor
from object_detection.core import standard_fields as fields
from object_detection.protos import string_int_label_map_pb2
from object_detection.utils import bifpn_utils, config_util, label_map_util, ops

from lowlight.core.errors import DataError
from lowlight.tfod.fast import operations as fast_operations

IMAGE = fields.InputDataFields.image  # the key of a batch's images


def _load_label_map(path):
    """Returns a label map as TFOD does, which stumbles over the byte order mark of some editors."""
    text = Path(path).read_text("utf-8-sig")
    return text_format.Parse(text, string_int_label_map_pb2.StringIntLabelMap())


label_map_util.load_labelmap = _load_label_map


def build_optimizer(config, step, mixed_precision=None):
    """Returns TFOD's optimizer of a config.

    Args:
        config: TrainEvalPipelineConfig.
        step: int64 tf.Variable, the steps made, which the learning-rate schedule reads.
        mixed_precision: with "float16" the optimizer scales losses and leaves out steps whose
            gradients overflow.

    Returns:
        (the optimizer, a function that returns the learning rate at `step`).

    Raises:
        DataError: float16 together with use_moving_average.
    """
    settings = config.train_config.optimizer
    optimizer, (rate,) = optimizer_builder.build(settings, global_step=step)
    if mixed_precision == "float16":
        if settings.use_moving_average:
            raise DataError(
                "use_moving_average: true can't be combined with float16's loss scaling.\n"
                "  Set it to false, or leave --mixed_precision out."
            )
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer, rate if callable(rate) else lambda: rate


def example_reader(config, preprocess):
    """Returns a function that reads a serialized tf.train.Example as TFOD's `inputs` do.

    Args:
        config: TrainEvalPipelineConfig; its train_config's augmentations are applied.
        preprocess: the detection model's `preprocess`, or what does the same.

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


def _random_numbers_from(seed):
    """Makes the random functions that TFOD calls stateless, while a function is traced.

    Args:
        seed: int64 [2]; the n-th number drawn in the block follows from it and n.

    Returns:
        A context manager.
    """
    calls = itertools.count()

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
    members = [
        (v1, "random_uniform", uniform),
        (v1.random, "uniform", uniform),
        (v1, "random_normal", normal),
        (v1.random, "normal", normal),
        (v1, "random_shuffle", shuffle),
        (v1.random, "shuffle", shuffle),
        (v1.image, "sample_distorted_bounding_box", box),
    ]
    return fast_operations.replaced(
        [(owner, name, seeded(function)) for owner, name, function in members]
    )


# The labels that are of an image, and so have no row for each box.
_OF_IMAGE = {
    fields.InputDataFields.num_groundtruth_boxes,
    fields.InputDataFields.groundtruth_labeled_classes,
    fields.InputDataFields.groundtruth_image_classes,
    fields.InputDataFields.groundtruth_verified_neg_classes,
    fields.InputDataFields.groundtruth_not_exhaustive_classes,
}


def without_common_padding(labels):
    """Returns a batch's labels cut to as many rows as its image with the most boxes has, 1 or more.

    TFOD pads each image to max_number_of_boxes, 100 by default, and an SSD then compares every
    anchor with every row; padding has weight 0 and changes no loss.
    """
    most = tf.maximum(tf.reduce_max(labels[fields.InputDataFields.num_groundtruth_boxes]), 1)
    return {k: label if k in _OF_IMAGE else label[:, :most] for k, label in labels.items()}


def losses(model, config, features, labels, training_step):
    """Returns TFOD's losses of a batch, {"Loss/total_loss": float32 scalar, ...}.

    Predictions in half precision become float32 before the losses.

    Args:
        model: the detection model, built for training.
        config: TrainEvalPipelineConfig.
        features, labels: a batch of `example_reader`'s.
        training_step: the steps made, for models whose losses are annealed.
    """
    train = config.train_config
    model._is_training = True
    preprocessor.tf.keras.backend.set_learning_phase(True)
    has_fixed_shapes = bool(tf.config.list_logical_devices("TPU"))
    is_ssd = config.model.WhichOneof("model") == "ssd"
    if is_ssd and not (train.unpad_groundtruth_tensors or has_fixed_shapes):
        labels = without_common_padding(labels)
    labels = model_lib.unstack_batch(labels, train.unpad_groundtruth_tensors)
    model_lib.provide_groundtruth(model, labels, training_step=training_step)
    shapes = features[fields.InputDataFields.true_image_shape]
    predictions = model.predict(features[IMAGE], shapes, **model.get_side_inputs(features))
    found = model.loss(tf.nest.map_structure(_as_float32, predictions), shapes)
    parts = list(found.values())
    regularization = model.regularization_losses() if train.add_regularization_loss else []
    if regularization:
        found["Loss/regularization_loss"] = tf.add_n(list(map(_as_float32, regularization)))
        parts.append(found["Loss/regularization_loss"])
    return {**found, "Loss/total_loss": tf.add_n(parts)}


def _as_float32(value):
    """Returns a tensor of half precision as float32, and everything else as it is."""
    is_half = getattr(value, "dtype", None) in (tf.float16, tf.bfloat16)
    return tf.cast(value, tf.float32) if is_half else value


def fast_layers():
    """Returns `fast_operations.in_use` for TFOD's layers and losses."""
    return fast_operations.in_use(
        bifpn_utils.BiFPNCombineLayer, ops, core_losses.SigmoidFocalClassificationLoss
    )
