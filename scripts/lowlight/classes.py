"""ExDark's classes and image facts, and the label map that carries classes to TFOD."""

import re

from lowlight.errors import DataError
from lowlight.files import existing_file

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
_FIELD = re.compile(r"""(\w+)\s*:\s*(-?\d+|"[^"\n]*"|'[^'\n]*')\s*,?""")


def format_label_map(classes=CLASSES):
    """Returns TFOD's StringIntLabelMap as text; ids count from 1 in the order given."""
    items = (f"item {{\n  id: {i}\n  name: '{name}'\n}}\n" for i, name in enumerate(classes, 1))
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
        fields = {key: value.strip("\"'") for key, value in _FIELD.findall(item[1])}
        number, name = fields.get("id", ""), fields.get("name") or fields.get("display_name")
        if not name or not number.isdecimal() or int(number) < 1:
            raise DataError(f"{place}: an item needs a name and an id of 1 or more.\n  {remedy}")
        if int(number) in names or name in names.values():
            raise DataError(f"{place}: id {number} or name {name!r} twice.\n  {remedy}")
        names[int(number)] = name
    if not names or _ITEM.sub("", text).strip():
        form = "item { id: 1 name: 'Bicycle' } ..."
        raise DataError(f"{path}: not a label map ({form}).\n  {remedy}")
    return names
