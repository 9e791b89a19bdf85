"""Training learns: a small model finds again what it was shown, and the D1's loss falls."""

import json
import os

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    "LONG_TESTS" not in os.environ, reason="takes 15 minutes: set LONG_TESTS=1 to run it"
)
@pytest.mark.usefixtures("exdark_root")
def test_twelve_photographs_are_learnt_from_random_weights(run_script):
    done = run_script("benchmarks/overfit.py")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["ap50"] > 0.8
    assert figures["d1_losses"][-1] < figures["d1_losses"][0]
