"""Watching a training yields each checkpoint once and ends when the training has."""

import json

import pytest

from lowlight.core.errors import DataError

pytestmark = pytest.mark.slow


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "pipeline.config").write_text("train_config {\n  num_steps: 30\n}\n")
    return tmp_path


def save(run_dir, step):
    import tensorflow as tf

    checkpoint = tf.train.Checkpoint(step=tf.Variable(step, dtype=tf.int64))
    return tf.train.CheckpointManager(checkpoint, str(run_dir), 5).save(checkpoint_number=step)


def record(run_dir, ended):
    (run_dir / "run.json").write_text(json.dumps({"sessions": [{"ended": ended}]}))


def names(prefixes):
    return [prefix.rsplit("/", 1)[1] for prefix in prefixes]


def test_each_new_checkpoint_is_yielded_until_the_last_step(run_dir):
    from lowlight.evaluation.evaluation import watch_checkpoints

    save(run_dir, 10)
    seen = []
    for prefix in watch_checkpoints(run_dir, 60, poll=0.01):
        seen.append(prefix)
        if len(seen) < 3:
            save(run_dir, 10 * (len(seen) + 1))
    assert names(seen) == ["ckpt-10", "ckpt-20", "ckpt-30"]


def test_a_training_that_was_stopped_ends_the_watch_after_its_last_checkpoint(run_dir, capsys):
    from lowlight.evaluation.evaluation import watch_checkpoints

    save(run_dir, 10)
    record(run_dir, None)
    seen = []
    for prefix in watch_checkpoints(run_dir, 60, poll=0.01):
        seen.append(prefix)
        if len(seen) == 1:
            save(run_dir, 20)
            record(run_dir, "interrupted")
    assert names(seen) == ["ckpt-10", "ckpt-20"]
    assert "the training has ended" in capsys.readouterr().out


def test_without_any_checkpoint_the_watch_ends_in_time_with_an_error(run_dir):
    from lowlight.evaluation.evaluation import watch_checkpoints

    with pytest.raises(DataError, match=r"holds no checkpoint \(ckpt"):
        list(watch_checkpoints(run_dir, 0.05, poll=0.01))


def test_each_minute_without_a_checkpoint_is_told(run_dir, capsys, monkeypatch):
    from lowlight.evaluation import evaluation

    monkeypatch.setattr(evaluation, "_SAY_SO", 0.1)
    save(run_dir, 10)
    assert len(list(evaluation.watch_checkpoints(run_dir, 0.35, poll=0.01))) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in told] == [
        *["no new checkpoint for 0 s; waits 0.35 s"] * 3,
        "no new checkpoint for 0.35 s",
    ]


def test_a_variant_is_never_written_where_the_plain_score_belongs(tmp_path):
    from lowlight.evaluation.scoring import ScoringOptions

    plain, elsewhere = tmp_path / "eval", tmp_path / "elsewhere"
    variant = ScoringOptions(detector={"tta": True})
    assert ScoringOptions().choose_dir(None, plain) == plain
    assert variant.choose_dir(None, plain) == tmp_path / "eval_tta"
    assert variant.choose_dir(elsewhere, plain) == elsewhere
    with pytest.raises(DataError, match=r"eval: is for the plain score .*, not for tta\.\n"):
        variant.choose_dir(tmp_path / "run" / ".." / "eval", tmp_path / "eval_other")
