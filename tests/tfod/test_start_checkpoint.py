"""A trained detector becomes one for other classes, and finds them as it did."""

import functools
import json
import shutil
from pathlib import Path

import families
import numpy as np
import pytest
import tensorflow as tf
from small_model import two_convolutions

from lowlight.core.errors import DataError
from lowlight.dataset.classes import CLASSES, format_label_map
from lowlight.detector.detector import Detector
from lowlight.detector.runs import find_model
from lowlight.tfod import configs, zoo
from lowlight.tfod.model import build_model, read_config
from lowlight.tfod.start import make_variables, restore_start
from lowlight.tfod.start_checkpoint import find_start, make_start, match_classes
from lowlight.tfod.training import build_optimizer

pytestmark = pytest.mark.slow

EXDARK_IN_COCO = 2, 9, 44, 6, 3, 17, 62, 47, 18, 4, 1, 67
# One of each kind of heads: shared among levels, one a level, two stages, and CenterNet's.
FAMILIES = "EfficientDet", "SSD MobileNet", "Faster R-CNN", "CenterNet MobileNet"


def names_of(classes):
    return dict(enumerate(classes, 1))


def test_exdarks_classes_are_all_classes_of_coco():
    assert len(zoo.COCO) == 80
    assert [zoo.COCO[number] for number in (1, 14, 90)] == ["person", "parking meter", "toothbrush"]
    assert tuple(match_classes(names_of(CLASSES), zoo.COCO).values()) == EXDARK_IN_COCO


def test_what_is_said_of_a_class_goes_before_its_name():
    names = names_of(["Lorry", "Lantern", "Car", "Owl"])
    given = {"Lantern": "traffic light", "car": ""}
    assert match_classes(names, zoo.COCO, given) == {1: 8, 2: 10, 3: None, 4: None}
    with pytest.raises(DataError, match="--classes: lamp: no such class"):
        match_classes(names, zoo.COCO, {"Lantern": "lamp"})


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """bases(family) -> (its model for COCO's classes, a folder as its archive is unpacked to).

    The weights are random. Each is made once.
    """

    @functools.cache
    def base_of(family):
        folder = tmp_path_factory.mktemp("base")
        (folder / "pipeline.config").write_text(families.FAMILIES[family])
        tf.keras.utils.set_random_seed(1)
        model = build_model(read_config(folder / "pipeline.config"))
        make_variables(model)
        for variable in model.trainable_variables:  # biases and last layers begin all alike
            variable.assign_add(tf.random.normal(variable.shape, stddev=0.05))
        checkpoint = tf.train.Checkpoint(model=model)
        tf.train.CheckpointManager(checkpoint, str(folder / "checkpoint"), 1).save(0)
        return model, folder

    return base_of


@pytest.fixture(scope="module")
def starts(bases, tmp_path_factory):
    """starts(family) -> (the model, its run) for ExDark's classes."""

    @functools.cache
    def start_of(family):
        run = tmp_path_factory.mktemp("start") / "a run"
        make_start(bases(family)[1], names_of(CLASSES), run, {})
        model = build_model(read_config(run / "pipeline.config"))
        make_variables(model)
        return model, run

    return start_of


@pytest.mark.parametrize("family", FAMILIES)
def test_the_new_detectors_scores_and_boxes_are_the_columns_of_the_trained_ones(
    family, bases, starts
):
    (base, _), (own, run) = bases(family), starts(family)
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
    if family == "EfficientDet":
        others = np.setdiff1d(np.arange(90), columns)
        scores = np.array(theirs["class_predictions_with_background"])
        # Behind the background; so that none of the 100 boxes is of another class.
        scores[..., others + 1] = -30
        theirs["class_predictions_with_background"] = tf.constant(scores)
        shapes = tf.constant([[256, 256, 3]])
        assert_same_choice(base.postprocess(theirs, shapes), own.postprocess(ours, shapes))
    facts = json.loads((run / "start.json").read_text())
    assert facts["classes"]["Motorbike"] == "motorcycle"


def assert_same_choice(theirs, ours):
    """Compares detections as `postprocess` gives them, those of the trained detector first."""
    theirs, ours = ({k: v[0].numpy() for k, v in found.items()} for found in (theirs, ours))
    ids = theirs["detection_classes"].astype(int) + 1
    assert len(ids) == theirs["num_detections"] == 100
    assert [EXDARK_IN_COCO[int(index)] for index in ours["detection_classes"]] == ids.tolist()
    for name in ("detection_boxes", "detection_scores"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6, err_msg=name)


def _columns_of(one, other, columns):
    """Returns the trained detector's values for the classes of the new one's."""
    if one.shape == other.shape:
        return other
    axis = next(n for n in range(one.ndim) if one.shape[n] != other.shape[n])
    background = one.shape[axis] - len(columns)
    picked = [*range(background), *(column + background for column in columns)]
    return np.take(other, picked, axis)


def test_a_class_without_a_source_begins_as_tfod_begins_it(bases, tmp_path):
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
    bases, tmp_path, run_forked
):
    base, run, data = tmp_path / "base", tmp_path / "run", tmp_path / "my data"
    shutil.copytree(bases("SSD MobileNet")[1], base)
    with pytest.raises(DataError, match="none of Owl is a class of this detector.\n  Say which"):
        make_start(base, {1: "Owl"}, run, {})
    data.mkdir()
    (data / "label_map.txt").write_text(format_label_map({1: "Owl", 3: "bird"}))
    (data / "test.tfrecord").touch()
    flags = f"--base={base}", f"--label_map_path={data}/label_map.txt", f"--output_dir={run}"
    done = run_forked("make_start_checkpoint.py", *flags, "--classes=Owl=bird")
    assert done.returncode == 0, done.stderr
    assert "  Owl                  <- bird\n" in done.stdout
    assert "several classes begin as bird: they find the same at first\n" in done.stdout
    assert (run / "label_map.txt").read_text() == (data / "label_map.txt").read_text()
    assert f'input_path: "{data}/test.tfrecord"' in (run / "pipeline.config").read_text()
    for there in (run, data / "test.tfrecord"):
        with pytest.raises(DataError, match="isn't an empty folder.\n  Choose"):
            make_start(base, {1: "Cat"}, there, {})
    shutil.copy(bases("CenterNet MobileNet")[1] / "pipeline.config", base)
    with pytest.raises(DataError, match="ckpt-0: holds another model than its config describes"):
        make_start(base, {1: "Cat"}, tmp_path / "other", {})
    shutil.copy(bases("SSD MobileNet")[1] / "pipeline.config", base)
    (base / "checkpoint" / "ckpt-0.data-00000-of-00001").unlink()
    with pytest.raises(DataError, match=r"ckpt-0: damaged \(.*\n.* or train or fetch it again"):
        make_start(base, {1: "Cat"}, tmp_path / "other", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "my data", "run"]


def test_an_archive_that_was_not_fetched_is_named_with_the_commands_that_fetch_it(tmp_path):
    archive = "efficientdet_d0_coco17_tpu-32"
    for base in (f"{tmp_path}/{archive}", f"{tmp_path}/{archive}.tar.gz", archive):
        fetch = f"{archive}: not there.\n  Fetch .*\n.*\n    curl -L -o .*/{archive}.tar.gz https"
        with pytest.raises(DataError, match=fetch.replace(": not", "(.tar.gz)?: not")):
            make_start(Path(base), {1: "Cat"}, tmp_path / "run", {})
    (tmp_path / f"{archive}.tar.gz").write_bytes(b"cut short")
    with pytest.raises(DataError, match=f"{archive}.tar.gz: can't be unpacked"):
        make_start(tmp_path / archive, {1: "Cat"}, tmp_path / "run", {})
    with pytest.raises(DataError, match="mine: no such file or folder, .*\n  Check --base"):
        make_start(tmp_path / "mine", {1: "Cat"}, tmp_path / "run", {})


def test_averages_are_taken_where_the_detectors_config_asks_for_them(tmp_path):
    path, text = tmp_path / "base" / "pipeline.config", two_convolutions()
    for field in ("use_moving_average", "use_moving_averages"):
        text = text.replace(f"{field}: false", f"{field}: true")
    path.parent.mkdir()
    path.write_text(text.replace("num_classes: 3", "num_classes: 90"))
    config = read_config(path)
    model, (optimizer, _) = build_model(config), build_optimizer(config, tf.Variable(0, tf.int64))
    make_variables(model)
    optimizer.shadow_copy(model)
    for variable in model.trainable_variables:
        variable.assign(tf.ones_like(variable))
        optimizer.get_slot(variable, "average").assign(2 * tf.ones_like(variable))
    both = tf.train.Checkpoint(model=model, optimizer=optimizer)
    tf.train.CheckpointManager(both, str(path.parent / "checkpoint"), 1).save(0)
    for raw, value in ((False, 2), (True, 1)):
        run = tmp_path / str(value)
        lines = make_start(path.parent, {1: "Cat"}, run, {}, raw_weights=raw)
        assert lines[0].endswith("by class" if raw else "by class, as moving averages")
        assert json.loads((run / "start.json").read_text())["averages"] != raw
        assert not read_config(run / "pipeline.config").eval_config.use_moving_averages
        reader = tf.train.load_checkpoint(str(run / "ckpt-0"))
        names = [name for name in reader.get_variable_to_shape_map() if "kernel" in name]
        assert len(names) > 2
        assert all((reader.get_tensor(name) == value).all() for name in names)


def test_a_start_is_a_run_that_finds_something(starts):
    _, run = starts("SSD MobileNet")
    found = find_model(run)
    assert (found.step(), found.num_classes(), found.run_dir) == (0, 12, run)
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    assert len(Detector(run).detect(image).scores) > 0


def test_a_training_takes_all_that_a_start_for_its_classes_has(bases, starts, tmp_path):
    model, run = starts("SSD MobileNet")
    label_map = tmp_path / "label_map.txt"
    for part in ("train", "test"):
        (tmp_path / f"{part}.tfrecord").touch()
    label_map.write_text(format_label_map(CLASSES[::-1]))
    with pytest.raises(DataError, match="finds Bicycle, .*\n.*make_start_checkpoint.py --base"):
        find_start(run, label_map)
    with pytest.raises(
        DataError, match="no checkpoint with .*\n  Make one: python scripts/make_start"
    ):
        find_start(tmp_path, label_map)
    shutil.copy(run / "label_map.txt", tmp_path)
    config, _, prefix = find_start(run, label_map)
    change = configs.Change(64, 100, None, prefix)._replace(checkpoint_type="full")
    lines = "\n".join(configs.adapt(config, configs.find_data(tmp_path), change, "x.config"))
    assert "learning rate: 0.08 -> 0.001 (linear with the batch, x 64/512, and x 0.1, " in lines
    train, total = config.train_config, len(model.variables)
    assert restore_start(model, train, "x.config") == (
        f"{run}/ckpt-0 restores {total} of {total} variables, heads included"
    )
    train.fine_tune_checkpoint = str(bases("SSD MobileNet")[1] / "checkpoint" / "ckpt-0")
    with pytest.raises(DataError, match='is a detector of another number of classes: with "full",'):
        restore_start(model, train, "x.config")
    with pytest.raises(DataError, match="  Make one .*make_start_checkpoint.py --base=.*base"):
        restore_start(model, train, "x.config")
