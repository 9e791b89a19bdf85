"""A run is begun, killed, stopped, scored and continued, by this loop and by TFOD's."""

import json
import signal
import time

import numpy as np
import pytest
from tiny_training import losses_of, scalars_of, start_training, write_tiny_data

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
    from lowlight.training.train import Options, choose_strategy, train_run

    train_run(config, run_dir, choose_strategy, Options(steps, summarize_every_n=1, **options))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of 7 steps.

    Two are made by TFOD's loop, two by this one and scored, two more with the schedule begun anew,
    in two goes of the same command, and the last one by TFOD's loop.
    """
    folder = tmp_path_factory.mktemp("whole")
    config, run_dir = write_tiny_data(folder), folder / "run"
    train_with_tfod(config, run_dir, 2)
    train(config, run_dir, 4, eval_every_n=1)
    train(config, run_dir, 6, restart_schedule=True, checkpoint_every_n=1)
    newest = json.loads((run_dir / "run.json").read_text())
    assert newest["schedule_start"] == 4
    (run_dir / "checkpoint").write_text('model_checkpoint_path: "ckpt-6"\n')  # as if killed at 5
    train(config, run_dir, 6, restart_schedule=True)
    train_with_tfod(config, run_dir, 7)
    return run_dir


def test_a_run_of_tfods_own_program_is_continued_scored_and_exported(tmp_path, run_script):
    config, run_dir = write_tiny_data(tmp_path), tmp_path / "run"

    def run(script, *flags):
        done = run_script(script, *flags)
        assert done.returncode == 0, done.stderr
        return done.stdout

    of_config, of_run = f"--pipeline_config_path={config}", f"--model_dir={run_dir}"
    run("model_main_tf2.py", of_config, of_run, "--num_train_steps=100", "--checkpoint_every_n=100")
    assert (run_dir / "pipeline.config").is_file()
    printed = run("train.py", of_config, of_run, "--num_train_steps=102")
    assert "step 100 to 102" in printed
    run("evaluate.py", of_run, "--noreport", "--bootstrap=0")
    assert json.loads((run_dir / "eval" / "metrics.json").read_text())["step"] == 102
    run("export_model.py", of_run)
    assert (run_dir / "exported" / "saved_model" / "saved_model.pb").is_file()
    run(
        "exporter_main_v2.py",
        of_config,
        f"--trained_checkpoint_dir={run_dir}",
        f"--output_directory={tmp_path / 'by TFOD'}",
    )
    run("evaluate.py", f"--model_dir={tmp_path / 'by TFOD'}", "--noreport", "--bootstrap=0")
    theirs = json.loads((tmp_path / "by TFOD" / "eval" / "metrics.json").read_text())
    assert (theirs["step"], theirs["images"]) == (0, 11)


def test_a_run_is_scored_with_the_averages_of_its_weights_where_its_config_says_so(tmp_path):
    import tensorflow as tf

    from lowlight.core.errors import DataError
    from lowlight.tfod.model import detection_module, read_config

    path, run_dir = write_tiny_data(tmp_path), tmp_path / "run"
    text = path.read_text().replace("use_moving_average: false", "use_moving_average: true")
    path.write_text(text)
    train(path, run_dir, 3)
    config, prefix = read_config(run_dir / "pipeline.config"), str(run_dir / "ckpt-2")
    reader, found = tf.train.load_checkpoint(prefix), {}
    for averaged in (False, True):
        config.eval_config.use_moving_averages = averaged
        model = detection_module(config, prefix)._model
        found[averaged] = max((v.numpy() for v in model.trainable_variables), key=np.size)
    names = [name for name in reader.get_variable_to_shape_map() if "/average/" in name]
    averages = [reader.get_tensor(name) for name in names]
    assert not (found[True] == found[False]).all()
    assert any(a.shape == found[True].shape and (a == found[True]).all() for a in averages)
    config.train_config.optimizer.use_moving_average = False
    with pytest.raises(DataError, match="asks for moving averages .+, but the training kept none"):
        detection_module(config, prefix)


def test_each_loop_goes_on_with_what_the_other_began(run_dir):
    from lowlight.core.checkpoint_files import checkpoint_step, latest_checkpoint

    assert checkpoint_step(latest_checkpoint(run_dir)) == 7
    assert sorted(losses_of(run_dir)) == [1, 2, 3, 4, 5, 6, 7]
    sessions = json.loads((run_dir / "run.json").read_text())["sessions"]
    steps = [(session["from_step"], session["to_step"]) for session in sessions]
    assert steps == [(2, 4), (4, 6), (5, 6)]


def test_a_schedule_begun_anew_stays_so_when_the_same_command_goes_on(run_dir):
    # The schedule warms up from 0.001 to 0.01 in 4 steps. TFOD's loop tells the rate after a step.
    rates = scalars_of(run_dir / "train", "learning_rate")
    expected = {3: 0.0055, 4: 0.00775, 5: 0.001, 6: 0.00325}
    assert {step: rates[step] for step in expected} == pytest.approx(expected)


def test_an_evaluation_along_the_way_keeps_the_best_and_shows_what_was_found(run_dir):
    from lowlight.core.checkpoint_files import checkpoint_step, latest_checkpoint

    evaluations = json.loads((run_dir / "run.json").read_text())["evaluations"]
    assert [one["step"] for one in evaluations] == [3, 4]
    best = max(evaluations, key=lambda one: one["mAP"])["step"]
    assert checkpoint_step(latest_checkpoint(run_dir / "best")) == best
    metrics = json.loads((run_dir / "best" / "metrics.json").read_text())
    assert (metrics["step"], metrics["images"]) == (best, 11)
    assert (run_dir / "best" / "pipeline.config").is_file()
    assert sorted(scalars_of(run_dir / "eval", "DetectionBoxes_Precision/mAP")) == [3, 4]
    assert shapes_of_images(run_dir / "eval", "eval_side_by_side_9") == {(128, 64)}


def test_tensorboard_has_losses_pace_and_pictures(run_dir):
    names = "gradient_norm", "steps_per_sec", "images_per_sec", "input_wait_share"
    for name in ("Loss/classification_loss", "Loss/localization_loss", *names):
        assert 6 in scalars_of(run_dir / "train", name), name
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
    assert session["ended"] == "step 4"


def test_a_training_image_is_shown_in_its_colours_brightened_and_with_its_boxes():
    import tensorflow as tf
    from tiny_training import ROOT

    from lowlight.tfod import model as tfod
    from lowlight.tfod.training import FIELDS
    from lowlight.training.pictures import TrainingImages

    config = tfod.read_config(ROOT / "tests" / "tiny.config")
    model = tfod.build_model(config, is_training=True)
    dark = tf.fill([1, 64, 64, 3], 1.0) * tf.constant([40.0, 20.0, 0.0])
    features = {FIELDS.image: model.preprocess(dark)[0]}
    labels = {
        FIELDS.num_groundtruth_boxes: tf.constant([1]),
        FIELDS.groundtruth_boxes: tf.constant([[[0.25, 0.25, 0.75, 0.75], [0, 0, 0, 0]]]),
        FIELDS.groundtruth_classes: tf.one_hot([[2, 0]], 12),
    }
    (picture,) = TrainingImages(model, FIELDS).draw(features, labels)
    red, green, blue = (int(part) for part in picture[2, 2])
    assert red > 100 > green - 60 > blue == 0
    assert tuple(picture[16, 32]) == (0, 200, 140)  # class 3's colour, at the box's upper edge
    assert tuple(picture[32, 32]) == tuple(picture[2, 2])


def wait_for(text, log, process):
    """Waits until a process has written a text to its log."""
    deadline = time.monotonic() + 400
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_training_told_to_stop_while_it_traces_its_first_step_ends_at_once(
    tmp_path, number, status
):
    config, run_dir, log = write_tiny_data(tmp_path), tmp_path / "run", tmp_path / "log"
    process = start_training(config, run_dir, log, "--num_train_steps=5")
    try:
        wait_for("the first step takes longest", log, process)
        process.send_signal(number)
        assert process.wait(timeout=30) == status
    finally:
        process.kill()
        process.wait()
    text = log.read_text()
    assert "Traceback" not in text
    assert f"interrupted by {signal.Signals(number).name}." in text


def test_a_killed_run_goes_on_without_its_damaged_newest_checkpoint_and_ends_well_when_told_to(
    tmp_path, run_script
):
    from lowlight.core.checkpoint_files import checkpoint_step, latest_checkpoint

    config, run_dir, log = write_tiny_data(tmp_path), tmp_path / "run", tmp_path / "log"
    flags = "--num_train_steps=100000", "--checkpoint_every_n=20", "--summarize_every_n=1000"
    process = start_training(config, run_dir, log, *flags)
    try:
        while not (run_dir / "ckpt-3.index").exists():
            wait_for("", log, process)
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        newest = latest_checkpoint(run_dir)
        with open(f"{newest}.data-00000-of-00001", "r+b") as file:
            file.seek(1000)
            file.write(b"damage")
        step = checkpoint_step(newest) - 20

        process = start_training(config, run_dir, log, *flags)
        wait_for("step 1", log, process)
        wait_for("images/s", log, process)
        second = run_script(
            "train.py", f"--pipeline_config_path={config}", f"--model_dir={run_dir}"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143
    finally:
        process.kill()
        process.wait()
    printed = log.read_text()
    assert f"warning: {newest}: " in printed
    assert f"step {step} to 100000" in printed
    reached = checkpoint_step(latest_checkpoint(run_dir))
    assert f"(step {reached}). Run the same command again to continue." in printed
    assert second.returncode == 1
    assert f"error: {run_dir}: is being trained already, by process {process.pid}" in second.stderr
    session = json.loads((run_dir / "run.json").read_text())["sessions"][-1]
    assert (session["from_step"], session["to_step"]) == (step, reached)
    assert session["ended"].startswith("interrupted by SIGTERM")
