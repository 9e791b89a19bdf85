"""Training batches follow from seed and step, and hold what TFOD's own input would."""

import contextlib
import functools
import itertools
import re

import numpy as np
import pytest
import tensorflow as tf
from checks import write_examples
from noise_records import SIZES, make_config, write_shards

from lowlight.core.errors import DataError
from lowlight.core.tensorflow_files import Example, find_frames, read_frame
from lowlight.dataset.record_counts import Balance
from lowlight.tfod import fast
from lowlight.tfod import model as tfod
from lowlight.tfod.training import example_reader
from lowlight.training.step import TrainingInput, index_records

pytestmark = pytest.mark.slow

BATCH = 2


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two shards")
    write_shards(folder)
    return make_config(folder, BATCH)


@pytest.fixture(scope="module")
def model(config):
    return tfod.build_model(config, is_training=True)


class OneOfSeveral:
    """Stands for a tf.distribute strategy as one of its workers sees it."""

    def __init__(self, workers=1, index=0):
        self._place = workers, index

    def distribute_datasets_from_function(self, make_dataset):
        workers, index = self._place
        return make_dataset(tf.distribute.InputContext(workers, index, workers))


# Of the balanced the first image comes three times, the second in half of the epochs twice.
BALANCES = {"plain": None, "balanced": Balance(0.5, {}, {}, np.array([3, 1.5, 1, 1, 1]))}
both = pytest.mark.parametrize("kind", BALANCES)


@pytest.fixture(scope="module")
def batches(config, model):
    """batches(kind, ...) -> the first, each {name: array} of features and labels; made once.

    Fifteen batches of two are four balanced epochs or six others.
    """

    @functools.cache
    def make(kind, count=15, seed=1, start=0, place=()):
        records = TrainingInput(config, seed, BALANCES[kind])
        dataset = records.batches(OneOfSeveral(*place), start, model).as_numpy_iterator()
        return [{**f, **lab} for f, lab in itertools.islice(dataset, count)]

    return make


def hashes(found):
    """Returns which images the batches hold."""
    return [int(number) for batch in found for number in batch["hash"]]


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_each_epoch_takes_every_image_of_all_shards_once_in_its_own_order(batches):
    order = hashes(batches("plain"))
    epochs = [order[first : first + len(SIZES)] for first in range(0, 20, len(SIZES))]
    assert {len(set(epoch)) for epoch in epochs} == {len(SIZES)}
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_balance_has_images_come_as_often_as_it_says(batches):
    order = hashes(batches("balanced"))
    counts = sorted(map(order.count, set(order)))
    assert len(counts) == len(SIZES)
    assert 10 <= counts[-1] <= 12
    assert 4 <= counts[-2] <= 8
    assert counts[0] >= 3


@both
def test_a_continued_training_has_the_batches_it_would_have_had_and_another_seed_others(
    batches, kind
):
    assert_same(batches(kind, 3, start=12), batches(kind)[12:])
    assert hashes(batches(kind, 5, seed=2)) != hashes(batches(kind)[:5])


@both
def test_an_image_is_augmented_anew_each_time(batches, kind):
    order = hashes(batches(kind))
    first = max(set(order), key=order.count)
    images = [image for batch in batches(kind) for image in batch["image"]]
    same = [image for image, number in zip(images, order, strict=True) if number == first]
    assert len(same) > 3
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(same, 2))


@both
def test_two_workers_share_each_batch_in_order(batches, kind):
    shares = [batches(kind, 4, place=(2, index)) for index in (0, 1)]
    whole = [
        {name: np.concatenate([a[name], b[name]]) for name in a}
        for a, b in zip(*shares, strict=True)
    ]
    assert_same(whole, batches(kind)[:4])


def test_an_augmentation_that_needs_autograph_has_it(config, model):
    other = type(config)()
    other.CopyFrom(config)
    other.train_config.ClearField("data_augmentation_options")
    other.train_config.data_augmentation_options.add().random_square_crop_by_scale.SetInParent()
    assert next(iter(TrainingInput(other, 1).batches(OneOfSeveral(), 0, model)))


def test_an_image_is_prepared_bit_by_bit_as_tfod_does(config, model):
    (path, *_) = sorted(
        tf.io.gfile.glob(config.train_input_reader.tf_record_input_reader.input_path[0])
    )
    dataset = tf.data.TFRecordDataset(path).repeat(3).enumerate()
    found = []
    for taken in (contextlib.nullcontext(), fast.switched_on()):
        with taken:
            read = example_reader(config, model)
            found.append(dataset.map(lambda n, record, read=read: read(record, tf.stack([n, 5]))))
    stock, ours = found
    for (one, one_labels), (other, other_labels) in zip(stock, ours, strict=True):
        assert_same([{**one, **one_labels}], [{**other, **other_labels}])


@pytest.mark.parametrize("damage", ["no image", "removed"])
def test_the_record_that_a_batch_failed_with_is_named(tmp_path, model, damage):
    write_shards(tmp_path)
    config, path = make_config(tmp_path, len(SIZES)), tmp_path / "train.tfrecord-1"
    serialized = [read_frame(path, frame) for frame in find_frames(path)]
    example = Example.FromString(serialized[1])
    example.features.feature["image/encoded"].bytes_list.value[0] = b"no image"
    write_examples(path, Example.FromString(serialized[0]), example)
    records = TrainingInput(config, seed=1)
    if damage == "removed":
        path.unlink()
    failure = records.failure(0, OSError("a batch"), model)
    number = r"\d" if damage == "removed" else "2"
    assert re.match(rf"{path}: record {number} can't be read \(.+\)\.\n  It is damaged", failure)


@pytest.mark.parametrize(
    ("kept", "message"),
    [(0, "no record"), (5, "damaged after record 0"), (-1, "damaged after record 2")],
    ids=["empty", "cut in a head", "last byte missing"],
)
def test_a_cut_file_is_named(tmp_path, kept, message):
    write_shards(tmp_path)
    path = tmp_path / "train.tfrecord-0"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=message):
        index_records([str(path)])
