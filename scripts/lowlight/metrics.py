"""The twelve COCO detection numbers: their names, a table of them, and where they are kept."""

import json
import math

from lowlight.files import write_text

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


def format_table(metrics):
    """Returns the twelve numbers as lines of text; "none" where no object has the size."""
    lines = []
    for name, meaning in COCO_METRICS.items():
        value = metrics[name]
        shown = "  none  " if value < 0 or math.isnan(value) else f"{value:8.6f}"
        lines.append(f"  {name:<39} {shown}  {meaning}")
    return "\n".join(lines)


def write_metrics(path, metrics, facts):
    """Writes metrics.json: the numbers under TFOD's names, then facts about the evaluation.

    Args:
        path: the file to write.
        metrics: {name: number}; -1 where no object has the size that the number is about.
        facts: {name: JSON value}, such as images, boxes, model and records.
    """
    write_text(path, json.dumps({**metrics, **facts}, indent=2) + "\n")
