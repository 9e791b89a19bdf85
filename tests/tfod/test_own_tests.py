import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tfod_own_tests

QUICK = (
    "anchor_generators/multiscale_grid_anchor_generator_test",
    "box_coders/faster_rcnn_box_coder_test",
    "builders/matcher_builder_test",
    "core/box_list_test",
    "core/densepose_ops_test",
    "matchers/argmax_matcher_test",
    "metrics/coco_evaluation_test",
    "utils/visualization_utils_test",
)


@pytest.mark.slow
def test_a_quick_part_of_tfods_own_tests_passes_or_fails_as_expected():
    command = [sys.executable, tfod_own_tests.__file__, *QUICK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "79 passed, 5 xfailed, 33 skipped"


def test_a_listed_test_has_to_be_there_and_to_fail(monkeypatch):
    marks, module = [], SimpleNamespace(__name__="object_detection.core.a_test")
    item = SimpleNamespace(module=module, cls=dict, name="test_1", add_marker=marks.append)
    listed = {"core/a_test::dict.test_1": "float rounding"}
    monkeypatch.setattr(tfod_own_tests, "read_expected_failures", lambda: listed)
    tfod_own_tests.pytest_collection_modifyitems([item])
    assert [mark.kwargs for mark in marks] == [{"reason": "float rounding", "strict": True}]
    listed["core/a_test::dict.tset_1"] = "float rounding"
    with pytest.raises(pytest.UsageError, match=r"and not there: core/a_test::dict\.tset_1"):
        tfod_own_tests.pytest_collection_modifyitems([item])


def test_what_fails_and_is_not_listed_is_shown_and_fails(monkeypatch, capsys):
    monkeypatch.setattr(tfod_own_tests, "read_expected_failures", dict)
    monkeypatch.setattr(
        tfod_own_tests, "run_module", lambda processes, path: (1, "E  1 != 2\n1 failed")
    )
    monkeypatch.setattr(sys, "argv", ["", "core/densepose_ops_test"])
    monkeypatch.setattr(os, "environ", {**os.environ})
    assert tfod_own_tests.main() == 1
    printed = capsys.readouterr().out
    assert printed.startswith("[1/1] core/densepose_ops_test: 1 failed\nE  1 != 2\n")
    assert "1 modules differ" in printed


def test_an_unknown_module_is_an_error_that_says_where_modules_are():
    with pytest.raises(SystemExit, match="error: no test .*core/bocks_list_test; name a folder or"):
        tfod_own_tests.find_modules(["core/bocks_list_test"])


def test_no_test_is_listed_under_two_reasons():
    listed = tfod_own_tests.EXPECTED_FAILURES.read_text(encoding="utf-8").count("::")
    assert listed == len(tfod_own_tests.read_expected_failures())
