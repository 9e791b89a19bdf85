import numpy as np

from lowlight.detector.detections import Detections


def test_detections_become_a_frame_and_what_supervision_takes():
    found = Detections(
        np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32), np.array([2, 9]), np.array([0.5, 0.25])
    )
    frame = found.to_frame({2: "Boat"})
    assert frame.columns.tolist() == ["class", "class_id", "score", "xmin", "ymin", "xmax", "ymax"]
    assert frame.iloc[0].tolist() == ["Boat", 2, 0.5, 1, 2, 3, 4]
    assert frame["class"][1] == "class 9"
    arrays = found.to_supervision()
    assert sorted(arrays) == ["class_id", "confidence", "xyxy"]
    assert arrays["xyxy"] is found.boxes


def test_a_mask_or_places_choose_some():
    found = Detections(np.eye(2, 4), np.array([1, 2]), np.array([0.5, 0.25]))
    assert found.over(0.5).classes.tolist() == [1]
    assert found.where([1, 0]).scores.tolist() == [0.25, 0.5]
    assert found.where(np.zeros(2, bool)).boxes.shape == (0, 4)
