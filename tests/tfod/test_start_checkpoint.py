"""A trained detector becomes one for other classes, and finds them as it did."""

import json
import shutil

import families
import numpy as np
import pytest

from lowlight.core.errors import DataError
from lowlight.dataset.classes import CLASSES, format_label_map

pytestmark = pytest.mark.slow

EXDARK_IN_COCO = 2, 9, 44, 6, 3, 17, 62, 47, 18, 4, 1, 67
# One of each kind of heads: shared among levels, one a level, two stages, and CenterNet's.
FAMILIES = "EfficientDet", "SSD MobileNet", "Faster R-CNN", "CenterNet MobileNet"


def names_of(classes):
    return dict(enumerate(classes, 1))


def test_exdarks_classes_are_all_classes_of_coco():
    from lowlight.tfod import zoo
    from lowlight.tfod.start_checkpoint import match_classes

    assert len(zoo.COCO) == 80
    assert tuple(match_classes(names_of(CLASSES), zoo.COCO).values()) == EXDARK_IN_COCO


def test_what_is_said_of_a_class_goes_before_its_name():
    from lowlight.tfod import zoo
    from lowlight.tfod.start_checkpoint import match_classes

    names = names_of(["Lorry", "Lantern", "Car", "Owl"])
    given = {"Lantern": "traffic light", "car": ""}
    assert match_classes(names, zoo.COCO, given) == {1: 8, 2: 10, 3: None, 4: None}
    with pytest.raises(DataError, match="--classes: lamp: no such class"):
        match_classes(names, zoo.COCO, {"Lantern": "lamp"})


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Writes an unpacked archive of a family's model for COCO's classes, with random weights.

    Returns:
        A function of the family that returns (the model, its folder), made once.
    """
    import tensorflow as tf

    from lowlight.tfod.model import build_model, read_config
    from lowlight.tfod.start import make_variables

    made = {}

    def base_of(family):
        if family not in made:
            folder = tmp_path_factory.mktemp("base")
            (folder / "pipeline.config").write_text(families.FAMILIES[family])
            tf.keras.utils.set_random_seed(1)
            model = build_model(read_config(folder / "pipeline.config"))
            make_variables(model)
            for variable in model.trainable_variables:  # biases and last layers begin all alike
                variable.assign_add(tf.random.normal(variable.shape, stddev=0.05))
            checkpoint = tf.train.Checkpoint(model=model)
            tf.train.CheckpointManager(checkpoint, str(folder / "checkpoint"), 1).save(0)
            made[family] = model, folder
        return made[family]

    return base_of


@pytest.mark.parametrize("family", FAMILIES)
def test_the_new_detectors_scores_and_boxes_are_the_columns_of_the_trained_ones(
    family, bases, tmp_path
):
    import tensorflow as tf

    from lowlight.tfod.model import build_model, read_config
    from lowlight.tfod.start_checkpoint import make_start

    (base, folder), run = bases(family), tmp_path / "run"
    make_start(folder, names_of(CLASSES), run, {})
    own = build_model(read_config(run / "pipeline.config"))
    status = tf.train.Checkpoint(model=own).restore(str(run / "ckpt-0")).expect_partial()
    image = tf.random.stateless_uniform([1, 256, 256, 3], [3, 4], -1, 1)
    theirs, ours = (model.predict(image, tf.constant([[256, 256, 3]])) for model in (base, own))
    status.assert_existing_objects_matched()
    columns, compared = [number - 1 for number in EXDARK_IN_COCO], 0
    for name, value in ours.items():
        pairs = zip(tf.nest.flatten(value), tf.nest.flatten(theirs[name]), strict=True)
        for one, other in (map(np.asarray, pair) for pair in pairs):
            compared += one.shape != other.shape
            expected = _columns_of(one, other, columns)
            np.testing.assert_allclose(one, expected, atol=1e-6, err_msg=name)
    assert compared > 0
    facts = json.loads((run / "start.json").read_text())
    assert facts["classes"]["Motorbike"] == "motorcycle"


def _columns_of(one, other, columns):
    """Returns the trained detector's values for the classes of the new one's."""
    if one.shape == other.shape:
        return other
    axis = next(n for n in range(one.ndim) if one.shape[n] != other.shape[n])
    background = one.shape[axis] - len(columns)
    picked = [*range(background), *(column + background for column in columns)]
    return np.take(other, picked, axis)


def test_a_class_without_a_source_begins_as_tfod_begins_it(bases, tmp_path):
    import tensorflow as tf

    from lowlight.tfod.start_checkpoint import make_start

    _, folder = bases("EfficientDet")
    lines = make_start(folder, names_of(["Owl", "Cat"]), tmp_path / "run", {})
    assert [line.split(" <- ")[1] for line in lines[1:]] == ["begins untrained", "cat"]
    reader = tf.train.load_checkpoint(str(tmp_path / "run" / "ckpt-0"))
    (name,) = (
        name
        for name in reader.get_variable_to_shape_map()
        if "class_predictor_layers/0/bias" in name and "optimizer" not in name
    )
    biases = reader.get_tensor(name).reshape(-1, 3)  # background, owl, cat of each anchor
    np.testing.assert_allclose(biases[:, 1], -4.6, atol=1e-6)
    assert not np.isclose(biases[:, [0, 2]], -4.6, atol=1e-6).any()


def test_classes_that_the_detector_lacks_and_bases_without_weights_are_refused(
    bases, tmp_path, run_script
):
    from lowlight.tfod.start_checkpoint import make_start

    base, run = tmp_path / "base", tmp_path / "run"
    shutil.copytree(bases("SSD MobileNet")[1], base)
    with pytest.raises(DataError, match="none of Owl is a class of this detector.\n  Say which"):
        make_start(base, {1: "Owl"}, run, {})
    label_map = tmp_path / "owl.txt"
    label_map.write_text(format_label_map(["Owl"]))
    flags = f"--base={base}", f"--label_map_path={label_map}", f"--output_dir={run}"
    done = run_script("make_start_checkpoint.py", *flags, "--classes=Owl=bird")
    assert done.returncode == 0, done.stderr
    assert "  Owl                  <- bird\n" in done.stdout
    with pytest.raises(DataError, match="isn't empty.\n  Choose"):
        make_start(base, {1: "Cat"}, run, {})
    (base / "checkpoint" / "ckpt-0.data-00000-of-00001").unlink()
    with pytest.raises(DataError, match=r"ckpt-0: can't give its config's model its weights \("):
        make_start(base, {1: "Cat"}, tmp_path / "other", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "owl.txt", "run"]
