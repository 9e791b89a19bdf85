"""A detector finds what TFOD's own exported model finds, on every engine, and knows its limits."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from onnx_model import infer_without_tensorflow
from small_model import ENGINES, NEEDS_ONNX, assert_same_detections

from lowlight.core.errors import DataError
from lowlight.detector import engines, loading, tracing
from lowlight.detector.detector import Detector
from lowlight.images.boxes import iou
from lowlight.tfod import model as tfod

pytestmark = pytest.mark.slow

SHAPES = [(96, 128, 3), (200, 90, 3), (128, 128, 3), (300, 450, 3)]
# Sums of about a thousand products, made in another order: how far float32 results may differ.
ROUNDING = 1000 * np.finfo(np.float32).eps
BARE = shutil.ignore_patterns("assets.extra")


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 120, shape, np.uint8) for shape in SHAPES]


@pytest.fixture(scope="module")
def expected(saved_model, images):
    """What the exported model finds, called as TFOD's users call it: [(boxes, classes, scores)]."""
    function = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    found = []
    for image in images:
        outputs = {k: v[0].numpy() for k, v in function(input_tensor=image[np.newaxis]).items()}
        height, width = image.shape[:2]
        boxes = outputs["detection_boxes"][:, [1, 0, 3, 2]] * [width, height, width, height]
        found.append((boxes, outputs["detection_classes"], outputs["detection_scores"]))
    assert [int((scores > 0.1).sum()) for _, _, scores in found] == [100] * 4
    assert all(len(np.unique(scores)) > 90 for _, _, scores in found)
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_detections_are_those_of_tfods_exported_model(saved_model, images, expected, engine):
    detector = Detector(saved_model, engine=engine)
    assert detector.engine == engine
    for image, (boxes, classes, scores) in zip(images, expected, strict=True):
        found = detector.detect(image)
        sides = [*image.shape[1::-1]] * 2
        found = found.boxes / sides, found.classes, found.scores
        assert_same_detections(found, (boxes / sides, classes, scores))


def test_a_network_is_built_from_tfods_export_at_its_first_start_alone(
    saved_model, images, tmp_path, monkeypatch
):
    shutil.copytree(saved_model.parent, tmp_path / "export", ignore=BARE)
    first = Detector(tmp_path / "export").detect(images[0])
    kept = {path.name for path in (tmp_path / "export/saved_model/assets.extra").iterdir()}
    assert "network.npz" in kept
    monkeypatch.setattr(tracing, "trace_network", None)
    again = Detector(tmp_path / "export").detect(images[0])
    assert all((one == other).all() for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("part", ["nothing", "pipeline.config", "checkpoint"])
def test_with_config_or_checkpoint_alone_or_neither_the_model_runs_whole(
    saved_model, images, expected, tmp_path, part
):
    if part != "nothing":
        (tmp_path / part).symlink_to(saved_model.parent / part)
    shutil.copytree(saved_model, tmp_path / "saved_model", ignore=BARE)
    detector = Detector(tmp_path)
    found = detector.detect(images[0])
    np.testing.assert_array_equal(found.scores, expected[0][2])
    np.testing.assert_allclose(found.boxes, expected[0][0], atol=1e-4)
    assert not (tmp_path / "saved_model" / "assets.extra").exists()
    with pytest.raises(DataError, match="is run whole, by TensorFlow"):
        Detector(tmp_path, most=5)
    with pytest.raises(ValueError, match="1x3000 pixels can't be resized for the model"):
        detector.detect(np.zeros((3000, 1, 3), np.uint8))


def test_a_checkpoint_of_another_model_beside_an_export_is_not_taken(saved_model, tmp_path):
    shutil.copytree(saved_model.parent, tmp_path / "export", ignore=BARE)
    prefix = tf.train.latest_checkpoint(tmp_path / "export" / "checkpoint")
    config = tfod.read_config(tmp_path / "export" / "pipeline.config")
    module = tfod.detection_module(config, prefix)
    kernel = next(v for v in module._model.variables if v.shape.rank == 4)
    kernel.assign(kernel * 2)
    tf.train.Checkpoint(model=module._model).write(prefix)
    Detector(tmp_path / "export")
    assert not (tmp_path / "export" / "saved_model" / "assets.extra").exists()


FORM = "detection_boxes", "detection_classes", "detection_scores", "num_detections"


def save_with_input(folder, case, outputs=FORM):
    """Saves a model of another input, as TFOD's exporter also writes them.

    It finds one box, which scores as much as the image is bright.
    """

    def decode(given):
        return tf.io.decode_png(given[0], 3)[tf.newaxis]

    def parse(given):
        feature = {"image/encoded": tf.io.FixedLenFeature([], tf.string)}
        return decode(tf.io.parse_example(given, feature)["image/encoded"])

    shape = [None, None, None, 3]
    spec, to_image = {
        "floats": (tf.TensorSpec(shape, tf.float32, "input_tensor"), tf.identity),
        "encoded": (tf.TensorSpec([None], tf.string, "input_tensor"), decode),
        "TensorFlow 1": (tf.TensorSpec(shape, tf.uint8, "inputs"), tf.identity),
        "records": (tf.TensorSpec([None], tf.string, "input_tensor"), parse),
    }[case]

    def run(given):
        score = tf.reduce_mean(tf.cast(to_image(given), tf.float32)) / 255
        values = tf.zeros([1, 1, 4]), tf.ones([1, 1]), tf.reshape(score, [1, 1]), tf.ones([1])
        return {name: value for name, value in zip(FORM, values, strict=True) if name in outputs}

    module = tf.Module()
    module.run = tf.function(run, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=module.run.get_concrete_function())
    return folder


@pytest.mark.parametrize("case", ["floats", "encoded", "TensorFlow 1"])
def test_exports_of_other_inputs_are_served(images, tmp_path, case):
    found = Detector(save_with_input(tmp_path / "model", case)).detect(images[0])
    np.testing.assert_allclose(found.scores, [images[0].mean() / 255], atol=1e-6)


def test_exports_of_records_or_other_outputs_and_damaged_ones_are_refused_when_loaded(tmp_path):
    with pytest.raises(DataError, match="records: takes records .* not images"):
        Detector(save_with_input(tmp_path / "records", "records"))
    folder = save_with_input(tmp_path / "one", "floats", ["detection_boxes"])
    with pytest.raises(DataError, match="gives detection_boxes, which isn't TFOD's form"):
        Detector(folder)
    (folder / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match="can't be loaded"):
        Detector(folder)


@pytest.mark.parametrize("part", ["ckpt-0.data-00000-of-00001", "ckpt-0.index"])
def test_a_damaged_checkpoint_is_named_without_tensorflows_marks(saved_model, tmp_path, part):
    run = tmp_path / "run"
    shutil.copytree(saved_model.parent / "checkpoint", run)
    shutil.copy(saved_model.parent / "pipeline.config", run)
    data = (run / part).read_bytes()
    (run / part).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"ckpt-0: damaged") as caught:
        Detector(run)
    assert "{{" not in str(caught.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_images_run_together_give_what_each_gives_alone(saved_model, images, engine):
    detector = Detector(saved_model, engine=engine, batch_size=3)
    assert detector.batch_size == 3
    prepared = [detector.prepare(image) for image in images]
    together = map(detector.finish, detector.run_many(prepared), prepared)
    for image, found in zip(images, together, strict=True):
        alone = detector.detect(image)
        assert found.classes.tolist() == alone.classes.tolist()
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=ROUNDING * max(image.shape))
        np.testing.assert_allclose(found.scores, alone.scores, atol=ROUNDING)


def test_many_tiles_are_looked_at_in_parts(saved_model, images):
    detector = Detector(saved_model, tile=128, tta=True, least_score=0.5)
    prepared = detector.prepare(images[3])
    assert (len(prepared.views()), prepared.inputs) == (3 * (1 + 5 * 3), None)
    assert prepared.image is images[3]
    found = detector.detect(images[3])
    assert 0 < len(found.scores) <= 100
    assert (found.scores >= 0.5).all()
    assert (found.boxes[:, 2:] <= [450, 300]).all()
    few = Detector(saved_model, tta=True)
    assert few.prepare(images[0]).image is None  # its inputs are enough
    assert (np.diff(few.detect(images[0]).scores) <= 0).all()


def test_limits_are_the_callers(saved_model, images):
    found = Detector(saved_model, most=5).detect(images[0])
    everything = Detector(saved_model).detect(images[0])
    assert found.scores.tolist() == everything.scores[:5].tolist()
    least = float(everything.scores[10])
    found = Detector(saved_model, least_score=least).detect(images[0])
    assert found.scores.tolist() == everything.scores[everything.scores >= least].tolist()
    strict = Detector(saved_model, most_iou=0.0).detect(images[0])
    for number in set(strict.classes.tolist()):
        boxes = strict.boxes[strict.classes == number]
        assert np.triu(iou(boxes, boxes), 1).sum() == 0


def test_what_is_no_rgb_image_is_refused(saved_model):
    detector = Detector(saved_model)
    for shape, kind in (((9, 9), "u1"), ((9, 9, 4), "u1"), ((9, 9, 3), float), ((0, 9, 3), "u1")):
        with pytest.raises(ValueError, match=r"not an RGB image, uint8 \[H, W, 3\]"):
            detector.detect(np.zeros(shape, kind))


@NEEDS_ONNX
def test_pictures_are_detected_without_tensorflow(saved_model, tmp_path):
    """The network that the export keeps is enough, and what isn't installed isn't missed."""
    Detector(saved_model, engine="onnxruntime")  # keeps the network as ONNX
    picture = np.random.default_rng(0).integers(0, 120, (90, 120, 3), np.uint8)
    label_map = f"--label_map_path={saved_model.parent / 'label_map.txt'}"
    done = infer_without_tensorflow(tmp_path, picture, saved_model.parent, label_map)
    assert done.returncode == 0, done.stderr
    assert "run by onnxruntime" in done.stdout
    found = json.loads((tmp_path / "out" / "detections.json").read_text())["images"][0]
    expected = Detector(saved_model).detect(picture).over(0.3)
    assert len(found["detections"]) == len(expected.scores) > 0
    assert (tmp_path / "out" / "index.html").is_file()


def test_without_tensorflow_and_a_kept_network_an_export_is_refused(
    saved_model, tmp_path, monkeypatch
):
    shutil.copytree(saved_model, tmp_path / "model", ignore=BARE)
    monkeypatch.setattr(loading, "is_installed", lambda package: False)
    monkeypatch.setattr(engines, "is_installed", lambda package: True)
    with pytest.raises(DataError, match="model: holds no network that runs without TensorFlow"):
        Detector(tmp_path / "model", engine="onnxruntime")
