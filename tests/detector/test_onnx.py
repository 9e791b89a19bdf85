"""A network written as ONNX finds what TFOD's exported model finds, by itself and in our engine."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from families import FAMILIES
from small_model import assert_same_detections, random_module
from test_tracing import read

from lowlight.core.errors import DataError

pytestmark = pytest.mark.slow
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("tf2onnx")

ROOT = Path(__file__).parents[2]
NAMES = {1: "Bicycle", 2: "Boat", 3: "Bottle"}
# What an environment for detection alone lacks.
HIDDEN = "tensorflow", "tf_keras", "object_detection", "openvino", "onnx", "tf2onnx", "pandas"


@pytest.fixture(scope="module", params=["EfficientDet", "SSD MobileNet FPN"])
def exported(request):
    """(module, Network, {"plain" and "nms": onnx.ModelProto})."""
    from lowlight.detector.onnx_export import convert_network, whole_model
    from lowlight.detector.tracing import trace_network

    config = read(FAMILIES[request.param])
    module = random_module(config)
    network = trace_network(module, config, module.__call__)
    bare = convert_network(network)
    models = {"plain": whole_model(bare, network, NAMES)}
    return module, network, models | {"nms": whole_model(bare, network, NAMES, with_choice=True)}


def pictures(network, count):
    """Returns images of the input's size, uint8 [count, height, width, 3]."""
    shape = count, network.preprocess.height, network.preprocess.width, 3
    return np.random.default_rng(0).integers(0, 120, shape, np.uint8)


def outputs_of(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def expected_of(module, image):
    outputs = {name: value[0].numpy() for name, value in module.__call__(image[np.newaxis]).items()}
    count = int(outputs["num_detections"])
    names = "detection_boxes", "detection_classes", "detection_scores"
    return [outputs[name][:count] for name in names], outputs


@pytest.mark.parametrize("count", [1, 3])
def test_boxes_and_scores_are_those_of_tfods_model_for_any_number_of_images(exported, count):
    module, network, models = exported
    images = pictures(network, count)
    found = outputs_of(models["plain"], images)
    for place, image in enumerate(images):
        _, outputs = expected_of(module, image)
        raw_boxes, raw_scores = outputs["raw_detection_boxes"], outputs["raw_detection_scores"]
        np.testing.assert_allclose(found["boxes"][place], raw_boxes, 1e-4, 1e-4)
        np.testing.assert_allclose(found["scores"][place], raw_scores[:, -3:], atol=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_with_the_choice_inside_detections_are_those_of_tfods_model(exported, count):
    module, network, models = exported
    images = pictures(network, count)
    found = outputs_of(models["nms"], images)
    for place, image in enumerate(images):
        expected, _ = expected_of(module, image)
        number = int(found["num_detections"][place])
        names = "detection_boxes", "detection_classes", "detection_scores"
        assert_same_detections([found[name][place][:number] for name in names], expected)


def test_where_little_is_found_the_other_rows_are_empty(exported):
    from lowlight.detector.onnx_export import convert_network, whole_model

    _, network, _ = exported
    images = pictures(network, 1)
    scores = outputs_of(whole_model(convert_network(network), network), images)["scores"]
    strict = network._replace(
        suppression=network.suppression._replace(least_score=float(np.sort(scores.ravel())[-3]))
    )
    found = outputs_of(whole_model(convert_network(network), strict, None, True), images)
    number = int(found["num_detections"][0])
    assert 1 <= number <= 2
    assert not found["detection_scores"][0, number:].any()
    assert not found["detection_boxes"][0, number:].any()
    assert set(found["detection_classes"][0, number:]) == {1}


def test_the_file_says_what_a_program_must_know(exported):
    _, network, models = exported
    facts = {one.key: json.loads(one.value) for one in models["plain"].metadata_props}
    assert facts["classes"] == {str(number): name for number, name in NAMES.items()}
    assert facts["preprocess"]["height"] == network.preprocess.height
    assert facts["suppression"]["most_iou"] == network.suppression.most_iou
    assert models["plain"].opset_import[0].version >= 17


def test_the_docs_program_prints_what_our_detector_finds(exported, tmp_path):
    """In a picture of twice the input's sides, whose every second pixel is taken unrounded."""
    from PIL import Image

    _, network, models = exported
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.S)
    half = pictures(network, 1)[0]
    picture = half.repeat(2, 0).repeat(2, 1)
    onnx.save(models["nms"], tmp_path / "model_nms.onnx")
    Image.fromarray(picture).save(tmp_path / "street.png")
    found = outputs_of(models["nms"], half[np.newaxis])
    least = float(found["detection_scores"][0, 4:6].mean())
    code = code.replace("street.jpg", "street.png").replace("score >= 0.3", f"score >= {least}")
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, text=True)
    chosen = found["detection_scores"][0] >= least
    height, width = picture.shape[:2]
    expected = found["detection_boxes"][0][chosen][:, [1, 0, 3, 2]] * ([width, height] * 2)
    rows = [line.split() for line in printed.splitlines()]
    assert [row[0] for row in rows] == [
        NAMES[int(number)] for number in found["detection_classes"][0][chosen]
    ]
    boxes = np.array([row[2:] for row in rows], float)
    np.testing.assert_allclose(boxes, expected, atol=0.1)
    assert len(rows) > 0


def test_without_a_network_of_one_shape_there_is_no_onnx(tmp_path):
    from lowlight.detector import export
    from lowlight.detector.runs import Model

    model = Model(tmp_path / "ckpt-1", tmp_path, tmp_path / "pipeline.config", None)
    with pytest.raises(DataError, match="architecture or resizer can't be written as ONNX"):
        export._write_onnx(model, None, tmp_path, {"model.onnx": False}, None)


def test_pictures_are_detected_without_tensorflow(saved_model, tmp_path):
    """The network that the export keeps is enough, and what isn't installed isn't missed."""
    from PIL import Image

    from lowlight.detector.detector import Detector

    Detector(saved_model, engine="onnxruntime")  # keeps the network as ONNX
    (tmp_path / "in").mkdir()
    picture = np.random.default_rng(0).integers(0, 120, (90, 120, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "in" / "a.png")
    flags = {
        "images_folder_dir": tmp_path / "in",
        "model_dir": saved_model.parent,
        "label_map_path": saved_model.parent / "label_map.txt",
        "save_path": tmp_path / "out",
    }
    program = (
        f"import sys, runpy; sys.modules.update(dict.fromkeys({HIDDEN!r}));"
        f"sys.argv[0] = {str(ROOT / 'run_inference.py')!r};"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    given = [f"--{name}={value}" for name, value in flags.items()] + ["--save_detection=True"]
    command = [sys.executable, "-c", program, *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run by onnxruntime" in done.stdout
    found = json.loads((tmp_path / "out" / "detections.json").read_text())["images"][0]
    expected = Detector(saved_model).detect(picture).over(0.3)
    assert len(found["detections"]) == len(expected.scores) > 0
    assert (tmp_path / "out" / "index.html").is_file()


def test_without_tensorflow_and_a_kept_network_an_export_is_refused(
    saved_model, tmp_path, monkeypatch
):
    from lowlight.detector import loading
    from lowlight.detector.detector import Detector

    shutil.copytree(saved_model, tmp_path / "model", ignore=shutil.ignore_patterns("assets.extra"))
    monkeypatch.setattr(loading, "is_installed", lambda package: False)
    with pytest.raises(DataError, match="model: holds no network that runs without TensorFlow"):
        Detector(tmp_path / "model", engine="onnxruntime")


def test_a_device_or_a_precision_that_onnx_runtime_lacks_is_refused(saved_model):
    from lowlight.detector.detector import Detector

    with pytest.raises(DataError, match="--device=gpu:1: not a device that ONNX Runtime finds"):
        Detector(saved_model, engine="onnxruntime", device="gpu:1")
    with pytest.raises(DataError, match="--precision=bfloat16: ONNX Runtime"):
        Detector(saved_model, engine="onnxruntime", precision="bfloat16")
