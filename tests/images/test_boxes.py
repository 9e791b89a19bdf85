import numpy as np
import pytest

from lowlight.images.boxes import (
    clip_corners,
    clip_pixel_xyxy,
    clip_unit_yxyx_near_edges,
    iou,
    ltwh_iou_with_crowds,
    ltwh_to_xyxy,
    mirror_xyxy,
    pixel_ltwh_to_pixel_xyxy,
    pixel_xyxy_to_pixel_ltwh,
    pixel_xyxy_to_unit_yxyx,
    round_pixel_xyxy,
    unit_yxyx_to_pixel_xyxy,
    unit_yxyx_to_whole_ltwh,
    xyxy_to_ltwh,
    xyxy_to_yxyx,
)


def test_right_and_bottom_edges_are_exclusive():
    assert pixel_ltwh_to_pixel_xyxy((4, 5, 20, 15)) == (4, 5, 24, 20)
    assert pixel_xyxy_to_pixel_ltwh((4, 5, 24, 20)) == (4, 5, 20, 15)
    ltwh = np.array([(4, 5, 20, 15), (0, 0, 1, 2)])
    np.testing.assert_array_equal(ltwh_to_xyxy(ltwh), [(4, 5, 24, 20), (0, 0, 1, 2)])
    np.testing.assert_array_equal(xyxy_to_ltwh(ltwh_to_xyxy(ltwh)), ltwh)


def test_a_mirrored_box_lies_as_far_from_the_other_edge():
    np.testing.assert_array_equal(mirror_xyxy(np.array([(4, 5, 24, 20)]), 40), [(16, 5, 36, 20)])


def test_overlaps_of_corners_and_a_box_without_area():
    boxes = np.float32([(0, 0, 2, 2), (5, 5, 5, 9)])
    np.testing.assert_allclose(iou(boxes, np.float32([(1, 0, 3, 2)])), [[1 / 3], [0]], rtol=1e-6)


def test_a_crowd_holds_the_share_of_the_detection_inside():
    first, second = np.array([(0, 0, 2, 2.0)] * 2), np.array([(1, 0, 10, 10.0)] * 2)
    found = ltwh_iou_with_crowds(first, second, np.array([False, True]))
    np.testing.assert_allclose(found, [2 / 102, 0.5])


def test_an_edge_that_float32_moved_off_its_pixel_is_put_back():
    fractions = np.float32([(1 / 3, 1 / 7, 2 / 3, 5 / 7)])
    np.testing.assert_array_equal(unit_yxyx_to_whole_ltwh(fractions, 7, 3), [(1, 1, 4, 1)])
    np.testing.assert_allclose(
        unit_yxyx_to_whole_ltwh([(0.25, 0.1, 0.5, 0.35)], 10, 10), [(1, 2.5, 2.5, 2.5)]
    )


CLIPPED = {
    "inside": ((4, 5, 24, 20), (4, 5, 24, 20)),
    "the whole image": ((0, 0, 40, 30), (0, 0, 40, 30)),
    "left": ((-2, 5, 24, 20), (0, 5, 24, 20)),
    "top": ((4, -1, 24, 20), (4, 0, 24, 20)),
    "right": ((4, 5, 41, 20), (4, 5, 40, 20)),
    "bottom": ((4, 5, 24, 45), (4, 5, 24, 30)),
}


@pytest.mark.parametrize(("box", "clipped"), CLIPPED.values(), ids=CLIPPED)
def test_a_box_is_clipped_to_the_image(box, clipped):
    assert clip_pixel_xyxy(box, 40, 30) == clipped


@pytest.mark.parametrize("box", [(-9, 5, 0, 20), (4, -9, 24, 0), (40, 5, 49, 20), (4, 30, 24, 39)])
def test_a_box_that_only_touches_the_image_has_no_area_in_it(box):
    xmin, ymin, xmax, ymax = clip_pixel_xyxy(box, 40, 30)
    assert (xmax - xmin) * (ymax - ymin) == 0


def test_corners_are_clipped_to_an_extent_in_their_own_order_of_axes():
    boxes = np.float32([(-2, 5, 41, 20), (4, -1, 24, 45)])
    clipped = clip_corners(boxes, (40, 30))
    np.testing.assert_array_equal(clipped, [(0, 5, 40, 20), (4, 0, 24, 30)])
    assert clipped.dtype == np.float32
    np.testing.assert_array_equal(
        xyxy_to_yxyx(clipped), clip_corners(xyxy_to_yxyx(boxes), (30, 40))
    )


def test_an_edge_is_clipped_where_it_is_hardly_outside():
    boxes = np.float32([(-0.01, -0.02, 1.01, 1.02)])
    clipped = clip_unit_yxyx_near_edges(boxes, 100, 100, 1.01)
    np.testing.assert_array_equal(clipped, np.float32([(0, -0.02, 1, 1.02)]))


ROUNDED = {
    "whole": ((4, 5, 24, 20), (4, 5, 24, 20)),
    "to the nearest": ((3.6, 5.4, 24.4, 19.6), (4, 5, 24, 20)),
    "halves up": ((0.5, 1.5, 2.5, 3.5), (1, 2, 3, 4)),
    "a float's error": ((4.0000001, 5, 23.9999999, 20), (4, 5, 24, 20)),
    "no pixel left": ((4.6, 5.1, 5.4, 5.3), (4, 5, 6, 6)),
    "in the last pixel": ((39.7, 29.9, 40, 30), (39, 29, 40, 30)),
}


@pytest.mark.parametrize(("box", "rounded"), ROUNDED.values(), ids=ROUNDED)
def test_edges_go_to_the_nearest_whole_pixel_and_leave_one_at_least(box, rounded):
    assert round_pixel_xyxy(box) == rounded


def test_unit_boxes_are_fractions_in_tfods_order():
    assert pixel_xyxy_to_unit_yxyx((10, 3, 40, 15), 40, 30) == (0.1, 0.25, 0.5, 1.0)


def test_unit_boxes_become_pixels_in_float32_and_no_boxes_stay_none():
    boxes = unit_yxyx_to_pixel_xyxy([(0.1, 0.25, 0.5, 1.0), (0, 0, 1, 1)], 40, 30)
    np.testing.assert_allclose(boxes, [(10, 3, 40, 15), (0, 0, 40, 30)], rtol=1e-6)
    for none in (np.zeros((0, 4), np.float32), []):
        assert unit_yxyx_to_pixel_xyxy(none, 40, 30).shape == (0, 4)
    assert unit_yxyx_to_pixel_xyxy(np.zeros((2, 4), np.float32), 40, 30).dtype == np.float32


def test_swapping_the_axes_twice_changes_nothing():
    np.testing.assert_array_equal(xyxy_to_yxyx([(1, 2, 3, 4)]), [(2, 1, 4, 3)])
    np.testing.assert_array_equal(xyxy_to_yxyx(xyxy_to_yxyx([(1, 2, 3, 4)])), [(1, 2, 3, 4)])
