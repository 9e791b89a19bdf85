"""Turns an image into a network's input as TFOD does, to the last bit."""

from typing import NamedTuple

import numpy as np

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
        """Returns the network's input.

        Args:
            image: RGB, uint8 [H, W, 3].

        Returns:
            (float32 [height, width, 3], (width, height) of the image in it).

        Raises:
            ValueError: the image's shape is too extreme for the resizer.
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
