"""evaluate.py scores a file of results as a user has it do, without TensorFlow."""

import csv
import json

import pytest
from checks import message_of, write_files
from scored import CLASSES, evaluate, score_by_pycocotools

from lowlight.dataset.classes import format_label_map
from lowlight.dataset.tables import read_tables
from lowlight.dataset.writing import write_records
from lowlight.evaluation.metrics import COCO_METRICS
from lowlight.evaluation.results import read_results
from lowlight.evaluation.scoring import ScoringOptions
from lowlight.evaluation.truth import format_truth, read_truth_of_tables

FILES = "detections.json ground_truth.json metrics.json metrics.txt report.html slices.csv"
FAMILIES = (
    "All, Class, Lighting, Location, Box size, COCO's, Box size, quartiles, Image brightness, "
    "Box brightness, Crowding"
)


@pytest.fixture(autouse=True)
def no_tensorflow(tmp_path, monkeypatch):
    """Makes the import of TensorFlow an error: a file of results is scored without it."""
    write_files(tmp_path, {"without/tensorflow.py": "raise ImportError('TensorFlow was imported')"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))


def numbers(folder):
    return list(json.loads((folder / "metrics.json").read_text()).values())[:12]


def test_results_are_scored_and_what_is_written_beside_them_scores_the_same_again(
    data_dir, results, run_script
):
    done = evaluate(
        run_script, f"--detections={results}", f"--data_dir={data_dir}", "--bootstrap=50"
    )
    out = data_dir / "results_eval"
    assert sorted(path.name for path in out.iterdir()) == FILES.split()
    truth = read_truth_of_tables(data_dir, "test")
    theirs = score_by_pycocotools(truth, read_results(results, truth)[0])
    assert numbers(out) == pytest.approx(list(theirs), abs=1e-9)
    assert f"{results} on 30 images with 45 boxes of {data_dir} (split test):" in done.stdout
    values = json.loads((out / "metrics.json").read_text())
    assert list(values)[:12] == list(COCO_METRICS)
    assert (values["images"], values["boxes"], values["bootstrap"]) == (30, 45, 50)
    with open(out / "slices.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert ", ".join(dict.fromkeys(row["family"] for row in rows)) == FAMILIES
    assert float(rows[0]["AP"]) == pytest.approx(theirs[0], abs=1e-6)
    written = f"--detections={out / 'detections.json'}", f"--truth={out / 'ground_truth.json'}"
    evaluate(run_script, *written, "--bootstrap=0", "--noreport")
    assert numbers(out / "detections_eval") == numbers(out)


def test_thresholds_and_limits_leave_out_what_they_say(data_dir, results, run_script):
    arguments = "--score_threshold=0.5", "--max_detections=1", "--limit=10", "--bootstrap=0"
    out = data_dir / "out"
    flags = f"--detections={results}", f"--data_dir={data_dir}", f"--output_dir={out}"
    evaluate(run_script, *flags, *arguments)
    found = json.loads((out / "detections.json").read_text())
    assert min(one["score"] for one in found) >= 0.5
    assert len({one["image_id"] for one in found}) == len(found) <= 10
    assert json.loads((out / "metrics.json").read_text())["images"] == 10


def test_results_and_ground_truth_are_never_written_over(data_dir, results, run_script):
    results = results.rename(results.with_name("detections.json"))
    for output_dir in (data_dir, data_dir / ".." / data_dir.name):
        flags = f"--detections={results}", f"--data_dir={data_dir}", f"--output_dir={output_dir}"
        message = message_of(run_script("evaluate.py", *flags))
        assert message.startswith(f"error: {results}: would be written over")


@pytest.mark.parametrize(
    ("options", "detector", "variant"),
    [
        ({}, {}, ""),
        ({"samples": 9, "seed": 1, "report": True}, {"engine": "openvino", "tta": False}, ""),
        ({"limit": 10}, {"precision": "float32"}, "limit_10"),
        ({"sample_1_of_n": 5, "raw_weights": True}, {}, "1_of_5_raw_weights"),
        ({"score_threshold": 0.05, "max_detections": 20}, {}, "score_0.05_most_20"),
        ({}, {"tta": True, "tile": 512, "precision": "bfloat16"}, "tile_512_tta_bfloat16"),
    ],
)
def test_a_score_that_is_not_the_plain_one_has_a_name(options, detector, variant):
    assert ScoringOptions(**options, detector=detector).variant() == variant


def test_without_images_csv_or_images_the_report_says_what_it_leaves_out(
    data_dir, results, run_script
):
    truth = data_dir / "alone" / "truth.json"
    truth.parent.mkdir()
    truth.write_text(format_truth(read_truth_of_tables(data_dir)))
    evaluate(
        run_script, f"--detections={results}", f"--truth={truth}", f"--output_dir={truth.parent}"
    )
    page = (truth.parent / "report.html").read_text()
    assert "so lighting and location are left out" in page
    assert "so brightness is left out" in page
    assert "The images aren't there to be shown." in page


def test_no_detection_at_all_is_scored_and_reported(data_dir, run_script):
    path = data_dir / "none.json"
    path.write_text("[]")
    evaluate(run_script, f"--detections={path}", f"--data_dir={data_dir}", "--bootstrap=20")
    assert numbers(data_dir / "none_eval")[:3] == [0, 0, 0]


def other_label_map(data_dir):
    ids = {name: number for number, name in enumerate(CLASSES, 1)}
    entries = read_tables(data_dir, CLASSES)
    write_records(data_dir / "x.tfrecord", entries, data_dir / "images", ids, lambda: None)
    (data_dir / "label_map.txt").write_text(format_label_map(["Cat"]))
    return [f"--records={data_dir / 'x.tfrecord'}"]


BAD = {
    "another label map": (other_label_map, "x.tfrecord: record 2: class 'Dog' (image"),
    "no ground truth": (lambda _: ["--split=test"], "no ground truth to score --detections"),
    "nowhere": (lambda _: ["--data_dir=nowhere"], "nowhere: no such folder"),
    "a model, too": (lambda _: ["--model_dir=x"], "--model_dir and --detections: only one can be"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_plain_message(data_dir, results, run_script, spoil, message):
    source = spoil(data_dir) or [f"--data_dir={data_dir}"]
    flags = f"--detections={results}", *source, f"--output_dir={data_dir / 'out'}"
    assert message in message_of(run_script("evaluate.py", *flags))
    assert not (data_dir / "out" / "metrics.json").exists()
