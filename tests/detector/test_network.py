"""A network is kept in its SavedModel's folder, and taken only while it is that model's."""

import numpy as np
import pytest

from lowlight.detector.network import Network, cached_network, keep_network
from lowlight.detector.postprocess import BoxDecoder, Suppression
from lowlight.detector.resizing import Preprocess

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


@pytest.mark.parametrize(
    "name",
    [
        "saved_model.pb",
        "variables/variables.index",
        "assets.extra/network.npz",
    ],
)
def test_a_network_is_not_taken_where_a_file_is_another(saved_model, name):
    data = (saved_model / name).read_bytes()
    (saved_model / name).write_bytes(data[:-1])
    assert cached_network(saved_model) is None


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path):
    (tmp_path / "assets.extra").write_text("a file is in the way")
    keep_network(NETWORK, tmp_path)
    assert cached_network(tmp_path) is None


def test_a_wide_images_boxes_are_fractions_of_it_not_of_the_input():
    encodings = np.zeros((1, 4), np.float32)
    boxes, classes, scores = NETWORK.choose(encodings, np.array([[0.2, 0.9]], np.float32), (8, 4))
    assert boxes.tolist() == [[0, 0, 1, 0.5]] * 2
    assert (classes.tolist(), scores.tolist()) == ([1, 0], [np.float32(0.9), np.float32(0.2)])
