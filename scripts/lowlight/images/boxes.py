"""Box arithmetic: one function a conversion, with both conventions in its name.

ltwh: left, top, width, height. xyxy: xmin, ymin, xmax, ymax, the last two exclusive, so that a
width is xmax - xmin. yxyx: the same four in TFOD's order. pixel: in pixels of the stored image;
unit: as fractions of the image's width and height.
"""

import math

import numpy as np


def pixel_ltwh_to_pixel_xyxy(box):
    """Returns (xmin, ymin, xmax, ymax) of an ExDark box (left, top, width, height)."""
    left, top, width, height = box
    return left, top, left + width, top + height


def clip_pixel_xyxy(box, width, height):
    """Returns the part of the box that lies in an image of this size.

    The result has no area (xmax <= xmin or ymax <= ymin) where the box lies wholly outside.
    """
    xmin, ymin, xmax, ymax = box
    return max(xmin, 0), max(ymin, 0), min(xmax, width), min(ymax, height)


def round_pixel_xyxy(box):
    """Returns the box with each edge at the nearest whole pixel, halves rounded up.

    Where that leaves no pixel between two edges, it is those that the box touches.
    """
    xmin, ymin, xmax, ymax = box
    left, right = _round_edges(xmin, xmax)
    top, bottom = _round_edges(ymin, ymax)
    return left, top, right, bottom


def _round_edges(low, high):
    rounded = math.floor(low + 0.5), math.floor(high + 0.5)
    return rounded if rounded[0] < rounded[1] else (math.floor(low), math.ceil(high))


def pixel_xyxy_to_unit_yxyx(box, width, height):
    """Returns (ymin, xmin, ymax, xmax), floats in [0, 1] for a box inside the image.

    Args:
        box: (xmin, ymin, xmax, ymax) in pixels.
        width, height: the image's size in pixels, > 0.
    """
    xmin, ymin, xmax, ymax = box
    return ymin / height, xmin / width, ymax / height, xmax / width


def unit_yxyx_to_pixel_xyxy(boxes, width, height):
    """Returns float32 boxes in pixels, [N, 4], from TFOD's boxes, [N, 4] floats in [0, 1]."""
    return xyxy_to_yxyx(boxes) * np.array([width, height, width, height], np.float32)


def xyxy_to_yxyx(boxes):
    """Returns boxes, [N, 4], with each axis pair swapped: xyxy to yxyx, and yxyx to xyxy."""
    return np.asarray(boxes).reshape(-1, 4)[:, [1, 0, 3, 2]]
