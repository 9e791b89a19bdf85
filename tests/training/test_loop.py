"""What comes between the steps of a training: signals, losses, evaluations, ends."""

import os
import signal
import threading
import time
from unittest import mock

import forked
import pytest
import tensorflow as tf
from one_weight_run import Run, steps_kept
from tiny_training import start_training, wait_for, write_tiny_data

from lowlight.core.errors import DataError, Interrupted, Signals, noted_signals
from lowlight.training.loop import Fetcher, TrainingSignals

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_at_once_and_is_not_saved(tmp_path, value):
    run = Run(tmp_path, losses={5: value})
    with pytest.raises(DataError, match=f"the loss at step 5 is {value}; it isn't saved") as caught:
        run.train(100)
    assert run.trainee.step.numpy() <= 6
    assert steps_kept(tmp_path) == [0, 2, 4]
    message = str(caught.value)
    assert "Lower learning_rate_base" in message
    assert f"it continues from {tmp_path}/ckpt-3 (step 4)" in message
    assert message.endswith(f"echo 'model_checkpoint_path: \"ckpt-2\"' > {tmp_path}/checkpoint")


@pytest.mark.parametrize("bad", [4, 7], ids=["at a checkpoint", "at the end"])
def test_no_checkpoint_is_kept_of_a_loss_that_is_no_number(tmp_path, bad):
    with pytest.raises(DataError, match=f"the loss at step {bad} is nan"):
        Run(tmp_path, losses={bad: float("nan")}).train(7, every=4)
    assert bad not in steps_kept(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_the_step_end_and_keeps_it(tmp_path, number):
    run = Run(tmp_path)
    with noted_signals(TrainingSignals()) as run.signals:
        run.loop.signals = run.signals
        with pytest.raises(Interrupted) as caught:
            run.train(100, 50, on_batch=lambda step: step == 3 and os.kill(os.getpid(), number))
    assert caught.value.number == number
    assert f"Kept: {tmp_path}/ckpt-2 (step 3)." in str(caught.value)
    assert steps_kept(tmp_path) == [0, 3]


def test_a_signal_before_the_first_step_has_nothing_to_wait_for():
    with pytest.raises(Interrupted, match="interrupted by SIGTERM"), noted_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_signal_is_no_error_and_is_noted_where_what_it_raises_is_lost():
    signals = Signals()
    with pytest.raises(Interrupted):
        signals.on_signal(signal.SIGTERM, None)
    assert not issubclass(Interrupted, Exception)  # which several steps take for a bad input
    assert signals.number == signal.SIGTERM


def test_a_wait_for_input_that_hangs_ends_soon_after_a_signal_with_what_was_made(
    tmp_path, monkeypatch
):
    left, hung = [], threading.Event()

    def leave(interrupted):
        left.append(str(interrupted))
        hung.set()
        raise interrupted

    def wait_at_3(step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            hung.wait()

    monkeypatch.setattr("lowlight.training.loop._PATIENCE", 0.1)
    run = Run(tmp_path)
    with noted_signals(TrainingSignals()) as signals:
        run.loop.signals, signals.leave = signals, leave
        with pytest.raises(Interrupted):
            run.train(100, 50, on_batch=wait_at_3)
    assert left == [f"interrupted by SIGTERM. Kept: {tmp_path}/ckpt-2 (step 2)."]
    assert steps_kept(tmp_path) == [0, 2]


def test_a_batch_that_cannot_be_read_ends_a_training_after_a_checkpoint(tmp_path):
    def fail_at_4(step):
        if step == 4:
            raise tf.errors.DataLossError(None, None, "corrupted")

    run = Run(tmp_path)
    run.loop.explain_input = lambda step, error: f"record of step {step}: {error.message}"
    with pytest.raises(DataError, match="record of step 3: corrupted"):
        run.train(100, 50, on_batch=fail_at_4)
    assert steps_kept(tmp_path) == [0, 3]


REFUSALS = {
    "memory": (
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
        r"doesn't fit into memory \(OOM when allocating tensor\)\.\n  A higher --accumulate",
    ),
    "repeatable": (
        tf.errors.UnimplementedError(None, None, "A deterministic GPU implementation isn't there"),
        "--seed: A deterministic GPU implementation isn't there\n  Train without it",
    ),
}


@pytest.mark.parametrize(("error", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_step_that_a_gpu_refuses_ends_with_what_helps(tmp_path, monkeypatch, error, message):
    run = Run(tmp_path)
    monkeypatch.setattr(run.loop, "_train_step", mock.Mock(side_effect=error))
    with pytest.raises(DataError, match=message):
        run.train(3)
    assert steps_kept(tmp_path) == [0]


def test_ctrl_c_twice_does_not_wait_but_sigterm_twice_does():
    signals = Signals()
    signals.something_to_keep = True
    signals.on_signal(signal.SIGTERM, None)
    signals.on_signal(signal.SIGTERM, None)
    signals.on_signal(signal.SIGINT, None)
    with pytest.raises(Interrupted, match="SIGINT"):
        signals.on_signal(signal.SIGINT, None)


def test_evaluations_come_every_nth_step_and_at_the_end_each_after_a_checkpoint(tmp_path):
    evaluated = []

    def evaluate(step):
        evaluated.append((step, steps_kept(tmp_path)[-1]))
        time.sleep(0.05)
        return False

    run = Run(tmp_path).train(7, every=100, evaluate=evaluate, eval_every=3)
    assert evaluated == [(3, 3), (6, 6), (7, 7)]
    assert run.loop.evaluation_seconds >= 0.15
    assert run.loop.totals.seconds < run.loop.evaluation_seconds + 1


def test_training_stops_where_an_evaluation_says_so(tmp_path):
    run = Run(tmp_path).train(9, evaluate=lambda step: step == 6, eval_every=3)
    assert run.loop.step == 6
    assert steps_kept(tmp_path)[-1] == 6


def trace():
    """Waits as a training does that traces its first step, and has nothing to keep."""
    with noted_signals(TrainingSignals()) as signals:
        signals.at_end = lambda reason: os.write(1, f"record: {reason}\n".encode())
        print("traces", flush=True)
        try:
            time.sleep(60)
        except BaseException as error:  # as TensorFlow catches what is raised while it traces
            print("caught", error)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_before_the_first_step_ends_the_process_whatever_catches_errors(
    tmp_path, number, status
):
    out, err = tmp_path / "out", tmp_path / "err"
    out.touch()
    process = forked.start(trace, out=out, err=err)
    wait_for(lambda: out.read_text() == "traces\n", process, err)
    os.kill(process.pid, number)
    process.join(20)
    reason = f"interrupted by {number.name}."
    assert process.exitcode == status
    assert out.read_text() == f"traces\nrecord: {reason}\n"
    assert err.read_text() == f"\n{reason} Run the same command again to continue.\n"


def test_a_hangup_that_is_ignored_as_under_nohup_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with noted_signals(TrainingSignals()):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_batches_come_in_order_and_an_error_in_its_place():
    def batches():
        yield from "ab"
        raise OSError("gone")

    fetcher = Fetcher(batches(), TrainingSignals())
    assert [fetcher.next(), fetcher.next()] == ["a", "b"]
    with pytest.raises(OSError, match="gone"):
        fetcher.next()
    fetcher.close()


def test_a_training_told_to_stop_while_it_traces_its_first_step_ends_at_once(tmp_path):
    log = tmp_path / "log"
    with start_training(write_tiny_data(tmp_path), tmp_path / "run", log) as process:
        wait_for(lambda: "the first step takes longest" in log.read_text(), process, log)
        os.kill(process.pid, signal.SIGINT)
        process.join(30)
        assert process.exitcode == 130
    assert "Traceback" not in log.read_text()
    assert "interrupted by SIGINT." in log.read_text()
