"""The project's D1 configs: the original's, and the one that is to beat it by another training."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
INDEX = "efficientdet_d1_coco17_tpu-32.ckpt-0"
CLASS_HEAD = (
    "model/_box_predictor/_prediction_heads/class_predictions_with_background/"
    "_class_predictor_layers/0/"
)
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture(scope="module")
def faithful():
    from lowlight.tfod.model import read_config

    return read_config(CONFIGS / "ssd_efficientdet_d1_640x640_coco17_tpu-8.config")


@pytest.fixture(scope="module")
def config():
    from lowlight.tfod.model import read_config

    return read_config(CONFIGS / "ssd_efficientdet_d1_640x640_exdark.config")


@pytest.fixture(scope="module")
def model_shapes(faithful, tmp_path_factory):
    """{name: shape} of a checkpoint of the config's model."""
    import tensorflow as tf

    from lowlight.tfod import model as tfod
    from lowlight.tfod.start import make_variables

    model = tfod.build_model(faithful)
    make_variables(model)
    prefix = tf.train.Checkpoint(model=model).save(str(tmp_path_factory.mktemp("d1") / "ckpt"))
    return tf.train.load_checkpoint(prefix).get_variable_to_shape_map()


def test_all_877_names_and_shapes_are_the_zoo_checkpoints_but_for_the_class_head(
    model_shapes, exdark_root
):
    import tensorflow as tf

    prefix = exdark_root.parent / "zoo" / INDEX
    if not Path(f"{prefix}.index").exists():
        pytest.skip(f"no {prefix}.index beside EXDARK_ROOT: the zoo checkpoint's names and shapes")
    zoo_shapes = tf.train.load_checkpoint(str(prefix)).get_variable_to_shape_map()
    assert len(zoo_shapes) == 877
    assert model_shapes.keys() == zoo_shapes.keys()
    differing = {name for name in zoo_shapes if zoo_shapes[name] != model_shapes[name]}
    assert differing == {f"{CLASS_HEAD}{part}{VALUE}" for part in ("bias", "pointwise_kernel")}


def test_the_class_head_has_nine_anchors_of_twelve_classes(model_shapes):
    assert model_shapes[f"{CLASS_HEAD}bias{VALUE}"] == [9 * 12]


def test_the_originals_changes_to_the_zoo_config_are_made(faithful):
    train = faithful.train_config
    coder = faithful.model.ssd.box_coder.faster_rcnn_box_coder
    assert faithful.model.ssd.num_classes == 12
    assert (train.batch_size, train.num_steps, train.use_bfloat16) == (32, 15000, False)
    assert train.fine_tune_checkpoint_type == "detection"
    assert train.fine_tune_checkpoint.endswith("efficientdet_d1_coco17_tpu-32/checkpoint/ckpt-0")
    scales = coder.y_scale, coder.x_scale, coder.height_scale, coder.width_scale
    assert scales == (1.0, 1.0, 1.0, 1.0)


def test_the_other_configs_model_is_the_faithful_one_but_for_the_weight_of_boxes(config, faithful):
    model, other = type(config)(), type(config)()
    model.CopyFrom(config)
    other.CopyFrom(faithful)
    assert model.model.ssd.loss.localization_weight == 50.0
    assert model.model.ssd.loss.localization_loss.weighted_smooth_l1.delta == pytest.approx(0.1)
    model.model.ssd.ClearField("loss")
    other.model.ssd.ClearField("loss")
    assert model.model == other.model


def test_the_other_configs_data_and_length_are_the_faithful_ones(config, faithful):
    assert config.train_input_reader == faithful.train_input_reader
    assert config.eval_input_reader == faithful.eval_input_reader
    assert config.eval_config == faithful.eval_config
    same = (
        "batch_size",
        "num_steps",
        "fine_tune_checkpoint_version",
        "use_bfloat16",
        "max_number_of_boxes",
        "unpad_groundtruth_tensors",
    )
    for name in same:
        assert getattr(config.train_config, name) == getattr(faithful.train_config, name), name


def test_the_other_config_starts_from_all_that_make_start_checkpoint_took_over(config):
    train = config.train_config
    assert train.fine_tune_checkpoint == "checkpoint/d1_start/ckpt-0"
    assert train.fine_tune_checkpoint_type == "full"


def test_the_other_config_can_be_trained_and_its_learning_rate_ends_with_the_training(config):
    import tensorflow as tf

    from lowlight.tfod.config_parts import check_model, check_schedule
    from lowlight.tfod.training import build_optimizer

    check_model(config, "")
    assert check_schedule(config.train_config, 15000, "") == ""
    step, rates = tf.Variable(0, dtype=tf.int64), []
    _, rate = build_optimizer(config, step)
    for number in (0, 500, 7750, 15000):
        step.assign(number)
        rates.append(float(rate()))
    assert rates == pytest.approx([0.0001, 0.004, 0.002, 0.0])


def test_the_other_configs_model_is_built(config):
    from lowlight.tfod import model as tfod

    assert tfod.build_model(config, is_training=True).num_classes == 12


def test_the_other_configs_augmentations_give_640_pixels_and_boxes_inside(config):
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
