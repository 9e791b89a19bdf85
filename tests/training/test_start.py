"""A checkpoint to start from is compared to the model before a training."""

import os
import shutil
from pathlib import Path

import families
import pytest
import tensorflow as tf
from small_ssd import small_config

from lowlight.core.errors import DataError
from lowlight.tfod import model as tfod
from lowlight.tfod.start import build_trial, restore_start

pytestmark = pytest.mark.slow


def start_config(start, data_dir, **fields):
    """Returns the small SSD's train_config, with the checkpoint to start from."""
    train = small_config(data_dir, fine_tune_checkpoint=str(start[1])).train_config
    for name, value in fields.items():
        setattr(train, name, value)
    return train


def test_a_checkpoint_gives_the_feature_extractor_and_the_heads_begin_untrained(start, data_dir):
    model, prefix = start
    total, untrained = len(model.variables), len(model._box_predictor.variables)
    line = restore_start(model, start_config(start, data_dir), "x.config")
    restored = f"{prefix} restores {total - untrained} of {total} variables"
    assert line == f"{restored}; the other {untrained} begin untrained"
    parts = model.restore_from_objects("detection")
    status = tf.train.Checkpoint(**parts).restore(prefix).expect_partial()
    status.assert_existing_objects_matched()  # so it is in TFOD's own eyes


def test_a_checkpoint_of_another_architecture_is_refused_with_examples(start, data_dir):
    (data_dir / "other.config").write_text(families.FAMILIES["SSD MobileNet"])
    other = build_trial(tfod.read_config(data_dir / "other.config"), "other.config")
    with pytest.raises(DataError) as caught:
        restore_start(other, start_config(start, data_dir), "other.config")
    message = str(caught.value)
    assert "is a checkpoint of another architecture: of the " in message
    assert "model/_feature_extractor/" in message
    assert "Name a checkpoint of this config's architecture, or remove" in message


BAD_STARTS = {
    "another type": ({"fine_tune_checkpoint_type": "fine_tune"}, r'Set it to "detection"'),
    "version 1": ({"fine_tune_checkpoint_version": 1}, "version isn't V2"),
    "a type of other names": (
        {"fine_tune_checkpoint_type": "classification"},
        'Set fine_tune_checkpoint_type: "detection", which its names are of',
    ),
    "no checkpoint": ({"fine_tune_checkpoint": "mine/ckpt-3"}, "no checkpoint mine/ckpt-3.index"),
    "a file of it": ({"fine_tune_checkpoint": "PREFIX.index"}, 'prefix: fine_tune_.+: "PREFIX"'),
    "its data": (
        {"fine_tune_checkpoint": "PREFIX.data-00000-of-00001"},
        'prefix: fine_tune_checkpoint: "PREFIX"',
    ),
    "its folder": ({"fine_tune_checkpoint": "FOLDER/"}, 'prefix: fine_tune_.+: "PREFIX"'),
}


@pytest.mark.parametrize(("fields", "message"), BAD_STARTS.values(), ids=BAD_STARTS)
def test_a_start_that_tfod_would_refuse_is_refused(start, data_dir, fields, message):
    places = {"PREFIX": start[1], "FOLDER": str(Path(start[1]).parent)}
    for word, place in places.items():
        fields = {k: v.replace(word, place) if v is str(v) else v for k, v in fields.items()}
        message = message.replace(word, place)
    with pytest.raises(DataError, match=message):
        restore_start(start[0], start_config(start, data_dir, **fields), "x.config")


@pytest.mark.parametrize(
    ("suffix", "keep", "message"),
    [
        (".index", 100, "ckpt-1 is damaged"),
        (".data-00000-of-00001", 100_000, "ckpt-1 is damaged"),
        (".data-00000-of-00001", None, "has an index, but no weights"),
    ],
)
def test_a_checkpoint_that_was_cut_short_is_refused(start, data_dir, suffix, keep, message):
    prefix = Path(start[1])
    for path in prefix.parent.glob("ckpt-1.*"):
        shutil.copy(path, data_dir)
    cut = data_dir / f"ckpt-1{suffix}"
    if keep is None:
        cut.unlink()
    else:
        os.truncate(cut, keep)
    train = start_config((None, data_dir / "ckpt-1"), data_dir)
    with pytest.raises(DataError, match=message):
        restore_start(start[0], train, "x.config")
