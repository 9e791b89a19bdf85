"""Turns a video's frames upright, as its display matrix says.

A phone that is held upright stores frames that lie on their side, and a matrix that says how to
show them: FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX, as in MP4's track header (ISO/IEC 14496-12, tkhd).
It is nine int32 in rows, a b u / c d v / x y w; a point (x, y) comes to (a x + c y, b x + d y).
"""

from typing import NamedTuple

import numpy as np


class Rotation(NamedTuple):
    """How a stored frame becomes an upright one: transposed first, then flipped."""

    transposes: bool = False  # rows become columns, about the diagonal from the top left
    flips_x: bool = False  # left becomes right
    flips_y: bool = False  # top becomes bottom


def rotation_of(matrix):
    """Returns the Rotation that is nearest to a display matrix.

    Args:
        matrix: 36 bytes, nine int32 of the machine's order; None turns nothing.
    """
    if matrix is None:
        return Rotation()
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Rotation(True, c < 0, b < 0)
    return Rotation(False, a < 0, d < 0)


def turn_upright(pixels, rotation):
    """Returns pixels, [H, W, 3], upright: a copy in the order of rows where anything is turned."""
    if rotation.transposes:
        pixels = pixels.swapaxes(0, 1)
    if rotation.flips_x:
        pixels = pixels[:, ::-1]
    if rotation.flips_y:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
