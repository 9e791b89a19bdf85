"""Draws detections so that they can be read on a dark picture as on a bright one."""

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

_THUMBNAIL_QUALITY = 72  # of its JPEG: about 8 kB at 240 pixels

# Okabe and Ito's colours, which colour-blind people tell apart, lightened for dark pictures, and
# lighter and darker ones between them; a class keeps its colour.
_COLOURS = (
    "#56b4e9", "#e69f00", "#00c88c", "#f0e442", "#ff6e46", "#cc79c8",
    "#aadc6e", "#ffaabe", "#78ebeb", "#aaa0ff", "#ffcd82", "#e1e1e1",
)  # fmt: skip
_OUTLINE = (0, 0, 0)
# A brightened copy is to have about this mean luma; a gamma under the least shows only noise.
_BRIGHT = 110
_LEAST_GAMMA = 0.3


def draw_detections(image: Image.Image, detections: tuple, names: Mapping[int, str]) -> None:
    """Draws Detections with class names and scores on an RGB image, the best last, on top.

    Lines and letters grow with the image, so that they look alike at any size of display. Labels
    are drawn over all boxes, each where it hides no other one as far as there is room.
    """
    draw = ImageDraw.Draw(image)
    letters = max(12, round(max(image.size) / 45))
    line = max(2, round(letters / 7))
    font = ImageFont.load_default(letters)
    rows = [
        (_whole(box), int(number), float(score))
        for box, number, score in zip(*detections, strict=True)
    ]
    for corners, number, _ in reversed(rows):
        draw_frame(image, corners, colour_of(number), line)
    taken = []
    for corners, number, score in rows:
        text = f"{names.get(number, number)} {score:.2f}"
        taken.append(_draw_label(draw, image.size, corners, text, colour_of(number), font, taken))


def draw_frames(
    image: Image.Image, pixel_xyxy: Sequence, numbers: Sequence[int], line: int
) -> None:
    """Draws boxes, [N, 4], alone on an RGB image, each in the colour of its class id."""
    for corners, number in zip(pixel_xyxy, numbers, strict=True):
        draw_frame(image, corners, colour_of(number), line)


def draw_frame(image: Image.Image, pixel_xyxy: Sequence, colour: tuple, line: int) -> None:
    """Draws a box on an RGB image: a frame of some pixels inside it, a thin dark one around."""
    xmin, ymin, xmax, ymax = _whole(pixel_xyxy)
    draw = ImageDraw.Draw(image)
    outer = xmin - 1, ymin - 1, max(xmax, xmin + 1), max(ymax, ymin + 1)
    draw.rectangle(outer, outline=_OUTLINE, width=line + 2)
    inner = xmin, ymin, max(xmax - 1, xmin), max(ymax - 1, ymin)
    draw.rectangle(inner, outline=colour, width=line)


def brightened(image: Image.Image, brightness: float) -> Image.Image:
    """Returns a copy of an RGB image, whose mean luma, 0 to 255, is `brightness`, that one can see.

    An image that is bright already stays as it is.
    """
    gamma = 1.0
    if brightness < _BRIGHT:
        wanted = math.log(_BRIGHT / 255) / math.log(max(brightness, 1) / 255)
        gamma = max(wanted, _LEAST_GAMMA)
    return image.point([round(255 * (value / 255) ** gamma) for value in range(256)] * 3)


def brightness_of(image: Image.Image) -> float:
    """Returns the mean luma, 0 to 255, of an RGB image, from a small copy of it."""
    return float(np.asarray(image.resize((64, 64), Image.Resampling.BOX).convert("L")).mean())


def colour_of(number: int) -> tuple[int, int, int]:
    """Returns the colour, (red, green, blue), of a class id; those over 12 have the same again."""
    return ImageColor.getrgb(_COLOURS[(int(number) - 1) % len(_COLOURS)])


def _whole(pixel_xyxy):
    return [round(float(edge)) for edge in pixel_xyxy]


def _draw_label(draw, size, corners, text, colour, font, taken):
    """Writes dark text on the class's colour; returns the label's pixel xyxy."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    margin = max(2, (bottom - top) // 6)
    width, height = right - left + 2 * margin, bottom - top + 2 * margin
    x, y = _place_label(size, corners, width, height, taken)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour, outline=_OUTLINE)
    draw.text((x + margin - left, y + margin - top), text, fill=_OUTLINE, font=font)
    return x, y, x + width, y + height


def _place_label(size, corners, width, height, taken):
    """Returns (x, y) of a label: above its box, or where it hides least of the labels before.

    After above come inside at the top, below, inside at the bottom, each at the left and at the
    right, and then further down along the box.
    """
    xmin, ymin, xmax, ymax = corners
    rows = [ymin - height, max(ymin, 0), ymax, ymax - height]
    rows += range(max(ymin, 0) + height, ymax - height, height)
    lowest = max(size[1] - height, 0)
    rows = [y for y in rows if 0 <= y <= lowest] or [min(max(ymin, 0), lowest)]
    columns = [max(0, min(x, size[0] - width)) for x in (xmin, xmax - width)]
    places = np.array([(x, y) for y in rows for x in columns])
    if not taken:
        return tuple(places[0].tolist())
    others = np.array(taken)
    corner = np.maximum(places[:, np.newaxis], others[:, :2])
    end = np.minimum(places[:, np.newaxis] + (width, height), others[:, 2:])
    hidden = np.maximum(end - corner, 0).prod(2).sum(1)
    return tuple(places[hidden.argmin()].tolist())


def encode_thumbnail(picture: Image.Image) -> bytes:
    """Returns a picture as the bytes of a small JPEG."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_THUMBNAIL_QUALITY)
    return stream.getvalue()
