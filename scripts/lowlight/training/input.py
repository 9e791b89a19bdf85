"""Gives a training its batches, in an order that follows from its seed and its step."""

import numpy as np
import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.core.tensorflow import plain_message
from lowlight.core.tfrecords import find_frames
from lowlight.dataset.record_checks import record_files
from lowlight.tfod import fast
from lowlight.tfod.training import example_reader

_BUFFER = 256 << 10  # bytes read at a time; a record of ExDark has about 100 KiB


class TrainingInput:
    """A run's training records, of which each epoch takes all in an order of its own.

    Order and augmentations follow from seed, step and an image's place in its batch alone: not from
    how many workers read or calls run in parallel, nor from where training began. Every worker
    reads all files, so there may be fewer files than workers.
    """

    def __init__(self, config, seed: int):
        """Finds the records.

        Args:
            config: TrainEvalPipelineConfig; its paths are relative to the working directory.
            seed: any int.

        Raises:
            DataError: no record file, a damaged one, or none with a record in it.
        """
        reader = config.train_input_reader
        self._paths = record_files(reader.tf_record_input_reader.input_path, "train_input_reader")
        self._index = index_records(self._paths, reader.sample_1_of_n_examples)
        self._config, self._seed = config, seed
        self._batch_size, self._shuffle = config.train_config.batch_size, reader.shuffle

    def batches(self, strategy, start_step: int, model):
        """Gives a distributed dataset without end, one global batch a step.

        Args:
            strategy: the tf.distribute strategy; each worker reads its share of every batch.
            start_step: the steps already made; the first batch is the one of the step after them.
            model: the detection model, for its `preprocess`.

        Returns:
            A distributed dataset of (features, labels), as TFOD's `inputs.train_input` gives them.
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

    def failure(self, step: int, error, model) -> str:
        """Says what the batch of a step failed with, and at which record.

        Args:
            step: the step that wasn't made, from 0.
            error: TensorFlow's.
            model: as in `batches`.
        """
        order = self._order(step).take(self._batch_size)
        examples = iter(self._examples(order, model, parallel=None))
        for _, record in order.as_numpy_iterator():
            try:
                next(examples)
            except tf.errors.OpError as own:
                file, number, _ = (column[record] for column in self._index)
                return (
                    f"{self._paths[file]}: record {number} can't be read ({plain_message(own)}).\n"
                    "  It is damaged, no image that TensorFlow decodes, or was changed or removed "
                    "meanwhile.\n  Mend it, or write the records anew without it."
                )
        return f"{', '.join(self._paths)}: can't be read ({plain_message(error)}).\n  Try again."

    def _order(self, start_step):
        """Returns a dataset of (position, record) from a step's batch on, int64 scalars.

        Every epoch's positions name each record once.
        """
        size, start = len(self._index[0]), start_step * self._batch_size

        def epoch(number):
            order = tf.range(size, dtype=tf.int64)
            if self._shuffle:
                pair = tf.stack([self._seed, number])
                order = tf.random.experimental.stateless_shuffle(order, pair)
            return tf.data.Dataset.from_tensor_slices(
                (tf.range(size, dtype=tf.int64) + number * size, order)
            )

        epochs = tf.data.Dataset.range(start // size, np.iinfo(np.int64).max)
        return epochs.flat_map(epoch).skip(start % size)

    def _examples(self, order, model, parallel):
        """Returns a dataset of the (features, labels) of each image in an order."""
        read = example_reader(self._config, model.preprocess)
        return _records(order, self._paths, self._index).map(
            lambda position, record: read(record, tf.stack([np.int64(self._seed), position])),
            num_parallel_calls=parallel,
        )


def index_records(paths, every_n: int = 1):
    """Finds where each record of some TFRecord files begins.

    Args:
        paths: the files.
        every_n: keep every n-th record.

    Returns:
        Three int64 [N]: the record's file as an index of `paths`, its number in it from 1, and its
        offset in bytes.

    Raises:
        DataError: a damaged file, or no record at all.
    """
    found = [
        (place, frame.number, frame.offset)
        for place, path in enumerate(paths)
        for frame in find_frames(path)
    ]
    if not found:
        raise DataError(f"{', '.join(paths)}: no record.\n  make_tfrecords.py writes records.")
    return tuple(np.array(found[:: max(every_n, 1)], np.int64).T)


def _records(order, paths, index):
    """Returns a dataset of (position, the serialized example), read in parallel.

    A record that isn't there any more is an empty example, which can't be decoded.
    """
    files, offsets, paths = tf.constant(index[0]), tf.constant(index[2]), tf.constant(paths)
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
