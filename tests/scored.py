"""Ground truth and detections for the tests of scoring: random ones, and pycocotools' verdict."""

import contextlib
import io

import numpy as np

from lowlight.results import make_found
from lowlight.truth import make_truth


def random_case(seed, images=12, classes=4, most_boxes=8, most_found=5, ties=False, crowds=0.0):
    """Returns (Truth, Found): boxes, and detections that are these moved, misnamed or repeated.

    Of the last of several classes there is no box. Ids of images and classes have gaps.
    """
    rng = np.random.default_rng(seed)
    boxes, found = [], []
    for image in range(images):
        for _ in range(rng.integers(0, most_boxes + 1)):
            box = np.round(np.concatenate([rng.uniform(0, 300, 2), np.exp(rng.uniform(2, 5.5, 2))]))
            label = int(rng.integers(0, max(classes - 1, 1)))
            crowd = bool(rng.random() < crowds)
            boxes.append((3 * image + 1, 2 * label + 1, tuple(box), None, crowd))
            for _ in range(rng.integers(0, most_found + 1)):
                moved = box + rng.normal(0, 0.1, 4) * rng.choice([0, 1, 3]) * np.tile(box[2:], 2)
                moved[2:] = np.maximum(moved[2:], 1)
                kind = label if rng.random() < 0.8 else int(rng.integers(classes))
                score = float(rng.random())
                found.append((image, kind, moved.tolist(), round(score, 1) if ties else score))
    rng.shuffle(found)
    names = {2 * label + 1: f"class {label}" for label in range(classes)}
    sizes = [(3 * image + 1, f"{image}.jpg", 640, 480) for image in range(images)]
    return make_truth(names, sizes, boxes), make_found(
        *(zip(*found, strict=True) if found else ([], [], [], []))
    )


def small_case(boxes, found, images=1, classes=("Cat", "Dog", "Table")):
    """Returns (Truth, Found) from rows.

    Args:
        boxes: [(image from 0, class from 0, left, top, width, height)].
        found: the same with a score at the end.
        images: how many, each of 400x300 pixels.
        classes: their names; ids count from 1.
    """
    sizes = [(number + 1, f"{number}.jpg", 400, 300) for number in range(images)]
    rows = [(b[0] + 1, b[1] + 1, tuple(b[2:6]), None, False) for b in boxes]
    truth = make_truth(dict(enumerate(classes, 1)), sizes, rows)
    parts = ([row[0] for row in found], [row[1] for row in found])
    return truth, make_found(*parts, [row[2:6] for row in found], [row[6] for row in found])


def coco_dataset(truth):
    """Returns the ground truth as pycocotools wants it."""
    return {
        "images": [{"id": int(number)} for number in truth.image_ids],
        "categories": [
            {"id": number, "name": name}
            for number, name in zip(truth.class_ids, truth.names, strict=True)
        ],
        "annotations": [
            {
                "id": box + 1,
                "image_id": int(truth.image_ids[truth.images[box]]),
                "category_id": int(truth.class_ids[truth.labels[box]]),
                "bbox": truth.ltwh[box].tolist(),
                "area": float(truth.areas[box]),
                "iscrowd": int(truth.crowd[box]),
            }
            for box in range(len(truth.images))
        ],
    }


def score_by_pycocotools(truth, found):
    """Returns the twelve numbers; pycocotools can't read an empty list of results."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = coco_dataset(truth)
    results = [
        {
            "image_id": int(truth.image_ids[image]),
            "category_id": int(truth.class_ids[label]),
            "bbox": box,
            "score": score,
        }
        for image, label, box, score in zip(*map(np.ndarray.tolist, found), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results) if results else COCO(), "bbox")
        evaluation.params.imgIds = sorted(coco.getImgIds())
        evaluation.params.catIds = sorted(coco.getCatIds())
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats
