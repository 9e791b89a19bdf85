"""Makes a run as a user does, in which TFOD's own programs take part, for test_whole_runs.py."""

import contextlib
import io
import json
import re
from types import SimpleNamespace

from tiny_training import tiny_config

from lowlight.core.tensorflow_files import checkpoint_step, latest_checkpoint
from lowlight.training.config import TrainingOptions
from lowlight.training.train import train_run
from lowlight.training.workers import choose_strategy

PADDED = (
    "keep_aspect_ratio_resizer { min_dimension: 64 max_dimension: 64 pad_to_max_dimension: true }"
)
# The tiny config with averages, a resizer that pads, and a rate that warms up all the way.
CHANGES = {
    "batch_size: 4": "batch_size: 2",
    "fixed_shape_resizer { height: 64 width: 64 }": PADDED,
    "use_moving_average: false": "use_moving_average: true",
    "eval_config {": "eval_config { use_moving_averages: true",
    "total_steps: 40": "total_steps: 400",
    "warmup_steps: 4": "warmup_steps: 120",
}


def checked(done):
    """Returns what a script printed that must succeed, in silence but for what it has to say."""
    assert done.returncode == 0, done.stderr
    assert not re.search("warning|deprecated|traceback", done.stderr, re.IGNORECASE), done.stderr
    return done


def train(config, run_dir, steps, **options):
    """Trains in this process and returns all that it prints."""
    options = TrainingOptions(steps, summarize_every_n=1, **options)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        train_run(config, run_dir, choose_strategy, options)
    return out.getvalue()


def make_data(folder, run_script):
    """Makes records of 16 drawn images, 12 of them to train on."""
    images = f"--images_dir={folder / 'images'}"
    parts, output = folder / "ExDark", f"--output_dir={folder}"
    for command in (
        ["make_sample_data.py", output, "--images=16", "--width=160"],
        ["convert_images.py", f"--input_dir={parts}", f"--output_dir={folder / 'images'}"],
        ["make_annotations_csv.py", f"--annotations={parts}_Annno", images, output],
        ["make_tfrecords.py", f"--data_dir={folder}", images, output],
    ):
        checked(run_script(*command))


def make_run(data_dir, run_script, run_forked):
    """Makes a run of 105 steps; returns its folder, its config, and what it printed, in two parts.

    This loop makes 3 steps, TFOD's own program 100, and this loop two more, with the schedule begun
    again, by the same command given twice; the first time scores them.
    """
    config, run_dir = tiny_config(data_dir, CHANGES), data_dir / "runs" / "tiny"
    flags = f"--pipeline_config_path={config}", f"--model_dir={run_dir}"
    begun = run_script("train.py", *flags, "--num_train_steps=3", "--summarize_every_n=2")
    steps = "--num_train_steps=103", "--checkpoint_every_n=100"
    done = run_forked("model_main_tf2.py", *flags, *steps)
    assert done.returncode == 0, done.stderr
    assert checkpoint_step(latest_checkpoint(run_dir)) == 103
    again = {"restart_schedule": True}
    continued = train(config, run_dir, 105, checkpoint_every_n=1, eval_every_n=1, **again)
    newest = latest_checkpoint(run_dir)
    before = re.sub(r"\d+$", lambda number: str(int(number[0]) - 1), newest)
    (run_dir / "checkpoint").write_text(f'model_checkpoint_path: "{before}"\n')  # as if killed
    train(config, run_dir, 105, **again)
    return SimpleNamespace(dir=run_dir, config=config, begun=checked(begun), continued=continued)


def sessions_of(run_dir):
    return json.loads((run_dir / "run.json").read_text())["sessions"]
