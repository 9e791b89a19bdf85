"""Decides which image goes into which split: copies together, classes and lightings alike."""

import functools
import hashlib
import random
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lowlight.core.errors import DataError, format_count
from lowlight.core.parallel import Progress, map_in_processes
from lowlight.dataset.classes import SPLITS
from lowlight.dataset.conversion import FLAT, hash_image
from lowlight.dataset.tables import (
    AnnotationRow,
    ImageRow,
    SplitRow,
    converted_images,
    read_table,
    refuse_first,
    rows_of,
)
from lowlight.images.reading import read_jpeg

MOST_BITS = 32  # in which the hashes of near-duplicates differ, of 255
_HASH = re.compile(rf"{FLAT}|[0-9a-f]{{64}}")
_BLOCK = 256  # images that are compared with all others at a time
_WHOLE = 10**8  # a share of 1; in integers, so that every machine chooses alike
_CLOSE = _WHOLE // 1000
_MOST_TRIES = 2000


def find_duplicates(filenames: Iterable[str], images_dir: str | Path) -> list[list[str]]:
    """Returns the groups of images that show the same photograph: two or more names, sorted.

    A copy that was encoded again, resized, brightened, or cropped by a hundredth of its sides is
    found; a mirrored one, or one cropped by a twentieth, is not. An image of all but one brightness
    belongs to no group.

    Night scenes share their rough forms, a dark frame around a few lights, and only finer waves
    tell them apart, so the hash has 255 bits: of the usual 64 some different night scenes differ in
    8, as some true copies do. Of 255 different photographs of ExDark differ in 92 or more, also at
    a fiftieth of their brightness, and drawn night scenes in 50 or more. A copy differs in up to 10
    at quality 20 or half the size, in up to 24 at 1.3 times the brightness or as a progressive
    JPEG, whose first scans alone are hashed, and in 22 in nine of ten cases where a hundredth was
    cut off.

    Raises:
        DataError: an image is missing or damaged.
    """
    hashes, known = {}, converted_images(images_dir)
    names = sorted(filenames)
    hash_one = functools.partial(_hash_file, images_dir=Path(images_dir), known=known)
    with Progress(len(names), "hash") as progress:
        for name, text in zip(names, map_in_processes(hash_one, names), strict=True):
            if text != FLAT:
                hashes[name] = text
            progress.update()
    words = np.frombuffer(bytes.fromhex("".join(hashes.values())), np.uint64)
    return _join(list(hashes), close_pairs(words.reshape(-1, 4)))


def _hash_file(name, images_dir, known):
    """Returns the pHash of an image file, from converted.csv where it is of these very bytes."""
    data, row = read_jpeg(images_dir / name), known.get(name)
    is_known = row is not None and _HASH.fullmatch(row.phash)
    if is_known and hashlib.sha256(data).hexdigest() == row.sha256:
        return row.phash
    return hash_image(data, images_dir / name)


def close_pairs(hashes: np.ndarray, most_bits: int = MOST_BITS) -> Iterator[tuple[int, int]]:
    """Yields the pairs (i, j), i < j, sorted, of hashes, uint64 [N, 4], that differ in few bits."""
    for start in range(0, len(hashes), _BLOCK):
        block, rest = hashes[start : start + _BLOCK], hashes[start:]
        bits = np.zeros((len(block), len(rest)), np.uint16)  # in which they differ
        for word in range(hashes.shape[1]):
            bits += np.bitwise_count(block[:, None, word] ^ rest[None, :, word])
        for i, j in np.argwhere(np.triu(bits <= most_bits, 1)).tolist():
            yield start + i, start + j


def _join(names, pairs):
    """Returns the names that pairs connect, directly or by way of others, as sorted groups."""
    from scipy.sparse import coo_array  # here, since every step that knows splits starts sooner
    from scipy.sparse.csgraph import connected_components

    ends = np.array(list(pairs), int).reshape(-1, 2).T
    if not ends.size:
        return []
    graph = coo_array((np.ones(ends.shape[1], bool), ends), (len(names), len(names)))
    _, components = connected_components(graph, directed=False)
    groups = pd.Series(names).groupby(components, sort=False).agg(list)
    return [group for group in groups if len(group) > 1]


def describe_duplicates(
    groups: list[list[str]], rows: Iterable[SplitRow], most: int = 3
) -> list[str]:
    """Returns lines for a summary: how many groups there are, and which lie in several parts."""
    if not groups:
        return ["near-duplicates: none"]
    split_of = dict(rows)
    placed = [{name: split_of[name] for name in group} for group in groups]
    leaks = [group for group in placed if len(set(group.values())) > 1]
    where = f"{len(leaks)} of them in several parts" if leaks else "each in one part"
    count = sum(map(len, groups))
    lines = [f"near-duplicates: {format_count(len(groups), 'group')} of {count} images, {where}"]
    for group in leaks[:most]:
        lines.append("  " + ", ".join(f"{name} ({split})" for name, split in group.items()))
    if len(leaks) > most:
        lines.append(f"  and {len(leaks) - most} more in several parts")
    return lines


def labels_of(image: ImageRow, boxes: Iterable[AnnotationRow]) -> list[tuple[str, str]]:
    """Returns what is balanced of an image, a list of labels with repeats.

    Images are counted by the class of their folder, their lighting and their location, where these
    are known, and boxes by their class.
    """
    facts = ("folder", image.folder_class), ("light", image.lighting), ("place", image.location)
    return [fact for fact in facts if fact[1]] + [("box", box.class_name) for box in boxes]


def check_fraction(train_fraction: float) -> None:
    """Raises DataError unless the fraction is over 0 and under 1."""
    if not 0 < train_fraction < 1:
        raise DataError(
            f"--train_fraction={train_fraction}: must lie between 0 and 1, such as 0.75."
        )


def split_randomly(
    filenames: Iterable[str],
    train_fraction: float,
    seed: int,
    groups: Collection[list[str]] = (),
    labels: dict[str, list] | None = None,
) -> list[SplitRow]:
    """Splits at random into "train" and "test"; returns SplitRows sorted by filename.

    Args:
        filenames: at least two, without repeats; their order doesn't matter.
        train_fraction: share of images that are for training, over 0 and under 1. Both splits get
            one image at least.
        seed: the same one splits the same names the same way.
        groups: names that must not be parted, such as near-duplicates. The share of images is as
            near to the fraction as they allow.
        labels: {filename: [label]}; the share of each label, a label counted as often as it stands
            there, comes as near to the fraction as the images allow.

    Raises:
        DataError: a fraction out of range, fewer than two images, or all of them in one group.
    """
    check_fraction(train_fraction)
    names = sorted(filenames)
    if len(names) < 2:
        raise DataError("one image can't be split into two parts.\n  Add images.")
    grouped = {name for group in groups for name in group}
    units = sorted([*map(sorted, groups), *([name] for name in names if name not in grouped)])
    if len(units) < 2:
        raise DataError(
            f"all {len(names)} images are near-duplicates of each other, and those stay in one "
            "part.\n  Add other images, or give --nokeep_duplicates_together."
        )
    shuffled = random.Random(seed).sample(units, len(units))
    chosen = _fill(shuffled, min(max(round(len(names) * train_fraction), 1), len(names) - 1))
    if labels:
        chosen = _balance(shuffled, chosen, labels, train_fraction)
    train = {name for unit, here in zip(shuffled, chosen, strict=True) if here for name in unit}
    return [SplitRow(name, "train" if name in train else "test") for name in names]


def _fill(units, count):
    """Says of each unit whether it is among those that make up `count` names, or nearly as many.

    Of the groups as large a share is taken as of the whole, where that leaves single names enough
    to come to `count`; otherwise those that come nearest to it.
    """
    sizes = np.array([len(unit) for unit in units])
    groups, singles = np.flatnonzero(sizes > 1), np.flatnonzero(sizes == 1)
    chosen = np.zeros(len(units), bool)
    chosen[groups[_choose_groups(sizes[groups], count, len(singles))]] = True
    chosen[singles[: max(count - sizes[chosen].sum(), 0)]] = True
    return chosen


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
        chosen.append(int(last[rest]))
        rest -= int(sizes[last[rest]])
    return chosen


def _balance(groups, chosen, labels, fraction):
    """Returns `chosen`, exchanged until each label's share comes close to the fraction.

    A group is exchanged for one of as many images, so the parts stay as large as they are. Each
    exchange is the one that lowers the sum of squared departures most, the first of equals; it ends
    where every share is within 0.1 percentage points of the fraction, or nothing helps.
    """
    shares = _shares(groups, labels)  # [groups, labels]
    squares = (shares**2).sum(axis=1)
    sizes = np.array([len(group) for group in groups])
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
    return chosen


def _shares(groups, labels):
    """Returns the share that each group has of each label, int64 [groups, labels]."""
    pairs = [(row, label) for row, names in enumerate(groups) for n in names for label in labels[n]]
    columns = {label: column for column, label in enumerate(sorted({label for _, label in pairs}))}
    counts = np.zeros((len(groups), len(columns)), np.int64)
    for row, label in pairs:
        counts[row, columns[label]] += 1
    return counts * _WHOLE // counts.sum(axis=0)


def describe_fraction(rows: list[SplitRow], train_fraction: float) -> list[str]:
    """Returns a line where a random split is over 0.01 off its fraction, which groups can cause."""
    share = sum(row.split == "train" for row in rows) / len(rows)
    if abs(share - train_fraction) <= max(0.01, 1 / len(rows)):
        return []
    return [
        f"warning: train has {share:.1%} of the images, not {train_fraction:.1%}: no groups of "
        "near-duplicates, which stay in one part, come nearer"
    ]


def split_officially(images: Iterable[ImageRow], place: object) -> list[SplitRow]:
    """Splits as ExDark's authors did, into "train", "val" and "test".

    Raises:
        DataError: an image without an official split; `place` is the file that images come from.
    """
    for image in images:
        if not image.official_split:
            raise DataError(
                f"{place}: no official split for {image.filename}.\n"
                "  Run make_annotations_csv.py with --image_list, or use --split=random."
            )
    return [SplitRow(image.filename, image.official_split) for image in images]


def split_by_file(filenames: Iterable[str], path: str | Path) -> list[SplitRow]:
    """Splits as a split.csv says; returns SplitRows sorted by filename.

    Raises:
        DataError: an image that the file doesn't name, names twice, or that isn't in the data; a
            split that isn't train, val or test.
    """
    remedy = (
        "make_tfrecords.py writes split.csv (columns filename,split); its --split is random, "
        "official, or such a file."
    )
    names, table = set(filenames), read_table(path, SplitRow, remedy)
    for wrong, message in (
        (~table.filename.isin(names), "{row.filename!r} isn't in images.csv.\n  Remove the line."),
        (table.filename.duplicated(), "{row.filename!r} stands here twice.\n  Remove one line."),
        (~table.split.isin(SPLITS), "split {row.split!r} isn't train, val or test.\n  Correct it."),
    ):
        refuse_first(path, table[wrong], message)
    missing = sorted(names - set(table.filename))
    if missing:
        raise DataError(f"{path}: doesn't name {missing[0]}.\n  Add a line for each image.")
    return sorted(rows_of(table, SplitRow))
