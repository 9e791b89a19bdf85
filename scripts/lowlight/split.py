"""Decides which image goes into which split."""

import random

from lowlight.classes import SPLITS
from lowlight.errors import DataError
from lowlight.tables import SplitRow, read_table


def split_randomly(filenames, train_fraction, seed):
    """Splits at random into "train" and "test".

    Args:
        filenames: at least two, without repeats; their order doesn't matter.
        train_fraction: share of images that are for training, over 0 and under 1. Both splits get
            one image at least.
        seed: the same one splits the same names the same way.

    Returns:
        A list of SplitRow, sorted by filename.

    Raises:
        DataError: a fraction out of range, or fewer than two images.
    """
    if not 0 < train_fraction < 1:
        raise DataError(
            f"--train_fraction={train_fraction}: must lie between 0 and 1, such as 0.75."
        )
    names = sorted(filenames)
    if len(names) < 2:
        raise DataError("one image can't be split into two parts.\n  Add images.")
    shuffled = random.Random(seed).sample(names, len(names))
    count = min(max(round(len(names) * train_fraction), 1), len(names) - 1)
    train = set(shuffled[:count])
    return [SplitRow(name, "train" if name in train else "test") for name in names]


def split_officially(images, place):
    """Splits as ExDark's authors did, into "train", "val" and "test".

    Args:
        images: ImageRows; place: the file they come from, for messages.

    Returns:
        A list of SplitRow, in the order given.

    Raises:
        DataError: an image without an official split.
    """
    for image in images:
        if not image.official_split:
            raise DataError(
                f"{place}: no official split for {image.filename}.\n"
                "  Run make_annotations_csv.py with --image_list, or use --split=random."
            )
    return [SplitRow(image.filename, image.official_split) for image in images]


def split_by_file(filenames, path):
    """Splits as a split.csv says.

    Args:
        filenames: the images to split; path: of the split.csv.

    Returns:
        A list of SplitRow, sorted by filename.

    Raises:
        DataError: an image that the file doesn't name, names twice, or that isn't in the data; a
            split that isn't train, val or test.
    """
    remedy = "make_tfrecords.py writes split.csv with columns filename,split."
    names, rows = set(filenames), {}
    for place, row in read_table(path, SplitRow, remedy):
        if row.filename not in names:
            raise DataError(f"{place}: {row.filename!r} isn't in images.csv.\n  Remove the line.")
        if row.filename in rows:
            raise DataError(f"{place}: {row.filename!r} stands here twice.\n  Remove one line.")
        if row.split not in SPLITS:
            raise DataError(
                f"{place}: split {row.split!r} isn't train, val or test.\n  Correct it."
            )
        rows[row.filename] = row
    missing = sorted(names - set(rows))
    if missing:
        raise DataError(f"{path}: doesn't name {missing[0]}.\n  Add a line for each image.")
    return sorted(rows.values())
