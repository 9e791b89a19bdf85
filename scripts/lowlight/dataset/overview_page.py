"""Shows what a data set holds on one HTML page: counts, histograms and pictures."""

import random
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lowlight.dataset import overview
from lowlight.dataset.overview import Anchors, DataSet
from lowlight.images.drawing import brightened, colour_of, draw_frames, encode_thumbnail
from lowlight.images.reading import open_reduced
from lowlight.pages.figures import draw_histogram
from lowlight.pages.rendering import percent, render

_MOST_BOXES = 24  # an image; more are in the last bin of the figure
_WIDEST = 4  # octaves of width over height; what is beyond counts at the ends
_EXAMPLES = 6  # pictures of each class
_EXTREMES = 12  # pictures of the darkest, and of the most crowded
_MOST_PROBLEMS = 48  # pictures of images with a problem
_SIDE = 240  # pixels of a thumbnail's longer side


class Group(NamedTuple):
    """Pictures that are shown together."""

    heading: str
    images: pd.DataFrame  # rows of the data set's images
    note: str = ""  # of those with a problem


def format_page(
    title: str, data_set: DataSet, anchors: Anchors, images_dir: str | Path, seed: int = 0
) -> str:
    """Returns the page's HTML; the choice of pictures within a class comes from the seed."""
    images = data_set.images
    splits = overview.count_values(images, "split") if any(images.split) else []
    conditions = {
        fact.capitalize(): overview.count_values(images, fact) for fact in ("lighting", "location")
    }
    return render(
        "data_set.html",
        title=f"Data set: {title}",
        facts=_facts(data_set),
        notes=data_set.missing,
        classes=overview.count_classes(data_set),
        splits=splits,
        boxes_by_split=[
            *overview.count_boxes_by_split(data_set).items(),
            ("All", {count.name: count.boxes for count in splits}),
        ],
        conditions={k: counts for k, counts in conditions.items() if any(c.name for c in counts)},
        config=anchors.config,
        **_describe_boxes(data_set, anchors),
        image_figures=[_draw_brightness(images.brightness), _draw_crowding(images.boxes)],
        groups=[_show(group, data_set, images_dir) for group in choose_pictures(data_set, seed)],
    )


def _facts(data_set):
    images, boxes = len(data_set.images), len(data_set.boxes)
    sizes = set(zip(data_set.images.width, data_set.images.height, strict=True))
    occurring = data_set.boxes.class_name.nunique()
    small, large = (pick(sizes, key=lambda s: (s[0] * s[1], s)) for pick in (min, max))
    return {
        "Images": images,
        "Boxes": boxes,
        "Boxes an image": f"{boxes / images:.2f}",
        "Classes": f"{occurring} of {len(data_set.classes)}",
        "Images without boxes": int(sum(data_set.images.boxes == 0)),
        "Smallest image": f"{small[0]}\u2009\u00d7\u2009{small[1]}",
        "Largest image": f"{large[0]}\u2009\u00d7\u2009{large[1]}",
        "Different sizes": len(sizes),
    }


def _describe_boxes(data_set, anchors):
    """Returns the table of sizes, its last row of all boxes, and figures, against the anchors."""
    if data_set.boxes.empty:
        return {"sizes": [], "box_figures": []}
    boxes = overview.measure_boxes(data_set.boxes, anchors)
    sizes = boxes["size"]
    of_class = [(name, sizes[boxes.class_name == name]) for name in data_set.classes]
    rows = []
    for name, values in (*((name, some) for name, some in of_class if len(some)), ("All", sizes)):
        counts = overview.count_against(values, anchors.sizes)
        parts = dict(zip(("below", "within", "above"), counts, strict=True))
        rows.append({"name": name, "median": values.median(), "parts": parts})
    figures = [_draw_sizes(sizes, anchors), _draw_shapes(boxes["ratio"], anchors)]
    return {"sizes": rows, "box_figures": figures}


def _draw_sizes(sizes, anchors):
    """Returns the figure of box sizes, in pixels of the resized image, with the anchors'."""
    small, large = anchors.sizes[0], anchors.sizes[-1]
    first = int(np.floor(np.log2(min(sizes.min(), small))))
    last = int(np.ceil(np.log2(max(sizes.max(), large))))
    ticks = [(power, f"{2**power:g}") for power in range(first, last + 1)]
    drawing = _draw_octaves(sizes, 3, ticks, "Histogram of box sizes", "pixels", anchors.sizes)
    below, _, above = overview.count_against(sizes, anchors.sizes)
    least = small / 2**0.5  # Of the same shape and centre, the smaller box is half of the larger.
    caption = (
        f"Square root of a box's area after the image is resized to {anchors.max_dimension} "
        f"pixels. The anchors, marked under the axis, go from {small:.0f} to {large:.0f}: "
        f"{percent(below, len(sizes))} of the boxes are smaller, {percent(above, len(sizes))} "
        f"larger. {percent(int(np.sum(sizes < least)), len(sizes))} are under {least:.0f}, where "
        "no anchor reaches an IoU of 0.5."
    )
    return {"heading": "Boxes by size", "drawing": drawing, "caption": caption}


def _draw_shapes(ratios, anchors):
    """Returns the figure of box shapes, width divided by height, with the anchors'."""
    ticks = [(n, f"{2 ** max(n, 0)}:{2 ** max(-n, 0)}") for n in range(-_WIDEST, _WIDEST + 1)]
    drawing = _draw_octaves(
        ratios, 4, ticks, "Histogram of box shapes", "width : height", anchors.ratios
    )
    taller, _, wider = overview.count_against(ratios, anchors.ratios)
    caption = (
        "A box's width divided by its height. The anchors' shapes, marked under the axis, go from "
        f"{anchors.ratios[0]:g} to {anchors.ratios[-1]:g}: {percent(taller, len(ratios))} of the "
        f"boxes are taller than these, {percent(wider, len(ratios))} wider."
    )
    return {"heading": "Boxes by shape", "drawing": drawing, "caption": caption}


def _draw_octaves(values, bins, ticks, label, axis, of_anchors):
    """Returns a histogram on an axis of octaves, with so many bins in each, over the anchors'."""
    first, last = ticks[0][0], ticks[-1][0]
    edges = np.linspace(first, last, bins * (last - first) + 1)
    marks = np.log2(of_anchors)
    return draw_histogram(np.log2(values), edges, ticks, label, axis, (marks[0], marks[-1]), marks)


def _draw_brightness(values):
    ticks = [(n, str(n)) for n in range(0, 257, 32)]
    drawing = draw_histogram(
        values, np.linspace(0, 256, 33), ticks, "Histogram of brightness", "mean luma"
    )
    caption = (
        f"Mean luma of an image, 0 to 255. The median is {np.median(values):.0f}; "
        f"{percent(int(np.sum(values < 32)), len(values))} of the images are under 32."
    )
    return {"heading": "Images by brightness", "drawing": drawing, "caption": caption}


def _draw_crowding(boxes):
    """Returns the figure of how many boxes an image holds."""
    edges = np.arange(_MOST_BOXES + 2) - 0.5
    ticks = [(n, f"{n}+" if n == _MOST_BOXES else str(n)) for n in range(0, _MOST_BOXES + 1, 4)]
    drawing = draw_histogram(boxes, edges, ticks, "Histogram of boxes an image", "boxes")
    caption = f"The median is {np.median(boxes):g}; the fullest image holds {boxes.max()}."
    return {"heading": "Images by number of boxes", "drawing": drawing, "caption": caption}


def choose_pictures(data_set: DataSet, seed: int) -> list[Group]:
    """Chooses some of each class, the darkest, the most crowded, and those with a problem.

    The choice within a class comes from the seed; no group is empty.
    """
    images, boxes, chance, groups = data_set.images, data_set.boxes, random.Random(seed), []
    for name in data_set.classes:
        having = images[images.filename.isin(boxes.filename[boxes.class_name == name])]
        chosen = sorted(chance.sample(range(len(having)), min(_EXAMPLES, len(having))))
        groups.append(Group(name, having.iloc[chosen]))
    darkest = images.sort_values("brightness", kind="stable")
    groups.append(Group("The darkest", darkest[:_EXTREMES]))
    crowded = images[images.boxes > 0].sort_values("boxes", ascending=False, kind="stable")
    groups.append(Group("The most crowded", crowded[:_EXTREMES]))
    odd = images[images.filename.isin(data_set.problems)]
    note = f"problems.csv names {len(odd)} of the images"
    note += f"; the first {_MOST_PROBLEMS} are shown" if len(odd) > _MOST_PROBLEMS else ""
    note += f"; {data_set.others} of its lines name no image here." if data_set.others else "."
    groups.append(Group("With a problem", odd[:_MOST_PROBLEMS], note))
    return [group for group in groups if len(group.images)]


def _show(group, data_set, images_dir):
    """Returns what the page shows of a group."""
    pictures = []
    for image in group.images.itertuples():
        boxes = data_set.boxes[data_set.boxes.filename == image.filename]
        counts = Counter(boxes.class_name)
        facts = image.lighting, image.location, image.split, f"brightness {image.brightness:.0f}"
        problems = data_set.problems.get(image.filename, ()) if group.note else ()
        remarks = [": ".join(filter(None, (row.problem, row.detail))) for row in problems]
        picture = {
            "name": image.filename,
            "jpegs": make_thumbnails(images_dir, image, boxes, data_set.classes),
            "facts": [fact for fact in facts if fact],
            "remark": "; ".join(remarks),
            "classes": [
                {"name": name, "count": counts[name], "colour": colour_of(number)}
                for number, name in enumerate(data_set.classes, 1)
                if name in counts
            ],
        }
        pictures.append(picture)
    return {"heading": group.heading, "note": group.note, "pictures": pictures}


def make_thumbnails(
    images_dir: str | Path, image: tuple, boxes: pd.DataFrame, classes: tuple
) -> dict[str, bytes]:
    """Returns small JPEGs, {how: bytes}, of an image with its boxes: as it is, and brightened.

    Args:
        image: a row of the data set's images, as `itertuples` gives it.
        boxes: the rows of its boxes.
        classes: the data set's, whose order gives the boxes their colours.
    """
    path = Path(images_dir) / image.filename
    picture = open_reduced(path.read_bytes(), path, "RGB", _SIDE)
    picture.thumbnail((_SIDE, _SIDE))
    pictures = {"as it is": picture, "brightened": brightened(picture, image.brightness)}
    scale = np.tile([picture.width / image.width, picture.height / image.height], 2)
    pixel_xyxy = boxes[["xmin", "ymin", "xmax", "ymax"]].to_numpy() * scale
    numbers = [classes.index(name) + 1 for name in boxes.class_name]
    for drawn in pictures.values():
        draw_frames(drawn, pixel_xyxy, numbers, line=2)
    return {how: encode_thumbnail(drawn) for how, drawn in pictures.items()}
