"""Draws small night scenes: a place, objects of ExDark's classes, a kind of light, and noise."""

import random
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageOps

from lowlight.dataset.classes import CLASSES, LIGHTINGS

_SHAPES = tomllib.loads(Path(__file__).with_name("sample_shapes.toml").read_text("utf-8"))
_OUTDOOR_ONLY = {"Bicycle", "Boat", "Bus", "Car", "Motorbike"}
_INDOOR_ONLY = {"Chair", "Cup", "Table", "Bottle"}
# Lightings that come with a place: a screen glows in a room, twilight has a sky.
_LIGHTING_PLACES = {"Screen": "Indoor", "Window": "Indoor", "Twilight": "Outdoor"}
_MAX_HIDDEN = 0.35  # of an object's pixels, by those in front of it
_SUPERSAMPLING = 2


class Light(NamedTuple):
    """What lights a scene: factors of daylight in red, green and blue."""

    everywhere: tuple
    lamp: tuple = (0, 0, 0)  # added at the lamp, and less with the distance from it
    reach: float = 1.0  # of the lamp, in widths of the image
    source: str = ""  # what is seen of the lamp
    size: float = 0.0  # of that, in heights of the image


_LIGHTS = {
    "Low": Light((0.17, 0.19, 0.24)),
    "Ambient": Light((0.46, 0.42, 0.34)),
    "Object": Light((0.17, 0.19, 0.24), (0.6, 0.55, 0.44), 0.3),
    "Single": Light((0.17, 0.19, 0.24), (0.77, 0.7, 0.56), 0.5, "Lamp", 0.15),
    "Weak": Light((0.19, 0.21, 0.26), (0.22, 0.2, 0.16), 0.7),
    "Strong": Light((0.39, 0.35, 0.28), (0.77, 0.7, 0.56), 0.6, "Lamp", 0.15),
    "Screen": Light((0.17, 0.19, 0.24), (0.36, 0.54, 0.75), 0.55, "Screen", 0.22),
    "Window": Light((0.28, 0.25, 0.2), (0.43, 0.48, 0.6), 0.6, "Window", 0.35),
    "Shadow": Light((0.55, 0.5, 0.4)),
    "Twilight": Light((0.4, 0.36, 0.4)),
    "Day": Light((1.0, 1.0, 1.0)),  # none of ExDark's
}


class Scene(NamedTuple):
    """A drawn scene and what is in it."""

    image: Image.Image  # RGB
    objects: tuple  # of (class name, (left, top, width, height) in pixels)


def draw_scene(
    rng: random.Random,
    width: int,
    height: int,
    lighting: str,
    location: str,
    main_class: str | None,
) -> Scene:
    """Draws a scene with one object at least of its main class; None draws a place without objects.

    Boxes are tight around what is drawn, as far as it is inside the image. `lightings_at` says
    which of ExDark's lightings and locations go together; "Day" goes with both.
    """
    light, size = _LIGHTS[lighting], (width * _SUPERSAMPLING, height * _SUPERSAMPLING)
    canvas = _draw_place(rng, size, location)
    lamp = rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.25)  # of width and height
    if light.source:
        sprite = draw_object(light.source, round(light.size * size[1]), rng)
        left, top = (round(x * n - s / 2) for x, n, s in zip(lamp, size, sprite.size, strict=True))
        canvas.paste(sprite, (left, top), sprite)
    sprites = _place_objects(rng, size, location, main_class) if main_class else []
    for _, sprite, corner in sprites:
        canvas.paste(sprite, corner, sprite)
    objects = tuple((name, _box(sprite, corner)) for name, sprite, corner in sprites)
    if lighting == "Object" and objects:
        left, top, across, down = objects[0][1]
        lamp = (left + across / 2) / width, (top + down / 2) / height
    canvas = canvas.resize((width, height), Image.LANCZOS)
    return Scene(_darken(rng, canvas, lighting, lamp), objects)


def lightings_at(location: str) -> list[str]:
    """Returns the lightings that are met at a location."""
    return [x for x in LIGHTINGS if _LIGHTING_PLACES.get(x, location) == location]


def class_names(location: str) -> list[str]:
    """Returns the classes that are met at a location, a street or a room."""
    elsewhere = _OUTDOOR_ONLY if location == "Indoor" else _INDOOR_ONLY
    return [name for name in CLASSES if name not in elsewhere]


def draw_object(name: str, height: int, rng: random.Random) -> Image.Image:
    """Draws an object of sample_shapes.toml, `height` pixels high, in colours that vary a little.

    The image is RGBA, transparent around the object and cropped to it.
    """
    shapes, unit = _SHAPES[name], height / 100
    image = Image.new("RGBA", (round(shapes["width"] * unit) + 1, height))
    draw = ImageDraw.Draw(image)
    colours = {"clear": (0, 0, 0, 0)}
    for key, values in shapes.items():
        if isinstance(values, list):
            colours[key] = _vary(rng, ImageColor.getrgb(rng.choice(values)))
    colours["dark"] = tuple(round(0.7 * channel) for channel in colours.get("paint", ()))
    for line in shapes["shapes"].split("\n"):
        if line:
            kind, colour, numbers = line.split(maxsplit=2)
            for place in numbers.split("|"):
                scaled = [float(number) * unit for number in place.split()]
                _DRAWERS[kind](draw, scaled, colours.get(colour, colour))
    return image.crop(image.getbbox())


def _draw_line(draw, numbers, fill):
    """Draws a line with round ends; its width stands before its points."""
    width, *points = numbers
    draw.line(points, fill, max(round(width), 1), joint="curve")
    for x, y in zip(points[::2], points[1::2], strict=True):
        r = max(width, 1) / 2 - 0.5
        draw.ellipse((x - r, y - r, x + r, y + r), fill)


# Of sample_shapes.toml; each takes an ImageDraw, points and a colour.
_DRAWERS = {
    "box": ImageDraw.ImageDraw.rectangle,
    "oval": ImageDraw.ImageDraw.ellipse,
    "polygon": ImageDraw.ImageDraw.polygon,
    "line": _draw_line,
}


def _vary(rng, colour):
    return tuple(min(max(channel + rng.randint(-15, 15), 0), 255) for channel in colour)


def _draw_place(rng, size, location):
    """Returns a canvas with a street under a skyline, or a room, in daylight colours."""
    width, height = size
    image = Image.new("RGB", size, "#464e69" if location == "Outdoor" else _vary(rng, (120,) * 3))
    draw, horizon = ImageDraw.Draw(image), round(height * rng.uniform(0.5, 0.65))
    if location == "Outdoor":
        _draw_skyline(rng, draw, width, horizon)
        draw.rectangle((0, horizon, width, height), "#58585e")
        draw.rectangle((0, horizon, width, horizon + height // 40), "#7d7a73")
        y = horizon + (height - horizon) * 0.7
        for x in range(-rng.randint(0, width // 5), width, width // 5):
            draw.rectangle((x, y, x + width // 12, y + height // 60), "#969482")
    else:
        draw.rectangle((0, horizon, width, height), "#705846")
        draw.rectangle((0, horizon - height // 40, width, horizon), "#a5a096")
        x = rng.randint(0, width * 2 // 3)
        picture = x, height // 10, x + width // 5, height // 3
        draw.rectangle(picture, "#78877f", "#5f4b3c", height // 50)
    return image


def _draw_skyline(rng, draw, width, horizon):
    """Draws houses with a few lit windows along the horizon."""
    x, step = 0, max(width // 40, 6)
    while x < width:
        house, grey = rng.randint(width // 10, width // 5), rng.randint(48, 70)
        top = round(horizon * rng.uniform(0.35, 0.8))
        draw.rectangle((x, top, x + house, horizon), (grey, grey, grey + 10))
        for left in range(x + step, x + house - step, step * 2):
            for y in range(top + step, horizon - step, step * 2):
                if rng.random() < 0.18:
                    draw.rectangle((left, y, left + step // 2, y + step // 2), "#d7be6e")
        x += house


def _place_objects(rng, size, location, main_class):
    """Returns [(class, RGBA sprite, (left, top))], back to front, in supersampled pixels."""
    known = class_names(location)
    weights = [2 if name == "People" else 1 for name in known]  # the most frequent in ExDark, too
    names = [main_class] + rng.choices(known, weights, k=rng.randint(0, 3))
    placed = []
    for name in names:
        for _ in range(12):
            tried = [*placed, (name, *_throw(rng, *size, name))]
            if all(_hidden(tried[i], tried[i + 1 :]) < _MAX_HIDDEN for i in range(len(placed))):
                placed = tried
                break
    return placed


def _throw(rng, width, height, name):
    """Returns a sprite of the class and a place for it that is inside the canvas."""
    aspect = _SHAPES[name]["width"] / 100
    tall = height * rng.uniform(0.3, 0.62) * (0.8 if aspect > 1 else 1.0)
    sprite = draw_object(name, round(min(tall, width * 0.62 / aspect)), rng)
    if rng.random() < 0.5:
        sprite = ImageOps.mirror(sprite)
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


def _box(sprite, corner):
    """Returns (left, top, width, height) in pixels of the final image, all integers."""
    edges = *corner, corner[0] + sprite.width, corner[1] + sprite.height
    left, top, right, bottom = (round(edge / _SUPERSAMPLING) for edge in edges)
    return left, top, max(right - left, 1), max(bottom - top, 1)


def _darken(rng, image, lighting, lamp):
    """Returns the image as a camera takes it in this light: multiplied, blurred, with noise."""
    light = _light_on_pixels(rng, *image.size, lighting, lamp)
    dark = Image.fromarray(np.clip(np.asarray(image) * light, 0, 255).astype(np.uint8))
    dark = np.asarray(dark.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6))), np.float32)
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal(dark.shape, np.float32)
    sigma = rng.uniform(2.0, 5.0) * (1.4 if lighting in ("Low", "Weak") else 1.0)
    return Image.fromarray(np.clip(dark + noise * sigma, 0, 255).astype(np.uint8))


def _light_on_pixels(rng, width, height, lighting, lamp):
    """Returns the light on each pixel, float32 [H, W, 3], as factors of daylight."""
    light = _LIGHTS[lighting]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)[..., None]
    distance = np.hypot(x / width - lamp[0], (y / height - lamp[1]) * height / width)
    everywhere = rng.uniform(0.9, 1.1) * np.float32(light.everywhere)
    if lighting == "Shadow":  # in bands
        band = np.sin((x + y * rng.uniform(0.3, 1.0)) / width * 9 + rng.uniform(0, 6)) > 0.2
        everywhere = everywhere * np.where(band, 0.52, 1)
    if lighting == "Twilight":  # red at the horizon
        everywhere = everywhere * (1 + np.float32([0.2, 0, -0.3]) * (y / height - 0.5))
    return everywhere + np.float32(light.lamp) * np.exp(-((distance / light.reach) ** 2))
