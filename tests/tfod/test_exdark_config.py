"""The config that is to beat the original's: the same model and data, another training."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def config():
    from lowlight.tfod import model as tfod

    return tfod.read_config(CONFIGS / "ssd_efficientdet_d1_640x640_exdark.config")


@pytest.fixture(scope="module")
def faithful():
    from lowlight.tfod import model as tfod

    return tfod.read_config(CONFIGS / "ssd_efficientdet_d1_640x640_coco17_tpu-8.config")


def test_its_model_is_the_faithful_one_but_for_the_weight_of_boxes(config, faithful):
    model, other = type(config)(), type(config)()
    model.CopyFrom(config)
    other.CopyFrom(faithful)
    assert model.model.ssd.loss.localization_weight == 50.0
    assert model.model.ssd.loss.localization_loss.weighted_smooth_l1.delta == pytest.approx(0.1)
    model.model.ssd.ClearField("loss")
    other.model.ssd.ClearField("loss")
    assert model.model == other.model


def test_its_data_start_and_length_are_the_faithful_ones(config, faithful):
    assert config.train_input_reader == faithful.train_input_reader
    assert config.eval_input_reader == faithful.eval_input_reader
    assert config.eval_config == faithful.eval_config
    same = (
        "batch_size",
        "num_steps",
        "fine_tune_checkpoint",
        "fine_tune_checkpoint_type",
        "fine_tune_checkpoint_version",
        "use_bfloat16",
        "max_number_of_boxes",
        "unpad_groundtruth_tensors",
    )
    for name in same:
        assert getattr(config.train_config, name) == getattr(faithful.train_config, name), name


def test_it_can_be_trained_and_its_learning_rate_ends_with_the_training(config):
    import tensorflow as tf

    from lowlight.tfod.architectures import check_model
    from lowlight.tfod.schedules import check_schedule
    from lowlight.tfod.training import build_optimizer

    check_model(config, "")
    assert check_schedule(config.train_config, 15000) == ""
    step, rates = tf.Variable(0, dtype=tf.int64), []
    _, rate = build_optimizer(config, step)
    for number in (0, 500, 7750, 15000):
        step.assign(number)
        rates.append(float(rate()))
    assert rates == pytest.approx([0.001, 0.04, 0.02, 0.0])


def test_its_model_is_built(config):
    from lowlight.tfod import model as tfod

    assert tfod.build_model(config, is_training=True).num_classes == 12


def test_its_augmentations_give_640_pixels_and_boxes_inside(config):
    import tensorflow as tf
    from object_detection.builders import preprocessor_builder
    from object_detection.inputs import augment_input_data

    steps = [preprocessor_builder.build(s) for s in config.train_config.data_augmentation_options]
    assert len(steps) == 8

    def augment(image, boxes):
        tensors = {
            "image": image,
            "groundtruth_boxes": boxes,
            "groundtruth_classes": tf.ones([1]),
            "groundtruth_weights": tf.ones([1]),
        }
        augmented = augment_input_data(tensors, steps)
        return augmented["image"], augmented["groundtruth_boxes"]

    image = tf.random.Generator.from_seed(1).uniform([150, 200, 3], 0, 60)
    data = tf.data.Dataset.from_tensors((image, tf.constant([[0.2, 0.2, 0.9, 0.9]])))
    for augmented, boxes in data.repeat(8).map(augment).as_numpy_iterator():
        assert augmented.shape == (640, 640, 3)
        assert augmented.min() >= 0
        assert 0 < augmented.max() <= 255
        assert ((boxes >= 0) & (boxes <= 1)).all()
