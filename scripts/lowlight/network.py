"""Takes the bare network out of a model's graph, with what stands before it and after it."""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.files import whole_files
from lowlight.preprocess import Preprocess
from lowlight.suppression import Suppression, suppress

# A folder that TensorFlow leaves to others in a SavedModel.
_EXTRA = "assets.extra"
_FORM = 1  # of the files in it; another number makes them anew


class Network(NamedTuple):
    """A network of one fixed shape: float32 images [1, side, side, 3] -> boxes and scores.

    The boxes, float32 [1, N, 4], are yxyx as fractions of the square; the scores, float32
    [1, N, C], may have a first column for the background.
    """

    graph: bytes  # a frozen GraphDef
    images: str  # names of tensors in it
    boxes: str
    scores: str
    has_background: bool
    preprocess: Preprocess
    suppression: Suppression

    def digest(self):
        """Returns the graph's SHA-256 in hexadecimal."""
        return hashlib.sha256(self.graph).hexdigest()

    def choose(self, boxes, scores, size, wanted=0.0):
        """Returns the detections as `suppress` does, of one image's arrays.

        Args:
            boxes: float32 [N, 4]; scores: float32 [N, C], as the network gave them.
            size: (width, height) of the image in the square, from `Preprocess.apply`.
            wanted: leave out detections with a lower score.
        """
        if self.has_background:
            scores = np.ascontiguousarray(scores[:, 1:])
        side = np.float32(self.preprocess.side)
        window = np.float32(size[1]) / side, np.float32(size[0]) / side
        return suppress(boxes, scores, window, self.suppression, wanted)


def cached_network(saved_model):
    """Returns the Network that was kept in a SavedModel's folder, or None; loads no TensorFlow."""
    graph_path, facts_path = _cache_paths(saved_model)
    try:
        facts = json.loads(facts_path.read_text("utf-8"))
        if facts.pop("key") != _key(saved_model):
            return None
        digest = facts.pop("graph_sha256")
        facts["preprocess"] = Preprocess(**facts["preprocess"])
        facts["suppression"] = Suppression(**facts["suppression"])
        network = Network(graph_path.read_bytes(), **facts)
        return network if network.digest() == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def kept_folder(saved_model):
    """Returns the folder in a SavedModel where networks are kept, None where it isn't writable."""
    folder = Path(saved_model) / _EXTRA
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else None


def keep_network(network, saved_model):
    """Keeps a Network in a SavedModel's folder for the next start, where that can be written."""
    paths = _cache_paths(saved_model)
    facts = {
        **network._asdict(),
        "preprocess": network.preprocess._asdict(),
        "suppression": network.suppression._asdict(),
        "graph_sha256": network.digest(),
        "key": _key(saved_model),
    }
    del facts["graph"]
    try:
        paths[0].parent.mkdir(exist_ok=True)
        with whole_files(*paths) as (graph, text):
            graph.write_bytes(network.graph)
            text.write_text(json.dumps(facts), "utf-8")
    except OSError:
        return  # it is made again at the next start


def _cache_paths(saved_model):
    folder = Path(saved_model) / _EXTRA
    return folder / "network.pb", folder / "network.json"


def _key(saved_model):
    """Returns what tells a SavedModel from others: its graph, and its variables' checksums."""
    digest = hashlib.sha256(str(_FORM).encode())
    for name in ("saved_model.pb", "variables/variables.index"):
        path = Path(saved_model) / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()
