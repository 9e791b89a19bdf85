"""The network of a model with what stands before and after it, and how it is kept on disk."""

import functools
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.core.files import whole_file
from lowlight.detector.postprocess import BoxDecoder, Suppression, suppress
from lowlight.detector.resizing import Preprocess

# The tensors of a network's graph.
IMAGES = "images:0"  # float32 [B, height, width, 3], B any number
ENCODINGS = "encodings:0"  # float32 [B, N, 4], the decoder's
SCORES = "scores:0"  # float32 [B, N, C]

_EXTRA = "assets.extra"  # a folder that TensorFlow leaves to others in a SavedModel
_FORM = 3  # of the file in it; another number makes it anew


class Network(NamedTuple):
    """A network of one input shape, and the steps around it."""

    graph: bytes  # a frozen GraphDef
    preprocess: Preprocess
    suppression: Suppression
    decoder: BoxDecoder

    def digest(self) -> str:
        """Returns the graph's SHA-256 in hexadecimal."""
        return hashlib.sha256(self.graph).hexdigest()

    def choose(self, encodings, scores, size: tuple, wanted: float = 0.0) -> tuple:
        """Returns the detections as `suppress` does, of one image's arrays.

        Args:
            encodings: float32 [N, 4]; scores: float32 [N, C], as the network gave them.
            size: (width, height) of the image in the input, from `Preprocess.apply`.
            wanted: leave out detections with a lower score.
        """
        decode = functools.partial(self.decoder.decode, encodings)
        return suppress(decode, scores, self.window(size), self.suppression, wanted)

    def window(self, size: tuple) -> tuple:
        """Returns (height, width) of an image in the input as fractions of it."""
        height, width = self.preprocess.height, self.preprocess.width
        return size[1] / np.float32(height), size[0] / np.float32(width)


def cached_network(saved_model) -> Network | None:
    """Returns the Network that was kept in a SavedModel's folder, or None; loads no TensorFlow."""
    try:
        with np.load(_kept_path(saved_model)) as kept:
            facts = json.loads(kept["facts"].tobytes())
            if facts["key"] != _key(saved_model):
                return None
            return Network(
                kept["graph"].tobytes(),
                Preprocess(**facts["preprocess"]),
                Suppression(**facts["suppression"]),
                BoxDecoder(kept["anchors"], tuple(facts["box_scale"])),
            )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def keep_network(network: Network, saved_model):
    """Keeps a Network in a SavedModel's folder for the next start, where that can be written."""
    facts = {
        "preprocess": network.preprocess._asdict(),
        "suppression": network.suppression._asdict(),
        "box_scale": network.decoder.scale,
        "key": _key(saved_model),
    }
    path = _kept_path(saved_model)
    try:
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as partial, open(partial, "wb") as file:
            np.savez(
                file,
                facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
                graph=np.frombuffer(network.graph, np.uint8),
                anchors=network.decoder.anchors,
            )
    except OSError:
        return  # it is made again at the next start


def kept_folder(saved_model) -> Path | None:
    """Returns the folder in a SavedModel where networks are kept, None where it isn't writable."""
    folder = Path(saved_model) / _EXTRA
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else None


def onnx_path(folder, network: Network) -> Path:
    """Returns where a folder keeps a network as ONNX."""
    return Path(folder) / f"network-{network.digest()[:12]}.onnx"


def _kept_path(saved_model):
    return Path(saved_model) / _EXTRA / "network.npz"


def _key(saved_model):
    """Returns what tells a SavedModel from others: its graph, and its variables' checksums."""
    digest = hashlib.sha256(str(_FORM).encode())
    for name in ("saved_model.pb", "variables/variables.index"):
        path = Path(saved_model) / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()
