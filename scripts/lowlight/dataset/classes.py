"""The classes: ExDark's with its image facts, one's own, and the label map that TFOD reads."""

import re
from pathlib import Path

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file

# In the order of ExDark's imageclasslist.txt (https://github.com/cs-chan/Exclusively-Dark-Image-Dataset):
# a name's place, counted from 1, is its number there and its id in the label map.
CLASSES = (
    "Bicycle",
    "Boat",
    "Bottle",
    "Bus",
    "Car",
    "Cat",
    "Chair",
    "Cup",
    "Dog",
    "Motorbike",
    "People",
    "Table",
)
LIGHTINGS = (
    "Low",
    "Ambient",
    "Object",
    "Single",
    "Weak",
    "Strong",
    "Screen",
    "Window",
    "Shadow",
    "Twilight",
)
LOCATIONS = ("Indoor", "Outdoor")
SPLITS = ("train", "val", "test")

_COMMENT = re.compile(r"""("[^"\n]*"|'[^'\n]*')|#[^\n]*""")
_ITEM = re.compile(r"item\s*:?\s*\{([^{}]*)\}")
_FIELD = re.compile(r"""([A-Za-z_]\w*)\s*:\s*(-?\d+|"[^"\n]*"|'[^'\n]*')\s*,?""")


def read_classes(data_dir):
    """Returns the names of a data set's classes, in the order of their ids from 1.

    They are the lines of classes.txt, empty ones left out, or ExDark's where there is no such file.
    So an id never depends on which classes happen to occur.

    Args:
        data_dir: the folder with the csv files and, for other classes than ExDark's, classes.txt.

    Raises:
        DataError: a classes.txt that isn't text, is empty, or has a name twice or one that a label
            map can't hold.
    """
    path = Path(data_dir) / "classes.txt"
    if not path.exists():
        return CLASSES
    remedy = "A class's name stands on each line, in the order of the ids."
    try:
        lines = existing_file(path, remedy).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file in UTF-8 ({error}).\n  {remedy}") from error
    names = {}
    for number, line in enumerate(lines, 1):
        name, place = line.strip(), f"{path}:{number}"
        if name in names:
            raise DataError(f"{place}: class {name!r} stands here twice.\n  Remove one line.")
        if name:
            check_class_name(name, place)
            names[name] = number
    if not names:
        raise DataError(f"{path}: names no class.\n  {remedy}")
    return tuple(names)


def check_class_name(name, place):
    """Raises DataError where a class's name can't stand in classes.txt and a label map."""
    if not name or name != name.strip() or not name.isprintable() or set(name) & set('"\\{}'):
        raise DataError(
            f"{place}: {name!r} can't be a class's name.\n"
            '  It needs visible characters, none of them " \\ { or }, and no blank at either end.'
        )


def format_label_map(classes=CLASSES):
    """Returns TFOD's StringIntLabelMap as text; ids count from 1 in the order given."""
    quoted = (f'"{name}"' if "'" in name else f"'{name}'" for name in classes)
    items = (f"item {{\n  id: {i}\n  name: {name}\n}}\n" for i, name in enumerate(quoted, 1))
    return "".join(items)


def read_label_map(path):
    """Reads a TFOD label map in protobuf text form.

    Returns:
        {id: name}, ids >= 1, in the order of the file. `display_name` is taken where an item has
        no `name`.

    Raises:
        DataError: no such file, not a label map, or an item without id or name, or one twice.
    """
    remedy = "make_tfrecords.py writes label_map.txt beside the records."
    text = existing_file(path, remedy).read_text(encoding="utf-8", errors="replace")
    text = _COMMENT.sub(lambda found: found[1] or "", text)
    names = {}
    for item in _ITEM.finditer(text):
        place = f"{path}:{text.count(chr(10), 0, item.start()) + 1}"
        fields = {key: _unquote(value) for key, value in _FIELD.findall(item[1])}
        number, name = fields.get("id", ""), fields.get("name") or fields.get("display_name")
        if not name or not number.isdecimal() or len(number) > 9 or int(number) < 1:
            raise DataError(f"{place}: an item needs a name and an id of 1 or more.\n  {remedy}")
        if int(number) in names or name in names.values():
            raise DataError(f"{place}: id {number} or name {name!r} twice.\n  {remedy}")
        names[int(number)] = name
    if not names or _ITEM.sub("", text).strip():
        form = "item { id: 1 name: 'Bicycle' } ..."
        raise DataError(f"{path}: not a label map ({form}).\n  {remedy}")
    return names


def _unquote(value):
    return value[1:-1] if value[0] in "\"'" else value
