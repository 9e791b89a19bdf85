"""Watching a training yields each checkpoint once and ends when the training has."""

import json

import pytest

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


def test_without_any_checkpoint_the_watch_ends_in_time(run_dir, capsys):
    from lowlight.evaluation.evaluation import watch_checkpoints

    assert list(watch_checkpoints(run_dir, 0.05, poll=0.01)) == []
    assert "no new checkpoint for 0.05 s" in capsys.readouterr().out
