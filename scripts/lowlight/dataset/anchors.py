"""Reads the sizes and shapes of a config's anchors as text, without TFOD."""

import re
from pathlib import Path
from typing import NamedTuple

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file

_REMEDY = (
    "--config is a pipeline config with a multiscale_anchor_generator and a "
    "keep_aspect_ratio_resizer."
)
_COMMENT = re.compile(r"#[^\n]*")
# What a config may leave out, as in TFOD's multiscale_anchor_generator.proto and
# image_resizer.proto.
_ANCHOR_DEFAULTS = {"min_level": 3, "max_level": 7, "anchor_scale": 4.0, "scales_per_octave": 2}
_RESIZER_DEFAULTS = {"min_dimension": 600, "max_dimension": 1024}
_MOST = {"min_level": 30, "max_level": 30, "scales_per_octave": 100}  # 100,000 of the others


class Anchors(NamedTuple):
    """What a config's anchors are, and how large it makes an image before they are laid over it."""

    config: str  # the file's name
    sizes: tuple  # square roots of their areas in pixels of the resized image, ascending
    ratios: tuple  # of width to height, ascending
    min_dimension: int  # pixels
    max_dimension: int

    def resize_scale(self, width: int, height: int) -> float:
        """Returns what TFOD's keep_aspect_ratio_resizer multiplies the sides of an image by."""
        return min(self.min_dimension / min(width, height), self.max_dimension / max(width, height))


def read_anchors(path) -> Anchors:
    """Reads the anchors of a pipeline config.

    An anchor of level L has a size of anchor_scale * 2^L * 2^(k / scales_per_octave), for each k
    under scales_per_octave (object_detection/anchor_generators/
    multiscale_grid_anchor_generator.py).

    Returns:
        Anchors.

    Raises:
        DataError: no such file, no such anchors or resizer in it, or values that can't be used.
    """
    text = existing_file(path, _REMEDY).read_text(encoding="utf-8", errors="replace")
    text = _COMMENT.sub("", text)
    fields, place = _read_block(text, "multiscale_anchor_generator", _ANCHOR_DEFAULTS, path)
    resizer, resizer_place = _read_block(text, "keep_aspect_ratio_resizer", _RESIZER_DEFAULTS, path)
    levels = range(int(fields["min_level"]), int(fields["max_level"]) + 1)
    octave = int(fields["scales_per_octave"])
    sizes = [
        fields["anchor_scale"] * 2 ** (level + k / octave)
        for level in levels
        for k in range(octave)
    ]
    ratios = sorted(set(fields["aspect_ratios"]))
    if not sizes or min(sizes) <= 0 or not ratios or ratios[0] <= 0:
        raise DataError(f"{place}: the anchors have no size or no aspect_ratios.\n  {_REMEDY}")
    sides = int(resizer["min_dimension"]), int(resizer["max_dimension"])
    if min(sides) < 1:
        raise DataError(f"{resizer_place}: a dimension is below 1 pixel.\n  {_REMEDY}")
    return Anchors(Path(path).name, tuple(sorted(sizes)), tuple(ratios), *sides)


def _read_block(text, name, defaults, path):
    """Returns ({field: number, "aspect_ratios": numbers}, place) of the block of this name."""
    block = re.search(rf"\b{name}\s*:?\s*\{{([^{{}}]*)\}}", text)
    if block is None:
        raise DataError(f"{path}: no {name}.\n  {_REMEDY}")
    place = f"{path}:{text.count(chr(10), 0, block.start()) + 1}"
    fields = {**defaults, "aspect_ratios": []}
    for key, value in re.findall(r"(\w+)\s*:\s*(\[[^\]]*\]|[^\s,;]+)", block[1]):
        if key in fields:
            numbers = [_number(text) for text in re.findall(r"[^\s,\[\]]+", value)]
            most = _MOST.get(key, 100_000)
            if not (numbers and all(0 <= number <= most for number in numbers)):
                raise DataError(
                    f"{place}: {key} is {value!r}, not a number from 0 to {most:,}.\n  {_REMEDY}"
                )
            fields[key] = fields[key] + numbers if key == "aspect_ratios" else numbers[0]
    return fields, place


def _number(text):
    """Returns a text's number, nan of another text."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
