"""Makes the share of every class and lighting in one part of a split that of the whole part."""

from collections import Counter

import numpy as np

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
