import itertools

import numpy as np
import pytest
from PIL import Image

from lowlight.images import drawing
from lowlight.images.drawing import draw_detections

NAMES = {1: "Bicycle", 2: "Boat", 13: "Lamp"}
BLUE, ORANGE, BLACK = (86, 180, 233), (230, 159, 0), (0, 0, 0)
GREY = (60, 60, 60)


def draw(*detections, size=(200, 120)):
    """Draws (box, class id, score) on grey and returns the image."""
    image = Image.new("RGB", size, GREY)
    boxes, classes, scores = zip(*detections, strict=True) if detections else ((), (), ())
    arrays = (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(scores, np.float32),
    )
    draw_detections(image, arrays, NAMES)
    return image


def changed_box(image):
    """Returns (xmin, ymin, xmax, ymax) of the pixels that aren't grey, None if all are."""
    difference = np.abs(np.asarray(image, int) - GREY).sum(2).astype(np.uint8)
    return Image.fromarray(difference).getbbox()


def test_no_detection_leaves_the_image_as_it_was():
    assert changed_box(draw()) is None


def test_a_frame_in_the_classs_colour_lies_inside_the_box_with_a_dark_one_around():
    image = draw(((50.2, 40, 149.7, 100), 1, 0.9))
    corners = [(50, 40), (149, 40), (50, 99), (149, 99)]
    assert [image.getpixel(corner) for corner in corners] == [BLUE] * 4
    assert [image.getpixel(place) for place in ((49, 70), (150, 70), (100, 100))] == [BLACK] * 3
    assert image.getpixel((100, 70)) == GREY


@pytest.mark.parametrize(
    ("number", "colour"), [(1, BLUE), (2, ORANGE), pytest.param(13, BLUE, id="over 12 classes")]
)
def test_a_class_keeps_its_colour(number, colour):
    assert draw(((50, 40, 150, 100), number, 0.9)).getpixel((50, 70)) == colour


def test_the_label_stands_above_the_box_or_inside_one_without_room_above():
    image = draw(((50, 40, 150, 100), 1, 0.9))
    assert changed_box(image)[1] < 35
    assert BLUE in [image.getpixel((x, 36)) for x in range(50, 80)]
    image = draw(((50, 0, 150, 100), 1, 0.9))
    assert image.crop((54, 4, 80, 12)).getcolors(999) != [(26 * 8, GREY)]


def test_the_label_holds_name_and_score():
    assert draw(((50, 40, 150, 100), 1, 0.9)) != draw(((50, 40, 150, 100), 1, 0.8))
    assert draw(((50, 40, 150, 100), 1, 0.9)) != draw(((50, 40, 150, 100), 13, 0.9))
    assert draw(((50, 40, 150, 100), 1, 0.901)) == draw(((50, 40, 150, 100), 1, 0.899))


def test_a_label_at_the_right_edge_is_moved_into_the_image():
    whole = draw(((100, 40, 199, 100), 1, 0.9)).crop((0, 0, 200, 39))
    moved = draw(((190, 40, 199, 100), 1, 0.9)).crop((0, 0, 200, 39))
    width = changed_box(whole)[2] - changed_box(whole)[0]
    assert changed_box(moved)[2] == 200
    assert changed_box(moved)[2] - changed_box(moved)[0] >= width


def test_the_best_detection_is_drawn_on_top():
    image = draw(((50, 40, 150, 100), 1, 0.9), ((50, 40, 150, 100), 2, 0.5))
    assert image.getpixel((50, 70)) == BLUE


BOXES = {
    "no area": (50, 40, 50, 40),
    "the whole image": (0, 0, 200, 120),
    "larger than the image": (-30, -30, 400, 400),
    "the last pixel": (199.6, 119.6, 200, 120),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_any_box_is_drawn_without_error(box):
    assert changed_box(draw((box, 1, 0.9))) is not None


def test_lines_grow_with_the_image():
    def line_width(size):
        image = draw(((size // 4, size // 4, size // 2, size // 2), 1, 0.9), size=(size, size))
        row = [image.getpixel((x, size * 2 // 5)) for x in range(size)]
        return row.count(BLUE) // 2

    assert (line_width(200), line_width(2000)) == (2, 6)


BOX = (50, 40, 150, 100)
CROWDED = {
    "the same box": [BOX] * 4,
    "near ones": [BOX, (55, 45, 150, 100), (60, 35, 155, 95)],
    "all of the image": [(0, 0, 200, 120)] * 3,
}


@pytest.mark.parametrize("boxes", CROWDED.values(), ids=CROWDED)
def test_labels_do_not_hide_one_another(boxes, monkeypatch):
    placed, place = [], drawing._draw_label  # pixel xyxy
    monkeypatch.setattr(drawing, "_draw_label", lambda *a: placed.append(place(*a)) or placed[-1])
    draw(*((box, 1, 0.9) for box in boxes))
    for (left, top, right, low), one in itertools.combinations(placed, 2):
        assert min(right, one[2]) <= max(left, one[0]) or min(low, one[3]) <= max(top, one[1])


@pytest.mark.parametrize("shade", [0, 255], ids=["dark", "bright"])
def test_a_frame_differs_from_a_dark_picture_and_from_a_bright_one(shade):
    for number in range(1, 13):
        image = Image.new("RGB", (200, 120), (shade,) * 3)
        found = (np.array([[50, 40, 150, 100.0]]), np.array([number]), np.array([0.9]))
        draw_detections(image, found, {})
        row = np.asarray(image, int)[70, 45:60].sum(1)
        assert np.abs(row - 3 * shade).max() > 250
