"""A run's checkpoints: when they are written, which is taken, and what damage does."""

import contextlib
import itertools
import os
import resource
from pathlib import Path

import pytest
import tensorflow as tf
from one_weight_run import Run, steps_kept

from lowlight.core.errors import DataError
from lowlight.detector.runs import find_checkpoint
from lowlight.training.checkpoints import keep_best

pytestmark = pytest.mark.slow


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


def test_the_best_checkpoint_is_a_run_of_its_own_that_others_do_not_find(tmp_path):
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


def test_an_interruption_leaves_the_best_before_or_the_new_one_whole(tmp_path, monkeypatch):
    """Also where both have one name, as after a run was taken back to an earlier checkpoint."""
    (tmp_path / "pipeline.config").write_text("model {}\n")
    (tmp_path / "metrics.json").write_text("{}")
    run = Run(tmp_path).train(2)
    replace, values = os.replace, []
    for stop_after in (99, 0, 1, 2, 3, 99):
        run.weight.assign_add(tf.ones_like(run.weight))
        run.trainee.checkpoint().write(run.checkpoints.newest)
        left = itertools.count(stop_after, -1)

        def stopped(source, target, left=left):
            if next(left) == 0:
                raise KeyboardInterrupt
            replace(source, target)

        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(os, "replace", stopped)
            keep_best(tmp_path, run.checkpoints.newest, tmp_path / "metrics.json")
        best = tf.train.load_checkpoint(str(find_checkpoint(tmp_path / "best").path))
        values.append(best.get_tensor("model/weight/.ATTRIBUTES/VARIABLE_VALUE").max())
    assert values == [3, 3, 3, 3, 3, 8]
    assert len(list((tmp_path / "best").glob("*.index"))) == 1
