"""What is found in one image has several forms; of several looks at it one list is made."""

import numpy as np
import pytest

from lowlight.detector.detections import Detections, View, merge_views, views_of

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


def test_an_image_is_looked_at_once_by_default():
    assert views_of(8, 4) == [[View(0, 0, 8, 4, "plain")]]


def test_tiles_cover_the_image_and_share_a_fifth():
    whole, *tiles = views_of(250, 100, tile=100)
    assert whole == [View(0, 0, 250, 100, "plain")]
    assert tiles == [[View(left, 0, 100, 100, "plain")] for left in (0, 75, 150)]


def test_an_image_that_fits_into_a_tile_has_none():
    assert len(views_of(100, 60, tile=100)) == 1


def test_tta_mirrors_and_brightens():
    image = np.arange(5 * 9 * 3, dtype=np.uint8).reshape(5, 9, 3)
    (looks,) = views_of(9, 5, tta=True)
    plain, mirrored, bright = (look.pixels(image) for look in looks)
    assert (plain == image).all()
    assert (mirrored == image[:, ::-1]).all()
    assert (bright >= image).all()
    assert bright.mean() > image.mean()


def test_a_tile_shows_its_part_of_the_image():
    image = np.arange(4 * 12 * 3, dtype=np.uint8).reshape(4, 12, 3)
    (last,) = views_of(12, 4, tile=5)[-1]
    assert (last.pixels(image) == image[:, 7:]).all()


def test_looks_that_agree_become_one_box_and_a_box_of_one_look_counts_a_third():
    regions = views_of(100, 50, tta=True)
    plain = found((10, 10, 30, 30, 1, 0.9), (60, 10, 90, 40, 2, 0.6))
    mirrored = found((70, 10, 90, 30, 1, 0.9))  # 10 to 30 in the image
    bright = found((10, 10, 30, 34, 1, 0.9))
    agreed, alone = merged(regions, plain, mirrored, bright, size=(100, 50))
    assert agreed == pytest.approx((10, 10, 30, 94 / 3, 1, 0.9), abs=1e-4)
    assert alone == (60, 10, 90, 40, 2, 0.2)


def test_looks_at_two_classes_stay_two_boxes():
    regions = views_of(100, 50, tta=True)
    looks = found((10, 10, 30, 30, 1, 0.9)), NOTHING, found((10, 10, 30, 30, 2, 0.6))
    assert [row[4:] for row in merged(regions, *looks, size=(100, 50))] == [(1, 0.3), (2, 0.2)]


def test_a_box_of_a_tile_lies_in_the_images_pixels():
    regions = views_of(250, 100, tile=100)
    looks = NOTHING, NOTHING, NOTHING, found((20, 20, 40, 40, 1, 0.5))
    assert merged(regions, *looks, size=(250, 100)) == [(170, 20, 190, 40, 1, 0.5)]


def test_a_box_that_a_tile_cuts_is_left_to_the_others_but_not_at_the_images_edge():
    regions = views_of(250, 100, tile=100)
    cut = found((90, 20, 100, 40, 1, 0.5), (0, 20, 40, 40, 2, 0.4))
    looks = NOTHING, cut, NOTHING, NOTHING
    assert merged(regions, *looks, size=(250, 100)) == [(0, 20, 40, 40, 2, 0.4)]


def test_of_two_regions_the_better_box_remains():
    regions = views_of(250, 100, tile=100)
    looks = found((10, 10, 30, 30, 1, 0.5)), found((10, 10, 30, 31, 1, 0.75)), NOTHING, NOTHING
    assert merged(regions, *looks, size=(250, 100)) == [(10, 10, 30, 31, 1, 0.75)]
    assert merged(regions, *looks, size=(250, 100), most_iou=0.99) == [
        (10, 10, 30, 31, 1, 0.75),
        (10, 10, 30, 30, 1, 0.5),
    ]
    assert len(merged(regions, *looks, size=(250, 100), most_iou=0.99, most=1)) == 1


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


@pytest.mark.filterwarnings("ignore")  # supervision's, of what isn't installed
@pytest.mark.parametrize("count", [0, 2])
def test_supervision_takes_what_is_made_for_it(count):
    supervision = pytest.importorskip("supervision")
    boxes = np.array([[1, 2, 4, 6], [5, 6, 7, 8]], np.float32)[:count]
    found = Detections(boxes, np.array([2, 9])[:count], np.array([0.5, 0.25])[:count])
    theirs = supervision.Detections(**found.to_supervision())
    assert len(theirs) == count
    assert theirs.area.tolist() == [12, 4][:count]
    kept = theirs[theirs.confidence > 0.3]
    assert kept.class_id.tolist() == [2][:count]


def test_a_mask_or_places_choose_some():
    found = Detections(np.eye(2, 4), np.array([1, 2]), np.array([0.5, 0.25]))
    assert found.over(0.5).classes.tolist() == [1]
    assert found.where([1, 0]).scores.tolist() == [0.25, 0.5]
    assert found.where(np.zeros(2, bool)).boxes.shape == (0, 4)
