"""What comes between the steps of a training: checkpoints, their damage, signals, numbers, ends."""

import json
import os
import resource
import signal
import threading
import time
import types
from pathlib import Path

import pytest

from lowlight.core.errors import DataError, Interrupted, Signals, noted_signals
from lowlight.training.stopping import STOPPING, TrainingSignals

pytestmark = pytest.mark.slow


class Run:
    """A run of a model with one weight, whose loss is the number of the step."""

    def __init__(self, run_dir, losses=None):
        import tensorflow as tf

        from lowlight.tfod.training import Trainee
        from lowlight.training.checkpoints import Checkpoints, newest_whole_checkpoint
        from lowlight.training.loop import TrainingLoop

        def counter():
            return tf.Variable(0, dtype=tf.int64)

        self.weight, self.losses, self.run_dir = tf.Variable([0.0] * 100), losses or {}, run_dir
        self.trainee = Trainee(tf.Module(), tf.Module(), counter(), counter())
        self.trainee.model.weight = self.weight
        self.signals, self.saves, self.evaluations = Signals(), [], []
        prefix = newest_whole_checkpoint(run_dir)
        self.checkpoints = Checkpoints(run_dir, self.trainee.checkpoint(), run_dir)
        if prefix:
            self.checkpoints.restore(prefix)
        workers = types.SimpleNamespace(count=1, is_chief=True, any=bool)
        self.loop = TrainingLoop(
            self.trainee, self._step, 4, self.checkpoints, self.signals, workers
        )

    def _step(self, features, labels):
        import tensorflow as tf

        self.weight.assign_add(tf.ones_like(self.weight))
        step = int(self.trainee.step.numpy()) + 1
        loss = tf.constant(self.losses.get(step, float(step)))
        return {"Loss/total_loss": loss, "learning_rate": tf.constant(0.1)}

    def train(self, last_step, every=2, evaluate=None, eval_every=0, on_batch=None):
        import tensorflow as tf

        from lowlight.core.parallel import Progress
        from lowlight.training.loop import Schedule

        def batches():
            while True:
                if on_batch:
                    on_batch(self.loop.step + 1)
                yield {}, {}

        with Progress(last_step, "step", start=self.loop.step) as progress:
            self.loop.run(
                batches(),
                Schedule(last_step, every, 1, eval_every),
                progress,
                tf.summary.create_noop_writer(),
                evaluate=evaluate,
                on_save=lambda: self.saves.append(self.loop.step),
            )
        return self


def steps_kept(run_dir):
    """Returns the steps of a run's checkpoints."""
    from lowlight.core.checkpoint_files import checkpoint_step

    return sorted(checkpoint_step(path.with_suffix("")) for path in run_dir.glob("ckpt-*.index"))


def test_checkpoints_are_of_step_0_of_every_nth_step_and_of_the_last(tmp_path):
    run = Run(tmp_path).train(5)
    assert (steps_kept(tmp_path), run.saves) == ([0, 2, 4, 5], [2, 4, 5])


def test_a_run_goes_on_with_its_weights_from_where_it_was(tmp_path):
    Run(tmp_path).train(3)
    run = Run(tmp_path)
    assert (run.loop.step, run.weight.numpy().tolist()) == (3, [3.0] * 100)
    run.train(4)
    assert steps_kept(tmp_path) == [0, 2, 3, 4]


def test_the_seven_newest_checkpoints_are_kept_also_when_training_goes_on(tmp_path):
    Run(tmp_path).train(5, every=1)
    Run(tmp_path).train(10, every=1)
    assert steps_kept(tmp_path) == [4, 5, 6, 7, 8, 9, 10]


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def turn_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "data cut short": ("data-00000-of-00001", cut),
    "data empty": ("data-00000-of-00001", lambda path: path.write_bytes(b"")),
    "data gone": ("data-00000-of-00001", Path.unlink),
    "one bit of the data turned": ("data-00000-of-00001", turn_a_bit),
    "index cut short": ("index", cut),
    "index empty": ("index", lambda path: path.write_bytes(b"")),
    "index gone": ("index", Path.unlink),
}


@pytest.mark.parametrize(("part", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_the_checkpoint_before_a_damaged_one_is_taken_with_a_warning(
    tmp_path, capsys, part, damage
):
    from lowlight.detector.runs import find_checkpoint

    Run(tmp_path).train(5)
    damage(tmp_path / f"ckpt-4.{part}")
    assert Run(tmp_path).loop.step == 4
    printed = capsys.readouterr().out
    assert "warning: ckpt-3, the newest whole one before, is taken instead." in printed
    assert find_checkpoint(tmp_path).step() == 4
    Run(tmp_path).train(6)
    assert "warning" not in capsys.readouterr().out
    assert steps_kept(tmp_path) == [0, 2, 4, 6]


@pytest.mark.parametrize("content", [None, b"", b"\0\0\0\0", b'model_checkpoint_path: "ckpt-9"\n'])
def test_without_a_file_that_names_the_newest_the_newest_whole_one_is_taken(
    tmp_path, capsys, content
):
    Run(tmp_path).train(4)
    (tmp_path / "checkpoint").unlink()
    if content is not None:
        (tmp_path / "checkpoint").write_bytes(content)
    assert Run(tmp_path).loop.step == 4
    assert f"warning: {tmp_path}/checkpoint: names none" in capsys.readouterr().out


def test_the_checkpoint_that_a_user_went_back_to_is_taken(tmp_path):
    Run(tmp_path).train(5)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"\n')
    assert Run(tmp_path).loop.step == 2


def test_a_run_without_any_whole_checkpoint_is_not_begun_anew(tmp_path):
    Run(tmp_path).train(1)
    for path in tmp_path.glob("ckpt-*.data*"):
        cut(path)
    with pytest.raises(DataError, match="No checkpoint of .* is whole"):
        Run(tmp_path)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    Run(tmp_path).train(2)
    (tmp_path / "ckpt-3_temp").mkdir()
    (tmp_path / "ckpt-3_temp" / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    assert Run(tmp_path).loop.step == 2
    assert not (tmp_path / "ckpt-3_temp").exists()


def test_a_full_disk_keeps_the_last_good_checkpoint_and_says_which(tmp_path, monkeypatch):
    import tensorflow as tf

    run = Run(tmp_path).train(2)

    def full(*args, **kwargs):
        raise tf.errors.ResourceExhaustedError(None, None, "ckpt-3: No space left on device")

    monkeypatch.setattr(run.checkpoints._manager, "save", full)
    with pytest.raises(DataError) as caught:
        run.train(4)
    assert f"{tmp_path}: the checkpoint of step 4 can't be written" in str(caught.value)
    assert f"{tmp_path}/ckpt-2 (step 2) is kept. Make room" in str(caught.value)
    assert steps_kept(tmp_path) == [0, 2]


def test_a_disk_that_takes_no_more_keeps_the_last_good_checkpoint(tmp_path):
    import tensorflow as tf

    run = Run(tmp_path)
    run.trainee.model.weight = run.weight = tf.Variable(tf.zeros([1_000_000]))
    run.train(2)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        with pytest.raises(DataError, match=f"{tmp_path}/ckpt-2 .step 2. is kept"):
            run.train(4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert steps_kept(tmp_path) == [0, 2]
    assert not list(tmp_path.glob("*_temp"))


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
    with noted_signals(TrainingSignals(), STOPPING) as run.signals:
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

    monkeypatch.setattr("lowlight.training.stopping._PATIENCE", 0.1)
    run = Run(tmp_path)
    with noted_signals(TrainingSignals(), STOPPING) as signals:
        run.loop.signals, signals.leave = signals, leave
        with pytest.raises(Interrupted):
            run.train(100, 50, on_batch=wait_at_3)
    assert left == [f"interrupted by SIGTERM. Kept: {tmp_path}/ckpt-2 (step 2)."]
    assert steps_kept(tmp_path) == [0, 2]


def test_a_batch_that_cannot_be_read_ends_a_training_after_a_checkpoint(tmp_path):
    import tensorflow as tf

    def fail_at_4(step):
        if step == 4:
            raise tf.errors.DataLossError(None, None, "corrupted")

    run = Run(tmp_path)
    run.loop.explain_input = lambda step, error: f"record of step {step}: {error.message}"
    with pytest.raises(DataError, match="record of step 3: corrupted"):
        run.train(100, 50, on_batch=fail_at_4)
    assert steps_kept(tmp_path) == [0, 3]


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


SCORES = {
    "none yet": ([], -2.0, 0),
    "the first": ([0.1], 0.1, 0),
    "better each time": ([0.1, 0.2, 0.3], 0.3, 0),
    "twice no better": ([0.1, 0.3, 0.2, 0.3], 0.3, 2),
    "nothing to find": ([-1.0, -1.0], -1.0, 1),
}


@pytest.mark.parametrize(("scores", "best", "since"), SCORES.values(), ids=SCORES)
def test_patience_counts_the_evaluations_since_the_best(scores, best, since):
    from lowlight.training.record import best_score, evaluations_since_best

    evaluations = [{"mAP": score} for score in scores]
    assert (best_score(evaluations), evaluations_since_best(evaluations)) == (best, since)


def test_the_best_checkpoint_is_a_run_of_its_own_that_others_do_not_find(tmp_path):
    from lowlight.detector.runs import find_checkpoint
    from lowlight.training.checkpoints import keep_best

    run_dir = tmp_path / "runs" / "a"
    run_dir.mkdir(parents=True)
    (run_dir / "pipeline.config").write_text("model {}\n")
    (run_dir / "metrics.json").write_text("{}")
    for step in (2, 4):
        run = Run(run_dir).train(step)
        keep_best(run_dir, run.checkpoints.newest, run_dir / "metrics.json")
    best = find_checkpoint(run_dir / "best")
    assert (best.step(), best.config_path.read_text()) == (4, "model {}\n")
    assert steps_kept(run_dir / "best") == [4]
    assert find_checkpoint(tmp_path / "runs").run_dir == run_dir
    with pytest.raises(DataError, match="saved_model: no such checkpoint"):
        keep_best(run_dir, run_dir / "exported" / "saved_model", run_dir / "metrics.json")
    assert steps_kept(run_dir / "best") == [4]


def test_run_json_keeps_every_session(tmp_path):
    from lowlight.training.record import RunRecord

    for step in (0, 3):
        record = RunRecord(tmp_path)
        record.begin(step, {"data": {}})
        record.values["seed"] = 7
        record.save(step + 3, 1.26, "SIGTERM")
    values = json.loads((tmp_path / "run.json").read_text())
    assert values["seed"] == 7
    keys = "from_step", "to_step", "seconds", "ended"
    assert [[session[key] for key in keys] for session in values["sessions"]] == [
        [0, 3, 1.3, "SIGTERM"],
        [3, 6, 1.3, "SIGTERM"],
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sessions": []}', '{"sessions": [3]}'])
def test_a_run_json_that_is_none_is_told(tmp_path, text):
    from lowlight.training.record import RunRecord

    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json: isn't what training wrote"):
        RunRecord(tmp_path)


def test_the_fingerprint_of_data_tells_other_records_and_other_label_maps(tmp_path):
    from lowlight.training.record import data_fingerprint

    records, label_map = tmp_path / "train.tfrecord", tmp_path / "label_map.txt"
    label_map.write_text("item {}")
    seen = []
    for content in (b"a" * 9, b"b" * 9, b"b" * 10):
        records.write_bytes(content)
        seen.append(data_fingerprint([str(tmp_path / "train*")], label_map))
    label_map.write_text("item { }")
    seen.append(data_fingerprint([str(records)], label_map))
    assert all(seen.count(one) == 1 for one in seen)
    assert list(seen[0]) == [str(label_map), str(records)]
    assert seen[0][str(records)][0] == 9
