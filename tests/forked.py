"""Runs scripts in processes forked from one that has imported TFOD, whose import takes seconds."""

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_PROCESSES = multiprocessing.get_context("forkserver")


def start(function: Callable, *given, out: Path, err: Path | None = None, **variables):
    """Starts a function of a module in a process that prints to files.

    Args:
        function, given: what is called, and its arguments.
        out, err: where it prints to; both streams to `out` by default.
        variables: of its environment, beside this process's.

    Returns:
        The multiprocessing.Process.
    """
    _PROCESSES.set_forkserver_preload(["lowlight.training.train", "lowlight.detector.export"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "scripts"))  # the process to fork from has no other
        forkserver.ensure_running()
    environment = {**os.environ, **variables}
    process = _PROCESSES.Process(
        target=_run, args=(function, given, (out, err or out), environment)
    )
    process.start()
    return process


def _run(function, given, files, environment):
    for descriptor, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    function(*given)


def script(name: str, *arguments: str) -> None:
    """Runs scripts/<name>, or run_inference.py, in this process."""
    path = ROOT / ("" if name == "run_inference.py" else "scripts") / name
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.parent))
    os.chdir(ROOT)
    runpy.run_path(sys.argv[0], run_name="__main__")


def run(folder: Path, name: str, *arguments) -> subprocess.CompletedProcess:
    """Runs a script to its end; what it prints goes through files in a folder."""
    files = folder / "out.txt", folder / "err.txt"
    for file in files:
        file.write_text("")
    process = start(script, name, *map(str, arguments), out=files[0], err=files[1])
    process.join()
    return subprocess.CompletedProcess(
        name, process.exitcode, *(file.read_text() for file in files)
    )
