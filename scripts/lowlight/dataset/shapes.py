"""Draws one object of each ExDark class, in a few flat shapes that a person tells apart."""

from PIL import Image, ImageDraw

# Width over height of each class as drawn.
ASPECTS = {
    "Bicycle": 1.55,
    "Boat": 1.25,
    "Bottle": 0.36,
    "Bus": 1.95,
    "Car": 2.1,
    "Cat": 0.95,
    "Chair": 0.62,
    "Cup": 1.2,
    "Dog": 1.4,
    "Motorbike": 1.6,
    "People": 0.42,
    "Table": 1.75,
}

_GLASS = (150, 205, 235)
_TYRE = (45, 45, 50)
_METAL = (205, 210, 215)


class Pen:
    """Draws on a transparent RGBA canvas in fractions of its size, mirrored where asked.

    x runs from 0 to 1 over the canvas's width and y over its height; radii, line widths and
    corner radii are fractions of the height.
    """

    def __init__(self, width, height, mirrored=False):
        """Makes an empty canvas of this size in pixels."""
        self.image = Image.new("RGBA", (width, height))
        self._draw = ImageDraw.Draw(self.image)
        self._width, self._height, self._mirrored = width, height, mirrored

    def _at(self, x, y):
        x = 1 - x if self._mirrored else x
        return x * (self._width - 1), y * (self._height - 1)

    def _corners(self, x0, y0, x1, y1):
        (a, top), (b, bottom) = self._at(x0, y0), self._at(x1, y1)
        return min(a, b), top, max(a, b), bottom

    def polygon(self, fill, *points):
        """Fills a polygon of (x, y) points."""
        self._draw.polygon([self._at(*point) for point in points], fill=fill)

    def line(self, fill, width, *points):
        """Draws a line of this width with round joints through (x, y) points."""
        pixels = max(round(width * self._height), 1)
        places = [self._at(*point) for point in points]
        self._draw.line(places, fill=fill, width=pixels, joint="curve")
        for x, y in places:
            r = pixels / 2 - 0.5
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def circle(self, fill, x, y, radius, width=None):
        """Fills a circle, or draws a ring of this width inside its edge."""
        (x, y), r = self._at(x, y), radius * self._height
        box = (x - r, y - r, x + r, y + r)
        if width is None:
            self._draw.ellipse(box, fill=fill)
        else:
            self._draw.ellipse(box, outline=fill, width=max(round(width * self._height), 1))

    def ellipse(self, fill, x0, y0, x1, y1):
        """Fills the ellipse within these corners."""
        self._draw.ellipse(self._corners(x0, y0, x1, y1), fill=fill)

    def rectangle(self, fill, x0, y0, x1, y1, radius=0.0):
        """Fills a rectangle, with rounded corners where a radius is given."""
        box = self._corners(x0, y0, x1, y1)
        self._draw.rounded_rectangle(box, radius * self._height, fill=fill)


def draw_object(name, height, rng, mirrored=False):
    """Draws an object of a class in colours that vary a little.

    Args:
        name: one of ExDark's classes.
        height: of the object, in pixels.
        rng: random.Random.
        mirrored: draw it facing the other way.

    Returns:
        An RGBA image, transparent around the object and cropped to it.
    """
    pen = Pen(max(round(height * ASPECTS[name]), 2), height, mirrored)
    _DRAWERS[name](pen, rng)
    return pen.image.crop(pen.image.getbbox())


def _vary(rng, *colours):
    """Returns one of the colours with each channel moved by up to 15."""
    return tuple(min(max(c + rng.randint(-15, 15), 0), 255) for c in rng.choice(colours))


def _darker(colour, factor=0.7):
    return tuple(round(c * factor) for c in colour)


def _bicycle(pen, rng):
    frame = _vary(rng, (60, 220, 200), (120, 230, 90))
    for x in (0.2, 0.8):
        pen.circle((190, 190, 190), x, 0.69, 0.3, 0.045)
        pen.circle(_METAL, x, 0.69, 0.035)
        for dx, dy in ((0.18, 0), (0, 0.28), (0.127, 0.2), (-0.127, 0.2)):
            pen.line((140, 140, 140), 0.01, (x - dx, 0.69 - dy), (x + dx, 0.69 + dy))
    pen.line(frame, 0.055, (0.2, 0.69), (0.38, 0.3), (0.68, 0.3), (0.45, 0.69), (0.2, 0.69))
    pen.line(frame, 0.055, (0.38, 0.3), (0.45, 0.69))
    pen.line(frame, 0.055, (0.64, 0.12), (0.8, 0.69))
    pen.line(frame, 0.05, (0.38, 0.3), (0.36, 0.18))
    pen.line((240, 240, 240), 0.06, (0.28, 0.17), (0.43, 0.17))
    pen.line((240, 240, 240), 0.05, (0.58, 0.1), (0.66, 0.1), (0.72, 0.18))
    pen.circle(_METAL, 0.45, 0.69, 0.06)


def _boat(pen, rng):
    hull = _vary(rng, (175, 60, 40), (150, 75, 45))
    pen.polygon(hull, (0.02, 0.72), (0.98, 0.72), (0.82, 0.98), (0.18, 0.98))
    pen.polygon((240, 240, 235), (0.02, 0.72), (0.98, 0.72), (0.95, 0.78), (0.05, 0.78))
    pen.line((150, 110, 70), 0.035, (0.48, 0.02), (0.48, 0.72))
    pen.polygon((250, 248, 235), (0.52, 0.05), (0.52, 0.66), (0.95, 0.66))
    pen.polygon((225, 220, 205), (0.44, 0.16), (0.44, 0.66), (0.1, 0.66))


def _bottle(pen, rng):
    glass = _vary(rng, (40, 170, 75), (25, 150, 95))
    pen.rectangle(glass, 0.04, 0.36, 0.96, 0.99, 0.06)
    pen.polygon(glass, (0.04, 0.42), (0.33, 0.26), (0.67, 0.26), (0.96, 0.42))
    pen.rectangle(glass, 0.33, 0.06, 0.67, 0.34)
    pen.rectangle((225, 190, 70), 0.29, 0.01, 0.71, 0.09, 0.02)
    pen.rectangle((245, 240, 220), 0.04, 0.55, 0.96, 0.82)
    pen.rectangle((190, 60, 50), 0.04, 0.64, 0.96, 0.73)
    pen.rectangle((170, 240, 190), 0.14, 0.42, 0.24, 0.53, 0.02)


def _bus(pen, rng):
    paint = _vary(rng, (245, 190, 25), (250, 175, 40))
    pen.rectangle(paint, 0.01, 0.04, 0.99, 0.88, 0.08)
    pen.rectangle(_darker(paint), 0.01, 0.6, 0.99, 0.68)
    for i in range(5):
        pen.rectangle(_GLASS, 0.05 + i * 0.155, 0.15, 0.18 + i * 0.155, 0.5, 0.02)
    pen.rectangle(_GLASS, 0.84, 0.15, 0.98, 0.56, 0.02)
    pen.rectangle((70, 75, 85), 0.68, 0.2, 0.8, 0.86, 0.01)
    pen.rectangle(_GLASS, 0.69, 0.24, 0.735, 0.78)
    pen.rectangle(_GLASS, 0.745, 0.24, 0.79, 0.78)
    for x in (0.2, 0.58):
        pen.circle(_TYRE, x, 0.86, 0.13)
        pen.circle(_METAL, x, 0.86, 0.06)
    pen.circle((255, 250, 200), 0.965, 0.76, 0.04)


def _car(pen, rng):
    paint = _vary(rng, (60, 110, 230), (70, 90, 215))
    cabin = (0.2, 0.46), (0.32, 0.08), (0.66, 0.08), (0.8, 0.46)
    pen.polygon(paint, *cabin)
    pen.polygon(_GLASS, (0.26, 0.44), (0.35, 0.16), (0.48, 0.16), (0.48, 0.44))
    pen.polygon(_GLASS, (0.52, 0.44), (0.52, 0.16), (0.64, 0.16), (0.74, 0.44))
    pen.rectangle(paint, 0.01, 0.42, 0.99, 0.8, 0.13)
    pen.rectangle(_darker(paint), 0.02, 0.66, 0.98, 0.8, 0.06)
    for x in (0.23, 0.77):
        pen.circle(_TYRE, x, 0.79, 0.2)
        pen.circle(_METAL, x, 0.79, 0.1)
    pen.ellipse((255, 250, 200), 0.92, 0.48, 0.99, 0.62)
    pen.rectangle((230, 50, 40), 0.01, 0.5, 0.04, 0.62)


def _cat(pen, rng):
    fur = _vary(rng, (240, 140, 50), (245, 155, 70))
    stripe = _darker(fur, 0.65)
    pen.line(fur, 0.085, (0.62, 0.93), (0.9, 0.9), (0.94, 0.68), (0.86, 0.5))
    pen.ellipse(fur, 0.2, 0.42, 0.74, 0.99)
    pen.polygon(fur, (0.18, 0.3), (0.2, 0.02), (0.4, 0.14))
    pen.polygon(fur, (0.76, 0.3), (0.74, 0.02), (0.54, 0.14))
    pen.ellipse(fur, 0.15, 0.1, 0.79, 0.56)
    for y in (0.6, 0.7, 0.8):
        pen.line(stripe, 0.03, (0.6, y), (0.7, y + 0.03))
        pen.line(stripe, 0.03, (0.34, y), (0.24, y + 0.03))
    for x in (0.34, 0.6):
        pen.circle((190, 250, 90), x, 0.31, 0.06)
        pen.ellipse((20, 20, 20), x - 0.018, 0.26, x + 0.018, 0.36)
    pen.polygon((230, 110, 120), (0.43, 0.39), (0.51, 0.39), (0.47, 0.44))
    for x in (0.36, 0.52):
        pen.rectangle((250, 235, 215), x - 0.05, 0.84, x + 0.09, 0.99, 0.05)


def _chair(pen, rng):
    wood = _vary(rng, (205, 120, 45), (190, 105, 50))
    for x in (0.08, 0.82):
        pen.rectangle(wood, x, 0.01, x + 0.1, 0.58)
    for y in (0.05, 0.19, 0.33):
        pen.rectangle(wood, 0.08, y, 0.92, y + 0.075, 0.02)
    pen.polygon(_darker(wood, 1.2), (0.08, 0.52), (0.92, 0.52), (0.99, 0.62), (0.01, 0.62))
    for x in (0.03, 0.86):
        pen.rectangle(_darker(wood), x, 0.62, x + 0.11, 0.99)
    pen.rectangle(_darker(wood), 0.03, 0.78, 0.97, 0.82)


def _cup(pen, rng):
    glaze = _vary(rng, (240, 90, 140), (235, 105, 160))
    pen.circle(glaze, 0.74, 0.52, 0.25, 0.09)
    pen.polygon(glaze, (0.04, 0.1), (0.74, 0.1), (0.66, 0.98), (0.12, 0.98))
    pen.ellipse((250, 235, 240), 0.03, 0.01, 0.75, 0.2)
    pen.ellipse((95, 55, 30), 0.09, 0.05, 0.69, 0.18)
    pen.polygon((250, 235, 240), (0.08, 0.5), (0.7, 0.5), (0.685, 0.66), (0.095, 0.66))


def _dog(pen, rng):
    coat = _vary(rng, (245, 240, 225), (235, 225, 205))
    patch = _vary(rng, (110, 70, 40))
    pen.line(coat, 0.07, (0.12, 0.5), (0.03, 0.22))
    for x, shade in ((0.2, 0.8), (0.58, 0.8), (0.13, 1.0), (0.5, 1.0)):
        pen.rectangle(_darker(coat, shade), x, 0.6, x + 0.085, 0.99, 0.03)
    pen.rectangle(coat, 0.1, 0.38, 0.68, 0.74, 0.17)
    pen.ellipse(patch, 0.2, 0.38, 0.45, 0.62)
    pen.polygon(coat, (0.52, 0.5), (0.62, 0.16), (0.78, 0.4), (0.66, 0.66))
    pen.ellipse(coat, 0.58, 0.06, 0.85, 0.46)
    pen.rectangle(coat, 0.7, 0.22, 0.985, 0.42, 0.08)
    pen.circle((20, 20, 20), 0.965, 0.27, 0.045)
    pen.ellipse(patch, 0.56, 0.07, 0.68, 0.46)
    pen.circle((20, 20, 20), 0.755, 0.19, 0.028)


def _motorbike(pen, rng):
    paint = _vary(rng, (225, 35, 40), (205, 30, 60))
    for x in (0.19, 0.81):
        pen.circle(_TYRE, x, 0.72, 0.27)
        pen.circle(_METAL, x, 0.72, 0.15)
        pen.circle((90, 90, 95), x, 0.72, 0.07)
    pen.polygon((110, 112, 118), (0.3, 0.5), (0.62, 0.5), (0.6, 0.84), (0.36, 0.84))
    pen.line(_METAL, 0.07, (0.5, 0.85), (0.14, 0.88))
    pen.line(_METAL, 0.06, (0.66, 0.2), (0.81, 0.72))
    pen.polygon(paint, (0.4, 0.34), (0.5, 0.24), (0.66, 0.26), (0.72, 0.44), (0.42, 0.54))
    pen.polygon(paint, (0.08, 0.34), (0.3, 0.4), (0.26, 0.5), (0.12, 0.46))
    pen.rectangle((35, 35, 38), 0.14, 0.31, 0.45, 0.42, 0.05)
    pen.line((35, 35, 38), 0.06, (0.56, 0.08), (0.66, 0.12), (0.68, 0.24))
    pen.circle((255, 250, 200), 0.75, 0.28, 0.085)


def _people(pen, rng):
    shirt = _vary(rng, (170, 80, 220), (150, 70, 235))
    skin = _vary(rng, (235, 185, 150), (190, 130, 95), (150, 100, 70))
    trousers = _vary(rng, (70, 80, 110))
    for x in (0.3, 0.54):
        pen.rectangle(trousers, x, 0.52, x + 0.19, 0.95, 0.02)
        pen.rectangle((235, 235, 235), x - 0.02, 0.94, x + 0.26, 0.99, 0.02)
    for x, hand in ((0.2, 0.1), (0.82, 0.92)):
        pen.line(shirt, 0.06, (x, 0.24), (hand, 0.44))
        pen.circle(skin, hand, 0.5, 0.032)
    pen.rectangle(shirt, 0.2, 0.19, 0.82, 0.55, 0.06)
    pen.rectangle(skin, 0.43, 0.14, 0.59, 0.22)
    pen.circle(skin, 0.51, 0.095, 0.085)
    hair = _vary(rng, (60, 40, 30), (90, 60, 30))
    pen.polygon(hair, (0.3, 0.09), (0.32, 0.02), (0.51, 0.0), (0.7, 0.02), (0.72, 0.09))


def _table(pen, rng):
    wood = _vary(rng, (170, 225, 235), (185, 230, 230))
    for x in (0.07, 0.87):
        pen.rectangle(_darker(wood, 0.8), x, 0.2, x + 0.06, 0.99)
    for x in (0.2, 0.75):
        pen.rectangle(_darker(wood, 0.55), x, 0.2, x + 0.045, 0.84)
    pen.rectangle(_darker(wood, 0.7), 0.06, 0.18, 0.94, 0.32)
    pen.polygon(wood, (0.1, 0.02), (0.9, 0.02), (0.99, 0.18), (0.01, 0.18))
    pen.rectangle(_darker(wood, 0.9), 0.01, 0.18, 0.99, 0.22)


_DRAWERS = {
    "Bicycle": _bicycle,
    "Boat": _boat,
    "Bottle": _bottle,
    "Bus": _bus,
    "Car": _car,
    "Cat": _cat,
    "Chair": _chair,
    "Cup": _cup,
    "Dog": _dog,
    "Motorbike": _motorbike,
    "People": _people,
    "Table": _table,
}
