"""Makes a training step: its batch, which follows from seed and step, and what it computes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from google.protobuf.message import Message

from lowlight.core.errors import DataError
from lowlight.core.tensorflow import find_gpus, plain_message
from lowlight.core.tensorflow_files import find_frames
from lowlight.dataset.record_counts import Balance, record_files
from lowlight.tfod import fast
from lowlight.tfod import training as tfod_training
from lowlight.tfod.model import DetectionModel
from lowlight.tfod.randomness import part_of_batch, seeded_dropout
from lowlight.tfod.start import updated_variables

_BUFFER = 256 << 10  # bytes read at a time; a record of ExDark has about 100 KiB


def choose_precision(mixed_precision: bool) -> str | None:
    """Sets what Keras layers made from now on compute in; their variables stay float32.

    Returns what `TrainStep` and `tfod_training.build_optimizer` take: "float16" where there is a
    GPU, else "bfloat16"; None without mixed precision.
    """
    half = "float16" if find_gpus() else "bfloat16"
    precision = half if mixed_precision else None
    tf.keras.mixed_precision.set_global_policy(f"mixed_{precision}" if precision else "float32")
    return precision


@dataclass(eq=False)  # TensorFlow hashes what it traces
class TrainStep:
    """Trains on one global batch.

    It does what TFOD's `model_lib_v2.eager_train_step` does: the losses of the replicas are divided
    by their number and added up, and each replica's gradients are clipped before they are added.
    Variables that the config freezes get no gradient.
    """

    model: DetectionModel
    config: Message  # TrainEvalPipelineConfig
    optimizer: object  # of `tfod_training.build_optimizer`; with float16 it scales losses
    strategy: tf.distribute.Strategy  # under which model and optimizer were made
    precision: str | None = None  # what `choose_precision` returned before the model was built
    seed: int | None = None  # what dropout follows from, with the optimizer's steps; None: chance
    parts: int = 1  # in which a replica's images are taken, one after the other

    def __post_init__(self):
        self._traced = tf.function(self._run, autograph=False)

    def __call__(self, features: dict, labels: dict) -> dict:
        """Makes a step with a batch of `TrainingInput`'s; counting it is left to the caller.

        Returns:
            {name: float32 scalar tensor}: TFOD's losses ("Loss/total_loss", ...), "gradient_norm"
            (global, before clipping; with several replicas the sum of theirs, which is at least the
            whole gradient's) and "learning_rate" (that of this step).
        """
        return self._traced(features, labels)

    def _run(self, features, labels):
        rate = self._inner_optimizer().learning_rate
        rate = tf.identity(tf.cast(rate() if callable(rate) else rate, tf.float32))
        dropout = seeded_dropout(self.seed, self.optimizer.iterations)
        with fast.switched_on(), tfod_training.exact_pooling(), dropout:
            results = self.strategy.run(self._run_replica, args=(features, labels))
        add = tf.distribute.ReduceOp.SUM
        results = {name: self.strategy.reduce(add, v, axis=None) for name, v in results.items()}
        return {**results, "learning_rate": rate}

    def _run_replica(self, features, labels):
        """Updates the weights by a replica's part of a batch; returns losses and gradient norm."""
        if self.precision:
            image = tfod_training.FIELDS.image
            features = {**features, image: tf.cast(features[image], self.precision)}
        if self.parts == 1:
            losses, gradients = self._differentiate(
                lambda: self._detection_losses(features, labels) | self._regularization_loss()
            )
        else:
            losses, gradients = self._accumulate(features, labels)
        norm = tf.linalg.global_norm(gradients)
        clip_norm = self.config.train_config.gradient_clipping_by_norm
        if clip_norm > 0:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
        self.optimizer.apply_gradients(zip(gradients, self._variables(), strict=True))
        total = tf.add_n(list(losses.values()))
        return {**losses, "Loss/total_loss": total, "gradient_norm": norm}

    def _inner_optimizer(self):
        """Returns the optimizer without the averages that are kept around it."""
        kept = self.config.train_config.optimizer.use_moving_average
        return self.optimizer._optimizer if kept else self.optimizer

    def _variables(self):
        return updated_variables(self.model, self.config.train_config)

    def _detection_losses(self, features, labels):
        made = self.optimizer.iterations
        return tfod_training.detection_losses(self.model, self.config, features, labels, made)

    def _regularization_loss(self):
        return tfod_training.regularization_loss(self.model, self.config)

    def _differentiate(self, find_losses, unconnected=tf.UnconnectedGradients.NONE):
        """Returns the losses that are found, divided by the replicas, and their gradients."""
        replicas = self.strategy.num_replicas_in_sync
        scaler = self._inner_optimizer() if self.precision == "float16" else None
        with tf.GradientTape() as tape:
            losses = {name: loss / replicas for name, loss in find_losses().items()}
            target = tf.add_n(list(losses.values()))
            if scaler:
                target = scaler.get_scaled_loss(target)
        variables = self._variables()
        gradients = tape.gradient(target, variables, unconnected_gradients=unconnected)
        if scaler:
            gradients = scaler.get_unscaled_gradients(gradients)
        return losses, gradients

    def _accumulate(self, features, labels):
        """As `_differentiate`, of all losses, holding the activations of one part at a time.

        Each part is weighed by the number that its losses were divided by.
        """
        zero, names = tf.UnconnectedGradients.ZERO, []

        def cut(tensor, place):
            size = tensor.shape[0] // self.parts
            part = tensor[place * size : (place + 1) * size]
            return tf.ensure_shape(part, [size, *tensor.shape[1:]])

        def add(place, count, losses, gradients):
            part = tf.nest.map_structure(lambda tensor: cut(tensor, place), (features, labels))
            with part_of_batch(place, self.parts):
                found, fresh = self._differentiate(lambda: self._detection_losses(*part), zero)
                matched = tfod_training.loss_count(self.model, self.config)
            names[:] = found
            weight = tf.maximum(matched, 1.0)
            losses += weight * tf.stack(list(found.values()))
            gradients = [total + weight * g for total, g in zip(gradients, fresh, strict=True)]
            return place + 1, count + matched, losses, gradients

        zeros = [tf.zeros(variable.shape) for variable in self._variables()]
        start = tf.constant(0), tf.constant(0.0), tf.zeros([1]), zeros
        shapes = tf.nest.map_structure(lambda tensor: tensor.shape, start)
        _, count, losses, gradients = tf.while_loop(
            lambda place, *_: place < self.parts,
            add,
            start,
            # The first part tells how many losses there are.
            shape_invariants=(*shapes[:2], tf.TensorShape([None]), shapes[3]),
            parallel_iterations=1,
        )
        divisor = tf.maximum(count, 1.0)
        losses = tf.unstack(losses / divisor, num=len(names))
        losses = dict(zip(names, losses, strict=True))
        gradients = [total / divisor for total in gradients]
        if self._regularization_loss():
            regularization, more = self._differentiate(self._regularization_loss, zero)
            losses |= regularization
            gradients = [one + other for one, other in zip(gradients, more, strict=True)]
        return losses, gradients


class TrainingInput:
    """A run's training records: each epoch takes all of them, in an order of its own.

    With a Balance an epoch takes an image of factor 1.4 once or, in two of five epochs, twice.
    Order and augmentations follow from seed, step and an image's place in its batch alone: not from
    how many workers read or calls run in parallel, nor from where training began. Every worker
    reads all files, so there may be fewer files than workers.
    """

    def __init__(self, config: Message, seed: int, balance: Balance | None = None):
        """Finds the config's records; raises DataError as `record_files` and `index_records`."""
        reader = config.train_input_reader
        self._paths = record_files(reader.tf_record_input_reader.input_path, "train_input_reader")
        self._index = index_records(self._paths, reader.sample_1_of_n_examples)
        self._config, self._seed = config, seed
        self._batch_size, self._shuffle = config.train_config.batch_size, reader.shuffle
        self._factors = None if balance is None else balance.factors

    def batches(
        self, strategy: tf.distribute.Strategy, start_step: int, model: DetectionModel
    ) -> tf.distribute.DistributedDataset:
        """Returns a dataset without end, one global batch a step, from that after some steps on.

        It gives (features, labels), as TFOD's `inputs.train_input` does, prepared by the model.
        Each worker reads its share of every batch.
        """

        def make_dataset(context):
            share = self._batch_size // context.num_input_pipelines
            first = share * context.input_pipeline_id
            order = self._order(start_step)
            if context.num_input_pipelines > 1:
                order = order.batch(self._batch_size)
                order = order.map(
                    lambda *parts: tuple(part[first : first + share] for part in parts)
                )
                order = order.unbatch()
            dataset = self._examples(order, model, tf.data.AUTOTUNE)
            size = self._batch_size // context.num_replicas_in_sync
            return dataset.batch(size, drop_remainder=True).prefetch(2)

        with fast.switched_on():
            return strategy.distribute_datasets_from_function(make_dataset)

    def failure(self, step: int, error: Exception, model: DetectionModel) -> str:
        """Says with what, and at which record, the batch failed of a step (from 0) not made."""
        order = self._order(step).take(self._batch_size)
        examples = iter(self._examples(order, model, parallel=None))
        for _, record in order.as_numpy_iterator():
            try:
                next(examples)
            except tf.errors.OpError as own:
                file, number, _ = self._index[record]
                return (
                    f"{self._paths[file]}: record {number} can't be read ({plain_message(own)}).\n"
                    "  It is damaged, no image that TensorFlow decodes, or was changed or removed "
                    "meanwhile.\n  Correct it, or write the records again without it."
                )
        return f"{', '.join(self._paths)}: can't be read ({plain_message(error)}).\n  Try again."

    def _order(self, start_step):
        """Returns a dataset of (position, record), int64; no position comes twice."""
        size, start = len(self._index), start_step * self._batch_size
        most, first = size, start // size
        if self._factors is not None:  # epochs of different sizes
            most, first = int(np.ceil(self._factors).sum()), 0

        def epoch(number):
            pair = tf.stack([self._seed, number])
            order = tf.range(size, dtype=tf.int64)
            if self._factors is not None:
                order = self._repeated(order, pair)
            if self._shuffle:
                order = tf.random.experimental.stateless_shuffle(order, pair)
            positions = tf.range(tf.size(order, tf.int64)) + number * most
            return tf.data.Dataset.from_tensor_slices((positions, order))

        epochs = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
        return epochs.flat_map(epoch).skip(start - first * size)

    def _repeated(self, order, pair):
        """Returns each record as often as its factor says, rounded at random by an epoch's seed."""
        whole, rest = np.divmod(self._factors, 1)
        own = tf.random.experimental.stateless_fold_in(pair, 1)  # apart from the shuffle's
        up = tf.random.stateless_uniform([len(rest)], own, dtype=tf.float64) < rest
        return tf.repeat(order, tf.constant(whole, tf.int64) + tf.cast(up, tf.int64))

    def _examples(self, order, model, parallel):
        """Returns a dataset of the (features, labels) of each image in an order."""
        read = tfod_training.example_reader(self._config, model)
        return _records(order, self._paths, self._index).map(
            lambda position, record: read(record, tf.stack([np.int64(self._seed), position])),
            num_parallel_calls=parallel,
        )


def index_records(paths: Sequence[str], every_n: int = 1) -> np.ndarray:
    """Finds where each record of some TFRecord files begins, or every n-th one.

    Returns int64 [N, 3]: a record's file as an index of `paths`, its number in it from 1, and its
    offset in bytes. Raises DataError: a damaged file, or no record at all.
    """
    found = [
        (place, frame.number, frame.offset)
        for place, path in enumerate(paths)
        for frame in find_frames(path)
    ]
    if not found:
        raise DataError(f"{', '.join(paths)}: no record.\n  make_tfrecords.py writes records.")
    return np.array(found[:: max(every_n, 1)], np.int64)


def _records(order, paths, index):
    """Returns a dataset of (position, the serialized example), read in parallel.

    A record that isn't there any more is an empty example, which can't be decoded.
    """
    files, offsets, paths = tf.constant(index[:, 0]), tf.constant(index[:, 2]), tf.constant(paths)
    nothing = tf.data.Dataset.from_tensors("")

    def read(position, record):
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=tf.expand_dims(paths[files[record]], 0),
            compression_type="",
            buffer_size=tf.constant(_BUFFER, tf.int64),
            byte_offsets=offsets[record : record + 1],
        )
        found = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
        found = found.concatenate(nothing).take(1)
        return found.map(lambda serialized: (position, serialized))

    return order.interleave(read, cycle_length=4, num_parallel_calls=4, deterministic=True)
