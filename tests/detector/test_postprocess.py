"""Detections are chosen among a network's boxes as TFOD chooses them."""

from importlib import import_module

import numpy as np
import pytest

from lowlight.detector.postprocess import Suppression, suppress

SETTINGS = Suppression(least_score=1e-8, most_iou=0.5, most_each=100, most=100)
LEFT, LEFT_MOVED, RIGHT = (0, 0, 0.4, 0.4), (0, 0.1, 0.4, 0.5), (0.5, 0.5, 0.9, 0.9)


def chosen(boxes, scores, window=(1, 1), settings=SETTINGS, wanted=0.0):
    found = suppress(
        np.array(boxes, np.float32).__getitem__,
        np.array(scores, np.float32),
        window,
        settings,
        wanted,
    )
    return [part.tolist() for part in found]


def test_of_two_boxes_of_a_class_that_overlap_much_the_better_remains():
    _, classes, scores = chosen([LEFT, LEFT_MOVED, RIGHT], [[0.5], [0.75], [0.25]])
    assert (classes, scores) == ([0, 0], [0.75, 0.25])


def test_boxes_of_two_classes_may_overlap():
    _, classes, scores = chosen([LEFT, LEFT_MOVED], [[0.5, 0], [0, 0.75]])
    assert (classes, scores) == ([1, 0], [0.75, 0.5])


def test_an_overlap_of_just_the_limit_is_allowed():
    boxes = [(0, 0, 0.5, 1), (0, 0, 1, 1)]  # IoU 0.5
    assert chosen(boxes, [[0.5], [0.25]])[2] == [0.5, 0.25]


def test_boxes_are_clipped_to_the_image_and_counted_in_its_fractions():
    boxes, _, _ = chosen([(-0.25, 0.25, 0.25, 0.75)], [[0.5]], window=(0.5, 1))
    assert boxes == [[0, 0.25, 0.5, 0.75]]


def test_a_box_outside_the_image_is_no_detection_but_hides_those_behind_it():
    boxes = [(0.6, 0, 0.9, 0.3), (0.45, 0, 0.9, 0.3)]
    assert chosen(boxes, [[0.5], [0.25]], window=(0.5, 1))[2] == []


def test_the_best_are_kept_where_there_are_more_than_may_be():
    boxes = [(0, x / 10, 0.05, x / 10 + 0.05) for x in range(6)]
    scores = [[x / 8 + 0.125, 0] for x in range(6)]
    assert chosen(boxes, scores, settings=SETTINGS._replace(most=2))[2] == [0.75, 0.625]
    assert chosen(boxes, scores, settings=SETTINGS._replace(most_each=1))[2] == [0.75]


def test_scores_have_to_be_over_the_models_and_may_be_at_the_wanted():
    scores = [[0.5], [0.25]]
    assert chosen([LEFT, RIGHT], scores, settings=SETTINGS._replace(least_score=0.25))[2] == [0.5]
    assert chosen([LEFT, RIGHT], scores, wanted=0.25)[2] == [0.5, 0.25]


SOFT = SETTINGS._replace(sigma=0.5)


def test_soft_nms_lowers_the_score_of_a_box_by_its_overlap_with_better_ones():
    boxes, scores = [(0, 0, 0.5, 1), (0, 0, 1, 1), RIGHT], [[0.5, 0], [0.25, 0], [0, 0.3]]
    _, classes, found = chosen(boxes, scores, settings=SOFT)  # IoU 0.5
    assert classes == [0, 1, 0]
    assert found == pytest.approx([0.5, 0.3, 0.25 * np.exp(-0.25)])


def test_a_score_that_soft_nms_lowered_has_to_be_over_the_limits_too():
    boxes, scores = [(0, 0, 0.5, 1), (0, 0, 1, 1)], [[0.5], [0.25]]
    for settings, wanted in ((SOFT, 0.2), (SOFT._replace(least_score=0.2), 0)):
        assert chosen(boxes, scores, settings=settings, wanted=wanted)[2] == [0.5]


def test_nothing_is_found_where_nothing_scores():
    assert chosen([LEFT], [[0.0]]) == [[], [], []]


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.0, 0.5, 0.05], ids="sigma {}".format)
@pytest.mark.parametrize(
    ("number", "spread"),
    [
        pytest.param(3000, 8, id="scores over three orders"),
        pytest.param(400, 1, id="fewer than may be"),
        pytest.param(3000, 0, id="all scores equal"),
    ],
)
def test_it_is_what_tfod_chooses(number, spread, sigma):
    from lowlight.tfod import model as tfod  # repairs TFOD, which then can be imported

    tf, post_processing = tfod.tf, import_module("object_detection.core.post_processing")
    rng = np.random.default_rng(number + spread)
    centre, side = rng.random((number, 2)), 0.02 + 0.3 * rng.random((number, 2))
    boxes = np.hstack([centre - side / 2, centre + side / 2]).astype(np.float32)
    scores = (rng.random((number, 3)) ** spread).astype(np.float32)
    expected, count = post_processing.multiclass_non_max_suppression(
        tf.constant(boxes[:, np.newaxis]),
        tf.constant(scores),
        score_thresh=1e-8,
        iou_thresh=0.5,
        max_size_per_class=100,
        max_total_size=100,
        clip_window=tf.constant([0, 0, 0.75, 1]),
        change_coordinate_frame=True,
        soft_nms_sigma=sigma,
    )
    settings = SETTINGS._replace(sigma=sigma)
    found = suppress(boxes.__getitem__, scores, (0.75, 1.0), settings)
    assert len(found[0]) == count
    # A score that was computed is the same but for rounding; others are the same.
    exact = 0 if sigma == 0 else 1e-6
    np.testing.assert_allclose(found[2], expected.get_field("scores"), rtol=exact, atol=exact)
    np.testing.assert_array_equal(found[1], expected.get_field("classes"))
    np.testing.assert_allclose(found[0], expected.get(), atol=1e-6)
