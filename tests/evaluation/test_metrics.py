import pytest

from lowlight.evaluation.metrics import COCO_METRICS, format_table

METRICS = {name: number / 100 for number, name in enumerate(COCO_METRICS)}


def test_the_twelve_numbers_have_tfods_names_in_pycocotools_order():
    assert list(COCO_METRICS) == [
        "DetectionBoxes_Precision/mAP",
        "DetectionBoxes_Precision/mAP@.50IOU",
        "DetectionBoxes_Precision/mAP@.75IOU",
        "DetectionBoxes_Precision/mAP (small)",
        "DetectionBoxes_Precision/mAP (medium)",
        "DetectionBoxes_Precision/mAP (large)",
        "DetectionBoxes_Recall/AR@1",
        "DetectionBoxes_Recall/AR@10",
        "DetectionBoxes_Recall/AR@100",
        "DetectionBoxes_Recall/AR@100 (small)",
        "DetectionBoxes_Recall/AR@100 (medium)",
        "DetectionBoxes_Recall/AR@100 (large)",
    ]


def test_the_table_has_a_line_a_number():
    lines = format_table(METRICS).split("\n")
    assert len(lines) == 12
    assert lines[1] == (
        "  DetectionBoxes_Precision/mAP@.50IOU     0.010000  average precision at IoU 0.50"
    )
    assert [line[41:50].strip() for line in lines] == [f"{n / 100:.6f}" for n in range(12)]


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_size_that_no_object_has_is_none_and_no_number(value):
    metrics = {**METRICS, "DetectionBoxes_Precision/mAP (small)": value}
    line = format_table(metrics).split("\n")[3]
    assert line == (
        "  DetectionBoxes_Precision/mAP (small)      none    objects under 32x32 pixels"
    )
