"""Reads YOLO's labels: a .txt an image, and a data.yaml or classes.txt that describes them.

The form is https://docs.ultralytics.com/datasets/detect/. A line is a box: its class's number from
0, then the centre's x and y, width and height as fractions of the image; or the corners of a
segment, x y x y ..., around which the box goes.
"""

import posixpath
import re
import reprlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import yaml

from lowlight.core.errors import DataError, name_some
from lowlight.core.sources import is_stray, list_files
from lowlight.dataset.classes import SPLITS, check_class_name
from lowlight.dataset.label_import import find_labels, import_folder
from lowlight.dataset.labels import (
    CocoBox,
    CocoImage,
    Fitting,
    Labels,
    decode_label,
    find_classes,
    only_file,
    read_label_file,
)
from lowlight.images.boxes import (
    pixel_xyxy_to_pixel_ltwh,
    unit_cxcywh_to_unit_xyxy,
    unit_xyxy_to_pixel_xyxy,
)
from lowlight.images.reading import image_size

_FOLDERS = "labels", "images"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_WHOLE = re.compile(r"([0-9]{1,9})(\.0*)?")
_MOST_BYTES = 2**18  # of a data.yaml; 1,200 classes have 30,000
_FORM = "It names the classes: names: [cat, dog], or a line each, 0: cat."


class DataYaml(NamedTuple):
    """What a data.yaml says."""

    names: dict  # {number from 0: class}
    parts: dict  # {split: [path]}, folders of images or lists of them
    keypoints: bool = False  # the labels' boxes are followed by points
    root: str = ""  # the folder that it lies in, inside the source


def import_yolo(source: str | Path, fitting: Fitting) -> Labels:
    """Reads a folder, or zip archive, with labels and fits them to converted images.

    The source may be a data.yaml, which then counts alone among those of its folder. Labels are
    those below folders called `labels`, where there are any; an image is where `images`
    takes that name's place, or lies beside its labels. What the data.yaml says of train, val and
    test becomes the images' official split.

    Raises:
        DataError: no description, several, or two that name other classes; as `parse_data_yaml`,
            `parse_yolo` and `label_import.import_folder`.
    """
    source, chosen = Path(source), ""
    if _is_yaml(source.name) and source.is_file():
        source, chosen = source.parent, source.name
    files = [file for file in list_files(source, "labels") if not is_stray(file.name)]
    # ImageSets is a folder of VOC's, whose .txt name images and hold no labels.
    files = [file for file in files if "ImageSets" not in file.name.split("/")]
    if chosen:
        files = [file for file in files if file.name == chosen or not _is_yaml(file.name)]
    described, apart = _find_description(source, files)
    folder = find_labels(source, files, ".txt", _FOLDERS, apart)
    splits = _split_images(described, {image for _, image in folder.labels}, files)

    def read(file, name, path):
        image = CocoImage(file.place, name, None, None, splits.get(name, ""))
        if path is None:
            return image, []
        return image, parse_yolo(read_label_file(file), file.place, image_size(path), described)

    return import_folder(folder, fitting, read, described.names)


# One image's labels. ------------------------------------------------------------------------------


def parse_yolo(
    data: bytes, place: object, size: tuple[int, int], described: DataYaml
) -> list[CocoBox]:
    """Reads the labels of one image of this size.

    An edge is taken to a hundredth of a pixel, as `boxes.unit_xyxy_to_pixel_xyxy` says.

    Raises:
        DataError: a line of another form, a class without name, or numbers that aren't fractions.
    """
    boxes = []
    for number, line in enumerate(decode_label(data, place).splitlines(), 1):
        if line.strip():
            where = f"{place}:{number}"
            category, *texts = line.split()
            category_id = _category(category, where, described.names)
            unit_xyxy = _unit_xyxy(texts, described.keypoints)
            if unit_xyxy is None:
                raise DataError(
                    f"{where}: no box and no segment behind the class: {line[:200]!r}.\n"
                    "  A box is centre x, y, width and height, a segment x and y of 3 corners or "
                    "more, in fractions of the image: pixels divided by its width or height. "
                    "Correct the line, or export labels without confidences."
                )
            ltwh = pixel_xyxy_to_pixel_ltwh(unit_xyxy_to_pixel_xyxy(unit_xyxy, *size))
            boxes.append(CocoBox(where, "", category_id, ltwh))
    return boxes


def _category(text, where, names):
    match = _WHOLE.fullmatch(text)
    if match is None or int(match[1]) not in names:
        known = name_some([f"{number} {name}" for number, name in names.items()], 12)
        raise DataError(
            f"{where}: class {reprlib.repr(text)} isn't one of those named: {known}.\n"
            "  A line begins with its class's number, from 0. Correct it, or name the class."
        )
    return int(match[1])


def _unit_xyxy(texts, keypoints):
    """Returns the corners of the box that the numbers behind a class give, None of others."""
    is_box = len(texts) == 4 or (keypoints and len(texts) > 4)
    texts = texts[:4] if is_box else texts
    if not all(_NUMBER.fullmatch(text) and -1 <= float(text) <= 2 for text in texts):
        return None
    numbers = [float(text) for text in texts]
    if is_box:
        return unit_cxcywh_to_unit_xyxy(numbers) if min(numbers[2:]) >= 0 else None
    xs, ys = numbers[::2], numbers[1::2]
    return (min(xs), min(ys), max(xs), max(ys)) if len(xs) == len(ys) >= 3 else None


# What describes the labels as a whole. ------------------------------------------------------------


def _find_description(source, files):
    """Returns the DataYaml of the labels, and the names of .txt files that hold no labels."""
    yamls = [file for file in files if _is_yaml(file.name)]
    usual = [file for file in yamls if _base(file.name) in ("data.yaml", "data.yml")]
    found = only_file(source, usual or yamls)
    names = {line - 1: name for name, line in find_classes(source, files).items()}
    if not found and not names:
        raise DataError(
            f"{source}: neither a data.yaml nor a classes.txt.\n"
            "  Without one no class has a name. Put it into this folder, or check --labels."
        )
    described = DataYaml(names, {})
    if found:
        described = parse_data_yaml(found.read(), found.place)
        described = described._replace(root=posixpath.dirname(found.name))
    texts = {file.name for file in files if file.name.lower().endswith(".txt")}
    classes = {name for name in texts if _base(name) == "classes.txt"}
    if names not in ({}, described.names):
        raise DataError(
            f"{source}: {min(classes)} names other classes than {found.name}.\n"
            "  Remove the one that doesn't belong to the labels."
        )
    paths = [path for paths in described.parts.values() for path in paths]
    lists = {_known_end(path, texts, described.root) for path in paths}
    readmes = {name for name in texts if _base(name).startswith("readme")}
    return described, lists | readmes | classes


def _is_yaml(name):
    return name.lower().endswith((".yaml", ".yml"))


def _base(name):
    return posixpath.basename(name).lower()


def parse_data_yaml(data: bytes, place: object) -> DataYaml:
    """Reads a data.yaml as ultralytics and Roboflow write it.

    Nothing in it is built or run: only the texts at their places are looked at, so that a tag means
    nothing, an alias is never expanded, and a class called `yes` keeps its name.

    Raises:
        DataError: no such text, one without names, or a name that can't be a class's.
    """
    fields = _fields(data, place)
    names, seen = {}, set()
    for key, node in _named(fields, place):
        where = _line_of(node, place)
        name = _scalar(node, where, "a class's name")
        check_class_name(name, where)
        if not re.fullmatch("[0-9]{1,9}", key) or int(key) in names or name in seen:
            raise DataError(
                f"{where}: {reprlib.repr(key)}: {name!r} isn't a number of its own with a name of "
                "its own.\n  Classes count from 0, and each stands there once. Correct it."
            )
        names[int(key)] = name
        seen.add(name)
    count = fields.get("nc")
    if count is not None and getattr(count, "value", "") != str(len(names)):
        raise DataError(
            f"{_line_of(count, place)}: nc isn't {len(names)}, the number of names.\n"
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
    names, pairs = fields.get("names"), []
    if isinstance(names, yaml.SequenceNode):
        pairs = [(str(number), node) for number, node in enumerate(names.value)]
    elif isinstance(names, yaml.MappingNode):
        pairs = [(_scalar(key, place, "a number"), node) for key, node in names.value]
    if not pairs:
        raise DataError(f"{place}: no names of classes.\n  {_FORM}")
    return pairs


def _line_of(node, place):
    return f"{place}:{node.start_mark.line + 1}"


def _scalar(node, where, what):
    if not isinstance(node, yaml.ScalarNode):
        raise DataError(f"{where}: a list or a mapping, not {what}.\n  {_FORM}")
    return node.value


def _paths(node, place, key):
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    paths = [_scalar(one, _line_of(node, place), f"a path of {key}") for one in nodes]
    return [path for path in paths if path]


def _split_images(described, images, files):
    """Returns {image's path: split} as far as a data.yaml says one.

    Its paths may begin anywhere, so the longest end of one that is known, as a folder of the images
    or as a list among the files, is what it means. Where train or val only stand in for a part that
    isn't there, and name the same images as another, the other counts.
    """
    by_stem, folders = {posixpath.splitext(image)[0]: image for image in images}, {}
    for image in images:
        for folder in PurePosixPath(image).parents:
            folders.setdefault(str(folder), set()).add(image)
    lists = {file.name: file for file in files if file.name.lower().endswith(".txt")}
    splits = "val", "train", "test"  # a later one counts where two name the same images
    named = [(split, path) for split in splits for path in described.parts.get(split, ())]
    split_of = {}
    for split, path in sorted(named, key=lambda pair: pair[0] in pair[1].split("/")):
        if end := _known_end(path, lists, described.root):
            lines = decode_label(lists[end].read(), lists[end].place).split("\n")
            stems = (posixpath.splitext(line.strip())[0] for line in lines)
            ends = (_known_end(stem, by_stem, described.root) for stem in stems)
            chosen = [by_stem[end] for end in ends if end]
        else:
            chosen = folders.get(_known_end(path, folders, described.root), ())
        split_of |= dict.fromkeys(chosen, split)
    return split_of


def _known_end(path, known, root):
    """Returns the longest end of a path that is known below the root, "" where none is."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    ends = (posixpath.join(root, *parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end in known), "")
