"""The network of TFOD's model, and the ONNX made of it, find what the model finds in any image."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from families import FAMILIES
from PIL import Image
from small_model import (
    ENGINES,
    FIXED,
    NEEDS_ONNX,
    assert_same_detections,
    random_module,
    two_convolutions,
)

from lowlight.core.errors import DataError
from lowlight.detector import export, tracing
from lowlight.detector.detector import Detector
from lowlight.detector.engines import choose_engine
from lowlight.detector.onnx_files import convert_network, whole_model
from lowlight.detector.runs import Model
from lowlight.detector.tracing import trace_network
from lowlight.tfod import model as tfod

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# (height, width): square, 4:3, 16:9, tall, tiny, and larger than any network's input.
SHAPES = (100, 100), (90, 120), (72, 128), (200, 60), (2, 3), (400, 500)
FOUND = "detection_boxes", "detection_classes", "detection_scores"

PADDED = "pad_to_max_dimension: true"
ONE_SHAPE = {
    "fixed shape": FIXED,
    "fixed shape, not square": "fixed_shape_resizer { height: 64 width: 128 }",
    "aspect ratio, padded": "keep_aspect_ratio_resizer { min_dimension: 96 max_dimension: 96 "
    f"{PADDED} per_channel_pad_value: [1, 2, 3] }}",
    "aspect ratio, padded, sides that differ": "keep_aspect_ratio_resizer { min_dimension: 64 "
    f"max_dimension: 128 {PADDED} }}",
}
SEVERAL_SHAPES = {
    "aspect ratio, unpadded": "keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 96 }",
    "as it is": "identity_resizer {}",
    "a longer side": "conditional_shape_resizer { condition: GREATER size_threshold: 96 }",
    "a shorter side": "conditional_shape_resizer { condition: SMALLER size_threshold: 96 }",
    "multiples": "pad_to_multiple_resizer { multiple: 32 }",
    "bicubic": "fixed_shape_resizer { height: 96 width: 96 resize_method: BICUBIC }",
    "grey": "fixed_shape_resizer { height: 96 width: 96 convert_to_grayscale: true }",
}
NAMES = {1: "Bicycle", 2: "Boat", 3: "Bottle"}


def read(text):
    config = tfod.pipeline_pb2.TrainEvalPipelineConfig()
    return tfod.text_format.Parse(text.replace("num_classes: 90", "num_classes: 3"), config)


def traced(text):
    """Returns (module, its Network) of a config."""
    config = read(text)
    module = random_module(config)
    return module, trace_network(module, config, module.__call__)


def outputs_of(module, image):
    """Returns what TFOD's module gives for one image, and the three arrays of its detections."""
    outputs = {name: value[0].numpy() for name, value in module.__call__(image[np.newaxis]).items()}
    return outputs, [outputs[name][: int(outputs["num_detections"])] for name in FOUND]


def check_network(module, network, engine="tensorflow"):
    """Compares what a network, run by an engine, finds with what TFOD's own module does."""
    engine, rng = choose_engine(engine)(network), np.random.default_rng(1)
    for shape in SHAPES:
        image = rng.integers(0, 120, (*shape, 3), np.uint8)
        pixels, size = network.preprocess.apply(image)
        (encodings,), (scores,) = engine.run(pixels[np.newaxis])
        found = network.choose(encodings, scores, size)
        _, (boxes, classes, scores) = outputs_of(module, image)
        assert len(scores) > 20
        assert_same_detections(found, (boxes, classes - 1, scores))


@pytest.fixture(scope="module", params=["EfficientDet", "SSD MobileNet FPN"])
def family(request):
    """(module, its Network) of a family of the zoo; scores near a half differ by enough."""
    text = FAMILIES[request.param]
    return traced(text.replace("class_prediction_bias_init: -4.6", "class_prediction_bias_init: 0"))


@pytest.fixture(scope="module")
def models(family):
    """(the Network as ONNX, {"plain" and "nms": onnx.ModelProto})."""
    bare = convert_network(family[1])
    return bare, {
        "plain": whole_model(bare, family[1], NAMES),
        "nms": whole_model(bare, family[1], NAMES, with_choice=True),
    }


@pytest.mark.parametrize("engine", ENGINES[:2])  # as ONNX it is exported below
def test_each_familys_network_finds_what_the_model_finds(family, engine):
    check_network(*family, engine)


def test_boxes_are_chosen_by_soft_nms_where_the_config_says_so_and_onnx_has_none(tmp_path):
    text = two_convolutions().replace("iou_threshold: 0.6", "soft_nms_sigma: 0.3")
    module, network = traced(text)
    assert network.suppression.sigma == np.float32(0.3)
    check_network(module, network)
    model = Model(tmp_path / "ckpt-1", tmp_path, tmp_path / "pipeline.config", None)
    with pytest.raises(DataError, match=r"ONNX has no Soft-NMS.*\n  Leave out --nms"):
        export._write_onnx(model, network, tmp_path, ["model.onnx", "model_nms.onnx"], None)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("resizer", ONE_SHAPE.values(), ids=ONE_SHAPE)
def test_each_resizer_to_one_shape_is_followed(resizer):
    check_network(*traced(two_convolutions().replace(FIXED, resizer)))


def test_a_network_is_compared_with_its_model_in_whole_float32(monkeypatch):
    is_tf32, seen = tf.config.experimental.tensor_float_32_execution_enabled, []
    monkeypatch.setattr(tracing, "_finds_the_same", lambda *given: seen.append(is_tf32()))
    traced(two_convolutions())
    assert seen == [False]
    assert is_tf32()


def test_other_resizers_and_architectures_have_no_network_of_one_shape():
    texts = {name: two_convolutions().replace(FIXED, one) for name, one in SEVERAL_SHAPES.items()}
    texts |= {name: text for name, text in FAMILIES.items() if "ssd {" not in text}
    for name, text in texts.items():
        assert trace_network(None, read(text), None) is None, name


def test_of_a_model_whose_parts_do_otherwise_than_its_config_says_there_is_none():
    """Each of the three steps alone: the resizer, the network, and the choice of boxes."""
    text = two_convolutions()
    module, network = traced(text)
    assert network
    for old, new in (
        (FIXED, ONE_SHAPE["aspect ratio, padded"]),
        ("height_scale: 5.0", "height_scale: 4.0"),
        ("iou_threshold: 0.6", "iou_threshold: 0.1"),
    ):
        assert old in text
        other = read(text.replace(old, new))
        assert trace_network(module, other, module.__call__) is None, new


def pictures(network, count):
    """Returns images of the input's size, uint8 [count, height, width, 3].

    The first is noise, the second drawn, the third a photograph where EXDARK_ROOT is set.
    """
    height, width = network.preprocess.height, network.preprocess.width
    images = np.random.default_rng(0).integers(0, 120, (count, height, width, 3), np.uint8)
    photographs = Path(os.environ.get("EXDARK_ROOT", "nowhere")).glob("ExDark/*/2015_*.jpg")
    files = [ROOT / "test_images" / "night_1_ambient.jpg", *sorted(photographs)[:1]]
    for place, file in enumerate(files[: count - 1], 1):
        images[place] = Image.open(file).convert("RGB").resize((width, height))
    return images


def run_onnx(model, images):
    import onnxruntime

    session = onnxruntime.InferenceSession(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


@NEEDS_ONNX
@pytest.mark.parametrize("count", [1, 3])
def test_onnx_gives_what_tfods_model_does_for_any_number_of_images(family, models, count):
    module, network = family
    images = pictures(network, count)
    raw, chosen = (run_onnx(models[1][name], images) for name in ("plain", "nms"))
    for place, image in enumerate(images):
        outputs, expected = outputs_of(module, image)
        boxes, scores = outputs["raw_detection_boxes"], outputs["raw_detection_scores"][:, -3:]
        np.testing.assert_allclose(raw["boxes"][place], boxes, 1e-4, 1e-4)
        np.testing.assert_allclose(raw["scores"][place], scores, atol=1e-4)
        number = int(chosen["num_detections"][place])
        assert_same_detections([chosen[name][place][:number] for name in FOUND], expected)


@NEEDS_ONNX
def test_where_little_is_found_the_other_rows_are_empty(family, models):
    network, images = family[1], pictures(family[1], 1)
    scores = np.sort(run_onnx(models[1]["plain"], images)["scores"].ravel())
    strict = network.suppression._replace(least_score=float(scores[-3]))
    model = whole_model(models[0], network._replace(suppression=strict), None, with_choice=True)
    found = run_onnx(model, images)
    number = int(found["num_detections"][0])
    assert 1 <= number <= 2
    assert not found["detection_scores"][0, number:].any()
    assert not found["detection_boxes"][0, number:].any()
    assert set(found["detection_classes"][0, number:]) == {1}


@NEEDS_ONNX
@pytest.mark.parametrize("kind", ["plain", "nms"])
def test_the_file_says_what_a_program_must_know(family, models, kind):
    import onnx

    network, model = family[1], onnx.ModelProto.FromString(models[1][kind])
    facts = {one.key: json.loads(one.value) for one in model.metadata_props}
    assert facts["classes"] == {str(number): name for number, name in NAMES.items()}
    assert facts["preprocess"]["height"] == network.preprocess.height
    assert facts["preprocess"]["shortest"] == network.preprocess.shortest
    assert facts["suppression"] == network.suppression._asdict()
    assert model.opset_import[0].version >= 17


@NEEDS_ONNX
def test_the_exported_file_by_itself_finds_what_the_model_finds(
    family, models, tmp_path, monkeypatch
):
    """In a picture of the input's size; what is resized has its pixels rounded."""
    module, network = family
    (tmp_path / "ckpt-1.index").write_text("")
    monkeypatch.setattr(export, "checkpoint_step", lambda prefix: 5)
    monkeypatch.setattr(export, "convert_network", lambda network, folder: models[0])
    model = Model(tmp_path / "ckpt-1", tmp_path, tmp_path / "pipeline.config", None)
    export._write_onnx(model, network, tmp_path, ["model.onnx"], NAMES)
    detector, (image,) = Detector(tmp_path / "model.onnx"), pictures(network, 1)
    assert detector.model.step() == 5
    found = detector.detect(image)
    unit = found.boxes[:, [1, 0, 3, 2]] / ([*image.shape[:2]] * 2)
    _, expected = outputs_of(module, image)
    assert_same_detections((unit, found.classes, found.scores), expected)


@NEEDS_ONNX
def test_the_docs_program_prints_what_our_detector_finds(family, models, tmp_path):
    """In a picture of twice the input's sides, whose every second pixel is taken unrounded."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.S)
    half = pictures(family[1], 1)[0]
    picture = half.repeat(2, 0).repeat(2, 1)
    (tmp_path / "model_nms.onnx").write_bytes(models[1]["nms"])
    Image.fromarray(picture).save(tmp_path / "street.png")
    found = {name: rows[0] for name, rows in run_onnx(models[1]["nms"], half[np.newaxis]).items()}
    least = float(found["detection_scores"][4:6].mean())
    code = code.replace("street.jpg", "street.png").replace("score >= 0.3", f"score >= {least}")
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, text=True)
    boxes, classes, _ = (found[name][found["detection_scores"] >= least] for name in FOUND)
    rows = [line.split() for line in printed.splitlines()]
    assert len(rows) > 0
    assert [row[0] for row in rows] == [NAMES[int(number)] for number in classes]
    height, width = picture.shape[:2]
    expected = boxes[:, [1, 0, 3, 2]] * ([width, height] * 2)
    np.testing.assert_allclose(np.array([row[2:] for row in rows], float), expected, atol=0.1)


def test_without_a_network_of_one_shape_there_is_no_onnx(tmp_path):
    model = Model(tmp_path / "ckpt-1", tmp_path, tmp_path / "pipeline.config", None)
    model.config_path.write_text(FAMILIES["CenterNet MobileNet"])
    message = "a center_net with this keep_aspect_ratio_resizer can't be written as ONNX"
    with pytest.raises(DataError, match=message):
        export._write_onnx(model, None, tmp_path, ["model.onnx"], None)
