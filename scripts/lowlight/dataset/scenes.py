"""Draws small night scenes: a place, objects of ExDark's classes, a kind of light, and noise."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from lowlight.dataset.classes import CLASSES, LIGHTINGS
from lowlight.dataset.shapes import ASPECTS, draw_object

_OUTDOOR_ONLY = {"Bicycle", "Boat", "Bus", "Car", "Motorbike"}
_INDOOR_ONLY = {"Chair", "Cup", "Table", "Bottle"}
# Lightings that come with a place: a screen glows in a room, twilight has a sky.
LIGHTING_PLACES = {"Screen": "Indoor", "Window": "Indoor", "Twilight": "Outdoor"}
# As in ExDark, where people are the most frequent.
_WEIGHTS = [2 if name == "People" else 1 for name in CLASSES]
_MAX_HIDDEN = 0.35  # of an object's pixels, by those in front of it
_SUPERSAMPLING = 2


class Scene(NamedTuple):
    """A drawn scene and what is in it."""

    image: Image.Image  # RGB
    objects: tuple  # of (class name, (left, top, width, height) in pixels)
    lighting: str
    location: str


def draw_scene(rng, width, height, lighting, location, main_class):
    """Draws a scene.

    Args:
        rng: random.Random; the same state draws the same scene.
        width, height: in pixels.
        lighting, location: of ExDark's; see LIGHTING_PLACES for those that go together.
        main_class: the class that the scene is about; one object at least is of it. None draws
            a place without objects.

    Returns:
        A Scene. Boxes are tight around what is drawn, as far as it is inside the image.
    """
    if lighting not in LIGHTINGS:
        raise ValueError(f"unknown lighting {lighting!r}")
    size = width * _SUPERSAMPLING, height * _SUPERSAMPLING
    canvas = _draw_place(rng, size, location)
    lamp = rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.25)
    _draw_source(canvas, lighting, lamp)
    sprites = _place_objects(rng, size, location, main_class) if main_class else []
    for _, sprite, corner in sprites:
        canvas.paste(sprite, corner, sprite)
    if lighting == "Object" and sprites:
        lamp = _centre(sprites[0], size)
    canvas = canvas.resize((width, height), Image.LANCZOS)
    objects = tuple((name, _box(sprite, corner)) for name, sprite, corner in sprites)
    return Scene(_darken(rng, canvas, lighting, lamp), objects, lighting, location)


def class_names(location):
    """Returns the classes that are met at a location, a street or a room."""
    elsewhere = _OUTDOOR_ONLY if location == "Indoor" else _INDOOR_ONLY
    return [name for name in CLASSES if name not in elsewhere]


def _draw_place(rng, size, location):
    """Returns a canvas with a street under a skyline, or a room, in daylight colours."""
    width, height = size
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    horizon = round(height * rng.uniform(0.5, 0.65))
    if location == "Outdoor":
        for y in range(horizon):
            t = y / horizon
            draw.line(
                (0, y, width, y), (round(45 + 40 * t), round(60 + 45 * t), round(110 + 40 * t))
            )
        _draw_skyline(rng, draw, width, horizon)
        draw.rectangle((0, horizon, width, height), (88, 88, 94))
        draw.rectangle((0, horizon, width, horizon + height // 40), (125, 122, 115))
        for x in range(-rng.randint(0, width // 5), width, width // 5):
            y = horizon + (height - horizon) * 0.7
            draw.rectangle((x, y, x + width // 12, y + height // 60), (150, 148, 130))
    else:
        wall = tuple(rng.randint(100, 140) for _ in range(3))
        draw.rectangle((0, 0, width, horizon), wall)
        draw.rectangle((0, horizon, width, height), (112, 88, 70))
        for i in range(1, 5):
            y = horizon + (height - horizon) * i // 5
            draw.line((0, y, width, y), (92, 72, 58), 2)
        draw.rectangle((0, horizon - height // 40, width, horizon), (165, 160, 150))
        x = rng.randint(0, width * 2 // 3)
        draw.rectangle((x, height // 10, x + width // 5, height // 3), (95, 75, 60))
        draw.rectangle(
            (x + 8, height // 10 + 8, x + width // 5 - 8, height // 3 - 8), (120, 135, 130)
        )
    return image


def _draw_skyline(rng, draw, width, horizon):
    """Draws houses with a few lit windows along the horizon."""
    x = 0
    while x < width:
        house = rng.randint(width // 10, width // 5)
        top = round(horizon * rng.uniform(0.35, 0.8))
        grey = rng.randint(48, 70)
        draw.rectangle((x, top, x + house, horizon), (grey, grey, grey + 10))
        step = max(width // 40, 6)
        for wx in range(x + step, x + house - step, step * 2):
            for wy in range(top + step, horizon - step, step * 2):
                if rng.random() < 0.18:
                    draw.rectangle((wx, wy, wx + step // 2, wy + step // 2), (215, 190, 110))
        x += house


def _draw_source(canvas, lighting, lamp):
    """Draws what the light comes from, where it is seen."""
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    x, y = lamp[0] * width, lamp[1] * height
    unit = height / 40
    if lighting in ("Single", "Strong"):
        draw.line((x, 0, x, y), (60, 60, 60), round(unit / 2))
        draw.ellipse((x - unit * 1.5, y - unit, x + unit * 1.5, y + unit * 2), (255, 245, 205))
    elif lighting == "Screen":
        box = x - unit * 7, y + unit * 2, x + unit * 7, y + unit * 11
        draw.rectangle(box, (25, 25, 30))
        draw.rectangle([b + d for b, d in zip(box, (8, 8, -8, -8), strict=True)], (160, 215, 255))
    elif lighting == "Window":
        box = x - unit * 6, y, x + unit * 6, y + unit * 14
        draw.rectangle(box, (190, 205, 225))
        draw.line((x, y, x, box[3]), (90, 80, 70), round(unit / 2))
        draw.line((box[0], y + unit * 7, box[2], y + unit * 7), (90, 80, 70), round(unit / 2))


def _place_objects(rng, size, location, main_class):
    """Returns [(class, RGBA sprite, (left, top))], back to front, in supersampled pixels."""
    width, height = size
    known = class_names(location)
    weights = [_WEIGHTS[CLASSES.index(name)] for name in known]
    names = [main_class] + rng.choices(known, weights, k=rng.randint(0, 3))
    placed = []
    for name in names:
        for _ in range(12):
            tried = [*placed, (name, *_throw(rng, width, height, name))]
            if all(_hidden(tried[i], tried[i + 1 :]) < _MAX_HIDDEN for i in range(len(placed))):
                placed = tried
                break
    return placed


def _throw(rng, width, height, name):
    """Returns a sprite of the class and a place for it that is inside the canvas."""
    tall = height * rng.uniform(0.3, 0.62) * (0.8 if ASPECTS[name] > 1 else 1.0)
    tall = min(tall, width * 0.62 / ASPECTS[name])
    sprite = draw_object(name, round(tall), rng, mirrored=rng.random() < 0.5)
    left = rng.randint(0, width - sprite.width)
    top = rng.randint(round((height - sprite.height) * 0.35), height - sprite.height)
    return sprite, (left, top)


def _hidden(behind, fronts):
    """Returns the share of an object's pixels that those in front of it cover."""
    _, sprite, (left, top) = behind
    cover = Image.new("L", sprite.size)
    for _, front, (x, y) in fronts:
        cover.paste(255, (x - left, y - top), front.getchannel("A"))
    mask = np.asarray(sprite)[..., 3] > 0
    return (mask & (np.asarray(cover) > 0)).sum() / mask.sum()


def _centre(placed, size):
    _, sprite, (left, top) = placed
    return (left + sprite.width / 2) / size[0], (top + sprite.height / 2) / size[1]


def _box(sprite, corner):
    """Returns (left, top, width, height) in pixels of the final image, all integers."""
    edges = *corner, corner[0] + sprite.width, corner[1] + sprite.height
    left, top, right, bottom = (round(edge / _SUPERSAMPLING) for edge in edges)
    return left, top, max(right - left, 1), max(bottom - top, 1)


def _darken(rng, image, lighting, lamp):
    """Returns the image as a camera takes it in this light: multiplied, blurred, with noise."""
    colours = np.asarray(image, np.float32)
    light = _light(rng, colours.shape[0], colours.shape[1], lighting, lamp)
    dark = Image.fromarray(np.clip(colours * light, 0, 255).astype(np.uint8))
    dark = np.asarray(dark.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6))), np.float32)
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(dark.shape, np.float32)
    sigma = rng.uniform(2.0, 5.0) * (1.4 if lighting in ("Low", "Weak") else 1.0)
    return Image.fromarray(np.clip(dark + noise * sigma, 0, 255).astype(np.uint8))


def _light(rng, height, width, lighting, lamp):
    """Returns the light on each pixel, float32 [H, W, 3], as factors of daylight."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot(x / width - lamp[0], (y / height - lamp[1]) * height / width)
    cool, warm = np.float32([0.85, 0.95, 1.2]), np.float32([1.1, 1.0, 0.8])

    def glow(reach, strength):
        return (strength * np.exp(-((distance / reach) ** 2)))[..., None]

    ambient = np.full((height, width, 1), rng.uniform(0.9, 1.1), np.float32)
    if lighting == "Low":
        return ambient * 0.2 * cool
    if lighting == "Ambient":
        return ambient * 0.42 * warm
    if lighting == "Object":
        return ambient * 0.2 * cool + glow(0.3, 0.55) * warm
    if lighting == "Single":
        return ambient * 0.2 * cool + glow(0.5, 0.7) * warm
    if lighting == "Weak":
        return ambient * 0.22 * cool + glow(0.7, 0.2) * warm
    if lighting == "Strong":
        return ambient * 0.35 * warm + glow(0.6, 0.7) * warm
    if lighting == "Screen":
        return ambient * 0.2 * cool + glow(0.55, 0.6) * np.float32([0.6, 0.9, 1.25])
    if lighting == "Window":
        return ambient * 0.25 * warm + glow(0.6, 0.5) * cool
    if lighting == "Shadow":
        band = np.sin((x + y * rng.uniform(0.3, 1.0)) / width * 9 + rng.uniform(0, 6)) > 0.2
        return ambient * np.where(band, 0.26, 0.5)[..., None] * warm
    sky = np.clip(1 - y / height, 0, 1)[..., None]  # Twilight
    return ambient * (0.34 * np.float32([1.2, 0.85, 0.75]) * (1 - sky) + 0.45 * cool * sky)
