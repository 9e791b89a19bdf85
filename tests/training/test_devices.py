"""A run is the same on one device and on two, in one go and in two, and on several machines."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_training import (
    free_addresses,
    losses_of,
    scalars_of,
    start_training,
    wait_for,
    write_tiny_data,
)

from lowlight.core.errors import DataError
from lowlight.core.tensorflow_files import checkpoint_step, latest_checkpoint

pytestmark = pytest.mark.slow

FROZEN = "BoxEncodingPredictor/"
SCRIPTS = Path(__file__).parents[2] / "scripts"
TRAIN_ALL = """
import shutil
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from lowlight.core.tensorflow import prepare_tensorflow

prepare_tensorflow()
import tensorflow as tf

from lowlight.training.config import TrainingOptions
from lowlight.training.train import train_run

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
config, folder = sys.argv[2:]
one, two = ["CPU:0"], ["CPU:0", "CPU:1"]
options = TrainingOptions(
    20, 10, summarize_every_n=1, record_summaries=False, seed=5, balance=True, balance_share=0.5
)
for name, devices, parts in ("in one go", one, 1), ("in two", one, 1), ("two devices", two, 2):
    train_run(
        config,
        f"{folder}/{name}",
        lambda: tf.distribute.MirroredStrategy(devices),
        replace(options, accumulate=parts),
    )
    if name == "in one go":  # "in two" is what would be there if it had ended at step 10
        run = Path(folder, "in two")
        run.mkdir()
        for path in Path(folder, name).iterdir():
            if path.name.startswith(("ckpt-1", "ckpt-2", "pipeline", "run.json")):
                shutil.copy(path, run)
        (run / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"')
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The losses of runs to step 20, {name: floats}, and their folder; "in two" has 10 of them.

    All have averages, a frozen layer and balanced images; two devices take each batch in parts.
    """
    folder = tmp_path_factory.mktemp("devices")
    config = write_tiny_data(folder)
    text = config.read_text().replace("use_moving_average: false", "use_moving_average: true")
    text = text.replace("train_config {", f'train_config {{ freeze_variables: "{FROZEN}"')
    config.write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_ALL, str(SCRIPTS), str(config), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = "in one go", "in two", "two devices"
    losses = {name: losses_of(folder / name) for name in names}
    assert [sorted(run)[0] for run in losses.values()] == [1, 11, 1]
    losses = {name: [run[step] for step in range(min(run), 21)] for name, run in losses.items()}
    return {"folder": folder, "printed": done.stdout, **losses}


def test_with_a_seed_a_continued_run_has_the_losses_of_one_in_one_go_bit_by_bit(runs):
    assert len(runs["in two"]) == 10
    assert runs["in two"] == runs["in one go"][10:]


def test_two_devices_learn_in_parts_what_one_learns_of_the_same_batches(runs):
    np.testing.assert_allclose(runs["two devices"], runs["in one go"], rtol=1e-5)
    assert runs["in one go"][-1] < 0.5 * runs["in one go"][0]


def test_the_checks_say_what_comes_more_often_what_is_frozen_and_in_how_many_parts(runs):
    for text in (
        "balance   classes in fewer than 50.0% of the images come more often; 12 images are 21 an",
        rf'frozen    4 of \d+ variables, .*: freeze_variables "{FROZEN}" \(4\)',
        "batch     4 on 2 CPUs, in 2 parts",
    ):
        assert re.search(text, runs["printed"]), runs["printed"]


def test_two_devices_end_with_the_weights_and_averages_of_one_and_none_moves_what_is_frozen(runs):
    import tensorflow as tf

    def read(name, number):
        reader = tf.train.load_checkpoint(str(runs["folder"] / name / f"ckpt-{number}"))
        names = reader.get_variable_to_shape_map()
        return {n: reader.get_tensor(n) for n in names if n.startswith("model/")}

    first, one, two = read("in one go", 1), read("in one go", 3), read("two devices", 3)
    assert sum("/average/" in name for name in one) > 20
    for name in one.keys() & two.keys():
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)
    layers = {
        kind: [np.array_equal(value, first[name]) for name, value in two.items() if kind in name]
        for kind in ("_box_encoder_layers", "_class_predictor_layers")
    }
    assert [set(same) for same in layers.values()] == [{True}, {False}], list(one)


def test_the_gradient_norm_of_two_devices_is_that_of_one_or_a_little_more(runs):
    one, two = (
        np.array(list(scalars_of(runs["folder"] / name / "train", "gradient_norm").values()))
        for name in ("in one go", "two devices")
    )
    assert len(one) == len(two) == 20
    assert np.all(two > 0.999 * one)
    assert np.all(two < 1.9 * one)  # 2 where their gradients have nothing in common


def test_when_the_first_of_two_workers_is_killed_the_other_ends_and_both_continue_together(
    tmp_path,
):
    config, run_dir = write_tiny_data(tmp_path), tmp_path / "run"
    assert len(list(tmp_path.glob("train.tfrecord*"))) == 1  # the workers share one file
    logs = [tmp_path / f"worker {index}.log" for index in (0, 1)]

    def start(*flags):
        addresses = free_addresses(2)
        return [
            start_training(config, run_dir, log, *flags, workers=(*addresses, index))
            for index, log in enumerate(logs)
        ]

    workers = start("--num_train_steps=100000", "--checkpoint_every_n=5")
    try:
        wait_for((run_dir / "ckpt-2.index").exists, workers[0], logs[0])
        workers[0].send_signal(signal.SIGKILL)
        assert workers[1].wait() == 1
        text = logs[1].read_text()
        assert f"error: {run_dir}: another worker has gone" in text
        assert "Traceback" not in text
        step = checkpoint_step(latest_checkpoint(run_dir))
        workers = start(f"--num_train_steps={step + 1}")
        assert workers[0].wait() == 0, logs[0].read_text()
        assert workers[1].wait() == 0, logs[1].read_text()
    finally:
        for process in workers:
            process.kill()
            process.wait()
    assert re.search(f"to {step + 1}, batch 4, 2 [CG]PUs\n", logs[0].read_text())
    assert "step 0 to" not in logs[0].read_text()
    assert not list(run_dir.glob("temp_worker_*"))


ADDRESSES = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}


@pytest.mark.parametrize(
    ("task", "place"),
    [(("chief", 0), 0), (("worker", 0), 1), (("worker", 1), 2)],
)
def test_a_chief_comes_before_the_workers(monkeypatch, task, place):
    from lowlight.training.workers import read_cluster

    kind, index = task
    config = {"cluster": ADDRESSES, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert read_cluster(3) == (["a:1", "b:1", "c:1"], place)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"type": "evaluator", "index": 0}, "type is 'evaluator'; .*\n  .* evaluate.py --watch"),
        ({"type": "worker", "index": 2}, "but --num_workers=3"),
        ({"type": "chief", "index": -1}, "but --num_workers=3"),
    ],
)
def test_a_task_that_does_not_train_is_refused(monkeypatch, task, message):
    from lowlight.training.workers import read_cluster

    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": ADDRESSES, "task": task}))
    with pytest.raises(DataError, match=message):
        read_cluster(3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param(None, "", id="not set"),
        pytest.param({"cluster": {}, "environment": "cloud"}, "", id="no cluster"),
        pytest.param(
            {"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 0}}, "", id="itself"
        ),
        pytest.param(
            {"cluster": ADDRESSES, "task": {"type": "worker", "index": 0}},
            "names 3 workers, but --num_workers=1\\.\n  Unset it",
            id="one of several",
        ),
        pytest.param(
            {"cluster": ADDRESSES, "task": {"type": "evaluator", "index": 0}},
            "type is 'evaluator'",
            id="evaluator",
        ),
    ],
)
def test_a_process_trains_alone_where_tf_config_names_no_others(monkeypatch, config, message):
    from lowlight.training.workers import read_cluster

    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    if not message:
        assert (len(read_cluster(1).addresses), read_cluster(1).index) == (1, 0)
        return
    with pytest.raises(DataError, match=message):
        read_cluster(1)
