"""What a detector found in one image, and what several looks at it make together."""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lowlight.detector.postprocess import Suppression, best_first
from lowlight.images.boxes import clip_corners, iou, mirror_xyxy

if TYPE_CHECKING:
    import pandas as pd


class Detections(NamedTuple):
    """What was found in one image, best score first."""

    boxes: np.ndarray  # float32 [N, 4], pixel xyxy
    classes: np.ndarray  # int64 [N], ids from 1
    scores: np.ndarray  # float32 [N], 0 to 1

    def where(self, chosen: np.ndarray) -> "Detections":
        """Returns those that a mask, bool [N], or places choose."""
        return Detections(*(part[chosen] for part in self))

    def over(self, score: float) -> "Detections":
        """Returns those that have this score at least."""
        return self.where(self.scores >= score)

    def to_frame(self, names: dict | None = None) -> "pd.DataFrame":
        """Returns a pandas DataFrame, a row a detection.

        Its columns are class_id, score, xmin, ymin, xmax and ymax, and before them class where
        `names`, {class id: name}, is given.
        """
        import pandas as pd

        frame = pd.DataFrame(self.boxes, columns=["xmin", "ymin", "xmax", "ymax"])
        frame.insert(0, "class_id", self.classes)
        frame.insert(1, "score", self.scores)
        if names is not None:
            frame.insert(0, "class", [_name(number, names) for number in self.classes])
        return frame

    def to_json(self, names: dict) -> list[dict]:
        """Returns detections.json's form, a JSON object each; `names` are {class id: name}."""
        return [
            {
                "class": _name(number, names),
                "class_id": int(number),
                "score": round(float(score), 4),
                "box": [round(float(edge), 1) for edge in box],  # pixel xyxy
            }
            for box, number, score in zip(*self, strict=True)
        ]

    def to_supervision(self) -> dict:
        """Returns what supervision.Detections takes: xyxy, class_id and confidence."""
        return {"xyxy": self.boxes, "class_id": self.classes, "confidence": self.scores}


def _name(number, names):
    return names.get(int(number), f"class {number}")


_GAMMA = 0.6  # of the brightened look
_BRIGHTENED = np.rint(255 * (np.arange(256) / 255) ** _GAMMA).astype(np.uint8)
_SHARED = 0.2  # of a tile's side, with the next one
_EDGE = 2  # pixels: a box that ends this near to a tile's inner edge is cut by it
_FUSION_IOU = 0.55  # that of the paper


class View(NamedTuple):
    """A look at a part of an image, which is as large as the part."""

    left: int  # where the part lies in the image, in pixels
    top: int
    width: int
    height: int
    look: str  # plain, mirrored or bright

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """Returns what it shows of an image, uint8 [height, width, 3]."""
        part = image[self.top : self.top + self.height, self.left : self.left + self.width]
        if self.look == "mirrored":
            return np.ascontiguousarray(part[:, ::-1])
        return _BRIGHTENED[part] if self.look == "bright" else part


def views_of(width: int, height: int, tta: bool = False, tile: int | None = None) -> list:
    """Returns the Views of an image by region, [[View]]: the whole image first, then its tiles.

    Args:
        width, height: of the image.
        tta: look at each region as it is, mirrored, and brightened; otherwise as it is alone.
        tile: side of the square tiles in pixels, which share a fifth with the next one; None, or an
            image that fits into one, makes none.
    """
    regions = [(0, 0, width, height)]
    if tile is not None and max(width, height) > tile:
        corners = itertools.product(_starts(height, tile), _starts(width, tile))
        regions += [(left, top, min(tile, width), min(tile, height)) for top, left in corners]
    looks = ("plain", "mirrored", "bright") if tta else ("plain",)
    return [[View(*region, look) for look in looks] for region in regions]


def _starts(length, tile):
    """Returns where tiles begin on a side: evenly, with as few as share enough."""
    if length <= tile:
        return [0]
    count = -(-(length - tile) // int(tile * (1 - _SHARED))) + 1
    return [round(n * (length - tile) / (count - 1)) for n in range(count)]


def merge_views(
    regions: list, found: Iterable[Detections], size: tuple, most_iou: float, most: int
) -> Detections:
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
    found, parts = iter(found), []
    for looks in regions:
        place = looks[0]
        upright = [_upright(next(found), look) for look in looks]
        fused = _fuse(upright) if len(looks) > 1 else upright[0]
        fused = fused.where(_is_whole(fused.boxes, place, size))
        corner = np.float32([place.left, place.top] * 2)
        parts.append(fused._replace(boxes=fused.boxes + corner))
    merged = _pooled(parts)
    merged = merged._replace(boxes=clip_corners(merged.boxes, size))
    if len(regions) == 1:
        return merged.where(slice(most))
    ranked = best_first(*merged, Suppression(-1, most_iou, most, most))
    return merged.where([place for place, _ in itertools.islice(ranked, most)])


def _upright(found, look):
    """Returns the boxes as they lie in the unmirrored region."""
    is_mirrored = look.look == "mirrored"
    return found._replace(boxes=mirror_xyxy(found.boxes, look.width)) if is_mirrored else found


def _pooled(parts):
    """Returns the Detections of several, best first."""
    pool = Detections(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    return pool.where(np.argsort(-pool.scores, kind="stable"))


def _is_whole(boxes, part, size):
    """Says of each box whether no edge of its part that lies inside the image cuts it."""
    right, low = part.left + part.width, part.top + part.height
    is_inner = part.left > 0, part.top > 0, right < size[0], low < size[1]
    gaps = np.hstack([boxes[:, :2], np.float32([part.width, part.height]) - boxes[:, 2:]])
    return ~((gaps < _EDGE) & np.array(is_inner)).any(1)


def _fuse(looks):
    """Returns one Detections of several of the same region."""
    pool = _pooled(looks)
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
