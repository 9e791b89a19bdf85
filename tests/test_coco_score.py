"""TFOD's evaluator as we feed it gives pycocotools' numbers."""

import contextlib
import io

import numpy as np
import pytest

from lowlight.metrics import COCO_METRICS

pytestmark = pytest.mark.slow

NAMES = {1: "Cat", 2: "Dog", 3: "Table"}
NOTHING = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
MAP, SMALL = "DetectionBoxes_Precision/mAP", "DetectionBoxes_Precision/mAP (small)"


def score(images):
    """Returns the metrics of [(truth boxes, truth classes, (boxes, classes, scores))], yxyx."""
    from lowlight.tfod import CocoScore

    coco = CocoScore(NAMES)
    for number, (boxes, classes, detections) in enumerate(images):
        coco.add(str(number), boxes, classes, detections)
    return coco.metrics()


def score_by_pycocotools(images):
    """The same twelve numbers from pycocotools alone."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def entries(boxes, classes, image_id):
        for (ymin, xmin, ymax, xmax), number in zip(boxes.tolist(), classes.tolist(), strict=True):
            width, height = xmax - xmin, ymax - ymin
            yield {
                "image_id": image_id,
                "category_id": number,
                "bbox": [xmin, ymin, width, height],
                "area": width * height,
                "iscrowd": 0,
            }

    truth, found = COCO(), []
    truth.dataset = {
        "images": [{"id": number} for number in range(len(images))],
        "categories": [{"id": number, "name": name} for number, name in NAMES.items()],
        "annotations": [],
    }
    for image_id, (boxes, classes, (found_boxes, found_classes, scores)) in enumerate(images):
        truth.dataset["annotations"] += entries(boxes, classes, image_id)
        for entry, value in zip(
            entries(found_boxes, found_classes, image_id), scores.tolist(), strict=True
        ):
            found.append({**entry, "score": value})
    for number, entry in enumerate(truth.dataset["annotations"], 1):
        entry["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def random_images(rng, count):
    """Images whose detections are their boxes moved about, some missed, some of another class."""
    images = []
    for _ in range(count):
        corner, size = rng.uniform(0, 300, (9, 2)), rng.uniform(4, 200, (9, 2))
        boxes = np.hstack([corner, corner + size]).astype(np.float32)
        classes = rng.integers(1, 4, 9)
        moved = boxes + rng.normal(0, 6, boxes.shape).astype(np.float32)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        found_classes = np.where(rng.random(9) < 0.8, classes, rng.integers(1, 4, 9))
        kept = rng.random(9) < 0.85
        scores = rng.random(9).astype(np.float32)
        images.append((boxes, classes, (moved[kept], found_classes[kept], scores[kept])))
    return images


def test_the_twelve_numbers_are_pycocotools():
    images = random_images(np.random.default_rng(0), 20)
    metrics = score(images)
    assert list(metrics) == list(COCO_METRICS)
    np.testing.assert_allclose(list(metrics.values()), score_by_pycocotools(images), atol=1e-9)
    assert 0.05 < metrics[MAP] < 0.95


def test_a_perfect_detector_scores_one_and_sizes_that_do_not_occur_minus_one():
    box, cat = np.float32([[0, 0, 50, 50]]), np.int64([1])
    metrics = score([(box, cat, (box, cat, np.float32([0.9])))])
    assert metrics[MAP] == pytest.approx(1.0)
    assert metrics[SMALL] == -1


def test_a_detector_that_finds_nothing_scores_zero():
    metrics = score([(np.float32([[0, 0, 50, 50]]), np.int64([1]), NOTHING)])
    assert metrics[MAP] == 0


def test_images_without_boxes_count_against_what_is_found_on_them():
    box, cat = np.float32([[0, 0, 50, 50]]), np.int64([1])
    found = box, cat, np.float32([0.5])
    on_an_empty_image = NOTHING[0], NOTHING[1], (box, cat, np.float32([0.9]))
    assert score([(box, cat, found), on_an_empty_image])[MAP] == pytest.approx(0.5)
