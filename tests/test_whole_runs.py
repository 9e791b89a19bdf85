"""A run is trained, killed, stopped, continued, scored, exported and put to use, as a user does it.

TFOD's own programs take part in it: each loop continues what the other began.
"""

import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny_training import images_of, losses_of, scalars_of, start_training, wait_for
from whole_run import checked, make_data, make_run, sessions_of, train

from lowlight.core.errors import DataError
from lowlight.core.tensorflow_files import checkpoint_step, latest_checkpoint
from lowlight.detector.detector import Detector
from lowlight.detector.export import export_run
from lowlight.detector.runs import find_checkpoint, find_model
from lowlight.detector.tracing import build_module
from lowlight.evaluation.evaluation import evaluate_model, watch_run
from lowlight.evaluation.metrics import COCO_METRICS
from lowlight.evaluation.scoring import ScoringOptions
from lowlight.tfod import model as tfod

pytestmark = pytest.mark.slow

MAP = "DetectionBoxes_Precision/mAP"
SIZES = {"wide.jpg": (300, 100), "tall.png": (90, 200), "small.jpg": (40, 30)}


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_script, run_forked):
    """A run, as of `make_run`; its folder's name has a blank in it."""
    data_dir = tmp_path_factory.mktemp("a run")
    make_data(data_dir, run_script)
    return make_run(data_dir, run_script, run_forked)


@pytest.fixture(scope="module")
def exported(run, run_forked, tmp_path_factory):
    """A copy of the run, alone in a folder of runs, with an export in it."""
    run_dir = shutil.copytree(run.dir, tmp_path_factory.mktemp("runs") / "tiny")
    checked(run_forked("export_model.py", f"--model_dir={run_dir}"))
    return run_dir


def test_three_steps_asked_for_are_three_steps_made(run):
    out, err = run.begun.stdout, run.begun.stderr
    assert re.search("step 0 to 3, batch 2, 1 [CG]PU\n", out)
    lines = [line for line in err.splitlines() if line.startswith("step ")]
    assert lines[0].startswith("step 1/3  loss ")
    # Slow machines print seconds per step, fast ones steps per second.
    assert re.match(r"step 3/3  [\d.]+( s/step|/s)  left 00:00  loss ", lines[-1])
    assert "trained to step 3 in " in out
    assert f"{run.dir}/ckpt-2" in out


def test_each_loop_continues_what_the_other_began(run):
    assert "step 103 to 105" in run.continued
    assert "step 104/105  loss " in run.continued
    assert checkpoint_step(latest_checkpoint(run.dir)) == 105
    assert sorted(losses_of(run.dir)) == [1, 2, 104, 105]
    steps = [(session["from_step"], session["to_step"]) for session in sessions_of(run.dir)]
    assert steps == [(0, 3), (103, 105), (104, 105)]
    assert "nothing to do" in train(run.config, run.dir, 105)


def test_a_schedule_begun_again_stays_so_when_the_same_command_continues(run):
    # It warms up from 0.001 to 0.01 in 120 steps.
    rates = scalars_of(run.dir / "train", "learning_rate")
    expected = {1: 0.001, 2: 0.001075, 104: 0.001, 105: 0.001075}
    assert rates == pytest.approx(expected)
    assert json.loads((run.dir / "run.json").read_text())["schedule_start"] == 103


def test_an_evaluation_along_the_way_keeps_the_best_and_shows_what_was_found(run):
    evaluations = json.loads((run.dir / "run.json").read_text())["evaluations"]
    assert [one["step"] for one in evaluations] == [104, 105]
    best = max(evaluations, key=lambda one: one["mAP"])["step"]
    assert checkpoint_step(latest_checkpoint(run.dir / "best")) == best
    metrics = json.loads((run.dir / "best" / "metrics.json").read_text())
    assert (metrics["step"], metrics["images"]) == (best, 4)
    assert (run.dir / "best" / "pipeline.config").is_file()
    assert sorted(scalars_of(run.dir / "eval", MAP)) == [104, 105]
    ((width, height),) = images_of(run.dir / "eval", "eval_side_by_side_3")
    assert f",{width // 2},{height}," in (run.config.parent / "images.csv").read_text()


def test_tensorboard_has_losses_pace_and_pictures(run):
    names = "gradient_norm", "steps_per_sec", "images_per_sec", "input_wait_share"
    for name in ("Loss/classification_loss", "Loss/localization_loss", *names):
        assert 105 in scalars_of(run.dir / "train", name), name
    assert images_of(run.dir / "train", "train_input_images") == {(64, 64)}


def test_run_json_says_with_what_and_on_what_it_was_trained(run):
    assert isinstance(json.loads((run.dir / "run.json").read_text())["seed"], int)
    session = sessions_of(run.dir)[0]
    assert session["software"]["tensorflow"].startswith("2.")
    assert len(session["config_sha256"]) == 64
    assert session["devices"] == ["/job:localhost/replica:0/task:0/device:CPU:0"]
    names = [name.rsplit("/", 1)[1] for name in session["data"]]
    assert names == ["label_map.txt", "split.csv", "train.tfrecord"]
    assert session["seconds"] > 0
    assert session["ended"] == "step 3"


def largest(variables):
    return max((v.numpy() for v in variables), key=np.size)


def test_the_best_is_scored_with_the_averages_of_its_weights_where_its_config_says_so(run):
    best = run.dir / "best"
    config, prefix = tfod.read_config(best / "pipeline.config"), latest_checkpoint(best)
    assert config.eval_config.use_moving_averages

    def weights(**options):
        return largest(tfod.detection_module(config, prefix, **options)._model.trainable_variables)

    averaged, asked_raw = weights(), weights(raw_weights=True)
    config.eval_config.use_moving_averages = False
    assert not (averaged == asked_raw).all()
    np.testing.assert_array_equal(weights(), asked_raw)
    reader = tf.train.load_checkpoint(prefix)
    names = [name for name in reader.get_variable_to_shape_map() if "/average/" in name]
    averages = [reader.get_tensor(name) for name in names]
    assert any(a.shape == averaged.shape and (a == averaged).all() for a in averages)
    config.eval_config.use_moving_averages = True
    config.train_config.optimizer.use_moving_average = False
    with pytest.raises(DataError, match="asks for moving averages .+, but the training kept none"):
        weights()


def test_an_export_of_averages_keeps_them_in_all_its_parts_and_a_raw_one_is_not_taken_for_it(
    exported, tmp_path
):
    """The raw one replaces the other, and leaves what isn't an export's."""
    raw = shutil.copytree(exported, tmp_path / "run")
    (raw / "exported" / "notes.txt").write_text("mine")
    export_run(find_checkpoint(raw, raw_weights=True), raw / "exported")
    parts = ["checkpoint", "notes.txt", "pipeline.config", "saved_model"]
    assert sorted(path.name for path in (raw / "exported").iterdir()) == parts
    weights = {}
    for run_dir in (raw, exported):
        assert find_model(run_dir).is_exported == (run_dir == exported)
        model = find_model(run_dir / "exported")
        assert not tfod.read_config(model.config_path).eval_config.use_moving_averages
        module, _ = build_module(model, model.checkpoint, raw_weights=True)
        saved = tf.saved_model.load(str(model.path)).variables_
        for variable, value in zip(module._model.variables, saved, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value.numpy())
        weights[run_dir] = largest(saved)
    assert not (weights[raw] == weights[exported]).all()


def test_an_export_has_tfods_signature_and_detects_as_the_model_does_which_is_traced_once(
    exported, monkeypatch
):
    model, checkpoint = find_model(exported), find_checkpoint(exported)
    assert model.path == exported / "exported" / "saved_model"
    assert model.step() == checkpoint.step() == 105
    signature = tf.saved_model.load(str(model.path)).signatures["serving_default"]
    (spec,) = signature.structured_input_signature[1].values()
    assert (spec.name, spec.dtype) == ("input_tensor", tf.uint8)
    assert spec.shape.as_list() == [1, None, None, 3]
    names = {"detection_boxes", "detection_classes", "detection_scores", "num_detections"}
    assert names <= set(signature.structured_outputs)
    exported_detector = Detector(model)
    module = tfod.detection_module(tfod.read_config(checkpoint.config_path), checkpoint.path)
    monkeypatch.setattr(tfod, "detection_module", lambda *given, **options: module)
    own_detector = Detector(checkpoint)
    traced = module.__call__.experimental_get_tracing_count()
    for shape in ((100, 300, 3), (61, 47, 3)):
        image = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
        found, expected = exported_detector.detect(image), own_detector.detect(image)
        assert found.boxes.shape == (20, 4)
        assert (found.classes == expected.classes).all()
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    assert module.__call__.experimental_get_tracing_count() == traced


def test_what_tfods_own_program_exports_is_scored(run, tmp_path, run_forked):
    done = run_forked(
        "exporter_main_v2.py",
        f"--pipeline_config_path={run.config}",
        f"--trained_checkpoint_dir={run.dir}",
        f"--output_directory={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    evaluate_model(tmp_path)
    metrics = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert (metrics["step"], metrics["images"]) == (0, 4)


def test_evaluation_prints_and_keeps_the_twelve_numbers(run, tmp_path, run_forked):
    done = run_forked("evaluate.py", f"--model_dir={run.dir}", f"--output_dir={tmp_path}")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert [name for name in metrics if name in COCO_METRICS] == list(COCO_METRICS)
    assert (metrics["images"], metrics["step"]) == (4, 105)
    table = (tmp_path / "metrics.txt").read_text()
    assert all(name in table for name in COCO_METRICS)
    assert table in checked(done).stdout
    assert list(scalars_of(tmp_path, MAP)) == [105]
    assert (tmp_path / "report.html").is_file()


def test_watching_scores_what_is_not_yet_scored_and_ends_with_the_training(run, tmp_path, capsys):
    evaluate_model(run.dir, eval_dir=tmp_path, options=ScoringOptions(limit=3))
    log = tmp_path / "scored.jsonl"
    log.write_bytes(log.read_bytes()[:-9])
    watch_run(run.dir, 3600, eval_dir=tmp_path)
    printed = capsys.readouterr().out
    assert "continues after 2 images that were scored before" in printed
    assert "the training has ended" in printed
    assert json.loads((tmp_path / "metrics.json").read_text())["images"] == 4


def test_evaluation_on_training_records_goes_to_a_folder_of_its_own(run, run_forked):
    flags = f"--pipeline_config_path={run.config}", f"--checkpoint_dir={run.dir}"
    flags += f"--model_dir={run.dir}", "--eval_on_train_data"
    checked(run_forked("train.py", *flags, "--sample_1_of_n_eval_on_train_examples=4"))
    metrics = json.loads((run.dir / "eval_train_1_of_4" / "metrics.json").read_text())
    assert metrics["images"] == 3


def test_a_folder_of_runs_detects_on_pictures_of_any_shape_and_names_what_is_none(
    exported, run, run_forked, tmp_path
):
    folder, save_path = tmp_path / "pictures", tmp_path / "new folder"
    folder.mkdir()
    for name, (width, height) in SIZES.items():
        pixels = np.random.default_rng(0).integers(0, 90, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    Image.new("RGB", (1, 3000)).save(folder / "thread.png")
    (folder / "cut.jpg").write_bytes((folder / "wide.jpg").read_bytes()[:-600])
    (folder / "album.jpg").mkdir()
    (folder / "notes.txt").write_text("no picture, and doesn't say so")
    done = run_forked(
        "run_inference.py",
        f"--images_folder_dir={folder}",
        f"--model_dir={exported.parent}/",
        f"--label_map_path={run.config.parent / 'label_map.txt'}",
        *("--save_detection=True", f"--save_path={save_path}", "--score_threshold=0.001"),
    )
    assert done.returncode == 1
    assert f"model: {exported / 'exported' / 'saved_model'} (step 105)" in done.stdout
    assert f"error: {folder / 'cut.jpg'}: damaged or cut short" in done.stderr
    assert f"\n{folder / 'thread.png'}: 1x3000 pixels can't be resized" in done.stderr
    assert done.stderr.endswith("The other 3 images are done.\n")
    written = {path.name for path in save_path.iterdir()}
    assert written == {*SIZES, "detections.json", "detections.csv", "index.html", "gallery"}
    images = json.loads((save_path / "detections.json").read_text())["images"]
    assert {one["file"]: (one["width"], one["height"]) for one in images} == SIZES
    for one in images:
        boxes = np.array([found["box"] for found in one["detections"]])
        assert len(boxes) > 0
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= [one["width"], one["height"]]).all()
        assert (boxes[:, :2] <= boxes[:, 2:]).all()


def test_a_killed_run_continues_without_its_damaged_newest_checkpoint_and_ends_well_when_told_to(
    run, tmp_path
):
    run_dir, log = shutil.copytree(run.dir, tmp_path / "run"), tmp_path / "log"
    flags = "--num_train_steps=100000", "--checkpoint_every_n=20"
    begun = latest_checkpoint(run_dir)
    with start_training(run.config, run_dir, log, *flags) as process:
        wait_for(lambda: latest_checkpoint(run_dir) != begun, process, log)
    newest = latest_checkpoint(run_dir)
    step = checkpoint_step(newest) - 20  # of the one before
    with open(f"{newest}.data-00000-of-00001", "r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    with start_training(run.config, run_dir, log, *flags) as process:
        wait_for(lambda: ", lr " in log.read_text(), process, log)
        with pytest.raises(DataError) as second:
            train(run.config, run_dir, 100000)
        os.kill(process.pid, signal.SIGTERM)
        process.join()
        assert process.exitcode == 143
    printed, reached = log.read_text(), checkpoint_step(latest_checkpoint(run_dir))
    assert f"warning: {newest}: " in printed
    assert f"step {step} to 100000" in printed
    assert f"(step {reached}). Run the same command again to continue." in printed
    being = f"{run_dir}: is being trained already, by process {process.pid}"
    assert str(second.value).startswith(being)
    session = sessions_of(run_dir)[-1]
    assert (session["from_step"], session["to_step"]) == (step, reached)
    assert session["ended"].startswith("interrupted by SIGTERM")
