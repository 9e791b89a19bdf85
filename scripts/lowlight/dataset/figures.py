"""The histograms of a data set's page, each with a caption that says what it shows."""

import numpy as np

from lowlight.dataset.overview import count_against
from lowlight.pages.charts import draw_histogram, percent, to_html

_MOST_BOXES = 24  # an image; more are in the last bin of the figure
_WIDEST = 4  # octaves of width over height; what is beyond counts at the ends


def draw_sizes(sizes, anchors):
    """Returns the figure of box sizes, [N] in pixels of the resized image, with the anchors'."""
    small, large = anchors.sizes[0], anchors.sizes[-1]
    first = int(np.floor(np.log2(min(sizes.min(), small))))
    last = int(np.ceil(np.log2(max(sizes.max(), large))))
    edges = np.linspace(first, last, 3 * (last - first) + 1)
    drawing = draw_histogram(
        np.histogram(np.log2(sizes), edges)[0],
        edges,
        [(power, f"{2**power:g}") for power in range(first, last + 1)],
        ("Histogram of box sizes", "pixels"),
        (np.log2(small), np.log2(large)),
        np.log2(anchors.sizes),
    )
    return _figure(
        "Boxes by size", drawing, _tell_sizes(sizes, small, large, anchors.max_dimension)
    )


def _tell_sizes(sizes, small, large, side):
    below, _, above = count_against(sizes, small, large)
    least = small / 2**0.5  # Of the same shape and centre, the smaller box is half of the larger.
    unmatched = int(np.sum(sizes < least))
    return (
        f"Square root of a box's area after the image is resized to {side} pixels. The anchors, "
        f"marked under the axis, go from {small:.0f} to {large:.0f}: {percent(below, len(sizes))} "
        f"of the boxes are smaller, {percent(above, len(sizes))} larger. "
        f"{percent(unmatched, len(sizes))} are under {least:.0f}, where no anchor reaches an IoU "
        "of 0.5."
    )


def draw_shapes(ratios, anchors):
    """Returns the figure of box shapes, [N] width divided by height, with the anchors'."""
    tall, wide = anchors.ratios[0], anchors.ratios[-1]
    edges = np.linspace(-_WIDEST, _WIDEST, 8 * _WIDEST + 1)
    drawing = draw_histogram(
        np.histogram(np.clip(np.log2(ratios), -_WIDEST, _WIDEST), edges)[0],
        edges,
        [(n, f"{2 ** max(n, 0)}:{2 ** max(-n, 0)}") for n in range(-_WIDEST, _WIDEST + 1)],
        ("Histogram of box shapes", "width : height"),
        (np.log2(tall), np.log2(wide)),
        np.log2(anchors.ratios),
    )
    taller, _, wider = count_against(ratios, tall, wide)
    caption = (
        "A box's width divided by its height. The anchors' shapes, marked under the axis, go from "
        f"{tall:g} to {wide:g}: {percent(taller, len(ratios))} of the boxes are taller than these, "
        f"{percent(wider, len(ratios))} wider."
    )
    return _figure("Boxes by shape", drawing, caption)


def draw_brightness(entries):
    """Returns the figure of the images' brightness."""
    values = np.array([entry.brightness for entry in entries])
    edges = np.linspace(0, 256, 33)
    drawing = draw_histogram(
        np.histogram(values, edges)[0],
        edges,
        [(n, str(n)) for n in range(0, 257, 32)],
        ("Histogram of brightness", "mean luma"),
    )
    caption = (
        f"Mean luma of an image, 0 to 255. The median is {np.median(values):.0f}; "
        f"{percent(int(np.sum(values < 32)), len(values))} of the images are under 32."
    )
    return _figure("Images by brightness", drawing, caption)


def draw_crowding(entries):
    """Returns the figure of how many boxes an image holds."""
    boxes = np.array([len(entry.boxes) for entry in entries])
    drawing = draw_histogram(
        np.bincount(np.minimum(boxes, _MOST_BOXES), minlength=_MOST_BOXES + 1),
        np.arange(_MOST_BOXES + 2) - 0.5,
        [(n, f"{n}+" if n == _MOST_BOXES else str(n)) for n in range(0, _MOST_BOXES + 1, 4)],
        ("Histogram of boxes an image", "boxes"),
    )
    caption = f"The median is {np.median(boxes):g}; the fullest image holds {boxes.max()}."
    return _figure("Images by number of boxes", drawing, caption)


def _figure(heading, drawing, caption):
    return (
        f"<figure><h3>{to_html(heading)}</h3>\n{drawing}\n"
        f"<figcaption>{to_html(caption)}</figcaption></figure>\n"
    )
