"""A model's network, what an image becomes before it, and how both are kept on disk."""

import contextlib
import functools
import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.core.files import whole_file
from lowlight.detector.postprocess import BoxDecoder, Suppression, suppress

# The tensors of a network's graph.
IMAGES = "images:0"  # float32 [B, height, width, 3], B any number
ENCODINGS = "encodings:0"  # float32 [B, N, 4], the decoder's
SCORES = "scores:0"  # float32 [B, N, C]

EXTRA = "assets.extra"  # a folder that TensorFlow leaves to others in a SavedModel
_KEPT = f"{EXTRA}/network.npz"
_FORM = 3  # of that file; with another number it is made again

# What zipfile and NumPy raise on a damaged file.
_DAMAGED = OSError, ValueError, LookupError, TypeError, EOFError, RuntimeError
_DAMAGED += struct.error, zlib.error, zipfile.BadZipFile

_BAND = 32  # rows that are resized at a time


class Preprocess(NamedTuple):
    """What a model does to an image before its network.

    TFOD's resizers squeeze the image to the input's shape, or keep the aspect ratio: the image
    becomes as large as fits into the input, its sides rounded to even at .5, and stands in the
    upper left corner. Bilinear is TensorFlow 1's form: no half-pixel shift and no smoothing, so
    that of a large image most pixels have no say. A JPEG decoded at a smaller scale, whose pixels
    are means of many, is another image to the network; that is why images are decoded whole.
    """

    height: int  # of the network's input, in pixels
    width: int
    shortest: int | None  # most pixels of an image's shorter side; None squeezes the image
    scale: tuple  # of the colours: value * scale + offset, one for each channel
    offset: tuple
    padding: tuple  # what the rest of the input holds

    def resized_size(self, width: int, height: int) -> tuple:
        """Returns (width, height) of an image of this size in the input.

        Raises:
            ValueError: a side would have no pixel.
        """
        if self.shortest is None:
            return self.width, self.height
        most = (self.width, self.shortest) if height < width else (self.shortest, self.height)
        sides = np.float32([width, height])
        factor = (np.float32(most) / sides).min()
        size = tuple(int(side) for side in np.round(factor * sides))
        if 0 in size:
            raise ValueError(f"{width}x{height} pixels can't be resized for the model")
        return size

    def apply(self, image: np.ndarray) -> tuple:
        """Returns the input, float32 [height, width, 3], and the image's (width, height) in it.

        Takes RGB, uint8 [H, W, 3]; raises as `resized_size`.
        """
        width, height = self.resized_size(image.shape[1], image.shape[0])
        canvas = np.empty((self.height, self.width, 3), np.float32)
        canvas[height:] = canvas[:height, width:] = self.padding
        scale, offset = (np.tile(np.float32(part), width) for part in (self.scale, self.offset))
        for start, rows in resize_bilinear(image, width, height):
            np.multiply(rows, scale, out=rows)
            np.add(rows, offset, out=rows)
            canvas[start : start + len(rows), :width] = rows.reshape(-1, width, 3)
        return canvas, (width, height)


def resize_bilinear(image: np.ndarray, width: int, height: int) -> Iterator[tuple]:
    """Resizes uint8 [H, W, 3] as `tf.compat.v1.image.resize_bilinear` does, to the last bit.

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


class Network(NamedTuple):
    """A network of one input shape, and the steps around it."""

    graph: bytes  # a frozen GraphDef, or an exported ONNX file
    preprocess: Preprocess
    suppression: Suppression
    decoder: BoxDecoder | None  # None for an exported ONNX file, which gives boxes by itself

    def in_form(
        self, form: str, make: Callable[[], dict[str, bytes]], folder: Path | None
    ) -> dict[str, bytes]:
        """Returns the network in another form, as "onnx", whose files, {name: bytes}, `make` makes.

        The folder, if it can be written, keeps them in a zip archive, which has a checksum of each:
        damaged ones are made again.
        """
        if folder is None:
            return make()
        path = folder / f"network-{hashlib.sha256(self.graph).hexdigest()[:12]}.{form}.zip"
        try:
            with zipfile.ZipFile(path) as kept:
                return {name: kept.read(name) for name in kept.namelist()}
        except _DAMAGED:
            files = make()
        with (
            contextlib.suppress(OSError),
            whole_file(path) as partial,
            zipfile.ZipFile(partial, "w") as archive,
        ):
            for name, data in files.items():
                archive.writestr(name, data)
        return files

    def prepare(self, image: np.ndarray) -> tuple:
        """Returns an image's input and its size there, as `Preprocess.apply`."""
        return self.preprocess.apply(image)

    def choose(self, raw: np.ndarray, scores: np.ndarray, size: tuple, wanted: float = 0) -> tuple:
        """Returns the detections as `suppress` does.

        Args:
            raw: what the graph gives for one image, encodings [N, 4], or boxes.
            scores: likewise, [N, C].
            size: (width, height) of the image in the input, from `prepare`.
            wanted: leave out detections with a lower score.
        """
        boxes = functools.partial(self.decoder.decode, raw) if self.decoder else raw.__getitem__
        sides = np.float32([self.preprocess.height, self.preprocess.width])
        return suppress(boxes, scores, size[::-1] / sides, self.suppression, wanted)


def cached_network(saved_model: Path | str) -> Network | None:
    """Returns the Network that was kept in a SavedModel's folder, or None; loads no TensorFlow."""
    try:
        with np.load(Path(saved_model) / _KEPT) as kept:
            facts = json.loads(kept["facts"].tobytes())
            if facts["key"] != _key(saved_model):
                return None
            return Network(
                kept["graph"].tobytes(),
                Preprocess(**facts["preprocess"]),
                Suppression(**facts["suppression"]),
                BoxDecoder(kept["anchors"], tuple(facts["box_scale"])),
            )
    except _DAMAGED:
        return None


def keep_network(network: Network, saved_model: Path | str) -> None:
    """Keeps a Network in a SavedModel's folder for the next start, where that can be written."""
    facts = {
        "preprocess": network.preprocess._asdict(),
        "suppression": network.suppression._asdict(),
        "box_scale": network.decoder.scale,
        "key": _key(saved_model),
    }
    arrays = {
        "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8),
        "graph": np.frombuffer(network.graph, np.uint8),
        "anchors": network.decoder.anchors,
    }
    path = Path(saved_model) / _KEPT
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as partial, open(partial, "wb") as file:
            np.savez(file, **arrays)


def _key(saved_model):
    """Returns what tells a SavedModel from others: its graph, and its variables' checksums."""
    digest = hashlib.sha256(str(_FORM).encode())
    for name in ("saved_model.pb", "variables/variables.index"):
        path = Path(saved_model) / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()
