"""A network is taken only of its own SavedModel, and an image becomes its input as with TFOD."""

import numpy as np
import pytest

from lowlight.core.errors import DataError
from lowlight.detector.engines import Setup
from lowlight.detector.loading import load_network
from lowlight.detector.network import (
    Network,
    Preprocess,
    cached_network,
    keep_network,
)
from lowlight.detector.postprocess import BoxDecoder, Suppression
from lowlight.detector.runs import Model

NETWORK = Network(
    b"graph",
    Preprocess(8, 8, 8, [0.5, 0.5, 0.5], [-1.0, -1.0, -1.0], [0.0, 0.0, 0.0]),
    Suppression(1e-8, 0.5, 100, 100),
    BoxDecoder(np.array([[0.25, 0.25, 0.5, 0.5]], np.float32), (10.0, 10.0, 5.0, 5.0)),
)


@pytest.fixture
def saved_model(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"model")
    (tmp_path / "variables" / "variables.index").write_bytes(b"checksums")
    keep_network(NETWORK, tmp_path)
    return tmp_path


def test_a_kept_network_is_the_same(saved_model):
    found = cached_network(saved_model)
    assert found[:-1] == NETWORK[:-1]
    assert found.decoder.anchors.tolist() == [[0.25, 0.25, 0.5, 0.5]]
    assert found.decoder.scale == (10, 10, 5, 5)


def test_there_is_none_where_none_was_kept(tmp_path):
    assert cached_network(tmp_path) is None


@pytest.mark.parametrize("kept", [-1, 0], ids=["cut", "empty"])
@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index", "assets.extra/network.npz"]
)
def test_a_network_is_not_taken_where_a_file_is_another(saved_model, name, kept):
    data = (saved_model / name).read_bytes()
    (saved_model / name).write_bytes(data[:kept])
    assert cached_network(saved_model) is None


@pytest.mark.parametrize("place", range(0, 100, 3))
def test_another_form_is_kept_and_made_again_where_a_bit_of_its_file_is_another(tmp_path, place):
    made = []

    def make():
        made.append("once")
        return {"onnx": b"weights"}

    for _ in range(2):
        assert NETWORK.in_form("onnx", make, tmp_path) == {"onnx": b"weights"}
    assert made == ["once"]
    (kept,) = tmp_path.iterdir()
    data = bytearray(kept.read_bytes())
    data[place] ^= 1
    kept.write_bytes(data)
    assert NETWORK.in_form("onnx", make, tmp_path) == {"onnx": b"weights"}


def test_a_config_that_is_no_text_names_no_number_of_classes(tmp_path):
    (tmp_path / "pipeline.config").write_bytes(b"\x80\xff")
    model = Model(tmp_path, tmp_path, tmp_path / "pipeline.config", None)
    assert (model.num_classes(), model.is_averaged) == (None, False)


def test_a_most_overlap_is_refused_where_soft_nms_knows_none(saved_model):
    soft = NETWORK._replace(suppression=NETWORK.suppression._replace(sigma=0.5))
    keep_network(soft, saved_model)
    assert cached_network(saved_model).suppression == soft.suppression
    model = Model(saved_model, saved_model, saved_model / "pipeline.config", None)
    with pytest.raises(DataError, match=r"soft_nms_sigma: 0\.5.*\n  Leave out --nms_iou"):
        load_network(model, {"most_iou": 0.4}, "tensorflow", Setup())


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path):
    (tmp_path / "assets.extra").write_text("a file is in the way")
    keep_network(NETWORK, tmp_path)
    assert cached_network(tmp_path) is None
    made = {"onnx": b"weights"}
    assert NETWORK.in_form("onnx", lambda: made, tmp_path / "assets.extra") == made


def test_a_wide_images_boxes_are_fractions_of_it_not_of_the_input():
    encodings = np.zeros((1, 4), np.float32)
    boxes, classes, scores = NETWORK.choose(encodings, np.array([[0.2, 0.9]], np.float32), (8, 4))
    assert boxes.tolist() == [[0, 0, 1, 0.5]] * 2
    assert (classes.tolist(), scores.tolist()) == ([1, 0], [np.float32(0.9), np.float32(0.2)])


PLAIN = Preprocess(8, 8, 8, (1, 1, 1), (0, 0, 0), (0, 0, 0))
SHAPES = [(4, 8), (8, 4), (5, 7), (61, 37), (300, 400), (1, 1), (3, 90)]


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        pytest.param(16, 8, (8, 4), id="wide"),
        pytest.param(8, 16, (4, 8), id="tall"),
        pytest.param(2, 2, (8, 8), id="small images grow"),
        pytest.param(16, 5, (8, 2), id="a half is rounded to the even side"),
        pytest.param(16, 7, (8, 4), id="and so is another"),
    ],
)
def test_an_image_fits_into_the_square(width, height, size):
    assert PLAIN.resized_size(width, height) == size


def test_the_shorter_side_may_have_a_limit_and_an_image_be_squeezed():
    narrow, sizes = PLAIN._replace(shortest=4), ((8, 8), (10, 8), (16, 4), (4, 16))
    fitted = [narrow.resized_size(*size) for size in sizes]
    assert fitted == [(4, 4), (5, 4), (8, 2), (2, 8)]
    assert PLAIN._replace(width=6, shortest=None).resized_size(100, 3) == (6, 8)


def test_an_image_without_a_pixel_left_is_refused():
    with pytest.raises(ValueError, match="1x3000 pixels can't be resized for the model"):
        PLAIN.apply(np.zeros((3000, 1, 3), np.uint8))


def test_colours_are_scaled_and_the_rest_of_the_square_is_padded():
    preprocess = Preprocess(4, 4, 4, (0.5, 1, 2), (-1, 0, 1), (7, 8, 9))
    canvas, size = preprocess.apply(np.full((2, 4, 3), 10, np.uint8))
    assert size == (4, 2)
    assert canvas.dtype == np.float32
    assert canvas[:2].reshape(-1, 3).tolist() == [[4, 10, 21]] * 8
    assert canvas[2:].reshape(-1, 3).tolist() == [[7, 8, 9]] * 8


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_what_tensorflow_gives_to_the_last_bit(shape):
    import tensorflow as tf

    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    preprocess = PLAIN._replace(height=64, width=64, shortest=64)
    canvas, (width, height) = preprocess.apply(image)
    expected = tf.compat.v1.image.resize_images(
        tf.constant(image, tf.float32), (64, 64), preserve_aspect_ratio=True
    )
    assert expected.shape[:2] == (height, width)
    assert (canvas[:height, :width] == expected.numpy()).all()
