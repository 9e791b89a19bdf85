"""Detectors are compared on the same images, and chance isn't called a difference."""

import json

import numpy as np
import pytest
from scored import random_case

from lowlight.core.errors import DataError
from lowlight.evaluation.comparison import (
    changed_images,
    compare,
    format_differences,
    holm,
    read_evaluations,
)
from lowlight.evaluation.results import make_found
from lowlight.evaluation.scoring import ScoringOptions, score_detections, write_score
from lowlight.evaluation.truth_source import Facts


def without(found, rows):
    """The detections but for those of some rows."""
    keep = np.ones(len(found.images), bool)
    keep[rows] = False
    return found.at(keep)


@pytest.fixture(scope="module")
def scores():
    """(a detector, one that finds nothing in the first half of the images)."""
    truth, found = random_case(41, images=60)
    lighting = tuple("Low" if image < 30 else "Strong" for image in range(60))
    facts = Facts({"lighting": lighting})
    worse = without(found, np.flatnonzero(found.images < 30))
    return [
        score_detections(truth, one, facts, ScoringOptions(samples=300)) for one in (found, worse)
    ]


def test_a_detector_against_itself_differs_nowhere(scores):
    differences = compare(scores[0], scores[0])
    assert {one.gain for one in differences if one.remark != "no boxes"} == {0}
    assert not any(one.is_significant for one in differences)
    assert all(one.p == 1 for one in differences if not one.remark)


def test_what_is_lost_in_the_dark_shows_there_alone(scores):
    found = {one.name: one for one in compare(*scores)}
    dark, bright = found["Lighting: Low"], found["Lighting: Strong"]
    assert dark.after == 0
    assert dark.high < 0
    assert dark.is_significant
    assert (bright.gain, bright.low, bright.high) == (0, 0, 0)
    assert not bright.is_significant


def test_the_images_that_changed_most_are_those_where_all_was_lost(scores):
    better, worse = changed_images(*scores)
    assert better == [] or min(better) >= 30
    assert len(worse) == 8
    assert max(worse) < 30


def test_a_table_marks_what_is_more_than_chance(scores):
    lines = format_differences("one", "other", compare(*scores)).splitlines()
    assert lines[0] == "AP of other against one:"
    line = next(line for line in lines if "Lighting: Low" in line)
    assert line.endswith(" *")
    assert "  0.000  " in line


def test_holms_method_steps_down():
    assert holm([0.01, 0.04, 0.03, float("nan")]) == pytest.approx(
        [0.03, 0.06, 0.06, float("nan")], nan_ok=True
    )
    assert holm([0.9, 0.8]) == [1, 1]


def write(folder, seed=41, images=12, found=None):
    folder.mkdir(parents=True)
    truth, theirs = random_case(seed, images=images)
    score = score_detections(truth, found or theirs, Facts({}))
    write_score(score, folder, {})
    return folder


def test_evaluations_are_read_from_runs_and_named_by_what_tells_them_apart(tmp_path):
    write(tmp_path / "a" / "run" / "eval")
    write(tmp_path / "b" / "run" / "eval", found=make_found())
    first, second = read_evaluations(
        [tmp_path / "a" / "run", tmp_path / "b" / "run" / "eval"], 9, 0
    )
    assert first.score.slices[0].scores[0] > second.score.slices[0].scores[0] == 0
    assert [first.name, second.name] == ["run", "eval"]


def test_evaluations_may_number_the_same_images_and_classes_otherwise(tmp_path):
    folders = [write(tmp_path / "a"), write(tmp_path / "b")]
    for name in ("ground_truth", "detections"):
        path = folders[1] / f"{name}.json"
        whole = json.loads(path.read_text())
        rows = whole if name == "detections" else whole["annotations"]
        for row in rows:
            row["image_id"] += 1000
            row["category_id"] += 1000
        for row in [] if name == "detections" else whole["images"] + whole["categories"]:
            row["id"] += 1000
        path.write_text(json.dumps(whole))
    first, second = read_evaluations(folders, 9, 0)
    assert first.score.metrics == second.score.metrics


REFUSED = {
    "one alone": (["a"], "two evaluations at least"),
    "no such folder": (["a", "nowhere"], "nowhere: no such folder"),
    "no evaluation": (["a", "empty"], "empty: holds no evaluation"),
    "other images": (["a", "more"], "13 images against 12"),
    "other boxes": (["a", "other"], "against|other boxes"),
}


@pytest.mark.parametrize(("names", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_is_named(tmp_path, names, message):
    write(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "more", images=13)
    write(tmp_path / "other", seed=42)
    with pytest.raises(DataError, match=message):
        read_evaluations([tmp_path / name for name in names], 9, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON, or cut short"),
        ("7", "holds no JSON object"),
        ("null", "holds no JSON object"),
        ('{"records": [1]}', "its records or images_dir are no paths"),
        ('{"images_dir": ["a"]}', "its records or images_dir are no paths"),
    ],
)
def test_a_broken_metrics_json_is_named(tmp_path, text, message):
    folders = [write(tmp_path / "a"), write(tmp_path / "b")]
    (folders[1] / "metrics.json").write_text(text)
    with pytest.raises(DataError, match=rf"b/metrics\.json: {message}.*\n  Run evaluate.py again"):
        read_evaluations(folders, 0, 0)


def test_the_script_takes_runs_and_prints_a_table_and_writes_a_page(tmp_path, run_script):
    folders = [write(tmp_path / "a run"), write(tmp_path / "b run")]
    output = tmp_path / "out" / "page.html"
    done = run_script("compare_runs.py", *folders, "--bootstrap=20", f"--output={output}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("AP of b run against a run:\n")
    assert json.dumps(str(output))[1:-1] in done.stdout
    assert "b run against a run" in output.read_text()
