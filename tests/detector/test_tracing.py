"""The network that is built from TFOD's model finds what the model finds, whatever the image."""

import re

import numpy as np
import pytest
from families import FAMILIES, ssd
from small_model import assert_same_detections, random_module

pytestmark = pytest.mark.slow

# (height, width): square, 4:3, 16:9, tall, tiny, and larger than any network's input.
SHAPES = (100, 100), (90, 120), (72, 128), (200, 60), (2, 3), (400, 500)
SSDS = {name: text for name, text in FAMILIES.items() if "ssd {" in text}
ONE_SHAPE = {
    "fixed shape": "fixed_shape_resizer { height: 96 width: 96 }",
    "fixed shape, not square": "fixed_shape_resizer { height: 64 width: 128 }",
    "aspect ratio, padded": "keep_aspect_ratio_resizer { min_dimension: 96 max_dimension: 96 "
    "pad_to_max_dimension: true per_channel_pad_value: [1, 2, 3] }",
    "aspect ratio, padded, sides that differ": "keep_aspect_ratio_resizer { min_dimension: 64 "
    "max_dimension: 128 pad_to_max_dimension: true }",
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


def read(text):
    from lowlight.tfod import model as tfod

    config = tfod.pipeline_pb2.TrainEvalPipelineConfig()
    return tfod.text_format.Parse(text.replace("num_classes: 90", "num_classes: 3"), config)


def with_resizer(resizer):
    return re.sub(r"image_resizer {.*}", f"image_resizer {{ {resizer} }}", ssd(), count=1)


def images():
    rng = np.random.default_rng(1)
    return [rng.integers(0, 120, (*shape, 3), np.uint8) for shape in SHAPES]


def check_network(text):
    """Compares what the network of a config finds with what TFOD's own module does."""
    from lowlight.detector.engines import TensorFlowEngine
    from lowlight.detector.tracing import trace_network

    config = read(text)
    module = random_module(config)
    network = trace_network(module, config, module.__call__)
    engine = TensorFlowEngine(network)
    for image in images():
        pixels, size = network.preprocess.apply(image)
        (encodings,), (scores,) = engine.run(pixels[np.newaxis])
        found = network.choose(encodings, scores, size)
        outputs = {
            name: value[0].numpy() for name, value in module.__call__(image[np.newaxis]).items()
        }
        count = int(outputs["num_detections"])
        assert count > 20
        names = "detection_boxes", "detection_classes", "detection_scores"
        boxes, classes, scores = (outputs[name][:count] for name in names)
        assert_same_detections(found, (boxes, classes - 1, scores))


@pytest.mark.parametrize("text", SSDS.values(), ids=SSDS)
def test_each_familys_network_finds_what_the_model_finds(text):
    check_network(text)


@pytest.mark.parametrize("resizer", ONE_SHAPE.values(), ids=ONE_SHAPE)
def test_each_resizer_to_one_shape_is_followed(resizer):
    check_network(with_resizer(resizer))


@pytest.mark.parametrize("resizer", SEVERAL_SHAPES.values(), ids=SEVERAL_SHAPES)
def test_other_resizers_have_no_network_of_one_shape(resizer):
    from lowlight.detector.tracing import trace_network

    assert trace_network(None, read(with_resizer(resizer)), None) is None


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in SSDS])
def test_other_architectures_have_none(family):
    from lowlight.detector.tracing import trace_network

    assert trace_network(None, read(FAMILIES[family]), None) is None


def test_of_a_model_whose_parts_do_otherwise_than_its_config_says_there_is_none():
    """Each of the three steps alone: the resizer, the network, and the choice of boxes."""
    from lowlight.detector.tracing import trace_network

    config = read(ssd())
    module = random_module(config)
    for old, new in (
        ("fixed_shape_resizer { height: 96 width: 96 }", ONE_SHAPE["aspect ratio, padded"]),
        ("height_scale: 5.0", "height_scale: 4.0"),
        ("iou_threshold: 0.6", "iou_threshold: 0.1"),
    ):
        assert old in ssd()
        other = read(ssd().replace(old, new))
        assert trace_network(module, other, module.__call__) is None, new
    assert trace_network(module, config, module.__call__)
