"""What run.json holds, and what it says of data and scores."""

import json

import pytest

from lowlight.core.errors import DataError

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
    from lowlight.training.record import best_score, evaluations_since_best

    evaluations = [{"mAP": score} for score in scores]
    assert (best_score(evaluations), evaluations_since_best(evaluations)) == (best, since)


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
