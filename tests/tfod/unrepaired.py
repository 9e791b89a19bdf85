"""TFOD as it is before its repairs: in a new process, with packages that can't be imported."""

import importlib.abc
import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = HERE.parents[1] / "scripts"


def load_repairs():
    """Returns the module of the repairs by itself: its package would apply them."""
    path = SCRIPTS / "lowlight" / "tfod" / "repairs.py"
    spec = importlib.util.spec_from_file_location("repairs", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


repairs = load_repairs()


def run_python(code, path=str(SCRIPTS), status=0):
    """Runs code in a new process, where nothing is repaired yet and TensorFlow isn't set up."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=HERE,
        env={**inherited, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == status, run.stderr
    return run


class Unimportable(importlib.abc.MetaPathFinder):
    """Makes packages look as if they weren't installed."""

    def __init__(self, *names):
        self._names = names

    def find_spec(self, fullname, path=None, target=None):
        if fullname in self._names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def error_of(function):
    try:
        function()
    except Exception as error:
        return str(error)
    return ""
