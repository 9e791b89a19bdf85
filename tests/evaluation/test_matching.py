"""The twelve numbers are pycocotools' own, on random detections and on hard cases."""

import numpy as np
import pytest
from scored import random_case, score_by_pycocotools, small_case

from lowlight.evaluation.matching import match_areas, rank_detections
from lowlight.evaluation.metrics import count_metrics
from lowlight.evaluation.results import make_found
from lowlight.evaluation.truth import TrueBox, make_truth

BOX = (0, 0, 50, 50, 100, 100)


def count(truth, found):
    ranked = rank_detections(truth, found)
    return count_metrics(ranked, match_areas(ranked))


def many(count_, image=0):
    """Detections far from any box, with a right one as the worst."""
    far = [(image, 0, 200, 200, 20, 20, 0.9 - n / 1000) for n in range(count_)]
    return [*far, (image, *BOX[1:], 0.1)]


CASES = {
    "random": random_case(1, images=30),
    "many images": random_case(2, images=120, most_boxes=3),
    "ties in score": random_case(3, images=30, ties=True),
    "crowds": random_case(4, images=30, crowds=0.2),
    "crowds and ties": random_case(5, images=30, crowds=0.2, ties=True),
    "many detections of a box": random_case(6, images=4, most_found=60),
    "no detection": small_case([BOX], []),
    "no ground truth": small_case([], [(*BOX, 0.9)]),
    "no ground truth of the class found": small_case([BOX], [(0, 1, 50, 50, 100, 100, 0.9)]),
    "no box of a size": small_case([BOX], [(*BOX, 0.9)]),
    "100 detections and the right one": small_case([BOX], many(100)),
    "99 detections and the right one": small_case([BOX], many(99)),
    "at the border": small_case(
        [(0, 0, -3, -2, 40, 30), (0, 1, 380, 280, 20, 20)],
        [(0, 0, -5, 0, 40, 30, 0.8), (0, 1, 380, 280, 30, 30, 0.7)],
    ),
    "an area on the limit of two sizes": small_case(
        [(0, 0, 0, 0, 32, 32), (0, 0, 100, 100, 96, 96)],
        [(0, 0, 0, 0, 32, 32, 0.8), (0, 0, 100, 100, 96, 96, 0.7), (0, 0, 0, 0, 33, 32, 0.6)],
    ),
    "an IoU on a limit": small_case([(0, 0, 0, 0, 100, 100)], [(0, 0, 0, 0, 100, 50, 0.9)]),
    "two boxes overlapped alike": small_case(
        [(0, 0, 0, 0, 100, 100), (0, 0, 0, 0, 100, 100)],
        [(0, 0, 0, 0, 100, 90, 0.9), (0, 0, 0, 0, 100, 100, 0.8)],
    ),
    "a box without area": small_case([BOX], [(0, 0, 50, 50, 0, 100, 0.9), (*BOX, 0.5)]),
    "an area smaller than its box": (
        make_truth({1: "Cat"}, [(1, "a.jpg", 400, 300)], [TrueBox(1, 1, (0, 0, 60, 60), 900)]),
        make_found([0], [0], [(0, 0, 60, 60)], [0.9]),
    ),
}


@pytest.mark.parametrize(("truth", "found"), CASES.values(), ids=CASES)
def test_the_twelve_numbers_are_pycocotools(truth, found):
    theirs = score_by_pycocotools(truth, found)
    assert list(count(truth, found).values()) == pytest.approx(list(theirs), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["random", "ties in score", "no detection", "at the border"])
def test_the_twelve_numbers_are_those_of_tfods_own_evaluator(case):
    from object_detection.core.standard_fields import DetectionResultFields, InputDataFields
    from object_detection.metrics.coco_evaluation import CocoDetectionEvaluator

    from lowlight.images.boxes import xyxy_to_yxyx

    truth, found = CASES[case]
    categories = zip(truth.class_ids, truth.names, strict=True)
    coco = CocoDetectionEvaluator([{"id": number, "name": name} for number, name in categories])
    fields, class_ids = DetectionResultFields, np.array(truth.class_ids)
    for image in range(len(truth.filenames)):
        parts = []
        for part, kind in (
            (truth, InputDataFields.groundtruth_boxes),
            (found, fields.detection_boxes),
        ):
            rows = part.images == image
            corners = np.hstack([part.ltwh[:, :2], part.ltwh[:, :2] + part.ltwh[:, 2:]])[rows]
            boxes = {kind: xyxy_to_yxyx(corners)}
            parts.append(boxes | {kind.replace("boxes", "classes"): class_ids[part.labels[rows]]})
        parts[1][fields.detection_scores] = found.scores[found.images == image]
        coco.add_single_ground_truth_image_info(f"{image:03}", parts[0])
        coco.add_single_detected_image_info(f"{image:03}", parts[1])
    assert count(truth, found) == pytest.approx(coco.evaluate(), abs=1e-6)
