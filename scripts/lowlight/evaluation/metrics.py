"""The twelve COCO detection numbers: counted from matches, and as a table."""

import math

import numpy as np

from lowlight.evaluation.average_precision import Tally, accumulate
from lowlight.evaluation.matching import AREAS, match, pair_boxes

# TFOD's names, in pycocotools' order, with what each one says.
COCO_METRICS = {
    "DetectionBoxes_Precision/mAP": "average precision, mean over IoU 0.50 to 0.95",
    "DetectionBoxes_Precision/mAP@.50IOU": "average precision at IoU 0.50",
    "DetectionBoxes_Precision/mAP@.75IOU": "average precision at IoU 0.75",
    "DetectionBoxes_Precision/mAP (small)": "objects under 32x32 pixels",
    "DetectionBoxes_Precision/mAP (medium)": "objects of 32x32 to 96x96 pixels",
    "DetectionBoxes_Precision/mAP (large)": "objects over 96x96 pixels",
    "DetectionBoxes_Recall/AR@1": "average recall, 1 detection an image",
    "DetectionBoxes_Recall/AR@10": "average recall, 10 detections an image",
    "DetectionBoxes_Recall/AR@100": "average recall, 100 detections an image",
    "DetectionBoxes_Recall/AR@100 (small)": "objects under 32x32 pixels",
    "DetectionBoxes_Recall/AR@100 (medium)": "objects of 32x32 to 96x96 pixels",
    "DetectionBoxes_Recall/AR@100 (large)": "objects over 96x96 pixels",
}


def match_areas(truth, ranked):
    """Returns the Matches of COCO's ranges of areas: all, small, medium and large."""
    low, high = np.array(list(AREAS.values())).T
    outside = [
        (areas[:, np.newaxis] < low) | (areas[:, np.newaxis] > high)
        for areas in (truth.areas, ranked.ltwh[:, 2] * ranked.ltwh[:, 3])
    ]
    pairs = pair_boxes(truth, ranked.images, ranked.ltwh, ranked.labels)
    return match(truth, ranked, pairs, *outside)


def tally_classes(truth, ranked, matches, area=0):
    """Returns the Tally of all classes, a group each, for one of the ranges of areas."""
    boxes = np.flatnonzero(matches.counted[:, area])
    return Tally(
        len(truth.names),
        ranked.labels,
        ranked.images,
        matches.correct[:, area],
        matches.ignored[:, area],
        truth.labels[boxes],
        truth.images[boxes],
    )


def count_metrics(truth, ranked, matches):
    """Returns COCO's twelve numbers, {TFOD's name: number}; -1 where nothing has the size.

    They are pycocotools' COCOeval.summarize's: means over IoUs and over the classes of which there
    are boxes.

    Args:
        truth: truth.Truth.
        ranked: matching.Ranked.
        matches: Matches of COCO's areas.
    """
    once = np.ones((len(truth.filenames), 1))
    scores = [accumulate(tally_classes(truth, ranked, matches, n), once) for n in range(len(AREAS))]
    precisions = [part.precision[..., 0] for part in scores]
    recalls = [_recall_within(truth, ranked, matches, most) for most in (1, 10)]
    recalls += [part.recall[..., 0] for part in scores]
    everything = precisions[0]
    numbers = [everything, everything[:, 0], everything[:, 5], *precisions[1:], *recalls]
    return dict(zip(COCO_METRICS, map(_mean, numbers), strict=True))


def _recall_within(truth, ranked, matches, most):
    """Returns the recall [classes, IoUs] of the best `most` detections of an image and class."""
    first = ranked.ranks < most
    counts = np.zeros((len(truth.names), matches.correct.shape[2]))
    np.add.at(counts, ranked.labels[first], matches.correct[first, 0])
    boxes = np.bincount(truth.labels[matches.counted[:, 0]], minlength=len(counts))
    return np.where(boxes[:, np.newaxis] > 0, counts / np.maximum(boxes, 1)[:, np.newaxis], np.nan)


def _mean(values):
    return float(np.nanmean(values)) if np.any(~np.isnan(values)) else -1.0


def format_table(metrics):
    """Returns the twelve numbers as lines of text; "none" where no object has the size."""
    lines = []
    for name, meaning in COCO_METRICS.items():
        value = metrics[name]
        shown = "  none  " if value < 0 or math.isnan(value) else f"{value:8.6f}"
        lines.append(f"  {name:<39} {shown}  {meaning}")
    return "\n".join(lines)
