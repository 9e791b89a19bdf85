"""A run is the same on one device and on two, in one go and in two, and on several machines."""

import json
import os
import re
import shutil
import signal
from dataclasses import replace

import forked
import numpy as np
import pytest
import tensorflow as tf
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
from lowlight.training.config import TrainingOptions
from lowlight.training.train import train_run
from lowlight.training.workers import read_cluster

pytestmark = pytest.mark.slow

FROZEN = "BoxEncodingPredictor/"
RUNS = {
    "in one go": (["CPU:0"], 1),
    "in two": (["CPU:0"], 1),
    "two devices": (["CPU:0", "CPU:1"], 2),
}


def train_all(config, folder):
    """Makes the RUNS, each on its devices and in its parts, in a process with two devices."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    options = TrainingOptions(
        20, 10, summarize_every_n=1, record_summaries=False, seed=5, balance=True, balance_share=0.5
    )
    for name, (devices, parts) in RUNS.items():
        run_dir = folder / name
        if name == "in two":  # what would be there if it had ended at step 10
            kept = shutil.ignore_patterns("ckpt-3*", "train", "eval")
            shutil.copytree(folder / "in one go", run_dir, ignore=kept)
            (run_dir / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"')
        options = replace(options, accumulate=parts)
        train_run(config, run_dir, lambda on=devices: tf.distribute.MirroredStrategy(on), options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The losses of runs to step 20, {name: floats}, and their folder; "in two" has 10 of them.

    All have averages, a frozen layer and balanced images; two devices take each batch in parts.
    """
    folder = tmp_path_factory.mktemp("devices")
    config, log = write_tiny_data(folder), folder / "log"
    text = config.read_text().replace("use_moving_average: false", "use_moving_average: true")
    text = text.replace("train_config {", f'train_config {{ freeze_variables: "{FROZEN}"')
    config.write_text(text)
    process = forked.start(train_all, config, folder, out=log)
    process.join()
    assert process.exitcode == 0, log.read_text()
    losses = {name: losses_of(folder / name) for name in RUNS}
    assert [min(run) for run in losses.values()] == [1, 11, 1]
    losses = {name: [run[step] for step in sorted(run)] for name, run in losses.items()}
    return {"folder": folder, "printed": log.read_text(), **losses}


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
    def read(name, number):
        reader = tf.train.load_checkpoint(str(runs["folder"] / name / f"ckpt-{number}"))
        names = reader.get_variable_to_shape_map()
        return {n: reader.get_tensor(n) for n in names if n.startswith("model/")}

    first, one, two = read("in one go", 1), read("in one go", 3), read("two devices", 3)
    assert sum("/average/" in name for name in one) > 20
    for name in one.keys() & two.keys():
        np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)
    layers = {
        kind: {np.array_equal(value, first[name]) for name, value in two.items() if kind in name}
        for kind in ("_box_encoder_layers", "_class_predictor_layers")
    }
    assert [*layers.values()] == [{True}, {False}], list(one)


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

    def start(index, addresses, *flags):
        return start_training(config, run_dir, logs[index], *flags, workers=(*addresses, index))

    flags, addresses = ("--num_train_steps=100000", "--checkpoint_every_n=5"), free_addresses(2)
    with start(0, addresses, *flags) as first, start(1, addresses, *flags) as second:
        wait_for((run_dir / "ckpt-2.index").exists, first, logs[0])
        os.kill(first.pid, signal.SIGKILL)
        second.join()
        assert second.exitcode == 1
    text = logs[1].read_text()
    assert f"error: {run_dir}: another worker has gone" in text
    assert "Traceback" not in text
    step = checkpoint_step(latest_checkpoint(run_dir))
    last, addresses = f"--num_train_steps={step + 1}", free_addresses(2)
    with start(0, addresses, last) as first, start(1, addresses, last) as second:
        for worker, log in ((first, logs[0]), (second, logs[1])):
            worker.join()
            assert worker.exitcode == 0, log.read_text()
    assert re.search(f"to {step + 1}, batch 4, 2 [CG]PUs\n", logs[0].read_text())
    assert "step 0 to" not in logs[0].read_text()
    assert not list(run_dir.glob("temp_worker_*"))


def cluster(kind, index, **addresses):
    """Returns the TF_CONFIG of a task among these workers; a chief and two by default."""
    addresses = addresses or {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    return json.dumps({"cluster": addresses, "task": {"type": kind, "index": index}})


def set_cluster(monkeypatch, text):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)


PLACES = {
    "not set": (None, 1, 0),
    "no cluster": ('{"cluster": {}, "environment": "cloud"}', 1, 0),
    "itself": (cluster("chief", 0, chief=["a:1"]), 1, 0),
    "the chief": (cluster("chief", 0), 3, 0),
    "a worker": (cluster("worker", 0), 3, 1),
    "the last": (cluster("worker", 1), 3, 2),
}


@pytest.mark.parametrize(("text", "number", "place"), PLACES.values(), ids=PLACES)
def test_a_chief_comes_before_the_workers_and_one_alone_needs_no_others(
    monkeypatch, text, number, place
):
    set_cluster(monkeypatch, text)
    found = read_cluster(number)
    assert (len(found.addresses), found.index) == (number, place)
    if number > 1:
        assert found.addresses == ["a:1", "b:1", "c:1"]


NO_PLACES = {
    "not set": (None, 2, "not set, but --num_workers=2"),
    "no JSON": ("{", 2, "'{', but --num_workers=2"),
    "no cluster": ("{}", 2, "'{}', but"),
    "index too high": (cluster("worker", 2), 3, "'{.*, but --num_workers=3"),
    "index too low": (cluster("chief", -1), 3, "'{.*, but --num_workers=3"),
    "another number": (cluster("worker", 0), 2, "names 3 workers, but --num_workers=2"),
    "one of several": (
        cluster("worker", 0),
        1,
        "names 3 workers, but --num_workers=1\\.\n  Unset it",
    ),
    "evaluator": (cluster("evaluator", 0), 3, "type is 'evaluator'; .*\n  .* evaluate.py --watch"),
    "evaluator alone": (cluster("evaluator", 0), 1, "type is 'evaluator'"),
}


@pytest.mark.parametrize(("text", "number", "message"), NO_PLACES.values(), ids=NO_PLACES)
def test_workers_that_cannot_work_together_are_told_before_they_wait_for_each_other(
    tmp_path, monkeypatch, text, number, message
):
    set_cluster(monkeypatch, text)
    options = TrainingOptions(num_workers=number)
    with pytest.raises(DataError, match=f"^TF_CONFIG: (the task's )?{message}"):
        train_run(write_tiny_data(tmp_path), tmp_path / "run", pytest.fail, options)
