"""A config of the model zoo becomes one for the data at hand, and says what was changed."""

import re
from pathlib import Path

import families
import numpy as np
import pytest
import tensorflow as tf
from checks import message_of
from tiny_training import begin, write_tiny_data

from lowlight.core.errors import DataError
from lowlight.dataset.classes import format_label_map
from lowlight.tfod import configs, zoo
from lowlight.tfod import model as tfod
from lowlight.tfod.config_parts import model_of
from lowlight.training.step import TrainStep

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
D1 = "efficientdet_d1_coco17_tpu-32"


@pytest.fixture
def data_dir(tmp_path):
    """A folder with the names that make_tfrecords.py writes; one has a blank in it."""
    folder = tmp_path / "my data"
    folder.mkdir()
    (folder / "label_map.txt").write_text(format_label_map(["Fox", "Owl", "Hedgehog"]))
    for part in ("train", "test"):
        (folder / f"{part}.tfrecord").touch()
    return folder


def adapted(text, data_dir, tmp_path, **changes):
    """Returns the config that the text of a base becomes, and what is said of it."""
    path = tmp_path / "base.config"
    path.write_text(text)
    base, name, start = zoo.read_base(str(path))
    change = configs.Change(32, 15000, None, start)._replace(**changes)
    return base, configs.adapt(base, configs.find_data(data_dir), change, name)


D1_CHANGES = """\
- num_classes: 90
+ num_classes: 3
- batch_size: 128
+ batch_size: 32
- learning_rate_base: 0.08
- total_steps: 300000
- warmup_learning_rate: 0.001
- warmup_steps: 2500
+ learning_rate_base: 0.02
+ total_steps: 15000
+ warmup_learning_rate: 0.00025
+ warmup_steps: 125
- fine_tune_checkpoint: "PATH_TO_BE_CONFIGURED"
- num_steps: 300000
+ fine_tune_checkpoint: "checkpoint/D1/checkpoint/ckpt-0"
+ num_steps: 15000
- fine_tune_checkpoint_type: "classification"
- use_bfloat16: true
+ fine_tune_checkpoint_type: "detection"
+ use_bfloat16: false
- label_map_path: "PATH_TO_BE_CONFIGURED"
+ label_map_path: "DATA/label_map.txt"
- input_path: "PATH_TO_BE_CONFIGURED"
+ input_path: "DATA/train.tfrecord"
- label_map_path: "PATH_TO_BE_CONFIGURED"
+ label_map_path: "DATA/label_map.txt"
- input_path: "PATH_TO_BE_CONFIGURED"
+ input_path: "DATA/test.tfrecord"
"""


def test_the_d1_is_built_in_and_each_change_of_it_is_shown(data_dir, tmp_path, run_forked):
    output = tmp_path / "new" / "d1.config"
    done = run_forked("make_config.py", f"--data_dir={data_dir}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    changed = re.findall(r"^([-+]) +(.+)", done.stdout, re.MULTILINE)
    expected = D1_CHANGES.replace("D1", D1).replace("DATA", str(data_dir)).splitlines()
    assert [" ".join(line) for line in changed] == expected
    assert "learning rate: 0.08 -> 0.02 (linear with the batch, x 32/128)" in done.stdout
    assert f"tar -xzf checkpoint/{D1}.tar.gz -C checkpoint" in done.stdout
    faithful = tfod.read_config(CONFIGS / "ssd_efficientdet_d1_640x640_coco17_tpu-8.config")
    faithful.model.ssd.num_classes = 3
    made, augmentations = tfod.read_config(output), "data_augmentation_options"
    assert made.model == faithful.model
    expected = getattr(faithful.train_config, augmentations)
    assert getattr(made.train_config, augmentations) == expected


@pytest.mark.parametrize("family", families.FAMILIES)
def test_each_familys_config_is_fitted_to_the_data(family, data_dir, tmp_path):
    config, lines = adapted(families.FAMILIES[family], data_dir, tmp_path)
    train = config.train_config
    assert model_of(config, "").num_classes == 3
    assert (train.batch_size, train.num_steps, train.use_bfloat16) == (32, 15000, False)
    assert train.fine_tune_checkpoint == train.fine_tune_checkpoint_type == ""
    assert "augmentations kept: random_horizontal_flip" in lines[-1]


def test_a_model_that_needs_a_network_to_be_built_is_told(data_dir, tmp_path):
    _, lines = adapted(families.CENTER_NET, data_dir, tmp_path)
    assert "fetches ImageNet weights to build this model" in lines[-1]
    _, lines = adapted(families.FAMILIES["CenterNet MobileNet"], data_dir, tmp_path)
    assert "ImageNet" not in lines[-1]


def test_every_architecture_starts_from_a_detection_checkpoint(data_dir, tmp_path):
    text = families.FAMILIES["CenterNet Hourglass"]
    config, _ = adapted(text, data_dir, tmp_path, fine_tune_checkpoint="a/ckpt-1")
    train = config.train_config
    assert train.fine_tune_checkpoint == "a/ckpt-1"
    assert train.fine_tune_checkpoint_type == "detection"
    assert train.fine_tune_checkpoint_version == tfod.CHECKPOINT_V2


# One of each architecture, of SSD one of each form of heads.
TRAINED = (
    "EfficientDet",
    "SSD MobileNet",
    "SSD MobileNet FPN",
    "Faster R-CNN",
    "CenterNet Hourglass",
)


@pytest.mark.parametrize("family", TRAINED)
def test_each_family_is_built_and_trained_for_two_steps(family, tmp_path):
    write_tiny_data(tmp_path, images=4)
    text = families.FAMILIES[family]
    config, _ = adapted(text, tmp_path, tmp_path, batch_size=2, num_steps=2)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    tf.config.run_functions_eagerly(True)  # two steps are made sooner than traced
    try:
        with strategy.scope():
            trainee, batches = begin(config, strategy)
        step = TrainStep(trainee.model, config, trainee.optimizer, strategy)
        losses = [step(*batch)["Loss/total_loss"] for _, batch in zip("ab", batches, strict=False)]
    finally:
        tf.config.run_functions_eagerly(False)
        tf.keras.backend.clear_session()
    assert np.isfinite(losses).tolist() == [True, True]


def test_changes_of_the_rate_stay_in_order_however_few_the_steps(data_dir, tmp_path):
    text = families.FAMILIES["CenterNet Hourglass"]
    config, _ = adapted(text, data_dir, tmp_path, num_steps=1)
    rate = config.train_config.optimizer.adam_optimizer.learning_rate
    assert [change.step for change in rate.manual_step_learning_rate.schedule] == [1, 2]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_that_is_none_is_refused(rate, data_dir, tmp_path):
    with pytest.raises(DataError, match="Give --learning_rate over 0"):
        adapted(families.FAMILIES["EfficientDet"], data_dir, tmp_path, learning_rate=rate)


def test_a_learning_rate_that_is_given_is_the_schedules_height(data_dir, tmp_path):
    text = families.FAMILIES["EfficientDet"]
    config, lines = adapted(text, data_dir, tmp_path, learning_rate=0.04)
    rate = config.train_config.optimizer.momentum_optimizer.learning_rate
    assert rate.cosine_decay_learning_rate.learning_rate_base == pytest.approx(0.04)
    assert rate.cosine_decay_learning_rate.warmup_learning_rate == pytest.approx(0.013333)
    assert "learning rate: 0.08 -> 0.04 (as asked for)" in lines


def test_sharded_records_are_named_by_a_glob_of_their_number(data_dir):
    (data_dir / "train.tfrecord").unlink()
    for number in range(4):
        (data_dir / f"train.tfrecord-{number:05}-of-00004").touch()
    data = configs.find_data(data_dir)
    assert data.train == f"{data_dir}/train.tfrecord-?????-of-00004"
    (data_dir / "train.tfrecord").touch()
    with pytest.raises(DataError, match=r"both .*/train.tfrecord and .*-of-00004 are there"):
        configs.find_data(data_dir)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "efficientdet_d9",
            "no archive of the model zoo.\n  Archives of a like name: efficientdet_d",
        ),
        ("efficientdet_d0_coco17_tpu-32", "20200711/efficientdet_d0_coco17_tpu-32.tar.gz\n"),
        ("my/pipeline.config", "my/pipeline.config: no such file"),
        (".", "pipeline.config: no such file.\n  Check --base_config."),
    ],
)
def test_a_base_that_is_not_there_is_named_with_what_to_do(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=re.escape(message)):
        zoo.read_base(name)


def test_a_base_that_is_no_config_or_has_no_batch_to_scale_is_refused(data_dir, tmp_path):
    with pytest.raises(DataError, match=r"base.config:1:1: .*\n  Correct the config"):
        adapted("dear", data_dir, tmp_path)
    with pytest.raises(DataError, match="no batch_size to scale"):
        adapted(families.SSD.replace("size: 512", "size: 0"), data_dir, tmp_path)


def test_a_base_without_a_checkpoint_beside_it_needs_one_named(tmp_path):
    with pytest.raises(DataError, match="Give --fine_tune_checkpoint=.../ckpt-0, or =none"):
        configs.choose_start(None, "", "x.config")
    assert configs.choose_start("none", "a/ckpt-0", "x.config") == ""
    assert configs.choose_start("b/ckpt-7", "a/ckpt-0", "x.config") == "b/ckpt-7"
    assert configs.choose_start(None, "a/ckpt-0", "x.config") == "a/ckpt-0"


def test_a_bad_flag_ends_with_one_plain_message_and_no_config(data_dir, tmp_path, run_forked):
    flags = f"--data_dir={data_dir / 'nowhere'}", f"--output={tmp_path / 'x.config'}"
    message = message_of(run_forked("make_config.py", *flags))
    assert message.startswith(f"error: {data_dir}/nowhere: no such folder")
    assert not (tmp_path / "x.config").exists()


def test_what_records_of_boxes_cannot_serve_is_removed_and_said(data_dir, tmp_path):
    text = families.FAMILIES["SSD MobileNet FPN"].replace(
        "train_input_reader {",
        "train_input_reader { load_instance_masks: true num_keypoints: 17",
        1,
    )
    text = text.replace(
        "random_horizontal_flip {", "random_horizontal_flip { keypoint_flip_permutation: 1", 1
    )
    config, lines = adapted(text, data_dir, tmp_path)
    assert not config.train_input_reader.load_instance_masks
    assert config.train_input_reader.num_keypoints == 0
    removed = [line.split(": ")[1] for line in lines if line.startswith("removed")]
    assert removed == [
        "load_instance_masks, num_keypoints",
        "random_horizontal_flip's keypoint_flip_permutation",
    ]


def test_a_reader_takes_as_many_boxes_as_an_image_of_the_data_has(data_dir):
    base, name, _ = zoo.read_base(D1)
    data = configs.find_data(data_dir)._replace(most_boxes=150)
    lines = configs.adapt(base, data, configs.Change(32, 100, None, ""), name)
    readers = base.train_input_reader, base.eval_input_reader[0]
    assert [reader.max_number_of_boxes for reader in readers] == [150, 150]
    assert "max_number_of_boxes: 100 -> 150" in lines
