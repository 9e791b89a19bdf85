"""Box arithmetic: one function a conversion, with both conventions in its name.

ltwh: left, top, width, height. xyxy: xmin, ymin, xmax, ymax, the last two exclusive, so that a
width is xmax - xmin. yxyx: the same four in TFOD's order. cxcywh: the centre, width and height.
pixel: in pixels of the stored image; unit: as fractions of the image's width and height. An Edges
is one box; other boxes are [N, 4].
"""

import math
from collections.abc import Sequence

import numpy as np

Edges = tuple[float, float, float, float]


def pixel_ltwh_to_pixel_xyxy(box: Edges) -> Edges:
    """Returns a box by its corners."""
    left, top, width, height = box
    return left, top, left + width, top + height


def pixel_xyxy_to_pixel_ltwh(box: Edges) -> Edges:
    """Returns a box by its first corner and its sides."""
    xmin, ymin, xmax, ymax = box
    return xmin, ymin, xmax - xmin, ymax - ymin


def clip_pixel_xyxy(box: Edges, width: int, height: int) -> Edges:
    """Returns the part of the box that lies in an image of this size.

    The result has no area (xmax <= xmin or ymax <= ymin) where the box lies wholly outside.
    """
    xmin, ymin, xmax, ymax = box
    return max(xmin, 0), max(ymin, 0), min(xmax, width), min(ymax, height)


def clip_corners(boxes: np.ndarray, extent: Sequence) -> np.ndarray:
    """Returns the parts of boxes, [N, 4], that lie between 0 and the extent, in the boxes' unit.

    The extent is (width, height) where boxes are xyxy, and (height, width) where they are yxyx.
    """
    return np.clip(boxes, 0, np.tile(extent, 2).astype(boxes.dtype))


def clip_unit_yxyx_near_edges(
    boxes: np.ndarray, width: int, height: int, most: float
) -> np.ndarray:
    """Returns boxes, [N, 4], whose edges are clipped where they lie up to `most` pixels outside.

    An edge that lies farther outside stays, for its box is no rounding's fault.
    """
    outside = np.maximum(-boxes, boxes - 1) * np.float32([height, width, height, width])
    return np.where(outside <= most, boxes.clip(0, 1), boxes)


def round_pixel_xyxy(box: Edges) -> tuple[int, int, int, int]:
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


def unit_cxcywh_to_unit_xyxy(box: Edges) -> Edges:
    """Returns a box of YOLO's form by its corners."""
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def unit_xyxy_to_pixel_xyxy(box: Edges, width: int, height: int) -> Edges:
    """Returns the box in pixels of an image of this size, each edge to a hundredth of a pixel.

    Six decimals of a fraction hold no more of it, so an edge that was whole is whole again.
    """
    xmin, ymin, xmax, ymax = box
    return tuple(
        round(edge, 2) for edge in (xmin * width, ymin * height, xmax * width, ymax * height)
    )


def pixel_xyxy_to_unit_cxcywh(box: Edges, width: int, height: int) -> Edges:
    """Returns the box in YOLO's form, floats in [0, 1] for a box inside the image."""
    xmin, ymin, xmax, ymax = box
    return (
        (xmin + xmax) / 2 / width,
        (ymin + ymax) / 2 / height,
        (xmax - xmin) / width,
        (ymax - ymin) / height,
    )


def voc_xyxy_to_pixel_xyxy(box: Edges) -> Edges:
    """Returns a box of Pascal VOC's, whose pixels count from 1 and whose last is in the box."""
    xmin, ymin, xmax, ymax = box
    return xmin - 1, ymin - 1, xmax, ymax


def pixel_xyxy_to_voc_xyxy(box: Edges) -> Edges:
    """Returns a box as Pascal VOC has it, by its first and last pixel, counted from 1."""
    xmin, ymin, xmax, ymax = box
    return xmin + 1, ymin + 1, xmax, ymax


def pixel_xyxy_to_unit_yxyx(box: Edges, width: int, height: int) -> Edges:
    """Returns (ymin, xmin, ymax, xmax), floats in [0, 1] for a box inside the image."""
    xmin, ymin, xmax, ymax = box
    return ymin / height, xmin / width, ymax / height, xmax / width


def unit_yxyx_to_pixel_xyxy(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns float32 boxes in pixels, [N, 4], from TFOD's boxes, [N, 4] floats in [0, 1]."""
    return xyxy_to_yxyx(boxes) * np.array([width, height, width, height], np.float32)


def unit_yxyx_to_whole_ltwh(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns float64 boxes, [N, 4], ltwh in pixels, from TFOD's boxes, [N, 4] in [0, 1].

    An edge within 1/100 of a whole pixel is that pixel: a record's fractions are float32.
    """
    edges = np.asarray(boxes, float).reshape(-1, 4) * [height, width, height, width]
    whole = np.round(edges)
    edges = np.where(np.abs(edges - whole) < 0.01, whole, edges)
    return xyxy_to_ltwh(xyxy_to_yxyx(edges))


def xyxy_to_yxyx(boxes: np.ndarray) -> np.ndarray:
    """Returns boxes, [N, 4], with each axis pair swapped: xyxy to yxyx, and yxyx to xyxy."""
    return np.asarray(boxes).reshape(-1, 4)[:, [1, 0, 3, 2]]


def ltwh_to_xyxy(boxes: np.ndarray) -> np.ndarray:
    """Returns boxes, [N, 4], by their corners."""
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def xyxy_to_ltwh(boxes: np.ndarray) -> np.ndarray:
    """Returns boxes, [N, 4], by their first corner and their sides."""
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def mirror_xyxy(boxes: np.ndarray, width: float) -> np.ndarray:
    """Returns boxes, [N, 4], as they lie in the mirrored image of this width."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the intersection over union of corners [N, 4] with others [M, 4], float32 [N, M].

    It is zero where a box has no area.
    """
    low = np.maximum(boxes[:, np.newaxis, :2], others[:, :2])
    high = np.minimum(boxes[:, np.newaxis, 2:], others[:, 2:])
    both = np.maximum(high - low, 0).prod(2)
    areas, other_areas = (np.prod(b[:, 2:] - b[:, :2], 1) for b in (boxes, others))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = both / (areas[:, np.newaxis] + other_areas - both)
    return np.where((areas[:, np.newaxis] > 0) & (other_areas > 0), found, 0)


def ltwh_iou_with_crowds(first: np.ndarray, second: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Returns the IoU of boxes with boxes, as pycocotools' bbIou computes it.

    Args:
        first: ltwh of detections, [..., 4].
        second: ltwh of ground truth, [..., 4]; the dots of both broadcast.
        crowd: bool [...]; with a crowd, it is the share of the detection that lies in it.
    """
    corners = first[..., :2], second[..., :2]
    sides = np.minimum(corners[0] + first[..., 2:], corners[1] + second[..., 2:])
    sides = np.maximum(sides - np.maximum(*corners), 0)
    inside, area = sides[..., 0] * sides[..., 1], first[..., 2] * first[..., 3]
    union = np.where(crowd, area, area + second[..., 2] * second[..., 3] - inside)
    return np.divide(inside, union, out=np.zeros_like(inside), where=inside > 0)
