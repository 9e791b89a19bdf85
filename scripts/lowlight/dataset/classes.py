"""The classes: ExDark's with its image facts, one's own, and the label map that TFOD reads."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from google.protobuf import text_format

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file
from lowlight.core.tensorflow_files import message_class

# In the order of ExDark's imageclasslist.txt (https://github.com/cs-chan/Exclusively-Dark-Image-Dataset):
# a name's place, counted from 1, is its number there and its id in the label map.
CLASSES = (
    "Bicycle", "Boat", "Bottle", "Bus", "Car", "Cat",
    "Chair", "Cup", "Dog", "Motorbike", "People", "Table",
)  # fmt: skip
LIGHTINGS = (
    "Low", "Ambient", "Object", "Single", "Weak",
    "Strong", "Screen", "Window", "Shadow", "Twilight",
)  # fmt: skip
LOCATIONS = ("Indoor", "Outdoor")
SPLITS = ("train", "val", "test")
_NAMES = "A class's name stands on each line, in the order of the ids."

# TFOD's protos/string_int_label_map.proto, whose module would import TensorFlow.
_LABEL_MAP = """
name: "string_int_label_map.proto"
package: "object_detection.protos"
enum_type {
  name: "LVISFrequency"
  value { name: "UNSPECIFIED" number: 0 } value { name: "FREQUENT" number: 1 }
  value { name: "COMMON" number: 2 } value { name: "RARE" number: 3 }
}
message_type {
  name: "StringIntLabelMapItem"
  field { name: "name" number: 1 type: TYPE_STRING }
  field { name: "id" number: 2 type: TYPE_INT32 }
  field { name: "display_name" number: 3 type: TYPE_STRING }
  field { name: "keypoints" number: 4 label: LABEL_REPEATED type_name: "KeypointMap" }
  field { name: "ancestor_ids" number: 5 type: TYPE_INT32 label: LABEL_REPEATED }
  field { name: "descendant_ids" number: 6 type: TYPE_INT32 label: LABEL_REPEATED }
  field { name: "frequency" number: 7 type_name: "LVISFrequency" }
  field { name: "instance_count" number: 8 type: TYPE_INT32 }
  nested_type {
    name: "KeypointMap"
    field { name: "id" number: 1 type: TYPE_INT32 }
    field { name: "label" number: 2 type: TYPE_STRING }
  }
}
message_type {
  name: "StringIntLabelMap"
  field { name: "item" number: 1 label: LABEL_REPEATED type_name: "StringIntLabelMapItem" }
}
"""


_LabelMapProto = message_class(_LABEL_MAP, "object_detection.protos.StringIntLabelMap")


def read_classes(data_dir: str | Path) -> tuple[str, ...]:
    """Returns the names of a data set's classes, in the order of their ids from 1.

    They are the lines of classes.txt, empty ones left out, or ExDark's where there is no such file.
    So an id never depends on which classes happen to occur.

    Raises:
        DataError: a classes.txt that isn't text, is empty, or has a name twice or one that a label
            map can't hold.
    """
    path = Path(data_dir) / "classes.txt"
    if not path.exists():
        return CLASSES
    return tuple(parse_classes(existing_file(path, _NAMES).read_bytes(), path))


def parse_classes(data: bytes, place: object) -> dict[str, int]:
    """Returns {name: its line, from 1} of a classes.txt; raises DataError as `read_classes`."""
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not a text file in UTF-8 ({error}).\n  {_NAMES}") from error
    names = {}
    for number, line in enumerate(lines, 1):
        name, where = line.strip(), f"{place}:{number}"
        if name in names:
            raise DataError(f"{where}: class {name!r} stands here twice.\n  Remove one line.")
        if name:
            check_class_name(name, where)
            names[name] = number
    if not names:
        raise DataError(f"{place}: names no class.\n  {_NAMES}")
    return names


def check_class_name(name: str, place: object) -> None:
    """Raises DataError where a class's name can't stand in classes.txt and a label map."""
    if not name or name != name.strip() or not name.isprintable() or set(name) & set('"\\{}'):
        raise DataError(
            f"{place}: {name!r} can't be a class's name.\n"
            '  It needs visible characters, none of them " \\ { or }, and no blank at either end.'
        )


def format_label_map(classes: Iterable[str] | Mapping[int, str] = CLASSES) -> str:
    """Returns TFOD's StringIntLabelMap of {id: name}, or of names whose ids count from 1."""
    names = classes if isinstance(classes, Mapping) else dict(enumerate(classes, 1))
    quoted = {i: f'"{name}"' if "'" in name else f"'{name}'" for i, name in names.items()}
    return "".join(f"item {{\n  id: {i}\n  name: {name}\n}}\n" for i, name in quoted.items())


class LabelMap(dict):
    """{id: name} of a TFOD label map, ids from 1 in the order of the file.

    The name is the one to show: an item's `display_name`, or its `name` where it has none.
    """

    def __init__(self):
        super().__init__()
        # {text: id}, what a record may call a class: by either name, as in TFOD's
        # data_decoders/tf_example_decoder.py.
        self.ids = {}


def read_label_map(path: str | Path) -> LabelMap:
    """Reads a TFOD label map in protobuf's text form, as TFOD does but without TensorFlow.

    TFOD's item for the background, id 0, is left out.

    Raises:
        DataError: no such file, not a label map, or an item without id or name, or one twice.
    """
    remedy = "make_tfrecords.py writes label_map.txt beside the records."
    try:
        text = existing_file(path, remedy).read_text(encoding="utf-8-sig")
        items = text_format.Parse(text, _LabelMapProto()).item
    except (text_format.ParseError, UnicodeDecodeError) as error:
        line = error.GetLine() if isinstance(error, text_format.ParseError) else None
        place, form = f"{path}:{line}" if line else path, "item { id: 1 name: 'Bicycle' } ..."
        why = str(error).split(" : ", 1)[-1][:200]  # without the place; a line may be endless
        raise DataError(f"{place}: not a label map, {form} ({why}).\n  {remedy}") from error
    names = LabelMap()
    for number, item in enumerate(items, 1):
        if item.id == 0 and "background" in (item.name, item.display_name):
            continue
        name, texts = item.display_name or item.name, {item.name, item.display_name} - {""}
        wrong = ""
        if not name or item.id < 1:
            wrong = "it needs a name and an id of 1 or more"
        elif item.id in names or texts & names.ids.keys():
            wrong = f"id {item.id} or name {name!r} twice"
        if wrong:
            raise DataError(f"{path}: item {number}: {wrong}.\n  {remedy}")
        names[item.id] = name
        names.ids |= dict.fromkeys(texts, item.id)
    if not names:
        raise DataError(f"{path}: names no class.\n  {remedy}")
    return names
