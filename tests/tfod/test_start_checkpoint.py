"""A trained detector becomes one for other classes, and finds them as it did."""

import json

import families
import numpy as np
import pytest

from lowlight.core.errors import DataError
from lowlight.dataset.classes import CLASSES, format_label_map

pytestmark = pytest.mark.slow

EXDARK_IN_COCO = 2, 9, 44, 6, 3, 17, 62, 47, 18, 4, 1, 67
FAMILIES = (
    "EfficientDet",
    "SSD MobileNet FPN",
    "SSD MobileNet",
    "Faster R-CNN",
    "CenterNet MobileNet",
)


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


def write_base(folder, family):
    """Writes an unpacked archive of a model for COCO's classes with random weights."""
    import tensorflow as tf

    from lowlight.tfod.model import build_model, read_config
    from lowlight.tfod.start import make_variables

    folder.mkdir()
    (folder / "pipeline.config").write_text(families.FAMILIES[family])
    tf.keras.utils.set_random_seed(1)
    model = build_model(read_config(folder / "pipeline.config"))
    make_variables(model)
    for variable in model.trainable_variables:  # biases and last layers begin all alike
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.05))
    checkpoint = tf.train.Checkpoint(model=model)
    tf.train.CheckpointManager(checkpoint, str(folder / "checkpoint"), 1).save(0)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_the_new_detectors_scores_and_boxes_are_the_columns_of_the_trained_ones(family, tmp_path):
    import tensorflow as tf

    from lowlight.tfod.model import build_model, read_config
    from lowlight.tfod.start_checkpoint import make_start

    base, run = write_base(tmp_path / "base", family), tmp_path / "run"
    make_start(tmp_path / "base", names_of(CLASSES), run, {})
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


def test_a_class_without_a_source_begins_as_tfod_begins_it(tmp_path):
    import tensorflow as tf

    from lowlight.tfod.start_checkpoint import make_start

    write_base(tmp_path / "base", "EfficientDet")
    run = tmp_path / "run"
    lines = make_start(tmp_path / "base", names_of(["Owl", "Cat"]), run, {})
    assert [line.split() for line in lines[1:]] == [
        ["Owl", "<-", "begins", "anew"],
        ["Cat", "<-", "cat"],
    ]
    reader = tf.train.load_checkpoint(str(run / "ckpt-0"))
    (name,) = (
        name
        for name in reader.get_variable_to_shape_map()
        if "class_predictor_layers/0/bias" in name and "optimizer" not in name
    )
    biases = reader.get_tensor(name).reshape(-1, 3)  # background, owl, cat of each anchor
    np.testing.assert_allclose(biases[:, 1], -4.6, atol=1e-6)
    assert not np.isclose(biases[:, [0, 2]], -4.6, atol=1e-6).any()


def test_classes_that_the_detector_lacks_and_bases_without_weights_are_refused(
    tmp_path, run_script
):
    write_base(tmp_path / "base", "SSD MobileNet")
    (tmp_path / "owl.txt").write_text(format_label_map(["Owl"]))
    (tmp_path / "cat.txt").write_text(format_label_map(["Cat"]))

    def run(label_map, *flags):
        return run_script(
            "make_start_checkpoint.py",
            f"--base={tmp_path / 'base'}",
            f"--label_map_path={tmp_path / label_map}",
            f"--output_dir={tmp_path / 'run'}",
            *flags,
        )

    done = run("owl.txt")
    assert done.returncode == 1
    assert "none of Owl is a class of this detector.\n  Say which" in done.stderr
    done = run("owl.txt", "--classes=Owl=bird")
    assert done.returncode == 0, done.stderr
    assert "  Owl                  <- bird\n" in done.stdout
    assert "isn't empty.\n  Choose" in run("cat.txt").stderr
    (tmp_path / "base" / "checkpoint" / "ckpt-0.data-00000-of-00001").unlink()
    (tmp_path / "run").rename(tmp_path / "before")
    done = run("cat.txt")
    assert "ckpt-0: can't give its config's model its weights (" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "base",
        "before",
        "cat.txt",
        "owl.txt",
    ]


def test_of_a_run_that_was_moved_the_newest_checkpoint_is_the_base(tmp_path):
    from lowlight.tfod.start_checkpoint import _checkpoint_in

    for name in ("ckpt-1.index", "ckpt-2.index"):
        (tmp_path / name).touch()
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/content/drive/run/ckpt-1"\n')
    assert _checkpoint_in(tmp_path) == str(tmp_path / "ckpt-1")
