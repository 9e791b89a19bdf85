"""Makes one training step: a batch, losses, gradients, and the optimizer's update."""

import numpy as np
import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.core.tfrecords import find_frames
from lowlight.dataset.record_checks import record_files
from lowlight.tfod import fast
from lowlight.tfod import training as tfod_training
from lowlight.tfod.randomness import seeded_dropout

_BUFFER = 256 << 10  # bytes read at a time; a record of ExDark has about 100 KiB


def training_batches(config, strategy, seed, start_step, model):
    """Gives a distributed dataset of training batches, without end, one global batch a step.

    Each epoch takes all records of all shards in an order of its own. Order and augmentations
    follow from seed, step and an image's place in its batch alone: not from how many workers read
    or calls run in parallel, nor from where training began. Every worker reads all files, so there
    may be fewer files than workers.

    Args:
        config: TrainEvalPipelineConfig; its paths are relative to the working directory.
        strategy: the tf.distribute strategy; each of its workers reads its share of every batch.
        seed: any int.
        start_step: the steps already made; the first batch is the one of the step after them.
        model: the detection model, for its `preprocess`.

    Returns:
        A distributed dataset of (features, labels) of the form of TFOD's `inputs.train_input`.

    Raises:
        DataError: no record file, a damaged one, or none with a record in it.
    """
    reader = config.train_input_reader
    paths = record_files(reader.tf_record_input_reader.input_path, "train_input_reader")
    index = index_records(paths, reader.sample_1_of_n_examples)
    batch_size = config.train_config.batch_size

    def make_dataset(context):
        read = tfod_training.example_reader(config, model.preprocess)
        share = batch_size // context.num_input_pipelines
        first = share * context.input_pipeline_id
        dataset = _order(len(index[0]), seed, start_step * batch_size, reader.shuffle)
        if context.num_input_pipelines > 1:
            dataset = dataset.batch(batch_size)
            dataset = dataset.map(
                lambda *parts: tuple(part[first : first + share] for part in parts)
            )
            dataset = dataset.unbatch()
        dataset = _records(dataset, paths, index)
        dataset = dataset.map(
            lambda position, record: read(record, tf.stack([np.int64(seed), position])),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        dataset = dataset.batch(batch_size // context.num_replicas_in_sync, drop_remainder=True)
        return dataset.prefetch(2)

    with fast.switched_on():
        return strategy.distribute_datasets_from_function(make_dataset)


def index_records(paths, every_n=1):
    """Finds where each record of some TFRecord files begins.

    Args:
        paths: the files.
        every_n: keep every n-th record.

    Returns:
        (int64 [N], the record's file as an index of `paths`; int64 [N], its offset in bytes).

    Raises:
        DataError: a damaged file, or no record at all.
    """
    found = [(n, frame.offset) for n, path in enumerate(paths) for frame in find_frames(path)]
    if not found:
        raise DataError(f"{', '.join(paths)}: no record.\n  make_tfrecords.py writes records.")
    files, offsets = np.array(found[:: max(every_n, 1)], np.int64).T
    return files, offsets


def _order(size, seed, start, shuffle):
    """Returns a dataset of (position from `start` on, record) without end, int64 scalars.

    Every `size` positions, which are an epoch, name each record once.
    """

    def epoch(number):
        order = tf.range(size, dtype=tf.int64)
        if shuffle:
            order = tf.random.experimental.stateless_shuffle(order, tf.stack([seed, number]))
        return tf.data.Dataset.from_tensor_slices(
            (tf.range(size, dtype=tf.int64) + number * size, order)
        )

    epochs = tf.data.Dataset.range(start // size, np.iinfo(np.int64).max)
    return epochs.flat_map(epoch).skip(start % size)


def _records(positions, paths, index):
    """Returns a dataset of (position, the serialized example), read in parallel."""
    files, offsets = (tf.constant(column) for column in index)
    paths = tf.constant(paths)

    def read(position, record):
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=tf.expand_dims(paths[files[record]], 0),
            compression_type="",
            buffer_size=tf.constant(_BUFFER, tf.int64),
            byte_offsets=offsets[record : record + 1],
        )
        found = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string)).take(1)
        return found.map(lambda serialized: (position, serialized))

    return positions.interleave(read, cycle_length=4, num_parallel_calls=4, deterministic=True)


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
        optimizer: as of `build_optimizer`.
        strategy: the tf.distribute strategy that all of them were made under.
        mixed_precision: what `choose_precision` returned before the model was built. With
            "float16" the optimizer is the one with loss scaling.
        seed: an int that the model's dropout follows from, together with the optimizer's steps;
            None leaves it to chance.

    Returns:
        A function of (features, labels), a batch of `training_batches`, that makes a step and
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
