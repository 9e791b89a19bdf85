"""Checks and counts what records hold, and finds how often each image is to come in a training."""

import glob
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lowlight.core.errors import DataError, name_some
from lowlight.dataset.classes import LabelMap
from lowlight.dataset.records import Record, read_records
from lowlight.images.reading import open_image
from lowlight.images.rgb_jpegs import end_of_image, is_of_common_form

# By TFOD's decoder; an MPO is a JPEG with more behind it, and a GIF gets four dimensions.
_DECODABLE = "JPEG", "MPO", "PNG", "BMP"
_PNG_END = b"IEND\xaeB`\x82"  # with its check sum
_REMEDY = "Write it again, from data that is right."
_MOST_SHOWN = 20  # classes


class RecordCounts(NamedTuple):
    """What the records hold."""

    files: int
    images: int
    boxes: int
    most: int  # boxes in one image
    unseen: tuple  # the names of the classes without a box


def record_files(patterns: Iterable[str], path: Path | str) -> list[str]:
    """Returns the files, sorted, that a config names by paths and globs; the path is the config's.

    Raises DataError: a pattern that names no file.
    """
    files = []
    for pattern in patterns or [""]:
        found = sorted(glob.glob(pattern))
        if not found:
            raise DataError(
                f"{path}: no record file {pattern!r} (paths are relative to the folder that the "
                "command runs in).\n  make_tfrecords.py writes it, or correct input_path."
            )
        files += found
    return files


def count_and_check(
    files: Iterable[Path | str], names: LabelMap, decode: Callable | None = None
) -> RecordCounts:
    """Reads record files through: their checksums, each label and box, and each image's form.

    `decode` is called with each image file, and raises what it wants where it can't decode it.
    Without it, the header is read and the end looked for.

    Raises:
        DataError: a file that is damaged or holds no record; a label that the label map lacks, or
            that isn't its text's; a box that isn't one, or not inside its image; an image that
            TensorFlow can't decode, or of another size than its record says.
    """
    counts, seen = [], set()
    for path in files:
        before = len(counts)
        for record in read_records([path], names.ids):
            _check_labels(record, names)
            _check_boxes(record)
            _check_image(record, decode)
            seen |= {*record.classes.tolist()}
            counts.append(len(record.classes))
        if len(counts) == before:
            raise DataError(f"{path}: holds no record.\n  Write it again, or leave it out.")
    unseen = tuple(name for number, name in names.items() if number not in seen)
    return RecordCounts(len(files), len(counts), sum(counts), max(counts), unseen)


def _check_labels(record: Record, names: LabelMap):
    place = f"{record.place} ({record.filename})"
    unknown = [int(label) for label in record.classes if label not in names]
    if unknown:
        raise DataError(
            f"{place}: label {unknown[0]}, which the label map lacks (it has "
            f"{name_some(map(str, names), 20)}).\n  Give the label map that the records were made "
            "with."
        )
    for label, number in zip(record.labels, record.classes.tolist(), strict=False):
        if label != number:
            raise DataError(
                f"{place}: image/object/class/text is that of {names[number]!r}, id {number} in "
                f"the label map, but class/label is {label}.\n  TFOD goes by the text. Write the "
                "labels as the label map has them, or give the label map that the records were "
                "made with."
            )


def _check_boxes(record: Record):
    y0, x0, y1, x1 = record.unit_yxyx.T
    good = (y0 >= 0) & (x0 >= 0) & (y0 < y1) & (x0 < x1) & (y1 <= 1) & (x1 <= 1)
    if not good.all():  # a NaN isn't good either
        box = record.unit_yxyx[np.argmin(good)].tolist()
        raise DataError(
            f"{record.place} ({record.filename}): the box {box} (image/object/bbox/ymin, xmin, "
            f"ymax, xmax: fractions of the image) isn't inside its image.\n  {_REMEDY}"
        )


def _check_image(record: Record, decode: Callable | None):
    """Raises DataError where TensorFlow can't decode a record's image, or its size is another."""
    place = f"{record.place} ({record.filename}): image/encoded"
    image = open_image(record.encoded, place, whole=False)
    wrong = _wrong_form(image, record.encoded)
    if not wrong and image.size != (record.width, record.height):
        sizes = f"{image.width}x{image.height}", f"{record.width}x{record.height}"
        wrong = f"{sizes[0]} pixels, but the record says {sizes[1]}.\n  {_REMEDY}"
    if wrong:
        raise DataError(f"{place}: {wrong}")
    if decode is not None:
        try:
            decode(record.encoded)
        except Exception as error:  # whatever the decoder raises
            raise DataError(f"{place}: can't be decoded ({error}).\n  {_REMEDY}") from error


def _wrong_form(image, data):
    """Returns why TensorFlow doesn't read an image's form, and the remedy; "" where it does."""
    if image.format not in _DECODABLE:
        return (
            f"a {image.format}, which TFOD's decoder doesn't read.\n"
            "  It reads JPEG, PNG and BMP; convert_images.py makes JPEGs of other forms."
        )
    if image.format == "BMP" and not _is_plain_bmp(data, image):
        wrong = "a BMP with a palette, or cut short, which TensorFlow reads wrongly or not at all"
        return f"{wrong}.\n  {_REMEDY}"
    if image.format == "PNG" and _PNG_END not in data:
        return f"a PNG that is cut short.\n  {_REMEDY}"
    if image.format in ("JPEG", "MPO"):
        if not is_of_common_form(data):
            return (
                "neither a baseline nor a progressive JPEG, and TensorFlow reads no other.\n"
                "  convert_images.py makes one of it."
            )
        if not end_of_image(data):
            return f"a JPEG that is cut short.\n  {_REMEDY}"
    return ""


def _is_plain_bmp(data, image):
    """Says whether a BMP holds its pixels by three or four bytes, and nothing behind them."""
    start, bits = int.from_bytes(data[10:14], "little"), int.from_bytes(data[28:30], "little")
    row = (image.width * bits + 31) // 32 * 4
    return bits in (24, 32) and len(data) == start + row * image.height


# How often an image comes, so that rare classes do: LVIS's repeat-factor sampling. ----------------


@dataclass(frozen=True)
class Balance:
    """How often the images of some records come, on average, in an epoch."""

    share: float  # classes in a smaller share of the images come more often; LVIS calls it t
    counts: dict[int, int]  # images by class id, of the classes that occur, the rarest first
    of_class: dict[int, float]  # the factors of these classes, 1 or more
    factors: np.ndarray  # float64 [N], each image's


def balance_images(images: Sequence[Collection[int]], share: float | None = None) -> Balance:
    """Returns how often images, each given by the ids of its classes, are to come.

    A class in a share f of the images has the factor max(1, sqrt(share / f)), an image the largest
    of its classes, and 1 without one (Gupta et al., LVIS, https://arxiv.org/abs/1908.03195).

    Args:
        share: by default the median of the classes' own, so that the rarer half comes more often.
    """
    found = Counter(number for classes in images for number in set(classes))
    counts = dict(sorted(found.items(), key=lambda item: (item[1], item[0])))
    if share is None:
        share = float(np.median(list(counts.values()))) / len(images) if counts else 0.0
    shares = {number: count / len(images) for number, count in counts.items()}
    of_class = {number: max(1.0, (share / own) ** 0.5) for number, own in shares.items()}
    factors = [max((of_class[one] for one in classes), default=1.0) for classes in images]
    return Balance(share, counts, of_class, np.array(factors))


def balance_records(
    paths: Sequence[Path | str],
    ids: dict[str, int],
    share: float | None = None,
    every_n: int = 1,
) -> Balance:
    """As `balance_images`, of every n-th record of some files; raises as `read_records`."""
    classes = [record.classes.tolist() for record in read_records(paths, ids)]
    return balance_images(classes[:: max(every_n, 1)], share)


def format_balance(balance: Balance, names: dict[int, str]) -> str:
    """Returns the factors by class as a short table, without those of 1 and those that say less."""
    rare = [number for number in balance.counts if balance.of_class[number] > 1]
    images = len(balance.factors)
    lines = [
        f"classes in fewer than {balance.share:.1%} of the images come more often; "
        f"{images:,} images are {balance.factors.sum():,.0f} an epoch"
    ]
    for number in rare[:_MOST_SHOWN]:
        count = balance.counts[number]
        lines.append(
            f"  {names.get(number, number):<20} {count:>7,} images {count / images:>6.1%}"
            f"  x {balance.of_class[number]:.2f}"
        )
    shown = len(rare[:_MOST_SHOWN])
    if others := len(balance.counts) - shown:
        most = balance.of_class[rare[_MOST_SHOWN]] if len(rare) > shown else 1
        upto = "up to " if most > 1 else ""
        lines.append(f"  {f'{others} other classes':<37} {upto:>7}x {most:.2f}")
    return "\n".join(lines)
