"""A detector finds what TFOD's own exported model finds, on every engine, and knows its limits."""

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from lowlight.core.errors import DataError

pytestmark = pytest.mark.slow

SHAPES = [(96, 128, 3), (200, 90, 3), (128, 128, 3), (300, 450, 3)]
# Sums of about a thousand products, made in another order: how far float32 results may differ.
ROUNDING = 1000 * np.finfo(np.float32).eps
NEEDS_OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs requirements/openvino.txt"
)
ENGINES = ["tensorflow", pytest.param("openvino", marks=NEEDS_OPENVINO)]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 120, shape, np.uint8) for shape in SHAPES]


@pytest.fixture(scope="module")
def expected(saved_model, images):
    """What the exported model finds, called as TFOD's users call it: [(boxes, classes, scores)]."""
    import tensorflow as tf

    function = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    found = []
    for image in images:
        outputs = {k: v[0].numpy() for k, v in function(input_tensor=image[np.newaxis]).items()}
        height, width = image.shape[:2]
        boxes = outputs["detection_boxes"][:, [1, 0, 3, 2]] * [width, height, width, height]
        found.append((boxes, outputs["detection_classes"], outputs["detection_scores"]))
    return found


def test_the_model_of_these_tests_has_detections_over_a_tenth_that_differ(expected):
    assert [int((scores > 0.1).sum()) for _, _, scores in expected] == [100] * 4
    assert all(len(np.unique(scores)) > 90 for _, _, scores in expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_detections_are_those_of_tfods_exported_model(saved_model, images, expected, engine):
    from lowlight.detector.detector import Detector

    detector = Detector(saved_model, engine=engine)
    assert detector.engine == engine
    for image, (boxes, classes, scores) in zip(images, expected, strict=True):
        found = detector.detect(image)
        np.testing.assert_allclose(found.scores, scores, atol=1e-5)
        for box, number, score in zip(boxes, classes, scores, strict=True):
            near = (found.classes == number) & (np.abs(found.scores - score) < 1e-3)
            assert (iou(found.boxes[near], box) > 0.99).any()


def iou(boxes, box):
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    both = np.maximum(high - low, 0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return both / (areas - both)


def test_a_model_is_frozen_at_its_first_start_alone(saved_model, images, monkeypatch):
    from lowlight.detector import detector, freezing

    first = detector.Detector(saved_model).detect(images[0])
    kept = {path.name for path in (saved_model / "assets.extra").iterdir()}
    assert "network.npz" in kept
    monkeypatch.setattr(freezing, "freeze_network", None)
    again = detector.Detector(saved_model).detect(images[0])
    assert all((one == other).all() for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_images_run_together_give_what_each_gives_alone(saved_model, images, engine):
    from lowlight.detector.detector import Detector

    detector = Detector(saved_model, engine=engine, batch_size=3)
    assert detector.batch_size == 3
    prepared = [detector.prepare(image) for image in images]
    pairs = zip(detector.run_many(prepared), prepared, strict=True)
    together = [detector.finish(*pair) for pair in pairs]
    for image, found in zip(images, together, strict=True):
        alone = detector.detect(image)
        assert found.classes.tolist() == alone.classes.tolist()
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=ROUNDING * max(image.shape))
        np.testing.assert_allclose(found.scores, alone.scores, atol=ROUNDING)


def test_many_tiles_are_looked_at_in_parts(saved_model, images):
    from lowlight.detector.detector import Detector

    detector = Detector(saved_model, tile=128, tta=True, least_score=0.5)
    prepared = detector.prepare(images[3])
    assert (len(prepared.views()), prepared.inputs) == (3 * (1 + 5 * 3), None)
    found = detector.detect(images[3])
    assert 0 < len(found.scores) <= 100
    assert (found.scores >= 0.5).all()
    assert (found.boxes[:, 2:] <= [450, 300]).all()
    plain = Detector(saved_model, tta=True).detect(images[0])
    assert (plain.scores[:-1] >= plain.scores[1:]).all()


def test_limits_are_the_callers(saved_model, images):
    from lowlight.detector.detector import Detector

    found = Detector(saved_model, most=5).detect(images[0])
    everything = Detector(saved_model).detect(images[0])
    assert found.scores.tolist() == everything.scores[:5].tolist()
    least = float(everything.scores[10])
    found = Detector(saved_model, least_score=least).detect(images[0])
    assert found.scores.tolist() == everything.scores[everything.scores >= least].tolist()
    strict = Detector(saved_model, most_iou=0.0).detect(images[0])
    for number in set(strict.classes.tolist()):
        boxes = strict.boxes[strict.classes == number]
        assert all(iou(boxes[i + 1 :], box).sum() == 0 for i, box in enumerate(boxes))


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.zeros((9, 9), np.uint8), id="grey"),
        pytest.param(np.zeros((9, 9, 4), np.uint8), id="four channels"),
        pytest.param(np.zeros((9, 9, 3)), id="floats"),
        pytest.param(np.zeros((0, 9, 3), np.uint8), id="empty"),
    ],
)
def test_what_is_no_rgb_image_is_refused(saved_model, image):
    from lowlight.detector.detector import Detector

    with pytest.raises(ValueError, match=r"not an RGB image, uint8 \[H, W, 3\]"):
        Detector(saved_model).detect(image)


def test_a_device_that_is_not_there_is_named_with_those_that_are(saved_model):
    from lowlight.detector.detector import Detector

    with pytest.raises(DataError, match="--device=gpu:7: not a device .*\n.*cpu:0"):
        Detector(saved_model, device="gpu:7")


def test_openvino_without_its_package_is_refused_with_the_command(monkeypatch):
    from lowlight.detector import engines

    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install -r requirements/openvino\.txt"):
        engines.choose_engine("openvino")
    assert engines.choose_engine("auto").name == "tensorflow"


@NEEDS_OPENVINO
def test_openvino_reports_its_use_to_nobody(saved_model, tmp_path, monkeypatch):
    monkeypatch.delenv("CI", raising=False)  # with it OpenVINO would be silent by itself
    monkeypatch.setenv("HOME", str(tmp_path))
    code = """
        import socket, sys
        socket.getaddrinfo = lambda host, *rest, **more: print(f"looked {host} up")
        from lowlight.detector.detector import Detector
        Detector(sys.argv[1], engine="openvino")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(saved_model)]
    scripts = Path(__file__).parents[2] / "scripts"
    printed = subprocess.check_output(command, cwd=scripts, text=True)
    assert printed == ""
    assert not (tmp_path / "intel").exists()  # where it keeps an id of its user


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_keeps_to_the_threads_of_omp_num_threads(saved_model, monkeypatch, engine):
    from lowlight.detector import engines
    from lowlight.detector.detector import Detector
    from lowlight.detector.network import cached_network

    Detector(saved_model)  # keeps its network
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    configs = []  # of TensorFlow's sessions
    monkeypatch.setattr(engines, "_session_call", lambda *given: configs.append(given[-1]))
    made = engines.ENGINES[engine](cached_network(saved_model))
    if engine == "openvino":
        assert made._compiled.get_property("INFERENCE_NUM_THREADS") == 1
        assert made.parallel == 1
    else:
        assert [config.intra_op_parallelism_threads for config in configs] == [1]
