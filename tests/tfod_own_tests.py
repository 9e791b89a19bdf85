"""Runs TFOD's own unit tests, as installed in site-packages, by pytest under lowlight's repairs.

    python tests/tfod_own_tests.py                               # all that a D1 stands on
    python tests/tfod_own_tests.py core utils/ops_test           # folders and modules
    python tests/tfod_own_tests.py --jobs=1 core/losses_test

A failing test is no fault of ours where tests/tfod_expected_failures.toml lists it with a reason.
Exit status 1 where one fails and isn't listed, and where a listed one passes or isn't there.
"""

import argparse
import functools
import multiprocessing
import os
import re
import sys
import tempfile
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from absl import flags
from absl.testing import absltest  # noqa: F401 (it defines --test_tmpdir)

HERE = Path(__file__).parent
EXPECTED_FAILURES = HERE / "tfod_expected_failures.toml"
# What a D1 stands on, relative to object_detection/. TFOD's other models, its slim networks and its
# TPU and TF Lite exporters are not ours to vouch for.
SELECTION = (
    "anchor_generators",
    "box_coders",
    "builders",
    "core",
    "data_decoders",
    "dataset_tools",
    "matchers",
    "meta_architectures",
    "metrics",
    "predictors",
    "utils",
    "eval_util_test",
    "exporter_lib_tf2_test",
    "inputs_test",
    "model_lib_tf2_test",
    "models/bidirectional_feature_pyramid_generators_tf2_test",
    "models/ssd_efficientnet_bifpn_feature_extractor_tf2_test",
)
# These test graphs and sessions of TensorFlow 1, and skip themselves on TensorFlow 2.
TENSORFLOW_1_ONLY = "_tf1_test"
_PYTEST = "-q", "-p", "no:cacheprovider", "--disable-warnings", "--timeout=900", "-c"
_NOT_IMPORTED = 2  # pytest's status


def main():
    """Runs the tests that the command line selects; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("selection", nargs="*", default=SELECTION, help="folders or test modules")
    parser.add_argument("--jobs", type=int, default=2, help="modules run at a time (2)")
    given = parser.parse_args()
    modules, listed = find_modules(given.selection), read_expected_failures()
    # For the same results on every machine: no GPU, and no oneDNN, which only some CPUs use. (With
    # it a convolution of an empty batch has a wrong shape, which three DeepMAC tests meet.)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # The process to fork from is given sys.path by newer Pythons (3.13.5), PYTHONPATH by others.
    sys.path.insert(0, str(HERE.parent / "scripts"))
    os.environ["PYTHONPATH"] = f"{sys.path[0]}:{os.environ.get('PYTHONPATH', '')}"
    # A module has a process of its own, forked from one that has imported TFOD and done nothing
    # else: some define the same flags, and the import takes longer than most modules' tests.
    processes, total, wrong = multiprocessing.get_context("forkserver"), Counter(), 0
    processes.set_forkserver_preload(["lowlight.tfod.model"])
    with ThreadPoolExecutor(given.jobs) as pool:
        runs = pool.map(functools.partial(run_module, processes), modules.values())
        for number, (module, (status, printed)) in enumerate(zip(modules, runs, strict=True), 1):
            is_right = status == (_NOT_IMPORTED if f"{module}::import" in listed else 0)
            last = (printed.splitlines() or [""])[-1]
            print(f"[{number}/{len(modules)}] {module}: {last}", flush=True)
            if not is_right:
                print(f"{printed}\nexit status {status}", flush=True)
            wrong += not is_right
            total.update({word: int(n) for n, word in re.findall(r"(\d+) (\w+)", last)})
    print(", ".join(f"{total[word]} {word}" for word in ("passed", "xfailed", "skipped")))
    if wrong:
        print(
            f"{wrong} modules differ: correct the cause, or bring {EXPECTED_FAILURES} up to date."
        )
    return int(wrong > 0)


def find_modules(selection):
    """Returns {"core/losses_test": its path} of the folders and modules selected."""
    root = Path(find_spec("object_detection").origin).parent
    modules = {}
    for name in selection:
        found = [*root.glob(f"{name}/**/*_test.py"), *root.glob(f"{name}.py")]
        if not found:
            sys.exit(f"error: no test {root / name}; name a folder or a module in {root}.")
        modules |= {path.relative_to(root).with_suffix("").as_posix(): path for path in found}
    return {m: modules[m] for m in sorted(modules) if not m.endswith(TENSORFLOW_1_ONLY)}


def read_expected_failures():
    """Returns {test: reason}; a test is "core/losses_test::SigmoidFocalLossTest.testSame"."""
    groups = tomllib.loads(EXPECTED_FAILURES.read_text(encoding="utf-8"))["expected"]
    return {test: group["reason"] for group in groups for test in group["tests"]}


def run_module(processes, path):
    """Runs a module in a process of its own; returns (its exit status, what it printed)."""
    with tempfile.TemporaryDirectory() as folder:
        process = processes.Process(target=run_pytest, args=(path, folder))
        process.start()
        process.join()
        printed = Path(folder, "printed.txt")
        return process.exitcode, printed.read_text(errors="replace") if printed.exists() else ""


def run_pytest(path, folder):
    """Runs a module in this process, with a working folder that also takes what is printed."""
    os.chdir(folder)
    with open("printed.txt", "w") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    flags.FLAGS(["tests", f"--test_tmpdir={folder}"])  # which some tests read
    sys.exit(pytest.main([*_PYTEST, os.devnull, str(path)], [sys.modules[run_pytest.__module__]]))


def pytest_collection_modifyitems(items):
    """Expects the listed failures of a module."""
    listed, names = read_expected_failures(), {}
    for item in items:
        module = item.module.__name__.removeprefix("object_detection.").replace(".", "/")
        names[f"{module}::{item.cls.__name__}.{item.name}"] = item
    modules = {name.split("::")[0] for name in names}
    gone = [name for name in listed if name not in names and name.split("::")[0] in modules]
    if gone:
        raise pytest.UsageError(f"listed in {EXPECTED_FAILURES} and not there: {', '.join(gone)}")
    for name in names.keys() & listed.keys():
        names[name].add_marker(pytest.mark.xfail(reason=listed[name], strict=True))


if __name__ == "__main__":
    sys.exit(main())
