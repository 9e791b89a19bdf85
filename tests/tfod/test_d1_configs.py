"""The project's D1 configs: the original's, and the one that is to beat it by another training."""

from pathlib import Path

import pytest
import tensorflow as tf
from object_detection.builders import preprocessor_builder
from object_detection.inputs import augment_input_data

from lowlight.core.errors import DataError
from lowlight.tfod.config_parts import check_model, check_schedule
from lowlight.tfod.model import read_config
from lowlight.tfod.start import build_trial, named_variables, restore_start
from lowlight.tfod.training import build_optimizer

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
CLASS_HEAD = (
    "model/_box_predictor/_prediction_heads/class_predictions_with_background/"
    "_class_predictor_layers/0/"
)
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture(scope="module")
def faithful():
    return read_config(CONFIGS / "ssd_efficientdet_d1_640x640_coco17_tpu-8.config")


@pytest.fixture(scope="module")
def config():
    return read_config(CONFIGS / "ssd_efficientdet_d1_640x640_exdark.config")


@pytest.fixture(scope="module")
def model(faithful):
    return build_trial(faithful, "")


def shapes_of(prefix):
    return tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()


@pytest.fixture(scope="module")
def shapes(model, tmp_path_factory):
    """{name: shape} of a checkpoint of the faithful model."""
    return shapes_of(tf.train.Checkpoint(model=model).save(tmp_path_factory.mktemp("d1") / "ckpt"))


def test_the_class_head_has_nine_anchors_of_twelve_classes(shapes):
    assert shapes[f"{CLASS_HEAD}bias{VALUE}"] == [9 * 12]


def test_the_zoos_checkpoint_is_of_this_model_but_for_the_class_head_and_restores_its_extractor(
    exdark_root, faithful, model, shapes
):
    prefix = exdark_root.parent / "zoo" / "efficientdet_d1_coco17_tpu-32.ckpt-0"
    if not Path(f"{prefix}.index").exists():
        pytest.skip(f"no {prefix}.index beside EXDARK_ROOT: the zoo checkpoint's names and shapes")
    zoo = shapes_of(prefix)
    assert len(zoo) == 877
    assert shapes.keys() == zoo.keys()
    differing = {name for name in zoo if zoo[name] != shapes[name]}
    assert differing == {f"{CLASS_HEAD}{part}{VALUE}" for part in ("bias", "pointwise_kernel")}
    train = type(faithful.train_config)()
    train.CopyFrom(faithful.train_config)
    train.fine_tune_checkpoint = str(prefix)
    parts = model.restore_from_objects("detection")
    names = named_variables(tf.train.Checkpoint(**parts)).keys()
    assert (len(names), len(model.variables)) == (731, 875)
    assert names <= zoo.keys()
    with pytest.raises(DataError, match="has an index, but no weights"):
        restore_start(model, train, "")


def test_the_originals_changes_to_the_zoo_config_are_made(faithful):
    train = faithful.train_config
    coder = faithful.model.ssd.box_coder.faster_rcnn_box_coder
    assert faithful.model.ssd.num_classes == 12
    assert (train.batch_size, train.num_steps, train.use_bfloat16) == (32, 15000, False)
    assert train.fine_tune_checkpoint_type == "detection"
    assert train.fine_tune_checkpoint.endswith("efficientdet_d1_coco17_tpu-32/checkpoint/ckpt-0")
    scales = coder.y_scale, coder.x_scale, coder.height_scale, coder.width_scale
    assert scales == (1.0, 1.0, 1.0, 1.0)


def test_the_other_config_differs_in_losses_start_schedule_and_augmentations_alone(
    config, faithful
):
    loss, train = config.model.ssd.loss, config.train_config
    assert loss.localization_weight == 50.0
    assert loss.localization_loss.weighted_smooth_l1.delta == pytest.approx(0.1)
    # All that make_start_checkpoint.py took over:
    assert train.fine_tune_checkpoint == "checkpoint/d1_start/ckpt-0"
    assert train.fine_tune_checkpoint_type == "full"
    rest = []
    for one in (config, faithful):
        other = type(one)()
        other.CopyFrom(one)
        other.model.ssd.ClearField("loss")
        for field in (
            *("fine_tune_checkpoint", "fine_tune_checkpoint_type", "optimizer"),
            *("data_augmentation_options", "gradient_clipping_by_norm"),
            *("startup_delay_steps", "replicas_to_aggregate", "sync_replicas"),  # which TF 1 read
        ):
            other.train_config.ClearField(field)
        rest.append(other)
    assert rest[0] == rest[1]


def test_the_other_config_can_be_trained_and_its_learning_rate_ends_with_the_training(config):
    check_model(config, "")
    assert check_schedule(config.train_config, 15000, "") == ""
    step, rates = tf.Variable(0, dtype=tf.int64), []
    _, rate = build_optimizer(config, step)
    for number in (0, 500, 7750, 15000):
        step.assign(number)
        rates.append(float(rate()))
    assert rates == pytest.approx([0.0001, 0.004, 0.002, 0.0])


def test_the_other_configs_augmentations_give_640_pixels_and_boxes_inside(config):
    steps = [preprocessor_builder.build(s) for s in config.train_config.data_augmentation_options]
    assert len(steps) == 8

    def augment(image, boxes):
        one = tf.ones([1])
        tensors = {"image": image, "groundtruth_boxes": boxes}
        tensors |= {"groundtruth_classes": one, "groundtruth_weights": one}
        augmented = augment_input_data(tensors, steps)
        return augmented["image"], augmented["groundtruth_boxes"]

    image = tf.random.Generator.from_seed(1).uniform([150, 200, 3], 0, 60)
    data = tf.data.Dataset.from_tensors((image, tf.constant([[0.2, 0.2, 0.9, 0.9]])))
    for augmented, boxes in data.repeat(8).map(augment).as_numpy_iterator():
        assert augmented.shape == (640, 640, 3)
        assert augmented.min() >= 0
        assert 0 < augmented.max() <= 255
        assert ((boxes >= 0) & (boxes <= 1)).all()
