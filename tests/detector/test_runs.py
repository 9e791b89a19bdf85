"""A model is found in whatever folder a user points at."""

import os
import shutil

import pytest
import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.core.json_files import fingerprint
from lowlight.detector import runs
from lowlight.detector.runs import check_classes, find_checkpoint, find_model, record_source

pytestmark = pytest.mark.slow

CONFIG_TEXT = "model {\n  ssd {\n    num_classes: 12  # of ExDark\n  }\n}\n"


def make_run(folder, *steps):
    """Writes checkpoints as TFOD's training loop names them, and a pipeline.config."""
    folder.mkdir(parents=True)
    (folder / "pipeline.config").write_text(CONFIG_TEXT)
    step = tf.Variable(0, dtype=tf.int64)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(step=step), str(folder), 7)
    for number in steps:
        step.assign(number)
        manager.save()
    return folder


def make_export(folder, step, key="step"):
    """Writes the outside of an export: enough to be found."""
    (folder / "saved_model").mkdir(parents=True)
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"")
    (folder / "pipeline.config").write_text(CONFIG_TEXT)
    step = tf.Variable(step, dtype=tf.int64)
    tf.train.Checkpoint(**{key: step}).save(str(folder / "checkpoint" / "ckpt"))
    return folder


def test_a_runs_newest_checkpoint_is_taken(tmp_path):
    run = make_run(tmp_path / "run", 100, 200)
    model = find_model(run)
    assert (model.path, model.step(), model.is_exported) == (run / "ckpt-2", 200, False)
    assert (model.run_dir, model.num_classes()) == (run, 12)


def test_an_export_of_the_newest_checkpoint_is_taken_instead_of_it(tmp_path):
    run = make_run(tmp_path / "run", 200)
    record_source(make_export(run / "exported", 0) / "saved_model", run / "ckpt-1", 200)
    model = find_model(run)
    assert (model.path, model.is_exported) == (run / "exported" / "saved_model", True)
    assert (model.run_dir, model.step()) == (run, 200)


def test_an_export_of_another_checkpoint_is_not_taken_whatever_its_step(tmp_path):
    run, other = make_run(tmp_path / "run", 200), make_run(tmp_path / "other", 100, 200)
    exported = make_export(run / "exported", 200) / "saved_model"
    assert find_model(run).path == run / "ckpt-1"  # it doesn't say what it was made from
    record_source(exported, run / "ckpt-1", 200)
    for name in ("index", "data-00000-of-00001"):
        shutil.copy(other / f"ckpt-1.{name}", run / f"ckpt-1.{name}")
    assert find_model(run).path == run / "ckpt-1"


def test_an_export_is_taken_only_with_the_weights_that_the_config_asks_for(tmp_path):
    run = make_run(tmp_path / "run", 200)
    exported = make_export(run / "exported", 200) / "saved_model"
    for asked in (True, False):
        text = f"{CONFIG_TEXT}eval_config {{\n  use_moving_averages: {str(asked).lower()}\n}}\n"
        (run / "pipeline.config").write_text(text)
        for averaged in (True, False):
            record_source(exported, run / "ckpt-1", 200, averaged)
            assert find_model(run).is_exported == (averaged == asked)
        raw = find_model(run, raw_weights=True)
        assert (raw.path, raw.raw_weights) == (run / "ckpt-1", asked)
        assert ("raw weights" in raw.name) == asked


def test_a_run_that_was_moved_is_found_by_the_last_part_of_its_path(tmp_path):
    run = make_run(tmp_path / "run", 100, 200)
    (run / "checkpoint").write_text('model_checkpoint_path: "/content/drive/run/ckpt-1"\n')
    assert (find_model(run).path, find_model(run).step()) == (run / "ckpt-1", 100)


def test_the_only_checkpoint_is_taken_where_no_file_names_the_newest(tmp_path):
    run = make_run(tmp_path / "run", 100)
    (run / "checkpoint").unlink()
    assert find_model(run).step() == 100
    make_run(tmp_path / "two", 100, 200).joinpath("checkpoint").unlink()
    with pytest.raises(DataError, match="doesn't name a checkpoint that is there"):
        find_model(tmp_path / "two")


def test_a_models_files_change_with_its_weights_and_with_its_config(tmp_path):
    model = find_model(make_run(tmp_path / "run", 100))
    seen = [fingerprint(model.files())]
    for name in ("ckpt-1.index", "pipeline.config"):
        path = tmp_path / "run" / name
        path.write_bytes(path.read_bytes() + b" ")
        seen.append(fingerprint(model.files()))
    assert len(set(seen)) == 3


@pytest.mark.parametrize("part", ["", "saved_model"], ids=["its folder", "its saved_model"])
def test_an_export_by_itself_is_taken(tmp_path, part):
    export = make_export(tmp_path / "model", 7)
    model = find_model(export / part)
    assert (model.path, model.run_dir) == (export / "saved_model", export)
    assert (model.step(), model.num_classes()) == (7, 12)


def test_the_run_trained_last_is_found_below_a_folder(tmp_path):
    for name, age in (("a", 10), ("b", 0), ("c", 20)):
        state = make_run(tmp_path / "runs" / name, 5) / "checkpoint"
        os.utime(state, (2e9 - age, 2e9 - age))
    assert find_model(tmp_path / "runs").run_dir.name == "b"
    assert find_checkpoint(tmp_path / "runs").run_dir.name == "b"


def test_the_model_zoos_archive_is_no_run(tmp_path):
    make_run(tmp_path / "runs" / "zoo" / "checkpoint", 0)
    (tmp_path / "runs" / "zoo" / "checkpoint" / "pipeline.config").unlink()
    with pytest.raises(DataError, match="holds no checkpoint"):
        find_model(tmp_path / "runs")


@pytest.mark.parametrize("finder", ["find_model", "find_checkpoint"])
def test_a_folder_without_a_model_is_refused_by_name(tmp_path, finder):
    with pytest.raises(DataError, match=r"no checkpoint \(ckpt-\*\.index\)") as caught:
        getattr(runs, finder)(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "--model_dir" in str(caught.value)


def test_a_checkpoint_whose_data_is_gone_is_named(tmp_path):
    run = make_run(tmp_path / "run", 5)
    (run / "ckpt-1.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(DataError, match=r"ckpt-1: damaged"):
        find_model(run).step()


def test_an_export_by_tfod_itself_which_keeps_no_step_is_at_step_0(tmp_path):
    assert find_model(make_export(tmp_path / "model", 7, key="weight")).step() == 0


@pytest.mark.parametrize("state", [None, "", 'all_model_checkpoint_paths: "ckpt-1"\n'])
def test_a_run_whose_newest_checkpoint_was_removed_is_told_how_to_go_back(tmp_path, state):
    run = make_run(tmp_path / "run", 5, 6)
    for path in run.glob("ckpt-2.*"):
        path.unlink()
    if state is not None:
        (run / "checkpoint").write_text(state)
    with pytest.raises(DataError) as caught:
        find_model(run)
    command = str(caught.value).splitlines()[-1].strip()
    assert command == f"echo 'model_checkpoint_path: \"ckpt-1\"' > {run}/checkpoint"
    (run / "checkpoint").write_text('model_checkpoint_path: "ckpt-1"\n')
    assert find_model(run).step() == 5


def test_a_label_map_of_another_size_is_refused(tmp_path):
    model = find_model(make_run(tmp_path / "run", 5))
    with pytest.raises(DataError, match=r"map\.txt: ids up to 2, but .* has 12 classes"):
        check_classes(model, {1: "Cat", 2: "Dog"}, "map.txt")
