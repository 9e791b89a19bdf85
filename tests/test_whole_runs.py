"""A run is begun, killed, stopped, scored and continued, by this loop and by TFOD's."""

import json
import shutil
import signal

import numpy as np
import pytest
from tiny_training import ROOT, losses_of, scalars_of, start_training, wait_for, write_tiny_data

from lowlight.core.errors import DataError
from lowlight.core.tensorflow_files import checkpoint_step, latest_checkpoint

pytestmark = pytest.mark.slow


def train_with_tfod(config, run_dir, steps):
    """Trains with TFOD's own loop, as model_main_tf2 does."""
    from object_detection import model_lib_v2

    model_lib_v2.train_loop(
        str(config),
        str(run_dir),
        train_steps=steps,
        save_final_config=True,
        checkpoint_every_n=1,
        num_steps_per_iteration=1,
    )


def train(config, run_dir, steps, **options):
    from lowlight.training.config import TrainingOptions
    from lowlight.training.train import train_run
    from lowlight.training.workers import choose_strategy

    train_run(
        config, run_dir, choose_strategy, TrainingOptions(steps, summarize_every_n=1, **options)
    )


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, run_script):
    """A run of 103 steps, with averages of its weights.

    TFOD's own program makes 100 and this loop two, with the schedule begun again, by the same
    command given twice: the first time scores them, the second takes batches in parts. TFOD's loop
    makes the last one.
    """
    folder = tmp_path_factory.mktemp("whole")
    config, run_dir = write_tiny_data(folder), folder / "run"
    text = config.read_text().replace("use_moving_average: false", "use_moving_average: true")
    text = text.replace("eval_config {", "eval_config { use_moving_averages: true")
    text = text.replace("total_steps: 40", "total_steps: 400")
    config.write_text(text.replace("warmup_steps: 4", "warmup_steps: 120"))
    flags = f"--pipeline_config_path={config}", f"--model_dir={run_dir}"
    done = run_script(
        "model_main_tf2.py", *flags, "--num_train_steps=100", "--checkpoint_every_n=100"
    )
    assert done.returncode == 0, done.stderr
    assert (run_dir / "pipeline.config").is_file()
    train(config, run_dir, 102, restart_schedule=True, checkpoint_every_n=1, eval_every_n=1)
    assert json.loads((run_dir / "run.json").read_text())["schedule_start"] == 100
    newest = latest_checkpoint(run_dir)
    before = newest.replace("ckpt-4", "ckpt-3")
    assert newest != before
    (run_dir / "checkpoint").write_text(f'model_checkpoint_path: "{before}"\n')  # as if killed
    train(config, run_dir, 102, restart_schedule=True, accumulate=2)
    train_with_tfod(config, run_dir, 103)
    return run_dir


def test_each_loop_continues_what_the_other_began(run_dir):
    assert checkpoint_step(latest_checkpoint(run_dir)) == 103
    assert sorted(losses_of(run_dir)) == [100, 101, 102, 103]
    sessions = json.loads((run_dir / "run.json").read_text())["sessions"]
    steps = [(session["from_step"], session["to_step"]) for session in sessions]
    assert steps == [(100, 102), (101, 102)]


def test_a_run_continues_in_parts_of_batches_with_the_losses_of_whole_ones(run_dir):
    sessions = sorted((run_dir / "train").glob("events*"))
    losses = [scalars_of(path.parent, "Loss/total_loss", path.name) for path in sessions]
    whole, parts = (found[102] for found in losses if 102 in found)
    assert parts == pytest.approx(whole, rel=1e-5)


def test_a_run_of_tfods_own_program_is_scored_and_exported(run_dir, tmp_path, run_script):
    from lowlight.detector.export import export_run
    from lowlight.detector.runs import find_checkpoint
    from lowlight.evaluation.evaluation import evaluate_model

    evaluate_model(run_dir, eval_dir=tmp_path / "eval")
    assert json.loads((tmp_path / "eval" / "metrics.json").read_text())["step"] == 103
    export_run(find_checkpoint(run_dir), tmp_path / "exported")
    assert (tmp_path / "exported" / "saved_model" / "saved_model.pb").is_file()
    theirs = tmp_path / "by TFOD"
    done = run_script(
        "exporter_main_v2.py",
        f"--pipeline_config_path={run_dir.parent / 'tiny.config'}",
        f"--trained_checkpoint_dir={run_dir}",
        f"--output_directory={theirs}",
    )
    assert done.returncode == 0, done.stderr
    evaluate_model(theirs)
    metrics = json.loads((theirs / "eval" / "metrics.json").read_text())
    assert (metrics["step"], metrics["images"]) == (0, 11)


def test_the_best_is_scored_with_the_averages_of_its_weights_where_its_config_says_so(run_dir):
    import tensorflow as tf

    from lowlight.tfod.model import detection_module, read_config

    best = run_dir / "best"
    config, prefix = read_config(best / "pipeline.config"), latest_checkpoint(best)
    assert config.eval_config.use_moving_averages
    reader, found = tf.train.load_checkpoint(prefix), {}
    for averaged in (False, True):
        config.eval_config.use_moving_averages = averaged
        model = detection_module(config, prefix)._model
        found[averaged] = max((v.numpy() for v in model.trainable_variables), key=np.size)
    names = [name for name in reader.get_variable_to_shape_map() if "/average/" in name]
    averages = [reader.get_tensor(name) for name in names]
    assert not (found[True] == found[False]).all()
    assert any(a.shape == found[True].shape and (a == found[True]).all() for a in averages)
    config.eval_config.use_moving_averages = True
    raw = detection_module(config, prefix, raw_weights=True)._model
    raw = max((v.numpy() for v in raw.trainable_variables), key=np.size)
    np.testing.assert_array_equal(raw, found[False])
    config.train_config.optimizer.use_moving_average = False
    with pytest.raises(DataError, match="asks for moving averages .+, but the training kept none"):
        detection_module(config, prefix)


def test_an_export_of_averages_keeps_them_in_all_its_parts_and_a_raw_one_is_not_taken_for_it(
    run_dir, tmp_path
):
    import tensorflow as tf

    from lowlight.detector.export import export_run
    from lowlight.detector.runs import find_checkpoint, find_model
    from lowlight.detector.tracing import build_module
    from lowlight.tfod.model import read_config

    run = shutil.copytree(run_dir, tmp_path / "run")
    weights = {}
    for raw in (True, False):
        export_run(find_checkpoint(run, raw_weights=raw), run / "exported")
        assert find_model(run).is_exported != raw
        config = read_config(run / "exported" / "pipeline.config")
        assert not config.eval_config.use_moving_averages
        model = find_model(run / "exported")
        module, _ = build_module(model, model.checkpoint, raw_weights=True)
        saved = [v.numpy() for v in tf.saved_model.load(str(model.path)).variables_]
        for variable, value in zip(module._model.variables, saved, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
        weights[raw] = max(saved, key=np.size)
    assert not (weights[True] == weights[False]).all()


def test_a_schedule_begun_again_stays_so_when_the_same_command_continues(run_dir):
    # The schedule warms up from 0.001 to 0.01 in 120 steps. TFOD's loop tells the rate after a step
    # and doesn't know that it was begun again.
    rates = scalars_of(run_dir / "train", "learning_rate")
    assert rates == pytest.approx({100: 0.0085, 101: 0.001, 102: 0.001075, 103: 0.008725})


def test_an_evaluation_along_the_way_keeps_the_best_and_shows_what_was_found(run_dir):
    from lowlight.core.tensorflow_files import checkpoint_step, latest_checkpoint

    evaluations = json.loads((run_dir / "run.json").read_text())["evaluations"]
    assert [one["step"] for one in evaluations] == [101, 102]
    best = max(evaluations, key=lambda one: one["mAP"])["step"]
    assert checkpoint_step(latest_checkpoint(run_dir / "best")) == best
    metrics = json.loads((run_dir / "best" / "metrics.json").read_text())
    assert (metrics["step"], metrics["images"]) == (best, 11)
    assert (run_dir / "best" / "pipeline.config").is_file()
    assert sorted(scalars_of(run_dir / "eval", "DetectionBoxes_Precision/mAP")) == [101, 102]
    assert shapes_of_images(run_dir / "eval", "eval_side_by_side_9") == {(128, 64)}


def test_tensorboard_has_losses_pace_and_pictures(run_dir):
    names = "gradient_norm", "steps_per_sec", "images_per_sec", "input_wait_share"
    for name in ("Loss/classification_loss", "Loss/localization_loss", *names):
        assert 102 in scalars_of(run_dir / "train", name), name
    assert shapes_of_images(run_dir / "train", "train_input_images") == {(64, 64)}


def shapes_of_images(folder, tag):
    """Returns the (width, height) of the images that TensorBoard has under a tag."""
    import tensorflow as tf

    return {
        tuple(int(side) for side in tf.make_ndarray(value.tensor)[:2])
        for path in sorted(folder.glob("events*"))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == tag
    }


def test_run_json_says_with_what_and_on_what_it_was_trained(run_dir):
    values = json.loads((run_dir / "run.json").read_text())
    assert isinstance(values["seed"], int)
    session = values["sessions"][0]
    assert session["software"]["tensorflow"].startswith("2.")
    assert len(session["config_sha256"]) == 64
    assert session["devices"] == ["/job:localhost/replica:0/task:0/device:CPU:0"]
    assert [name.rsplit("/", 1)[1] for name in session["data"]] == [
        "label_map.txt",
        "train.tfrecord-00000-of-00001",
    ]
    assert session["seconds"] > 0
    assert session["ended"] == "step 102"


def test_a_training_image_is_shown_in_its_colours_brightened_and_with_its_boxes():
    import tensorflow as tf

    from lowlight.tfod import model as tfod
    from lowlight.tfod.training import FIELDS
    from lowlight.training.record import TrainingImages

    config = tfod.read_config(ROOT / "tests" / "tiny.config")
    model = tfod.build_model(config, is_training=True)
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


def test_a_training_told_to_stop_while_it_traces_its_first_step_ends_at_once(tmp_path):
    log = tmp_path / "log"
    process = start_training(write_tiny_data(tmp_path), tmp_path / "run", log)
    try:
        wait_for(lambda: "the first step takes longest" in log.read_text(), process, log)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()
    assert "interrupted by SIGINT." in log.read_text()


def test_a_killed_run_continues_without_its_damaged_newest_checkpoint_and_ends_well_when_told_to(
    run_dir, tmp_path
):
    config, log = run_dir.parent / "tiny.config", tmp_path / "log"
    run_dir = shutil.copytree(run_dir, tmp_path / "run")
    flags = "--num_train_steps=100000", "--checkpoint_every_n=20"
    begun = latest_checkpoint(run_dir)
    process = start_training(config, run_dir, log, *flags)
    try:
        wait_for(lambda: latest_checkpoint(run_dir) != begun, process, log)
    finally:
        process.kill()
        process.wait()
    newest = latest_checkpoint(run_dir)
    step = checkpoint_step(newest) - 20  # of the one before
    with open(f"{newest}.data-00000-of-00001", "r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    process = start_training(config, run_dir, log, *flags)
    try:
        wait_for(lambda: ", lr " in log.read_text(), process, log)
        with pytest.raises(DataError) as second:
            train(config, run_dir, 100000)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143
    finally:
        process.kill()
        process.wait()
    printed, reached = log.read_text(), checkpoint_step(latest_checkpoint(run_dir))
    assert f"warning: {newest}: " in printed
    assert f"step {step} to 100000" in printed
    assert f"(step {reached}). Run the same command again to continue." in printed
    being = f"{run_dir}: is being trained already, by process {process.pid}"
    assert str(second.value).startswith(being)
    session = json.loads((run_dir / "run.json").read_text())["sessions"][-1]
    assert (session["from_step"], session["to_step"]) == (step, reached)
    assert session["ended"].startswith("interrupted by SIGTERM")
