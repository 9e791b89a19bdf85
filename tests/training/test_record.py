"""What run.json holds, and what it says of data and scores."""

import json
from pathlib import Path

import pytest
import tensorflow as tf
from one_weight_run import Run, steps_kept
from tiny_training import ROOT

from lowlight.core.errors import DataError
from lowlight.detector.runs import find_model, record_source
from lowlight.tfod import model as tfod
from lowlight.tfod.training import FIELDS
from lowlight.training import record
from lowlight.training.record import (
    RunRecord,
    TrainingImages,
    best_score,
    data_fingerprint,
    evaluations_since_best,
)

pytestmark = pytest.mark.slow


SCORES = {
    "none yet": ([], -2.0, 0),
    "the first": ([0.1], 0.1, 0),
    "better each time": ([0.1, 0.2, 0.3], 0.3, 0),
    "twice no better": ([0.1, 0.3, 0.2, 0.3], 0.3, 2),
    "nothing to find": ([-1.0, -1.0], -1.0, 1),
}


@pytest.mark.parametrize(("scores", "best", "since"), SCORES.values(), ids=SCORES)
def test_patience_counts_the_evaluations_since_the_best(scores, best, since):
    evaluations = [{"mAP": score} for score in scores]
    assert (best_score(evaluations), evaluations_since_best(evaluations)) == (best, since)


def test_run_json_keeps_every_session(tmp_path):
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
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json: isn't what training wrote"):
        RunRecord(tmp_path)


def test_the_fingerprint_of_data_tells_other_records_and_other_label_maps(tmp_path):
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


def test_an_evaluation_along_the_way_scores_the_checkpoint_whatever_was_exported(
    tmp_path, monkeypatch
):
    newest = Path(Run(tmp_path).train(2).checkpoints.newest)
    saved_model = tmp_path / "exported" / "saved_model"
    (tmp_path / "eval").mkdir()
    saved_model.mkdir(parents=True)
    for path in ("pipeline.config", "eval/metrics.json", "exported/saved_model/saved_model.pb"):
        (tmp_path / path).write_text("")
    record_source(saved_model, newest, 2)
    assert find_model(tmp_path).path == saved_model
    found = {record._METRIC: 0.5}
    monkeypatch.setattr(record, "evaluate_model", lambda model, on_image: (found, model.path))
    assert not record.RunEvaluation(tmp_path, record.RunRecord(tmp_path), {})(2)
    assert steps_kept(tmp_path / "best") == [2]


def test_a_training_image_is_shown_in_its_colours_brightened_and_with_its_boxes():
    model = tfod.build_model(tfod.read_config(ROOT / "tests" / "tiny.config"), is_training=True)
    dark = tf.fill([1, 64, 64, 3], 1.0) * tf.constant([40.0, 20.0, 0.0])
    features = {FIELDS.image: model.preprocess(dark)[0]}
    labels = {
        FIELDS.num_groundtruth_boxes: tf.constant([1]),
        FIELDS.groundtruth_boxes: tf.constant([[[0.25, 0.25, 0.75, 0.75], [0, 0, 0, 0]]]),
        FIELDS.groundtruth_classes: tf.one_hot([[2, 0]], 12),
    }
    (picture,) = TrainingImages(model).draw(features, labels)
    red, green, blue = (int(part) for part in picture[2, 2])
    assert red > 100 > green - 60 > blue == 0
    assert tuple(picture[16, 32]) == (0, 200, 140)  # class 3's colour, at the box's upper edge
    assert tuple(picture[32, 32]) == tuple(picture[2, 2])
