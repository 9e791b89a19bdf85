"""Runs TFOD's own unit tests, as installed in site-packages, under lowlight's repairs.

    python tests/tfod_own_tests.py                               # all that a D1 stands on
    python tests/tfod_own_tests.py core utils/ops_test           # folders and modules
    python tests/tfod_own_tests.py --jobs=1 core/losses_test

A failing test is no fault of ours where tests/tfod_expected_failures.toml lists it with a reason.
Exit status 1, and a message that says which, for a test that fails and isn't listed, for a listed
one that passes, and for a listed one that is no longer there.
"""

import argparse
import faulthandler
import importlib
import multiprocessing
import os
import sys
import tempfile
import textwrap
import time
import tomllib
import traceback
import unittest
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from absl import flags

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

EXPECTED_FAILURES = Path(__file__).with_name("tfod_expected_failures.toml")

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
PRINTED = "printed.txt"  # what a module's tests print, in their working folder

# These test graphs and sessions of TensorFlow 1, and skip themselves on TensorFlow 2.
TENSORFLOW_1_ONLY = "_tf1_test"


class Outcome(NamedTuple):
    """How one test ended."""

    test: str  # "core/losses_test::SigmoidFocalLossTest.testSame"
    status: str  # "passed", "failed" or "skipped"
    detail: str = ""  # the traceback, or why it was skipped


def main():
    """Runs the tests that the command line selects; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("selection", nargs="*", default=SELECTION, help="folders or test modules")
    parser.add_argument("--jobs", type=int, default=2, help="modules run at a time (2)")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for a module (900)")
    arguments = parser.parse_args()
    modules = find_modules(arguments.selection)
    expected = read_expected_failures(EXPECTED_FAILURES)
    outcomes = []
    began = time.monotonic()
    for number, (module, results, seconds) in enumerate(
        run_modules(modules, arguments.jobs, arguments.timeout), 1
    ):
        outcomes += results
        print(
            f"[{number}/{len(modules)}] {module}: {counts(results)} in {seconds:.1f} s", flush=True
        )
    print(f"{len(modules)} modules in {time.monotonic() - began:.0f} s\n")
    return report(outcomes, {t: why for t, why in expected.items() if t.split("::")[0] in modules})


def find_modules(selection):
    """Returns the test modules in the folders and modules selected: ["core/losses_test", ...]."""
    root = Path(find_spec("object_detection").origin).parent
    modules = set()
    for name in selection:
        found = [*root.glob(f"{name}/**/*_test.py"), *root.glob(f"{name}.py")]
        if not found:
            sys.exit(f"error: no test {root / name}; name a folder or a module in {root}.")
        modules.update(path.relative_to(root).with_suffix("").as_posix() for path in found)
    return sorted(module for module in modules if not module.endswith(TENSORFLOW_1_ONLY))


def read_expected_failures(path):
    """Returns {test: reason} of a file that lists tests by reason."""
    groups = tomllib.loads(path.read_text(encoding="utf-8"))["expected"]
    return {test: group["reason"] for group in groups for test in group["tests"]}


def run_modules(modules, jobs, timeout):
    """Yields (module, its Outcomes, seconds) as each module ends.

    Each has a process of its own, forked from one that has imported TFOD and done nothing else:
    the import takes longer than most modules' tests.
    """
    # For the same results on every machine: no GPU, and no oneDNN, which only some CPUs use. (With
    # it a convolution of an empty batch has a wrong shape, which three DeepMAC tests meet.)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # The process to fork from is given no sys.path.
    os.environ["PYTHONPATH"] = f"{SCRIPTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["lowlight.tfod.model"])
    with ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(run_apart, processes, module, timeout) for module in modules]
        for run in as_completed(runs):
            yield run.result()


def run_apart(processes, module, timeout):
    """Runs a module in a process of its own; returns (module, its Outcomes, seconds).

    A process that crashes or takes longer than timeout counts as one failed test more.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder, PRINTED)
        printed.touch()
        receiver, sender = processes.Pipe(duplex=False)
        process = processes.Process(target=run_module, args=(module, folder, sender))
        process.start()
        sender.close()
        results, failure = receive(receiver, began + timeout)
        if failure:
            process.kill()
            detail = printed.read_text(errors="replace")[-3000:]
            results.append(Outcome(f"{module}::{failure}", "failed", detail))
        process.join()
    return module, results, time.monotonic() - began


def receive(receiver, deadline):
    """Returns (the Outcomes sent, one a test, "" or how the process failed to send all)."""
    results = {}
    while receiver.poll(max(0, deadline - time.monotonic())):
        try:
            outcome = receiver.recv()
        except EOFError:
            return list(results.values()), "crash"
        if outcome is None:
            return list(results.values()), ""
        results[outcome.test] = outcome  # an error in tearDown comes after the test's own outcome
    return list(results.values()), "timeout"


def run_module(module, folder, sender):
    """Runs a module's tests in this process, sending each Outcome as it comes and None at the end.

    Args:
        module: "core/losses_test".
        folder: the working folder, which also takes all that the tests print.
        sender: the Connection to send by.
    """
    os.chdir(folder)
    with open(PRINTED, "w") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    faulthandler.enable()
    try:
        importlib.import_module("lowlight.tfod.model")
        name = "object_detection." + module.replace("/", ".")
        tests = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(name))
    except Exception:
        sender.send(Outcome(f"{module}::import", "failed", traceback.format_exc()))
    else:
        flags.FLAGS([module, f"--test_tmpdir={folder}"])
        tests.run(SendingResult(module, sender))
    sender.send(None)


class SendingResult(unittest.TestResult):
    """Sends an Outcome for each test."""

    def __init__(self, module, sender):
        super().__init__()
        self._module = module
        self._sender = sender

    def _send(self, test, status, detail=""):
        name = ".".join(test.id().split()[0].split(".")[-2:])  # what follows a space are parameters
        self._sender.send(Outcome(f"{self._module}::{name}", status, detail))

    def addSuccess(self, test):  # noqa: N802
        self._send(test, "passed")

    def addError(self, test, err):  # noqa: N802
        self._send(test, "failed", "".join(traceback.format_exception(*err)))

    addFailure = addError  # noqa: N815

    def addSubTest(self, test, subtest, err):  # noqa: N802
        if err:
            self.addError(test, err)

    def addSkip(self, test, reason):  # noqa: N802
        if reason != "Not a test.":  # tf.test.TestCase.test_session
            self._send(test, "skipped", reason)


def counts(results):
    """Returns "12 passed, 1 failed, 3 skipped", without what there is none of."""
    numbers = Counter(outcome.status for outcome in results)
    parts = [f"{numbers[s]} {s}" for s in ("passed", "failed", "skipped") if numbers[s]]
    return ", ".join(parts) or "no tests"


def report(outcomes, expected):
    """Prints what differs from the expectation, and the total; returns the exit status.

    Args:
        outcomes: the Outcomes of all modules that were run.
        expected: {test: reason}, the listed failures of those modules.
    """
    there = {outcome.test: outcome for outcome in outcomes}
    failed = {test for test, outcome in there.items() if outcome.status == "failed"}
    listed = set(expected)
    differences = {
        "fails and isn't listed": failed - listed,
        "is listed and doesn't fail": listed & there.keys() - failed,
        "is listed and isn't there": listed - there.keys(),
    }
    for test in sorted(failed - listed):
        print(f"{test}\n{textwrap.indent(there[test].detail, '    ')}\n")
    for difference, tests in differences.items():
        for test in sorted(tests):
            print(f"{difference}: {test}")
    if any(differences.values()):
        print(f"Correct the cause, or bring {EXPECTED_FAILURES} up to date.\n")
    unlisted = f"{len(failed - listed)} failed, " if failed - listed else ""
    numbers = Counter(outcome.status for outcome in there.values())
    print(
        f"{numbers['passed']} passed, {unlisted}{len(failed & listed)} failed as expected, "
        f"{numbers['skipped']} skipped"
    )
    return int(any(differences.values()))


if __name__ == "__main__":
    sys.exit(main())
