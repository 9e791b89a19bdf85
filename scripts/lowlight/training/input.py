"""Reads training records in an order that a seed gives, as batches of TFOD's form."""

import struct

import numpy as np
import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.tfod import model as tfod
from lowlight.tfod import training as tfod_training
from lowlight.tfod.fast.images import image_preparer
from lowlight.training.checks import record_files

# A TFRecord is its length (8 bytes), that length's CRC (4), the record and the record's CRC (4).
_HEAD, _AROUND = 12, 16
_BUFFER = 256 << 10  # bytes read at a time; a record of ExDark has about 100 KiB


def training_batches(config, strategy, seed=None, start_step=0, model=None):
    """Gives a distributed dataset of training batches, without end, one global batch a step.

    Each epoch takes all records of all shards in an order of its own. Order and augmentations
    follow from seed, step and an image's place in its batch alone: not from how many workers read
    or calls run in parallel, nor from where training began. Every worker reads all files, so there
    may be fewer files than workers.

    Args:
        config: TrainEvalPipelineConfig; its paths are relative to the working directory.
        strategy: the tf.distribute strategy; each of its workers reads its share of every batch.
        seed: any int; None draws one.
        start_step: the steps already made; the first batch is the one of the step after them.
        model: the detection model, where one is built already, for its `preprocess`.

    Returns:
        A distributed dataset of (features, labels) of the form of TFOD's `inputs.train_input`.

    Raises:
        DataError: no record file, a damaged one, or none with a record in it; a way of reading that
            isn't this one.
    """
    seed = int(np.random.SeedSequence().entropy % 2**31) if seed is None else seed
    reader = config.train_input_reader
    _check_reader(reader)
    patterns = reader.tf_record_input_reader.input_path
    paths = record_files(patterns, "train_input_reader")
    index = index_records(paths, reader.sample_1_of_n_examples)
    model = model or tfod.build_model(config, is_training=True)
    read = tfod_training.example_reader(config, image_preparer(model))
    batch_size = config.train_config.batch_size

    def make_dataset(context):
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

    return strategy.distribute_datasets_from_function(make_dataset)


def _check_reader(reader):
    """Raises DataError where a config asks for what this reading of records leaves out."""
    if reader.sample_from_datasets_weights:
        raise DataError(
            "train_input_reader: sample_from_datasets_weights isn't supported.\n"
            "  Remove it: each epoch takes every record of all input_path files once."
        )
    if reader.input_type != type(reader)().input_type:
        raise DataError(
            "train_input_reader: input_type isn't supported.\n"
            "  Remove it: records hold tf.train.Examples, as make_tfrecords.py writes them."
        )


def index_records(paths, every_n=1):
    """Finds where each record of some TFRecord files begins.

    Args:
        paths: the files.
        every_n: keep every n-th record.

    Returns:
        (int64 [N], the record's file as an index of `paths`; int64 [N], its offset in bytes).

    Raises:
        DataError: a file that ends within a record, or no record at all.
    """
    files, offsets = [], []
    for number, path in enumerate(paths):
        found = list(_offsets(path))
        files += [number] * len(found)
        offsets += found
    if not files:
        raise DataError(f"{', '.join(paths)}: no record.\n  make_tfrecords.py writes records.")
    every_n = max(every_n, 1)
    return np.array(files[::every_n], np.int64), np.array(offsets[::every_n], np.int64)


def _offsets(path):
    """Yields the offset of each record of a file, in bytes."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        offset = 0
        while offset < size:
            file.seek(offset)
            head = file.read(_HEAD)
            end = offset + _AROUND + (struct.unpack("<Q", head[:8])[0] if len(head) == _HEAD else 0)
            if len(head) < _HEAD or end > size:
                raise DataError(
                    f"{path}: ends within the record at byte {offset}.\n"
                    "  make_tfrecords.py writes it anew."
                )
            yield offset
            offset = end


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
