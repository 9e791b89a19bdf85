"""Chooses the pictures of a data set that are worth a look, and makes thumbnails of them."""

import random
from pathlib import Path
from typing import NamedTuple

from lowlight.dataset.overview import Entry, group_by_class
from lowlight.images.drawing import brightened, draw_frames, encode_thumbnail
from lowlight.images.reading import open_reduced

_EXAMPLES = 6  # pictures of each class
_EXTREMES = 12  # pictures of the darkest, and of the most crowded
_MOST_PROBLEMS = 48  # pictures of images with a problem
_SIDE = 240  # pixels of a thumbnail's longer side


class Picture(NamedTuple):
    """An image for the gallery and what is remarkable about it."""

    entry: Entry
    remark: str


class Group(NamedTuple):
    """Pictures that are shown together."""

    heading: str
    note: str
    pictures: list  # of Picture


def choose_pictures(data_set, seed):
    """Chooses some of each class, the darkest, the most crowded, and those with a problem.

    Args:
        data_set: describe.DataSet.
        seed: what the choice within a class comes from.

    Returns:
        A list of Group, none of them empty.
    """
    entries, chance = data_set.entries, random.Random(seed)
    groups = []
    for name, having in group_by_class(data_set).items():
        chosen = sorted(chance.sample(range(len(having)), min(_EXAMPLES, len(having))))
        groups.append(Group(name, "", [Picture(having[n], "") for n in chosen]))
    darkest = sorted(entries, key=lambda e: e.brightness)[:_EXTREMES]
    groups.append(Group("The darkest", "", [Picture(e, "") for e in darkest]))
    crowded = sorted((e for e in entries if e.boxes), key=lambda e: -len(e.boxes))[:_EXTREMES]
    groups.append(Group("The most crowded", "", [Picture(e, "") for e in crowded]))
    groups.append(_problem_group(data_set))
    return [group for group in groups if group.pictures]


def _problem_group(data_set):
    odd = [e for e in data_set.entries if e.image.filename in data_set.problems]
    pictures = [
        Picture(e, "; ".join(_remark(row) for row in data_set.problems[e.image.filename]))
        for e in odd[:_MOST_PROBLEMS]
    ]
    note = f"problems.csv names {len(odd)} of the images"
    note += f"; the first {_MOST_PROBLEMS} are shown" if len(odd) > _MOST_PROBLEMS else ""
    note += f". Lines of no image here: {data_set.strangers}." if data_set.strangers else "."
    return Group("With a problem", note, pictures)


def _remark(row):
    return f"{row.problem}: {row.detail}" if row.detail else row.problem


def make_thumbnails(images_dir, entry, classes):
    """Returns two small JPEGs, bytes, of an image with its boxes: as it is, and brightened.

    Args:
        images_dir: the folder with the image.
        entry: describe.Entry.
        classes: the data set's, whose order gives the boxes their colours.
    """
    path = Path(images_dir) / entry.image.filename
    image = open_reduced(path.read_bytes(), path, "RGB", _SIDE)
    image.thumbnail((_SIDE, _SIDE))
    bright = brightened(image, entry.brightness)
    across, down = image.width / entry.image.width, image.height / entry.image.height
    boxes = [(b.xmin * across, b.ymin * down, b.xmax * across, b.ymax * down) for b in entry.boxes]
    numbers = [classes.index(box.class_name) + 1 for box in entry.boxes]
    return [_encode(picture, boxes, numbers) for picture in (image, bright)]


def _encode(picture, boxes, numbers):
    draw_frames(picture, boxes, numbers, line=2)
    return encode_thumbnail(picture)
