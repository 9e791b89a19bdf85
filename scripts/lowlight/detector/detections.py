"""What a detector found in one image, and what several looks at it make together."""

import itertools
from typing import NamedTuple

import numpy as np

from lowlight.images.boxes import clip_corners, iou, mirror_xyxy, unit_yxyx_to_pixel_xyxy


class Detections(NamedTuple):
    """What was found in one image, best score first."""

    boxes: np.ndarray  # float32 [N, 4], pixel xyxy
    classes: np.ndarray  # int64 [N], ids from 1
    scores: np.ndarray  # float32 [N], 0 to 1

    @classmethod
    def from_unit_yxyx(cls, boxes, classes, scores, size: tuple) -> "Detections":
        """Takes boxes as fractions, float32 [N, 4], of an image of (width, height)."""
        return cls(unit_yxyx_to_pixel_xyxy(boxes, *size), classes, scores)

    def where(self, chosen: np.ndarray) -> "Detections":
        """Returns those that a mask, bool [N], or places choose."""
        return Detections(*(part[chosen] for part in self))

    def over(self, score: float) -> "Detections":
        """Returns those that have this score at least."""
        return self.where(self.scores >= score)

    def to_frame(self, names: dict | None = None):
        """Returns a pandas DataFrame, a row a detection.

        Its columns are class_id, score, xmin, ymin, xmax and ymax, and before them class where
        `names`, {class id: name}, is given.
        """
        import pandas as pd

        columns = {"class_id": self.classes, "score": self.scores}
        columns |= dict(zip(("xmin", "ymin", "xmax", "ymax"), self.boxes.T, strict=True))
        if names is not None:
            columns = {"class": [names.get(int(n), f"class {n}") for n in self.classes], **columns}
        return pd.DataFrame(columns)

    def to_json(self, names: dict) -> list[dict]:
        """Returns detections.json's form, a JSON object each; `names` are {class id: name}."""
        return [
            {
                "class": names.get(int(number), f"class {int(number)}"),
                "class_id": int(number),
                "score": round(float(score), 4),
                "box": [round(float(edge), 1) for edge in box],  # pixel xyxy
            }
            for box, number, score in zip(*self, strict=True)
        ]

    def to_supervision(self) -> dict:
        """Returns what supervision.Detections takes: xyxy, class_id and confidence."""
        return {"xyxy": self.boxes, "class_id": self.classes, "confidence": self.scores}


_GAMMA = 0.6  # of the brightened look
_SHARED = 0.2  # of a tile's side, with the next one
_EDGE = 2  # pixels: a box that ends this near to a tile's inner edge is cut by it
_FUSION_IOU = 0.55  # that of the paper


class View(NamedTuple):
    """A part of an image, as it is looked at."""

    pixels: np.ndarray  # uint8 [h, w, 3]
    left: int  # where it lies in the image, in pixels
    top: int
    mirrored: bool


def views_of(image, tta=False, tile=None):
    """Returns the Views of an image by region: the whole image first, then its tiles.

    Args:
        image: uint8 [H, W, 3].
        tta: look at each region as it is, mirrored, and brightened; otherwise as it is alone.
        tile: side of the square tiles in pixels, which share a fifth with the next one; None, or an
            image that fits into one, makes none.

    Returns:
        [[View of a region]].
    """
    height, width = image.shape[:2]
    corners = [(0, 0, width, height)]
    if tile is not None and max(width, height) > tile:
        starts = itertools.product(_starts(height, tile), _starts(width, tile))
        corners += [(x, y, min(x + tile, width), min(y + tile, height)) for y, x in starts]
    return [_looks(image[y:low, x:right], x, y, tta) for x, y, right, low in corners]


def _starts(length, tile):
    """Returns where tiles begin on a side: evenly, with as few as share enough."""
    if length <= tile:
        return [0]
    count = -(-(length - tile) // int(tile * (1 - _SHARED))) + 1
    return [round(n * (length - tile) / (count - 1)) for n in range(count)]


def _looks(pixels, left, top, tta):
    looks = [View(pixels, left, top, False)]
    if tta:
        curve = np.rint(255 * (np.arange(256) / 255) ** _GAMMA).astype(np.uint8)
        looks.append(View(np.ascontiguousarray(pixels[:, ::-1]), left, top, True))
        looks.append(View(curve[pixels], left, top, False))
    return looks


def without_pixels(regions: list) -> list:
    """Returns regions whose Views have their place and shape alone, so that no image is held."""
    return [
        [look._replace(pixels=np.broadcast_to(np.uint8(0), look.pixels.shape)) for look in looks]
        for looks in regions
    ]


def merge_views(regions, found, size, most_iou, most):
    """Returns the Detections of an image, best first.

    The looks at a region are fused (weighted boxes fusion, https://arxiv.org/abs/1910.13302): a
    box is the mean of those that agree, by score, and its score the mean over all looks. Of regions
    the better of two boxes remains, without those that a tile cuts.

    Args:
        regions: as of `views_of`.
        found: Detections of each View in its own pixels, region after region.
        size: (width, height) of the image.
        most_iou: of two boxes of a class from two regions that overlap more, the better remains.
        most: how many remain.
    """
    found = iter(found)
    parts = []
    for number, looks in enumerate(regions):
        height, width = looks[0].pixels.shape[:2]
        upright = [_upright(next(found), look, width) for look in looks]
        fused = _fuse(upright) if len(looks) > 1 else upright[0]
        if number:
            fused = fused.where(_is_whole(fused.boxes, looks[0], size))
        corner = np.float32([looks[0].left, looks[0].top] * 2)
        parts.append(fused._replace(boxes=fused.boxes + corner))
    merged = Detections(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    merged = merged._replace(boxes=clip_corners(merged.boxes, size))
    merged = merged.where(np.argsort(-merged.scores, kind="stable"))
    return merged.where(_best(merged, most_iou)[:most] if len(regions) > 1 else slice(most))


def _upright(found, look, width):
    """Returns the boxes as they lie in the unmirrored region."""
    return found._replace(boxes=mirror_xyxy(found.boxes, width)) if look.mirrored else found


def _is_whole(boxes, look, size):
    """Says of each box whether no inner edge of its tile cuts it."""
    height, width = look.pixels.shape[:2]
    is_inner = look.left > 0, look.top > 0, look.left + width < size[0], look.top + height < size[1]
    gaps = np.hstack([boxes[:, :2], np.float32([width, height]) - boxes[:, 2:]])
    return ~((gaps < _EDGE) & np.array(is_inner)).any(1)


def _fuse(looks):
    """Returns one Detections of several of the same region."""
    pool = Detections(*(np.concatenate(part) for part in zip(*looks, strict=True)))
    pool = pool.where(np.argsort(-pool.scores, kind="stable"))
    clusters, fused = [], np.zeros((0, 4), np.float32)
    for place, (box, number) in enumerate(zip(pool.boxes, pool.classes, strict=True)):
        overlaps = iou(box[np.newaxis], fused)[0]
        overlaps[[pool.classes[cluster[0]] != number for cluster in clusters]] = 0
        if clusters and overlaps.max() > _FUSION_IOU:
            nearest = int(overlaps.argmax())
            clusters[nearest].append(place)
            members = clusters[nearest]
            fused[nearest] = np.average(pool.boxes[members], 0, pool.scores[members])
        else:
            clusters.append([place])
            fused = np.vstack([fused, box])
    scores = [pool.scores[c].sum() / max(len(c), len(looks)) for c in clusters]
    classes = pool.classes[[cluster[0] for cluster in clusters]].astype(np.int64)
    return Detections(fused, classes, np.array(scores, np.float32))


def _best(found, most_iou):
    """Returns the places of the boxes that no better one of their class hides."""
    kept = []
    for place, (box, number) in enumerate(zip(found.boxes, found.classes, strict=True)):
        same = [other for other in kept if found.classes[other] == number]
        if not (iou(box[np.newaxis], found.boxes[same]) > most_iou).any():
            kept.append(place)
    return kept
