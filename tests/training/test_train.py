"""A run is trained, continued, evaluated, exported and put to use, as a user does it."""

import contextlib
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny_training import ROOT, scalars_of

from lowlight.evaluation.metrics import COCO_METRICS

pytestmark = pytest.mark.slow

SIZES = {"wide.jpg": (300, 100), "tall.png": (90, 200), "small.jpg": (40, 30)}


FIXED = "fixed_shape_resizer { height: 64 width: 64 }"
PADDED = (
    "keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 64 pad_to_max_dimension: true }"
)


def make_config(folder):
    """Writes the tiny config with batch 2, a resizer that pads, and the records in `folder`."""
    text = (ROOT / "tests" / "tiny.config").read_text().replace("FOLDER", str(folder))
    text = text.replace("batch_size: 4", "batch_size: 2").replace(FIXED, PADDED)
    path = folder / "tiny.config"
    path.write_text(text)
    return path


def run_checked(run_script, *arguments, **options):
    """Runs a script that must succeed, in silence but for what it has to say."""
    done = run_script(*arguments, **options)
    assert done.returncode == 0, done.stderr
    assert not re.search("warning|deprecated|traceback", done.stderr, re.IGNORECASE), done.stderr
    return done


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, run_script):
    """16 drawn images as records; the folder's name has a blank in it."""
    folder = tmp_path_factory.mktemp("a run")
    images = f"--images_dir={folder / 'images'}"
    parts, output = folder / "ExDark", f"--output_dir={folder}"
    for command in (
        ["make_sample_data.py", output, "--images=16", "--width=160"],
        ["convert_images.py", f"--input_dir={parts}", f"--output_dir={folder / 'images'}"],
        ["make_annotations_csv.py", f"--annotations={parts}_Annno", images, output],
        ["make_tfrecords.py", f"--data_dir={folder}", images, output],
    ):
        run_checked(run_script, *command)
    return folder


def train(data_dir, run_dir, num_steps):
    """Trains in this process; returns what it prints, as a finished process has it."""
    from lowlight.training.config import TrainingOptions
    from lowlight.training.train import train_run
    from lowlight.training.workers import choose_strategy

    options = TrainingOptions(num_steps, summarize_every_n=2)
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        train_run(data_dir / "tiny.config", run_dir, choose_strategy, options)
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())


@pytest.fixture(scope="module")
def trained(data_dir, run_script):
    """(the run's folder, what train.py printed of 3 steps, what continuing to 5 printed)."""
    config, run_dir = make_config(data_dir), data_dir / "runs" / "tiny"
    flags = f"--pipeline_config_path={config}", "--num_train_steps=3", "--summarize_every_n=2"
    first = run_checked(run_script, "train.py", f"--model_dir={run_dir}", *flags)
    return run_dir, first, train(data_dir, run_dir, 5)


@pytest.fixture(scope="module")
def exported(trained, run_script):
    """The run with an export in it."""
    run_dir = trained[0]
    run_checked(run_script, "export_model.py", f"--model_dir={run_dir}")
    return run_dir


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Pictures of three shapes, and what else lies in a folder of pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        pixels = rng.integers(0, 90, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    Image.new("RGB", (1, 3000)).save(folder / "thread.png")
    (folder / "broken.jpg").write_text("no picture")
    (folder / "cut.jpg").write_bytes((folder / "wide.jpg").read_bytes()[:-600])
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "album.jpg").mkdir()
    (folder / "notes.txt").write_text("no picture, and doesn't say so")
    return folder


def test_three_steps_asked_for_are_three_steps_made(trained):
    run_dir, first, _ = trained
    assert re.search("step 0 to 3, batch 2, 1 [CG]PU\n", first.stdout)
    lines = [line for line in first.stderr.splitlines() if line.startswith("step ")]
    assert lines[0].startswith("step 1/3  loss ")
    # Slow machines print seconds per step, fast ones steps per second.
    assert re.match(r"step 3/3  [\d.]+( s/step|/s)  left 00:00  loss ", lines[-1])
    assert "trained to step 3 in " in first.stdout
    assert f"{run_dir}/ckpt-2" in first.stdout


def test_training_again_continues_from_the_last_checkpoint(trained):
    _, _, second = trained
    assert "step 3 to 5" in second.stdout
    lines = [line for line in second.stderr.splitlines() if line.startswith("step ")]
    assert lines[0].startswith("step 4/5  loss ")


def test_a_run_holds_its_config_checkpoints_and_events(trained):
    from lowlight.core.tensorflow_files import checkpoint_step, latest_checkpoint
    from lowlight.tfod import model as tfod

    run_dir = trained[0]
    assert checkpoint_step(latest_checkpoint(run_dir)) == 5
    assert tfod.read_config(run_dir / "pipeline.config").model.ssd.num_classes == 12
    assert sorted(scalars_of(run_dir / "train", "Loss/total_loss")) == [1, 2, 4]


def test_training_to_a_step_already_made_does_nothing(trained, data_dir):
    assert "nothing to do" in train(data_dir, trained[0], 5).stdout


def test_evaluation_prints_and_keeps_the_twelve_numbers(trained, tmp_path, run_script):
    done = run_checked(
        run_script, "evaluate.py", f"--model_dir={trained[0]}", f"--output_dir={tmp_path / 'eval'}"
    )
    metrics = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert [name for name in metrics if name in COCO_METRICS] == list(COCO_METRICS)
    assert (metrics["images"], metrics["step"]) == (4, 5)
    assert all(name in done.stdout for name in COCO_METRICS)
    assert (tmp_path / "eval" / "metrics.txt").read_text() in done.stdout
    name = "DetectionBoxes_Precision/mAP"
    assert list(scalars_of(tmp_path / "eval", name)) == [5]
    assert (tmp_path / "eval" / "report.html").is_file()


def test_watching_scores_what_is_not_yet_scored_and_ends_with_the_training(
    trained, tmp_path, capsys
):
    from lowlight.evaluation.evaluation import evaluate_model, watch_run
    from lowlight.evaluation.scoring import ScoringOptions

    folder = tmp_path / "eval"
    evaluate_model(trained[0], eval_dir=folder, options=ScoringOptions(limit=3))
    log = folder / "scored.jsonl"
    log.write_bytes(log.read_bytes()[:-9])
    watch_run(trained[0], 3600, eval_dir=folder)
    printed = capsys.readouterr().out
    assert "continues after 2 images that were scored before" in printed
    assert "the training has ended" in printed
    assert json.loads((folder / "metrics.json").read_text())["images"] == 4


def test_evaluation_on_training_records_goes_to_a_folder_of_its_own(trained, data_dir, run_script):
    run_dir = trained[0]
    flags = f"--pipeline_config_path={data_dir / 'tiny.config'}", f"--checkpoint_dir={run_dir}"
    flags += "--eval_on_train_data", "--sample_1_of_n_eval_on_train_examples=4"
    run_checked(run_script, "train.py", f"--model_dir={run_dir}", *flags)
    metrics = json.loads((run_dir / "eval_train_1_of_4" / "metrics.json").read_text())
    assert metrics["images"] == 3


def test_an_export_made_again_replaces_only_what_it_made(exported):
    from lowlight.detector.export import export_run
    from lowlight.detector.runs import find_checkpoint

    folder = exported / "exported"
    (folder / "notes.txt").write_text("mine")
    export_run(find_checkpoint(exported), folder)
    parts = ["checkpoint", "notes.txt", "pipeline.config", "saved_model"]
    assert sorted(path.name for path in folder.iterdir()) == parts
    assert (folder / "saved_model" / "saved_model.pb").is_file()


def test_the_exported_model_has_tfods_signature_and_detects_as_the_model_does(exported):
    from lowlight.detector.detector import Detector
    from lowlight.detector.runs import find_checkpoint, find_model

    model, checkpoint = find_model(exported), find_checkpoint(exported)
    assert model.path == exported / "exported" / "saved_model"
    assert model.step() == checkpoint.step() == 5
    exported_detector, own_detector = Detector(model), Detector(checkpoint)
    rng = np.random.default_rng(1)
    for shape in ((100, 300, 3), (61, 47, 3)):
        image = rng.integers(0, 255, shape, np.uint8)
        found, expected = exported_detector.detect(image), own_detector.detect(image)
        assert found.boxes.shape == (20, 4)
        assert (found.classes == expected.classes).all()
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def test_the_signature_takes_one_image_and_names_its_outputs_as_tfod_does(exported):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(exported / "exported" / "saved_model"))
    signature = loaded.signatures["serving_default"]
    (spec,) = signature.structured_input_signature[1].values()
    assert (spec.name, spec.dtype) == ("input_tensor", tf.uint8)
    assert spec.shape.as_list() == [1, None, None, 3]
    names = {"detection_boxes", "detection_classes", "detection_scores", "num_detections"}
    assert names <= set(signature.structured_outputs)


def test_images_of_any_sizes_trace_the_model_no_second_time(exported, monkeypatch):
    from lowlight.detector.detector import Detector
    from lowlight.detector.runs import find_checkpoint
    from lowlight.tfod import model as tfod

    model = find_checkpoint(exported)
    module = tfod.detection_module(tfod.read_config(model.config_path), model.path)
    monkeypatch.setattr(tfod, "detection_module", lambda *model: module)
    detector = Detector(model)
    function = module.__call__
    traced = function.experimental_get_tracing_count()
    for width in (64, 200, 333):
        detector.detect(np.zeros((90, width, 3), np.uint8))
    assert function.experimental_get_tracing_count() == traced


def infer(run_script, pictures, data_dir, model_dir, *flags):
    return run_script(
        "run_inference.py",
        f"--images_folder_dir={pictures}",
        f"--model_dir={model_dir}",
        f"--label_map_path={data_dir / 'label_map.txt'}",
        *flags,
    )


@pytest.fixture(scope="module")
def inference(exported, pictures, data_dir, run_script, tmp_path_factory):
    """(what run_inference.py printed, the folder it wrote), with the runs' folder as model_dir."""
    save_path = tmp_path_factory.mktemp("found") / "new folder"
    flags = "--save_detection=True", f"--save_path={save_path}", "--score_threshold=0.001"
    return infer(run_script, pictures, data_dir, f"{exported.parent}/", *flags), save_path


def test_inference_says_which_model_of_several_runs_it_took(inference, exported):
    done, _ = inference
    assert f"model: {exported / 'exported' / 'saved_model'} (step 5)" in done.stdout


def test_images_that_cannot_be_read_are_named_and_the_others_are_done(inference, pictures):
    done, save_path = inference
    assert done.returncode == 1
    assert f"error: {pictures / 'broken.jpg'}: not an image" in done.stderr
    assert f"\n{pictures / 'cut.jpg'}: damaged or cut short" in done.stderr
    assert f"\n{pictures / 'gone.jpg'}: a link without a file" in done.stderr
    assert f"\n{pictures / 'thread.png'}: 1x3000 pixels can't be resized" in done.stderr
    assert "The other 3 images are done." in done.stderr
    assert "Traceback" not in done.stderr
    written = {p.name for p in save_path.iterdir()}
    assert written == {*SIZES, "detections.json", "detections.csv", "index.html", "gallery"}


def test_detections_json_holds_every_image_with_boxes_in_its_pixels(inference):
    _, save_path = inference
    images = json.loads((save_path / "detections.json").read_text())["images"]
    assert {one["file"]: (one["width"], one["height"]) for one in images} == SIZES
    boxes = [(one, d["box"]) for one in images for d in one["detections"]]
    assert len(boxes) > 0
    for one, (xmin, ymin, xmax, ymax) in boxes:
        assert 0 <= xmin <= xmax <= one["width"]
        assert 0 <= ymin <= ymax <= one["height"]


def test_drawn_pictures_have_the_size_and_format_of_their_images(inference):
    _, save_path = inference
    for name, size in SIZES.items():
        with Image.open(save_path / name) as picture:
            assert picture.size == size
            assert picture.format == ("PNG" if name.endswith("png") else "JPEG")


def test_without_saving_what_is_found_is_printed(exported, pictures, data_dir, run_script):
    flags = "--save_detection=False", "--score_threshold=0.999"
    done = infer(run_script, pictures, data_dir, exported / "exported", *flags)
    assert done.returncode == 1
    for name, (width, height) in SIZES.items():
        assert f"{name} ({width}x{height}):\n  nothing" in done.stdout
