import multiprocessing
import subprocess
import sys
import time

import pytest
import tfod_own_tests
from tfod_own_tests import Outcome, receive, report

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
    script = tfod_own_tests.__file__
    run = subprocess.run(
        [sys.executable, script, *QUICK], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "79 passed, 5 failed as expected, 22 skipped"


def test_listed_failures_passes_and_skips_are_counted(capsys):
    outcomes = [
        Outcome("core/a_test::A.test_1", "passed"),
        Outcome("core/a_test::A.test_2", "failed", "AssertionError: 1 != 2"),
        Outcome("core/a_test::A.test_3", "skipped", "Skipping TF1.X only test."),
    ]
    assert report(outcomes, {"core/a_test::A.test_2": "float rounding"}) == 0
    assert capsys.readouterr().out == "1 passed, 1 failed as expected, 1 skipped\n"


@pytest.mark.parametrize(
    ("outcomes", "listed", "difference"),
    [
        pytest.param(
            [Outcome("a_test::A.test", "failed", "AssertionError: 1 != 2")],
            {},
            "fails and isn't listed: a_test::A.test",
            id="an unlisted failure",
        ),
        pytest.param(
            [Outcome("a_test::A.test", "passed")],
            {"a_test::A.test": "float rounding"},
            "is listed and doesn't fail: a_test::A.test",
            id="a listed pass",
        ),
        pytest.param(
            [Outcome("a_test::A.test", "passed")],
            {"a_test::A.tset": "float rounding"},
            "is listed and isn't there: a_test::A.tset",
            id="a listed test that is gone",
        ),
    ],
)
def test_what_differs_from_the_list_is_named_and_fails(outcomes, listed, difference, capsys):
    assert report(outcomes, listed) == 1
    assert difference in capsys.readouterr().out.splitlines()


def test_an_unlisted_failure_is_shown_with_its_traceback(capsys):
    report([Outcome("a_test::A.test", "failed", "AssertionError: 1 != 2")], {})
    assert capsys.readouterr().out.startswith("a_test::A.test\n    AssertionError: 1 != 2\n")


def test_a_module_that_crashes_keeps_what_came_before():
    receiver, sender = multiprocessing.Pipe(duplex=False)
    sender.send(Outcome("a_test::A.test", "passed"))
    sender.close()
    assert receive(receiver, time.monotonic() + 10) == (
        [Outcome("a_test::A.test", "passed")],
        "crash",
    )


def test_a_module_that_takes_too_long_is_a_timeout():
    receiver, _sender = multiprocessing.Pipe(duplex=False)
    assert receive(receiver, time.monotonic()) == ([], "timeout")


def test_an_error_in_tear_down_makes_a_passed_test_a_failed_one():
    receiver, sender = multiprocessing.Pipe(duplex=False)
    for status in ("passed", "failed"):
        sender.send(Outcome("a_test::A.test", status))
    sender.send(None)
    assert receive(receiver, time.monotonic() + 10) == ([Outcome("a_test::A.test", "failed")], "")


def test_an_unknown_module_is_an_error_that_says_where_modules_are():
    with pytest.raises(SystemExit, match="error: no test .*core/bocks_list_test; name a folder or"):
        tfod_own_tests.find_modules(["core/bocks_list_test"])


def test_no_test_is_listed_under_two_reasons():
    listed = tfod_own_tests.EXPECTED_FAILURES.read_text(encoding="utf-8").count("::")
    assert listed == len(tfod_own_tests.read_expected_failures(tfod_own_tests.EXPECTED_FAILURES))
