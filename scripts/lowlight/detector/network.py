"""Takes the bare network out of a model's graph, with what stands before it and after it."""

import functools
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.core.files import whole_file
from lowlight.detector.box_decoding import BoxDecoder
from lowlight.detector.postprocess import Suppression, suppress
from lowlight.detector.preprocess import Preprocess

# A folder that TensorFlow leaves to others in a SavedModel.
_EXTRA = "assets.extra"
_FORM = 2  # of the file in it; another number makes it anew


class Network(NamedTuple):
    """A network of one fixed shape: float32 images [B, side, side, 3] -> encodings and scores.

    The encodings, float32 [B, N, 4], are the decoder's; the scores, float32 [B, N, C], may have a
    first column for the background.
    """

    graph: bytes  # a frozen GraphDef
    images: str  # names of tensors in it
    encodings: str
    scores: str
    has_background: bool
    takes_batches: bool  # of more than one image
    preprocess: Preprocess
    suppression: Suppression
    decoder: BoxDecoder

    def digest(self):
        """Returns the graph's SHA-256 in hexadecimal."""
        return hashlib.sha256(self.graph).hexdigest()

    def choose(self, encodings, scores, size, wanted=0.0):
        """Returns the detections as `suppress` does, of one image's arrays.

        Args:
            encodings: float32 [N, 4]; scores: float32 [N, C], as the network gave them.
            size: (width, height) of the image in the square, from `Preprocess.apply`.
            wanted: leave out detections with a lower score.
        """
        if self.has_background:
            scores = np.ascontiguousarray(scores[:, 1:])
        side = np.float32(self.preprocess.side)
        window = np.float32(size[1]) / side, np.float32(size[0]) / side
        decode = functools.partial(self.decoder.decode, encodings)
        return suppress(decode, scores, window, self.suppression, wanted)


def cached_network(saved_model):
    """Returns the Network that was kept in a SavedModel's folder, or None; loads no TensorFlow."""
    try:
        with np.load(_kept_path(saved_model)) as kept:
            facts = json.loads(kept["facts"].tobytes())
            if facts.pop("key") != _key(saved_model):
                return None
            decoder = BoxDecoder(kept["anchors"], tuple(facts.pop("box_scale")))
            facts["preprocess"] = Preprocess(**facts["preprocess"])
            facts["suppression"] = Suppression(**facts["suppression"])
            return Network(kept["graph"].tobytes(), **facts, decoder=decoder)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def kept_folder(saved_model):
    """Returns the folder in a SavedModel where networks are kept, None where it isn't writable."""
    folder = Path(saved_model) / _EXTRA
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else None


def keep_network(network, saved_model):
    """Keeps a Network in a SavedModel's folder for the next start, where that can be written."""
    facts = {
        **network._asdict(),
        "preprocess": network.preprocess._asdict(),
        "suppression": network.suppression._asdict(),
        "box_scale": network.decoder.scale,
        "key": _key(saved_model),
    }
    del facts["graph"], facts["decoder"]
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


def _kept_path(saved_model):
    return Path(saved_model) / _EXTRA / "network.npz"


def _key(saved_model):
    """Returns what tells a SavedModel from others: its graph, and its variables' checksums."""
    digest = hashlib.sha256(str(_FORM).encode())
    for name in ("saved_model.pb", "variables/variables.index"):
        path = Path(saved_model) / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()
