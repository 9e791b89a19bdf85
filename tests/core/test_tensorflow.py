"""What TensorFlow needs is set when it is needed, and not in a program that only imports."""

import subprocess
import sys

from lowlight.core.files import CONFIGS

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
