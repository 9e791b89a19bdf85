"""Reads ExDark's own text formats: an image's boxes (bbGt) and the list of images."""

from typing import NamedTuple

from lowlight.core.errors import DataError
from lowlight.dataset.classes import CLASSES, LIGHTINGS, LOCATIONS, SPLITS

_HEADER = "% bbGt"
_LIST_COLUMNS = "name class light in/out train/val/test"


class BbGtBox(NamedTuple):
    """One line of a bbGt file."""

    line: int  # from 1
    name: str  # the class
    pixel_ltwh: tuple  # left, top, width, height; integers


class ImageFacts(NamedTuple):
    """One line of imageclasslist.txt, its numbers as words."""

    folder_class: str
    lighting: str
    location: str
    official_split: str


def parse_bbgt(data, place):
    """Reads the annotation of one image.

    Args:
        data: the file's bytes: `% bbGt version=3`, then `class left top width height` and unused
            columns for each box (https://pdollar.github.io/toolbox/detector/bbGt.html).
        place: how a message names the file.

    Returns:
        A list of BbGtBox, empty for an image without boxes.

    Raises:
        DataError: another format, an unknown class, or a box that isn't four integers with a width
            and height of 1 or more.
    """
    lines = _decode(data, place).splitlines()
    if not lines or not lines[0].startswith(_HEADER):
        raise DataError(
            f"{place}:1: not an annotation of ExDark: the first line should be "
            f"'{_HEADER} version=3'.\n  Add it, or move the file away."
        )
    numbered = [(number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    return [_parse_box(line, number, f"{place}:{number}") for number, line in numbered]


def _parse_box(line, number, place):
    fields = line.split()
    if len(fields) < 5:
        raise DataError(
            f"{place}: {line!r} lacks fields; a class, left, top, width and height are needed.\n"
            f"  Correct the line and run this step again."
        )
    if fields[0] not in CLASSES:
        raise DataError(
            f"{place}: unknown class {fields[0]!r}.\n"
            f"  Known classes: {', '.join(CLASSES)}. Correct the line and run this step again."
        )
    try:
        box = tuple(int(field) for field in fields[1:5])
    except ValueError as error:
        raise DataError(
            f"{place}: {' '.join(fields[1:5])!r} isn't four whole numbers.\n"
            f"  Left, top, width and height are pixels. Correct the line and run this step again."
        ) from error
    if min(box[2:]) < 1:
        raise DataError(
            f"{place}: a box {box[2]} wide and {box[3]} high.\n"
            f"  Both must be 1 or more. Correct or remove the line and run this step again."
        )
    return BbGtBox(number, fields[0], box)


def parse_image_list(data, place):
    """Reads imageclasslist.txt.

    Args:
        data: the file's bytes: a header, which may be missing, then five columns a line: an image's
            name and the numbers, from 1, of its class, lighting, location and official split.
        place: how a message names the file.

    Returns:
        {image's file name: ImageFacts}

    Raises:
        DataError: a line of another form, or an image that is named twice.
    """
    facts = {}
    for number, line in enumerate(_decode(data, place).splitlines(), 1):
        fields = line.split()
        words = _words_of(fields)
        if not fields or (number == 1 and words is None):
            continue
        if words is None:
            raise DataError(
                f"{place}:{number}: {line!r} isn't '{_LIST_COLUMNS}' with numbers in range.\n"
                f"  Correct the line, or take the list as ExDark's authors hand it out."
            )
        if fields[0] in facts:
            raise DataError(f"{place}:{number}: {fields[0]} stands here twice.\n  Remove one line.")
        facts[fields[0]] = ImageFacts(*words)
    return facts


def _words_of(fields):
    """Returns the words for the numbers of a list's line, None where it isn't of that form."""
    tables = CLASSES, LIGHTINGS, LOCATIONS, SPLITS
    if len(fields) != 5 or not all(x.isdecimal() and len(x) < 4 for x in fields[1:]):
        return None
    numbers = [int(field) for field in fields[1:]]
    if not all(1 <= n <= len(table) for n, table in zip(numbers, tables, strict=True)):
        return None
    return [table[n - 1] for n, table in zip(numbers, tables, strict=True)]


def _decode(data, place):
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not a text file ({error}).\n  Replace or remove it.") from error
