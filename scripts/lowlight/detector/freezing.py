"""Freezes a model's graph and finds in it the network, the resizer before and the choice after."""

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from lowlight.core.tensorflow import silent_stderr
from lowlight.detector.engines import TensorFlowEngine
from lowlight.detector.frozen_graph import FrozenGraph
from lowlight.detector.network import Network, Preprocess
from lowlight.detector.postprocess import Suppression

_BOXES, _SCORES = "raw_detection_boxes", "raw_detection_scores"
_TOLERANCE = 1e-4


def freeze_network(function):
    """Returns the Network of a model, None where it has no network of one fixed shape.

    TFOD's SSD models, EfficientDet among them, resize to a square, run their network and suppress.
    What the graph does before and after is read from it, and tried: a Network is returned only
    where it finds in noise what the whole model finds.

    Args:
        function: a ConcreteFunction that takes one uint8 tensor [1, H, W, 3], and returns TFOD's
            detection dict.
    """
    outputs = function.structured_outputs
    if not {_BOXES, _SCORES, "detection_boxes"} <= set(outputs):
        return None
    with silent_stderr():
        frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    names = dict(zip(sorted(outputs), (tensor.name for tensor in frozen.outputs), strict=True))
    network = _find_network(FrozenGraph(frozen), outputs, names)
    if network is None:
        return None
    network = network._replace(takes_batches=_keeps_apart(network))
    return network if _finds_the_same(network, frozen, names) else None


def _find_network(graph, outputs, names):
    """Returns the Network that a FrozenGraph seems to hold, untried, or None."""
    images, settings = graph.find_images(), graph.find_suppression()
    most, columns = outputs["detection_boxes"].shape[1], outputs[_SCORES].shape[2]
    if images is None or settings is None or most is None:
        return None
    classes = settings.pop("classes")
    if columns not in (classes, classes + 1):
        return None
    preprocess = _probe_preprocess(graph, images)
    encodings, decoder = graph.find_encodings(images, names[_BOXES])
    if preprocess is None or decoder is None:
        return None
    return Network(
        graph.part(images, encodings, names[_SCORES]).SerializeToString(),
        images.name,
        encodings,
        names[_SCORES],
        has_background=columns > classes,
        takes_batches=True,
        preprocess=preprocess,
        suppression=Suppression(most=int(most), **settings),
        decoder=decoder,
    )


def _probe_preprocess(graph, images):
    """Returns the Preprocess that does as the graph does to black, white and noise, or None."""
    function = graph.preprocessing(images)

    def run(image):
        return function(tf.constant(image[np.newaxis]))[0].numpy()[0]

    wide = np.zeros((4, 8, 3), np.uint8)
    black, white = run(wide), run(wide + 255)
    scale = (white[0, 0] - black[0, 0]) / 255
    keeps_ratio = bool((white[-1] != white[0, 0]).any())
    found = Preprocess(
        images.shape[1],
        keeps_ratio,
        *(tuple(map(float, part)) for part in (scale, black[0, 0], white[-1, -1])),
    )
    noise = np.random.default_rng(0).integers(0, 256, (61, 37, 3), np.uint8)
    for image in (noise, noise.swapaxes(0, 1)):
        expected = run(np.ascontiguousarray(image))
        gap = np.abs(found.apply(np.ascontiguousarray(image))[0] - expected).max()
        if gap > _TOLERANCE * max(1, np.abs(expected).max()):
            return None
    return found


def _keeps_apart(network):
    """Says whether the network finds in two images at a time what it finds in each."""
    side = network.preprocess.side
    noise = np.random.default_rng(3).normal(size=(2, side, side, 3)).astype(np.float32)
    engine = TensorFlowEngine(network, device="cpu")
    try:
        together = engine.run(noise)
    except (tf.errors.InvalidArgumentError, ValueError):
        return False
    apart = [engine.run(image[np.newaxis]) for image in noise]
    return all(
        np.allclose(both, np.concatenate(each), atol=_TOLERANCE)
        for both, each in zip(together, zip(*apart, strict=True), strict=True)
    )


def _finds_the_same(network, frozen, names):
    """Says whether the network with our steps around it finds in noise what the model does."""
    noise = np.random.default_rng(1).integers(0, 256, (90, 128, 3), np.uint8)
    outputs = frozen(tf.constant(noise[np.newaxis]))
    expected = {name: outputs[place].numpy()[0] for place, name in enumerate(names)}
    images, size = network.preprocess.apply(noise)
    encodings, scores = TensorFlowEngine(network, device="cpu").run(images[np.newaxis])
    found = network.choose(encodings[0], scores[0], size)
    count = int(expected["num_detections"])
    return len(found[2]) == count and np.allclose(
        found[2], expected["detection_scores"][:count], atol=_TOLERANCE
    )
