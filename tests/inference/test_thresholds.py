"""The scores from which detections count come from a number, a file or an evaluation."""

import json
import re

import pytest

from lowlight.core.errors import DataError
from lowlight.inference.flags import read_thresholds

NAMES = {1: "Bicycle", 2: "Boat", 3: "Bottle"}
SCORES = {"all": 0.25, "Bicycle": None, "Boat": 0.75, "Bottle": 0.25}
EVALUATION = {"AP": 0.5, "best_thresholds": {k: {"threshold": v} for k, v in SCORES.items()}}


def read(tmp_path, value, chosen):
    """Reads a threshold, which is first written to a file where it is JSON."""
    if value[0] in "[{":
        (tmp_path / "best.json").write_text(value)
        value = str(tmp_path / "best.json")
    return read_thresholds(value, NAMES, chosen)


@pytest.mark.parametrize(
    ("value", "chosen", "expected"),
    [
        pytest.param("0.5", None, {1: 0.5, 2: 0.5, 3: 0.5}, id="a number"),
        pytest.param("0.5", ["Boat"], {2: 0.5}, id="one class"),
        pytest.param('{"Boat": 0.25, "Bottle": 1}', None, {2: 0.25, 3: 1.0}, id="a file"),
        pytest.param('{"Boat": 0.25, "Bottle": 1}', ["Boat"], {2: 0.25}, id="both"),
        pytest.param(json.dumps(EVALUATION), None, {1: 0.25, 2: 0.75, 3: 0.25}, id="evaluation"),
    ],
)
def test_thresholds(tmp_path, value, chosen, expected):
    assert read(tmp_path, value, chosen) == expected


@pytest.mark.parametrize(
    ("value", "chosen", "message"),
    [
        ("1.5", None, "1.5 isn't a score from 0 to 1"),
        ("nan", None, "nan isn't a score from 0 to 1"),
        ("-0.1", None, "isn't a score from 0 to 1"),
        ("0.3", ["Bycicle"], "no class 'Bycicle' in the label map.\n  Is 'Bicycle' meant?"),
        ("0.3", ["boat"], "Is 'Boat' meant? Known: Bicycle, Boat, Bottle."),
        ("nowhere.json", None, "nowhere.json: no such file"),
        ('{"Boat": "much"}', None, "'much' isn't a score"),
        ('{"Boot": 0.5}', None, "no class 'Boot' in the label map"),
        ("[]", None, "no object of class names"),
        ("{", None, "not JSON"),
        ('{"best_thresholds": {"all": {"threshold": null}}}', None, "holds no best thresholds"),
        ('{"best_thresholds": {}}', None, "holds no best thresholds"),
        ('{"Boat": 0.5}', ["Bottle"], "has a score for none of them"),
    ],
)
def test_wrong_thresholds_are_named(tmp_path, value, chosen, message):
    with pytest.raises(DataError, match=re.escape(message)):
        read(tmp_path, value, chosen)
