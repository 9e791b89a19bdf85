"""Training batches follow from seed and step, and hold what TFOD's own input would."""

import contextlib
import itertools
import re

import numpy as np
import pytest
from checks import write_examples
from noise_records import SIZES, make_config, write_shards

from lowlight.core.errors import DataError
from lowlight.dataset.record_counts import Balance

pytestmark = pytest.mark.slow

BATCH = 2


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two shards")
    write_shards(folder)
    return make_config(folder, BATCH)


@pytest.fixture(scope="module")
def model(config):
    from lowlight.tfod import model as tfod

    return tfod.build_model(config, is_training=True)


class OneOfSeveral:
    """Stands for a tf.distribute strategy as one of its workers sees it."""

    def __init__(self, workers=1, index=0):
        self._place = workers, index

    def distribute_datasets_from_function(self, make_dataset):
        import tensorflow as tf

        workers, index = self._place
        return make_dataset(tf.distribute.InputContext(workers, index, workers))


def batches(config, model, count, seed=1, start=0, place=(), balance=None):
    """Returns the first batches, each {name: array} of features and labels."""
    from lowlight.training.step import TrainingInput

    dataset = TrainingInput(config, seed, balance).batches(OneOfSeveral(*place), start, model)
    return [{**f, **lab} for f, lab in itertools.islice(dataset.as_numpy_iterator(), count)]


def hashes(found):
    """Returns which images the batches hold."""
    return [int(number) for batch in found for number in batch["hash"]]


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def ten(config, model):
    """Ten batches of two: four epochs of five images."""
    return batches(config, model, 10)


def test_each_epoch_takes_every_image_of_all_shards_once_in_its_own_order(ten):
    order = hashes(ten)
    epochs = [order[first : first + len(SIZES)] for first in range(0, 20, len(SIZES))]
    assert {len(set(epoch)) for epoch in epochs} == {len(SIZES)}
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_training_gone_on_with_has_the_batches_it_would_have_had(config, model, ten):
    assert_same(batches(config, model, 3, start=7), ten[7:])


def test_another_seed_gives_another_order(config, model, ten):
    assert hashes(batches(config, model, 10, seed=2)) != hashes(ten)


def test_an_image_is_augmented_anew_in_each_epoch(ten):
    images = [image for batch in ten for image in batch["image"]]
    first = hashes(ten)[0]
    same = [image for image, number in zip(images, hashes(ten), strict=True) if number == first]
    assert len(same) == 4
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(same, 2))


def test_two_workers_share_each_batch_in_order(config, model, ten):
    shares = [batches(config, model, 4, place=(2, index)) for index in (0, 1)]
    whole = [
        {name: np.concatenate([a[name], b[name]]) for name in a}
        for a, b in zip(*shares, strict=True)
    ]
    assert_same(whole, ten[:4])


def test_an_augmentation_that_needs_autograph_has_it(config, model):
    other = type(config)()
    other.CopyFrom(config)
    other.train_config.data_augmentation_options.add().random_square_crop_by_scale.SetInParent()
    assert len(batches(other, model, 1)) == 1


@pytest.fixture(scope="module")
def balance():
    """The first of the five images comes three times, the second in half of the epochs twice."""
    return Balance(0.5, {}, {}, np.array([3, 1.5, 1, 1, 1]))


@pytest.fixture(scope="module")
def balanced(config, model, balance):
    """Fifteen batches of two: four epochs of seven or eight images."""
    return batches(config, model, 15, balance=balance)


def test_a_balance_has_images_come_as_often_as_it_says_each_time_augmented(balanced):
    order = hashes(balanced)
    first = max(set(order), key=order.count)
    counts = sorted(map(order.count, set(order)))
    assert 10 <= order.count(first) <= 12
    assert len(counts) == len(SIZES)
    assert 4 <= counts[-2] <= 8
    assert counts[0] >= 3
    images = [image for batch in balanced for image in batch["image"]]
    same = [image for image, number in zip(images, order, strict=True) if number == first]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(same, 2))


def test_a_balanced_training_continues_with_the_batches_it_would_have_had(
    config, model, balance, balanced
):
    assert_same(batches(config, model, 3, start=12, balance=balance), balanced[12:])
    assert hashes(batches(config, model, 5, seed=2, balance=balance)) != hashes(balanced[:5])


def test_two_workers_share_each_balanced_batch(config, model, balance, balanced):
    shares = [batches(config, model, 4, place=(2, n), balance=balance) for n in (0, 1)]
    both = [[*a["hash"], *b["hash"]] for a, b in zip(*shares, strict=True)]
    assert both == [[*batch["hash"]] for batch in balanced[:4]]


def test_an_image_is_prepared_bit_by_bit_as_tfod_does(config, model):
    import tensorflow as tf

    from lowlight.tfod import fast
    from lowlight.tfod.training import example_reader

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
    from lowlight.core.tensorflow_files import Example, find_frames, read_frame
    from lowlight.training.step import TrainingInput

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
    from lowlight.training.step import index_records

    write_shards(tmp_path)
    path = tmp_path / "train.tfrecord-0"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=message):
        index_records([str(path)])
