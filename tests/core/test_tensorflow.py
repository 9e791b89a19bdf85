"""TensorFlow is set up when it is needed, and what it says becomes a line that a user can read."""

import subprocess
import sys

import pytest

from lowlight.core.files import CONFIGS
from lowlight.core.tensorflow import plain_message

_CODE = """
import logging, os, pkgutil, sys
before = dict(os.environ), logging.getLogger("tensorflow").level
import lowlight
for package in ("core", "images", "pages", "dataset"):
    folder = os.path.join(os.path.dirname(lowlight.__file__), package)
    for module in pkgutil.iter_modules([folder], f"lowlight.{package}."):
        __import__(module.name)
assert "tensorflow" not in sys.modules
after = dict(os.environ), logging.getLogger("tensorflow").level
print(*(a == b for a, b in zip(before, after)))
import lowlight.detector
print(os.environ["TF_USE_LEGACY_KERAS"])
"""


def test_an_import_sets_nothing_until_tensorflow_is_needed():
    scripts = CONFIGS.parent / "scripts"
    done = subprocess.run(
        [sys.executable, "-c", _CODE], cwd=scripts, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True", "1"]


MESSAGES = {
    "a function's mark": (
        "{{function_node __wrapped__RestoreV2_dtypes_2_device_/CPU:0}} Checksum does not match: "
        "stored 1 vs. calculated 2 [Op:RestoreV2] name: ",
        "Checksum does not match: stored 1 vs. calculated 2  name:",
    ),
    "where in the graph": (
        "Graph execution error:\n\nDetected at node map/Resize defined at (most recent call last):"
        "\n<stack traces unavailable>\noutput dimensions must be positive\n"
        "\t [[{{node map/Resize}}]] [Op:__inference_1]",
        "output dimensions must be positive",
    ),
    "several errors": (
        "2 root error(s) found.\n  (0) INVALID_ARGUMENT: bad image\n\t [[{{node a}}]]\n"
        "  (1) CANCELLED: other",
        "INVALID_ARGUMENT: bad image",
    ),
    "nothing": ("", "OSError"),
}


@pytest.mark.parametrize(("text", "message"), MESSAGES.values(), ids=MESSAGES)
def test_marks_and_traces_are_left_out(text, message):
    assert plain_message(OSError(text)) == message
