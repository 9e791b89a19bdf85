"""Turns a network's box encodings into boxes, those alone that are asked for."""

from typing import NamedTuple

import numpy as np


class BoxDecoder(NamedTuple):
    """TFOD's Faster R-CNN box coder (object_detection/box_coders/faster_rcnn_box_coder.py)."""

    anchors: np.ndarray  # float32 [N, 4]: centre y, centre x, height, width
    scale: tuple  # by which a network's four numbers are larger

    def decode(self, encodings, places):
        """Returns boxes, float32 [M, 4] yxyx.

        Args:
            encodings: float32 [N, 4], as the network gave them.
            places: int [M], of the boxes that are wanted.
        """
        anchors = self.anchors[places]
        offsets = encodings[places] / np.float32(self.scale)
        centres = anchors[:, :2] + offsets[:, :2] * anchors[:, 2:]
        halves = np.exp(offsets[:, 2:]) * anchors[:, 2:] / 2
        return np.hstack([centres - halves, centres + halves])


def probe_decoder(decode):
    """Returns the BoxDecoder that does as a model's own, None where it is of another kind.

    Args:
        decode: the model's, float32 [1, N, 4] -> float32 [1, N, 4] yxyx.
    """
    zeros, ones = (decode(value)[0] for value in (0.0, 1.0))
    sides = zeros[:, 2:] - zeros[:, :2]
    anchors = np.hstack([(zeros[:, :2] + zeros[:, 2:]) / 2, sides])
    moved = (ones[:, :2] + ones[:, 2:]) / 2 - anchors[:, :2]
    with np.errstate(all="ignore"):  # of anything but anchors
        scale = np.hstack([sides / moved, 1 / np.log((ones[:, 2:] - ones[:, :2]) / sides)])
        scale = np.median(scale, 0)
    if not np.isfinite(scale).all():
        return None
    return BoxDecoder(anchors, tuple(round(float(number), 3) for number in scale))
