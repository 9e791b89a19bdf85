"""What several looks at an image find becomes one list, in pixels of the image."""

import numpy as np
import pytest

from lowlight.detector.detections import Detections, merge_views, views_of, without_pixels

NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))


def found(*rows):
    """Detections of rows (xmin, ymin, xmax, ymax, class, score)."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


def merged(regions, *looks, size, most_iou=0.5, most=100):
    boxes, classes, scores = merge_views(regions, looks, size, most_iou, most)
    return [
        (*box.tolist(), int(n), round(float(s), 4))
        for box, n, s in zip(boxes, classes, scores, strict=True)
    ]


def image(width, height):
    return np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)


def test_an_image_is_looked_at_once_by_default():
    ((look,),) = views_of(image(8, 4))
    assert look.pixels.shape == (4, 8, 3)
    assert (look.left, look.top, look.mirrored) == (0, 0, False)


def test_tiles_cover_the_image_and_share_a_fifth():
    whole, *tiles = views_of(image(250, 100), tile=100)
    assert whole[0].pixels.shape == (100, 250, 3)
    assert [(look.left, look.top) for (look,) in tiles] == [(0, 0), (75, 0), (150, 0)]
    assert {look.pixels.shape for (look,) in tiles} == {(100, 100, 3)}


def test_an_image_that_fits_into_a_tile_has_none():
    assert len(views_of(image(100, 60), tile=100)) == 1


def test_tta_mirrors_and_brightens():
    (looks,) = views_of(image(9, 5), tta=True)
    plain, mirrored, bright = looks
    assert (mirrored.pixels == plain.pixels[:, ::-1]).all()
    assert mirrored.mirrored
    assert (bright.pixels >= plain.pixels).all()
    assert bright.pixels.mean() > plain.pixels.mean()


def test_looks_that_agree_become_one_box_and_a_box_of_one_look_counts_a_third():
    regions = views_of(image(100, 50), tta=True)
    plain = found((10, 10, 30, 30, 1, 0.9), (60, 10, 90, 40, 2, 0.6))
    mirrored = found((70, 10, 90, 30, 1, 0.9))  # 10 to 30 in the image
    bright = found((10, 10, 30, 34, 1, 0.9))
    agreed, alone = merged(regions, plain, mirrored, bright, size=(100, 50))
    assert agreed == pytest.approx((10, 10, 30, 94 / 3, 1, 0.9), abs=1e-4)
    assert alone == (60, 10, 90, 40, 2, 0.2)


def test_looks_at_two_classes_stay_two_boxes():
    regions = views_of(image(100, 50), tta=True)
    looks = found((10, 10, 30, 30, 1, 0.9)), NOTHING, found((10, 10, 30, 30, 2, 0.6))
    assert [row[4:] for row in merged(regions, *looks, size=(100, 50))] == [(1, 0.3), (2, 0.2)]


def test_a_box_of_a_tile_lies_in_the_images_pixels():
    regions = views_of(image(250, 100), tile=100)
    looks = NOTHING, NOTHING, NOTHING, found((20, 20, 40, 40, 1, 0.5))
    assert merged(regions, *looks, size=(250, 100)) == [(170, 20, 190, 40, 1, 0.5)]


def test_a_box_that_a_tile_cuts_is_left_to_the_others_but_not_at_the_images_edge():
    regions = views_of(image(250, 100), tile=100)
    cut = found((90, 20, 100, 40, 1, 0.5), (0, 20, 40, 40, 2, 0.4))
    looks = NOTHING, cut, NOTHING, NOTHING
    assert merged(regions, *looks, size=(250, 100)) == [(0, 20, 40, 40, 2, 0.4)]


def test_of_two_regions_the_better_box_remains():
    regions = views_of(image(250, 100), tile=100)
    looks = found((10, 10, 30, 30, 1, 0.5)), found((10, 10, 30, 31, 1, 0.75)), NOTHING, NOTHING
    assert merged(regions, *looks, size=(250, 100)) == [(10, 10, 30, 31, 1, 0.75)]
    assert merged(regions, *looks, size=(250, 100), most_iou=0.99) == [
        (10, 10, 30, 31, 1, 0.75),
        (10, 10, 30, 30, 1, 0.5),
    ]
    assert len(merged(regions, *looks, size=(250, 100), most_iou=0.99, most=1)) == 1


def test_without_pixels_a_view_keeps_its_shape_and_place_and_holds_no_image():
    regions = views_of(np.ones((100, 250, 3), np.uint8), tta=True, tile=100)
    for looks, bare in zip(regions, without_pixels(regions), strict=True):
        for look, other in zip(looks, bare, strict=True):
            assert other.pixels.strides == (0, 0, 0)
            assert (other.pixels.shape, other[1:]) == (look.pixels.shape, look[1:])
