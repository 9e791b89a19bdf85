"""Takes the network out of a model's graph, and turns an image into its input as TFOD does."""

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

_BAND = 32  # rows that are resized at a time


class Preprocess(NamedTuple):
    """What a model's graph does to an image before its network.

    TFOD's resizer keeps the aspect ratio: the image becomes as large as fits into a square, its
    sides rounded to even at .5, and stands in the square's upper left corner; or it is squeezed to
    the square. Bilinear is TensorFlow 1's form: no half-pixel shift and no smoothing, so that of a
    large image most pixels have no say. A JPEG decoded at a smaller scale, whose pixels are means
    of many, is another image to the network; that is why images are decoded whole.
    """

    side: int  # of the network's square input, in pixels
    keeps_ratio: bool  # whether the rest of the square is padded
    scale: tuple  # of the colours: value * scale + offset, one for each channel
    offset: tuple
    padding: tuple  # what the rest of the square holds

    def resized_size(self, width, height):
        """Returns (width, height) in the square.

        Raises:
            ValueError: a side would have no pixel.
        """
        if not self.keeps_ratio:
            return self.side, self.side
        across, down = (np.float32(self.side) / np.float32(side) for side in (width, height))
        factor = min(across, down)
        size = tuple(int(np.round(factor * np.float32(side))) for side in (width, height))
        if 0 in size:
            raise ValueError(f"{width}x{height} pixels can't be resized for the model")
        return size

    def apply(self, image):
        """Returns the network's input.

        Args:
            image: RGB, uint8 [H, W, 3].

        Returns:
            (float32 [side, side, 3], (width, height) of the image in it).

        Raises:
            ValueError: the image's shape is too extreme for the resizer.
        """
        width, height = self.resized_size(image.shape[1], image.shape[0])
        canvas = np.empty((self.side, self.side, 3), np.float32)
        canvas[height:] = canvas[:height, width:] = self.padding
        scale, offset = (np.tile(np.float32(part), width) for part in (self.scale, self.offset))
        for start, rows in resize_bilinear(image, width, height):
            np.multiply(rows, scale, out=rows)
            np.add(rows, offset, out=rows)
            canvas[start : start + len(rows), :width] = rows.reshape(-1, width, 3)
        return canvas, (width, height)


def resize_bilinear(image, width, height):
    """Resizes as `tf.compat.v1.image.resize_bilinear` does with its defaults, to the last bit.

    Args:
        image: uint8 [H, W, 3].
        width, height: of the result.

    Yields:
        (first row, float32 [rows, width * 3]): bands that fit into a processor's cache, which
        takes a fifth of the time of the whole at once.
    """
    rows = image.reshape(len(image), -1)
    top, bottom, down = _neighbours(len(image), height)
    left, right, across = _neighbours(image.shape[1], width)
    left, right = (np.add.outer(3 * part, np.arange(3)).ravel() for part in (left, right))
    across = np.repeat(across, 3)
    for start in range(0, height, _BAND):
        part = slice(start, start + _BAND)
        upper = _mix_columns(rows[top[part]], left, right, across)
        band = _mix_columns(rows[bottom[part]], left, right, across)
        band -= upper
        band *= down[part, np.newaxis]
        band += upper
        yield start, band


def _neighbours(before, after):
    """Returns, for each pixel of a resized side, the two it lies between and its place there."""
    places = np.arange(after, dtype=np.float32) * (np.float32(before) / np.float32(after))
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, before - 1), places - first.astype(np.float32)


def _mix_columns(rows, left, right, across):
    """Returns float32 [rows, columns] that lie between columns of uint8 rows."""
    first = rows.take(left, 1)
    mixed = np.subtract(rows.take(right, 1), first, dtype=np.float32)
    mixed *= across
    mixed += first
    return mixed


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
