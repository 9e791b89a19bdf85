"""Watching a training yields each checkpoint once and ends when the training has."""

import json

import pytest
import tensorflow as tf
from checks import write_files

from lowlight.core.errors import DataError
from lowlight.dataset.classes import format_label_map
from lowlight.evaluation import evaluation
from lowlight.evaluation.evaluation import evaluate_model, watch_checkpoints
from lowlight.evaluation.scoring import ScoringOptions

pytestmark = pytest.mark.slow


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "pipeline.config").write_text("train_config {\n  num_steps: 30\n}\n")
    return tmp_path


def save(run_dir, step):
    checkpoint = tf.train.Checkpoint(step=tf.Variable(step, dtype=tf.int64))
    return tf.train.CheckpointManager(checkpoint, str(run_dir), 5).save(checkpoint_number=step)


def record(run_dir, ended):
    (run_dir / "run.json").write_text(json.dumps({"sessions": [{"ended": ended}]}))


def names(prefixes):
    return [prefix.rsplit("/", 1)[1] for prefix in prefixes]


def test_each_new_checkpoint_is_yielded_until_the_last_step(run_dir):
    save(run_dir, 10)
    seen = []
    for prefix in watch_checkpoints(run_dir, 60, poll=0.01):
        seen.append(prefix)
        if len(seen) < 3:
            save(run_dir, 10 * (len(seen) + 1))
    assert names(seen) == ["ckpt-10", "ckpt-20", "ckpt-30"]


def test_a_training_that_was_stopped_ends_the_watch_after_its_last_checkpoint(run_dir, capsys):
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
    with pytest.raises(DataError, match=r"holds no checkpoint \(ckpt"):
        list(watch_checkpoints(run_dir, 0.05, poll=0.01))


def test_each_minute_without_a_checkpoint_is_told(run_dir, capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "_SAY_SO", 0.1)
    save(run_dir, 10)
    assert len(list(watch_checkpoints(run_dir, 0.35, poll=0.01))) == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in told] == [
        *["no new checkpoint for 0 s; waits 0.35 s"] * 3,
        "no new checkpoint for 0.35 s",
    ]


def test_a_variant_is_never_written_where_the_plain_score_belongs(tmp_path):
    plain, elsewhere = tmp_path / "eval", tmp_path / "elsewhere"
    variant = ScoringOptions(detector={"tta": True})
    assert ScoringOptions().choose_dir(None, plain) == plain
    assert variant.choose_dir(None, plain) == tmp_path / "eval_tta"
    assert variant.choose_dir(elsewhere, plain) == elsewhere
    with pytest.raises(DataError, match=r"eval: is for the plain score .*, not for tta\.\n"):
        variant.choose_dir(tmp_path / "run" / ".." / "eval", tmp_path / "eval_other")


def test_records_that_are_not_there_are_named(tmp_path):
    write_files(tmp_path, {"saved_model.pb": b"", "label_map.txt": format_label_map()})
    with pytest.raises(DataError, match=r"nowhere\*: no such record file"):
        evaluate_model(tmp_path, records=["nowhere*"], label_map_path=tmp_path / "label_map.txt")
