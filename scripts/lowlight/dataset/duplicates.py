"""Finds near-duplicate photographs, so that none is both trained with and tested with."""

import functools
import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lowlight.core.errors import format_count
from lowlight.core.parallel import Progress, map_in_processes
from lowlight.dataset.tables import converted_images
from lowlight.images.reading import grey_thumbnail, read_jpeg

LEAST_CONTRAST = 1.0  # standard deviation of a thumbnail's grey levels, of 255
_SIDE = 32  # of the thumbnail that is hashed, pixels
_WAVES = 16  # a side of the block of lowest frequencies that become bits
FLAT = "flat"
_HASH = re.compile(rf"{FLAT}|[0-9a-f]{{64}}")
# Rows are cosines of growing frequency. In integers, so that a hash is the same on every machine.
_COSINES = np.cos(np.pi * np.outer(np.arange(_WAVES), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))
_DCT = np.rint(1024 * _COSINES).astype(np.int64)  # [16, 32]


def hash_image(data, place):
    """Returns an image's pHash as text: 64 hexadecimal digits, or "flat" where it has none.

    Args:
        data: the file's bytes; place: how a message names it.

    Raises:
        DataError: not an image, or a damaged one.
    """
    found = hash_thumbnail(grey_thumbnail(data, place, _SIDE))
    return FLAT if found is None else found.tobytes().hex()


def is_hash(text):
    """Says whether a text is one that `hash_image` gives."""
    return _HASH.fullmatch(text) is not None


def parse_hash(text):
    """Returns the uint64 [4] of what `hash_image` gave, None of "flat"."""
    return None if text == FLAT else np.frombuffer(bytes.fromhex(text), np.uint64)


def hash_thumbnail(grey):
    """Returns the 255 bits of a thumbnail's pHash, or None where it is too flat to have one.

    Args:
        grey: uint8 [32, 32], grey levels.

    Returns:
        uint64 [4]: for each of the lowest 16 x 16 frequencies but the mean, whether its amplitude
        is over the median of them.
    """
    if grey.std() < LEAST_CONTRAST:
        return None
    waves = (_DCT @ grey.astype(np.int64) @ _DCT.T).ravel()[1:]
    return np.packbits(np.append(waves > np.median(waves), False)).view(np.uint64)


MOST_BITS = 32  # in which the hashes of near-duplicates differ, of 255
_BLOCK = 256  # images that are compared with all others at a time


def find_duplicates(filenames, images_dir):
    """Groups the images that show the same photograph.

    A copy that was encoded again, resized, brightened, or cropped by a hundredth of its sides is
    found; a mirrored one, or one cropped by a twentieth, is not.

    The hash is a pHash of 255 bits, not of the usual 64. Night scenes share their rough forms, a
    dark frame around a few lights, and only finer waves tell them apart: of 64 bits some different
    night scenes differ in 8, as some true copies do. Of 255 bits different photographs of ExDark
    differ in 92 or more, and drawn night scenes, which are far simpler, in 50 or more. A copy
    differs in up to 10 where it was encoded at quality 20 or halved, up to 24 where it was made
    1.3 times as bright, and 22 in nine of ten cases where a hundredth was cut off. Different
    photographs stay as far apart at a fiftieth of their brightness. Of a progressive JPEG only the
    first scans are hashed: it differs in up to 14 from the same image as a baseline JPEG, in up to
    24 from it at quality 20, and different ones stay as far apart.

    The hashes that `convert_images` left in converted.csv are used for the images of which its
    SHA-256 sums say that they are the same; the others are decoded.

    Args:
        filenames: names of images, without repeats; images_dir: the folder they are in.

    Returns:
        A list of lists of two or more names, sorted. An image of all but one brightness belongs
        to none: nothing tells it from others.

    Raises:
        DataError: an image is missing or damaged.
    """
    names, hashes = sorted(filenames), []
    known = converted_images(images_dir)
    hash_one = functools.partial(_hash_file, images_dir=Path(images_dir), known=known)
    with Progress(len(names), "hash") as progress:
        for text in map_in_processes(hash_one, names):
            hashes.append(parse_hash(text))
            progress.update()
    seen = [number for number, found in enumerate(hashes) if found is not None]
    pairs = close_pairs(np.array([hashes[number] for number in seen], np.uint64).reshape(-1, 4))
    return _join([names[number] for number in seen], pairs)


def _hash_file(name, images_dir, known):
    """Returns the pHash of an image file, from converted.csv where it is of these very bytes."""
    path = images_dir / name
    data = read_jpeg(path)
    row = known.get(name)
    if row and is_hash(row.phash) and hashlib.sha256(data).hexdigest() == row.sha256:
        return row.phash
    return hash_image(data, path)


def close_pairs(hashes, most_bits=MOST_BITS):
    """Yields the pairs of hashes that differ in few bits, as (i, j), i < j, sorted.

    Args:
        hashes: uint64 [N, 4].
    """
    for start in range(0, len(hashes), _BLOCK):
        block, rest = hashes[start : start + _BLOCK], hashes[start:]
        bits = np.zeros((len(block), len(rest)), np.uint16)  # in which they differ
        for word in range(hashes.shape[1]):
            bits += np.bitwise_count(block[:, None, word] ^ rest[None, :, word])
        for i, j in np.argwhere(np.triu(bits <= most_bits, 1)).tolist():
            yield start + i, start + j


def _join(names, pairs):
    """Returns the names that pairs connect, directly or by way of others, as sorted groups."""
    ends = np.array(list(pairs), int).reshape(-1, 2).T
    if not ends.size:
        return []
    graph = coo_array((np.ones(ends.shape[1], bool), ends), (len(names), len(names)))
    _, components = connected_components(graph, directed=False)
    groups = pd.Series(names).groupby(components, sort=False).agg(list)
    return [group for group in groups if len(group) > 1]


def find_leaks(groups, rows):
    """Returns the groups of near-duplicates that a split tears apart.

    Args:
        groups: as `find_duplicates` gives them; rows: SplitRows.

    Returns:
        [{filename: split}], one for each such group.
    """
    split_of = {row.filename: row.split for row in rows}
    placed = [{name: split_of[name] for name in group} for group in groups]
    return [group for group in placed if len(set(group.values())) > 1]


def describe_duplicates(groups, leaks, most=3):
    """Returns lines for a summary: how many groups there are, and which lie in several parts."""
    where = f"{len(leaks)} of them in several parts" if leaks else "each in one part"
    count = sum(map(len, groups))
    lines = [f"near-duplicates: {format_count(len(groups), 'group')} of {count} images, {where}"]
    for group in leaks[:most]:
        lines.append("  " + ", ".join(f"{name} ({split})" for name, split in group.items()))
    if len(leaks) > most:
        lines.append(f"  and {len(leaks) - most} more in several parts")
    return lines if groups else ["near-duplicates: none"]
