"""What describes YOLO's labels as a whole: a data.yaml, or a classes.txt, and lists of images."""

import posixpath
import re
import reprlib
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

import yaml

from lowlight.core.errors import DataError
from lowlight.core.sources import SourceFile
from lowlight.dataset.classes import SPLITS, check_class_name, parse_classes
from lowlight.dataset.labels import decode_label, read_label_file, refuse_several

_MOST_BYTES = 2**18  # of a data.yaml; 1,200 classes have 30,000
_FORM = "It names the classes: names: [cat, dog], or a line each, 0: cat."
_WHOLE = re.compile("[0-9]{1,9}")


class DataYaml(NamedTuple):
    """What a data.yaml says."""

    names: dict  # {number from 0: class}
    parts: dict  # {split: [path]}, folders of images or lists of them
    keypoints: bool = False  # the labels' boxes are followed by points
    root: str = ""  # the folder that it lies in, inside the source


def find_description(source: object, files: list[SourceFile]) -> tuple[DataYaml, set[str]]:
    """Returns what describes the labels among some files, and the names of those without labels.

    The others are read by `parse_yolo`: the classes, the lists and a readme end in .txt, too.

    Raises:
        DataError: none or several name the classes, or two do so differently.
    """
    names = {file.name for file in files}
    yamls = [name for name in names if is_yaml(name)]
    named = [name for name in yamls if _base(name) in ("data.yaml", "data.yml")]
    texts = [name for name in names if _base(name) == "classes.txt"]
    for found in (named or yamls, texts):
        refuse_several(source, found)
    described = [
        _read(file) for file in files if file.name in (named or yamls) or file.name in texts
    ]
    if not described:
        raise DataError(
            f"{source}: neither a data.yaml nor a classes.txt.\n"
            "  Without one no class has a name. Put it into this folder, or check --labels."
        )
    if described[0].names != described[-1].names:
        raise DataError(
            f"{source}: {texts[0]} names other classes than {(named or yamls)[0]}.\n"
            "  Remove the one that doesn't belong to the labels."
        )
    described = max(described, key=lambda one: len(one.parts))
    paths = [path for paths in described.parts.values() for path in paths]
    ending = {name for name in names if name.lower().endswith(".txt")}
    lists = {_known_end(path, ending, described.root) for path in paths}
    readmes = {name for name in ending if _base(name).startswith("readme")}
    return described, {*lists, *readmes, *texts}


def is_yaml(name: str) -> bool:
    """Says whether a file's name is a yaml's."""
    return name.lower().endswith((".yaml", ".yml"))


def _base(name):
    return posixpath.basename(name).lower()


def _read(file):
    if file.name.lower().endswith(".txt"):
        lines = parse_classes(read_label_file(file), file.place)
        return DataYaml({line - 1: name for name, line in lines.items()}, {})
    described = parse_data_yaml(file.read(), file.place)
    return described._replace(root=posixpath.dirname(file.name))


def parse_data_yaml(data: bytes, place: object) -> DataYaml:
    """Reads a data.yaml as ultralytics and Roboflow write it.

    Nothing in it is built or run: only the texts at their places are looked at, so that a tag means
    nothing, an alias is never expanded, and a class called `yes` keeps its name.

    Raises:
        DataError: no such text, one without names, or a name that can't be a class's.
    """
    fields = _fields(data, place)
    names, lines = {}, {}
    for key, node in _named(fields, place):
        where = f"{place}:{node.start_mark.line + 1}"
        name = _scalar(node, where, "a class's name")
        check_class_name(name, where)
        if not _WHOLE.fullmatch(key) or int(key) in names or name in lines:
            raise DataError(
                f"{where}: {reprlib.repr(key)}: {name!r} isn't a number of its own with a name of "
                "its own.\n  Classes count from 0, and each stands there once. Correct it."
            )
        names[int(key)], lines[name] = name, where
    count = fields.get("nc")
    if count is not None and getattr(count, "value", "") != str(len(names)):
        raise DataError(
            f"{place}:{count.start_mark.line + 1}: nc isn't {len(names)}, the number of names.\n"
            "  Correct it, or complete the names."
        )
    parts = {key: _paths(fields[key], place, key) for key in SPLITS if key in fields}
    return DataYaml(names, parts, keypoints="kpt_shape" in fields)


def _fields(data, place):
    """Returns {key: node} of the mapping at the top."""
    if len(data) > _MOST_BYTES:
        raise DataError(
            f"{place}: {len(data):,} bytes, and no data.yaml has over {_MOST_BYTES:,}.\n  {_FORM}"
        )
    try:
        top = yaml.compose(data.decode("utf-8-sig"), yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or " ".join(str(error).split())[:200]
        raise DataError(f"{place}{line}: not YAML ({why}).\n  {_FORM}") from error
    if not isinstance(top, yaml.MappingNode):
        raise DataError(f"{place}:1: no keys and values at the top.\n  {_FORM}")
    return {key.value: node for key, node in top.value if isinstance(key, yaml.ScalarNode)}


def _named(fields, place):
    """Returns [(key, node)] of `names`, a list or a mapping."""
    names = fields.get("names")
    if isinstance(names, yaml.SequenceNode):
        pairs = [(str(number), node) for number, node in enumerate(names.value)]
    elif isinstance(names, yaml.MappingNode):
        pairs = [(_scalar(key, place, "a number"), node) for key, node in names.value]
    else:
        pairs = []
    if not pairs:
        raise DataError(f"{place}: no names of classes.\n  {_FORM}")
    return pairs


def _scalar(node, where, what):
    if not isinstance(node, yaml.ScalarNode):
        raise DataError(f"{where}: a list or a mapping, not {what}.\n  {_FORM}")
    return node.value


def _paths(node, place, key):
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    where = f"{place}:{node.start_mark.line + 1}"
    return [path for one in nodes if (path := _scalar(one, where, f"a path of {key}"))]


def split_images(
    described: DataYaml, images: Iterable[str], files: list[SourceFile]
) -> dict[str, str]:
    """Returns {image's path without extension: split} as far as a data.yaml says one.

    Its paths may begin anywhere, so the longest end of one that is known, as a folder of the images
    or as a list among the files, is what it means. Where train or val only stand in for a part that
    isn't there, and name the same images as another, the other counts.
    """
    images, folders = set(images), {}
    for image in images:
        for folder in PurePosixPath(image).parents:
            folders.setdefault(str(folder), set()).add(image)
    lists = {file.name: file for file in files if file.name.lower().endswith(".txt")}
    pairs = [
        (key, path) for key in ("val", "train", "test") for path in described.parts.get(key, ())
    ]
    split_of = {}
    for split, path in sorted(pairs, key=lambda pair: pair[0] in pair[1].split("/")):
        if end := _known_end(path, lists, described.root):
            lines = decode_label(lists[end].read(), lists[end].place).split("\n")
            stems = (posixpath.splitext(line.strip())[0] for line in lines)
            chosen = {_known_end(stem, images, described.root) for stem in stems} - {""}
        else:
            chosen = folders.get(_known_end(path, folders, described.root), ())
        split_of |= dict.fromkeys(chosen, split)
    return split_of


def _known_end(path, known, root):
    """Returns the longest end of a path that is known below the root, "" where none is."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    ends = (posixpath.join(root, *parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end in known), "")
