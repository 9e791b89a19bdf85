"""The pHash of an image, which is nearly the same for copies of one photograph."""

import re

import numpy as np

from lowlight.images.reading import grey_thumbnail

LEAST_CONTRAST = 1.0  # standard deviation of a thumbnail's grey levels, of 255
_SIDE = 32  # of the thumbnail that is hashed, pixels
_WAVES = 16  # a side of the block of lowest frequencies that become bits
_FLAT = "flat"
_HASH = re.compile(rf"{_FLAT}|[0-9a-f]{{64}}")
# Rows are cosines of growing frequency. In integers, so that a hash is the same on every machine.
_COSINES = np.cos(np.pi * np.outer(np.arange(_WAVES), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))
_DCT = np.rint(1024 * _COSINES).astype(np.int64)  # [16, 32]


def hash_image(data, place):
    """Returns an image's pHash as text: 64 hexadecimal digits, or "flat" where it has none.

    Args:
        data: the file's bytes; place: how a message names it.

    Raises:
        DataError: not an image, or a damaged one.
    """
    found = hash_thumbnail(grey_thumbnail(data, place, _SIDE))
    return _FLAT if found is None else found.tobytes().hex()


def is_hash(text):
    """Says whether a text is one that `hash_image` gives."""
    return _HASH.fullmatch(text) is not None


def parse_hash(text):
    """Returns the uint64 [4] of what `hash_image` gave, None of "flat"."""
    return None if text == _FLAT else np.frombuffer(bytes.fromhex(text), np.uint64)


def hash_thumbnail(grey):
    """Returns the 255 bits of a thumbnail's pHash, or None where it is too flat to have one.

    Args:
        grey: uint8 [32, 32], grey levels.

    Returns:
        uint64 [4]: for each of the lowest 16 x 16 frequencies but the mean, whether its amplitude
        is over the median of them.
    """
    if grey.std() < LEAST_CONTRAST:
        return None
    waves = (_DCT @ grey.astype(np.int64) @ _DCT.T).ravel()[1:]
    return np.packbits(np.append(waves > np.median(waves), False)).view(np.uint64)
