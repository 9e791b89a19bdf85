"""Decides which image goes into which split, with equal shares of classes and lightings."""

import random
from collections import Counter

import numpy as np

from lowlight.core.errors import DataError
from lowlight.dataset.classes import SPLITS
from lowlight.dataset.tables import SplitRow, read_table, refuse_first, rows_of

_WHOLE = 10**8  # a share of 1; in integers, so that every machine chooses alike
_CLOSE = _WHOLE // 1000
_MOST_TRIES = 2000


def labels_of(image, boxes):
    """Returns what is balanced of an image, a list of labels with repeats.

    Images are counted by the class of their folder, their lighting and their location, where these
    are known, and boxes by their class.
    """
    facts = ("folder", image.folder_class), ("light", image.lighting), ("place", image.location)
    return [fact for fact in facts if fact[1]] + [("box", box.class_name) for box in boxes]


def balance(groups, chosen, labels, fraction):
    """Exchanges groups between the two parts until each label's share comes close to the fraction.

    A group is exchanged for one of as many images, so the parts stay as large as they are. Each
    exchange is the one that lowers the sum of squared departures most; it ends where every share is
    within 0.1 percentage points of the fraction, or nothing helps.

    Args:
        groups: lists of names, in a random order, which decides between equals.
        chosen: a bool for each group, whether it is in the part.
        labels: {name: [label]}, a label as often as it counts.
        fraction: of every label, for the part.

    Returns:
        A list of bool, for each group.
    """
    shares = _shares(groups, labels)  # [groups, labels]
    squares = (shares**2).sum(axis=1)
    sizes = np.array([len(group) for group in groups])
    chosen = np.array(chosen)
    excess = shares[chosen].sum(axis=0) - round(fraction * _WHOLE)  # [labels]
    for here in np.flatnonzero(chosen)[:_MOST_TRIES]:
        if np.all(np.abs(excess) <= _CLOSE):
            break
        others = np.flatnonzero(~chosen & (sizes == sizes[here]))
        without = excess - shares[here]
        # The squared departures with a group added to `without`, less a constant.
        costs = 2 * (shares[others] @ without) + squares[others]
        if len(others) and costs.min() < 2 * (shares[here] @ without) + squares[here]:
            there = others[costs.argmin()]
            chosen[here], chosen[there] = False, True
            excess = without + shares[there]
    return chosen.tolist()


def _shares(groups, labels):
    """Returns the share that each group has of each label, int64 [groups, labels]."""
    counts = [Counter(label for name in group for label in labels[name]) for group in groups]
    totals = Counter(label for group in groups for name in group for label in labels[name])
    columns = {label: column for column, label in enumerate(sorted(totals))}
    shares = np.zeros((len(groups), len(columns)), np.int64)
    for row, count in enumerate(counts):
        for label, number in count.items():
            shares[row, columns[label]] = number * _WHOLE // totals[label]
    return shares


def check_fraction(train_fraction):
    """Raises DataError unless the fraction is over 0 and under 1."""
    if not 0 < train_fraction < 1:
        raise DataError(
            f"--train_fraction={train_fraction}: must lie between 0 and 1, such as 0.75."
        )


def split_randomly(filenames, train_fraction, seed, groups=(), labels=None):
    """Splits at random into "train" and "test".

    Args:
        filenames: at least two, without repeats; their order doesn't matter.
        train_fraction: share of images that are for training, over 0 and under 1. Both splits get
            one image at least.
        seed: the same one splits the same names the same way.
        groups: lists of names that must not be parted, such as near-duplicates. The share of images
            is as near to the fraction as they allow.
        labels: {filename: [label]}; the share of each label, a label counted as often as it stands
            there, comes as near to the fraction as the images allow (see `balance.balance`).

    Returns:
        A list of SplitRow, sorted by filename.

    Raises:
        DataError: a fraction out of range, fewer than two images, or all of them in one group.
    """
    check_fraction(train_fraction)
    names = sorted(filenames)
    if len(names) < 2:
        raise DataError("one image can't be split into two parts.\n  Add images.")
    units = _units(names, groups)
    if len(units) < 2:
        raise DataError(
            f"all {len(names)} images are near-duplicates of each other, and those stay in one "
            "part.\n  Add other images, or give --nokeep_duplicates_together."
        )
    shuffled = random.Random(seed).sample(units, len(units))
    count = min(max(round(len(names) * train_fraction), 1), len(names) - 1)
    chosen = _fill(shuffled, count)
    if labels:
        chosen = balance(shuffled, chosen, labels, train_fraction)
    train = {name for unit, here in zip(shuffled, chosen, strict=True) if here for name in unit}
    return [SplitRow(name, "train" if name in train else "test") for name in names]


def _units(names, groups):
    """Returns the groups, and every other name as a group of its own, sorted."""
    grouped = {name for group in groups for name in group}
    return sorted([*map(sorted, groups), *([name] for name in names if name not in grouped)])


def _fill(units, count):
    """Says of each unit whether it is among those that make up `count` names, or nearly as many.

    Of the groups as large a share is taken as of the whole, where that leaves single names enough
    to come to `count`; otherwise those that come nearest to it.
    """
    sizes = np.array([len(unit) for unit in units])
    groups, singles = np.flatnonzero(sizes > 1), np.flatnonzero(sizes == 1)
    chosen = np.zeros(len(units), bool)
    for place in _choose_groups(sizes[groups], count, len(singles)):
        chosen[groups[place]] = True
    chosen[singles[: max(count - sizes[chosen].sum(), 0)]] = True
    return chosen.tolist()


def _choose_groups(sizes, count, singles):
    """Returns the places of the groups, of these sizes, that `_fill` takes.

    All sums of sizes are made, each with the first groups that come to it, in the order given.
    """
    whole = int(sizes.sum())
    last = np.full(whole + 1, -1)  # the group that completes a sum
    sums = np.arange(whole + 1) == 0  # those that there are
    for place, size in enumerate(sizes.tolist()):
        more = np.roll(sums, size) & ~sums
        more[:size] = False
        last[more] = place
        sums |= more
    found = np.flatnonzero(sums)
    if not singles and len(found) > 2:  # neither part may be empty
        found = found[1:-1]
    missed = np.maximum(np.maximum(found - count, count - singles - found), 0)
    away = np.abs(found - whole * count / max(whole + singles, 1))
    rest, chosen = int(found[np.lexsort((away, missed))[0]]), []
    while rest:
        chosen.append(last[rest])
        rest -= int(sizes[last[rest]])
    return chosen


def describe_fraction(rows: list, train_fraction: float) -> list:
    """Returns a line where a random split is over 0.01 off its fraction, which groups can cause."""
    share = sum(row.split == "train" for row in rows) / len(rows)
    if abs(share - train_fraction) <= max(0.01, 1 / len(rows)):
        return []
    return [
        f"warning: train has {share:.1%} of the images, not {train_fraction:.1%}: no groups of "
        "near-duplicates, which stay in one part, come nearer"
    ]


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
    remedy = (
        "make_tfrecords.py writes split.csv (columns filename,split); its --split is random, "
        "official, or such a file."
    )
    names, table = set(filenames), read_table(path, SplitRow, remedy)
    for wrong, tell in (
        (~table.filename.isin(names), "isn't in images.csv.\n  Remove the line."),
        (table.filename.duplicated(), "stands here twice.\n  Remove one line."),
    ):
        refuse_first(path, table[wrong], lambda row, tell=tell: f"{row.filename!r} {tell}")
    refuse_first(
        path,
        table[~table.split.isin(SPLITS)],
        lambda row: f"split {row.split!r} isn't train, val or test.\n  Correct it.",
    )
    missing = sorted(names - set(table.filename))
    if missing:
        raise DataError(f"{path}: doesn't name {missing[0]}.\n  Add a line for each image.")
    return sorted(rows_of(table, SplitRow))
