"""The D1 config builds the model that the zoo's checkpoint belongs to."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "configs" / "ssd_efficientdet_d1_640x640_coco17_tpu-8.config"
INDEX = "efficientdet_d1_coco17_tpu-32.ckpt-0"
CLASS_HEAD = (
    "model/_box_predictor/_prediction_heads/class_predictions_with_background/"
    "_class_predictor_layers/0/"
)
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture(scope="module")
def config():
    from lowlight.tfod import model as tfod

    return tfod.read_config(CONFIG)


@pytest.fixture(scope="module")
def model_shapes(config, tmp_path_factory):
    """{name: shape} of a checkpoint of the config's model."""
    import tensorflow as tf

    from lowlight.tfod import model as tfod

    model = tfod.build_model(config)
    images, shapes = model.preprocess(tf.zeros([1, 640, 640, 3]))
    model.predict(images, shapes)
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


def test_the_originals_changes_to_the_zoo_config_are_made(config):
    train = config.train_config
    coder = config.model.ssd.box_coder.faster_rcnn_box_coder
    assert config.model.ssd.num_classes == 12
    assert (train.batch_size, train.num_steps, train.use_bfloat16) == (32, 15000, False)
    assert train.fine_tune_checkpoint_type == "detection"
    assert train.fine_tune_checkpoint.endswith("efficientdet_d1_coco17_tpu-32/checkpoint/ckpt-0")
    scales = coder.y_scale, coder.x_scale, coder.height_scale, coder.width_scale
    assert scales == (1.0, 1.0, 1.0, 1.0)
