"""What is wrong with a config, a model or a folder is said before anything long begins."""

import types
from pathlib import Path

import pytest
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.classes import format_label_map

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def data_dir(tmp_path):
    """A folder with a label map and record files, which are looked for but not read here."""
    (tmp_path / "label_map.txt").write_text(format_label_map())
    for name in ("train.tfrecord", "test.tfrecord"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def write_config(data_dir, old="", new=""):
    """Writes the sample config with its data in `data_dir` and one text replaced."""
    text = (CONFIGS / "sample.config").read_text()
    assert old in text
    path = data_dir / "x.config"
    path.write_text(text.replace(old, new).replace("data/sample/", f"{data_dir}/"))
    return path


def replicas(number):
    """Returns all that a strategy needs to have before anything is trained."""
    return types.SimpleNamespace(num_replicas_in_sync=number)


LINE = (CONFIGS / "sample.config").read_text().split("num_classes")[0].count("\n") + 1
START = "batch_size: 8\n  num_steps"
ZOO = "efficientdet_d1_coco17_tpu-32"
BAD_CONFIGS = {
    "unknown field": ("num_classes: 12", "num_clases: 12", [f"x.config:{LINE}:5: ", "num_clases"]),
    "other number of classes": (
        "num_classes: 12",
        "num_classes: 90",
        ["num_classes: 90", "label_map.txt has ids up to 12", "Set num_classes to 12"],
    ),
    "no such records": (
        "train.tfrecord",
        "trian.tfrecord",
        ["no record file", "trian.tfrecord", "make_tfrecords.py writes it"],
    ),
    "no such label map": (
        "label_map.txt",
        "labels.txt",
        ["no label map", "labels.txt", "correct label_map_path"],
    ),
    "no zoo checkpoint": (
        START,
        f'fine_tune_checkpoint: "checkpoint/{ZOO}/checkpoint/ckpt-0"\n  {START}',
        [
            "fine_tune_checkpoint",
            f"tf2/20200711/{ZOO}.tar.gz",
            f"tar -xzf checkpoint/{ZOO}.tar.gz -C checkpoint",
        ],
    ),
    "no other checkpoint": (
        START,
        f'fine_tune_checkpoint: "mine/ckpt-3"\n  {START}',
        ["no checkpoint mine/ckpt-3.index", "Correct the path"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new", "words"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_training_refuses_a_config_before_it_makes_the_run(data_dir, old, new, words):
    from lowlight.training.train import train_run

    config, run_dir = write_config(data_dir, old, new), data_dir / "run"
    with pytest.raises(DataError) as caught:
        train_run(config, run_dir, lambda: replicas(1))
    assert all(word in str(caught.value) for word in [*words, str(data_dir)]), caught.value
    assert not run_dir.exists()


def make_run(data_dir, old, new):
    """Makes a run at step 5 whose config differs in one text from the one given later."""
    import tensorflow as tf

    run_dir = data_dir / "run"
    run_dir.mkdir()
    own = write_config(data_dir, old, new)
    own.rename(run_dir / "pipeline.config")
    step = tf.Variable(5, dtype=tf.int64)
    tf.train.CheckpointManager(tf.train.Checkpoint(step=step), str(run_dir), 7).save()
    return run_dir


OTHER_RUNS = {
    "another model": (
        "num_filters: 64",
        "num_filters: 32",
        ["-      num_filters: 32", "+      num_filters: 64"],
    ),
    "another optimizer": (
        "adam_optimizer",
        "rms_prop_optimizer",
        ["-optimizer: rms_prop_optimizer", "+optimizer: adam_optimizer"],
    ),
    "moving averages": (
        "use_moving_average: false",
        "use_moving_average: true",
        ["-use_moving_average: True", "+use_moving_average: False"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new", "lines"), OTHER_RUNS.values(), ids=OTHER_RUNS)
def test_a_run_of_another_config_is_left_as_it_is_and_the_difference_shown(
    data_dir, old, new, lines
):
    from lowlight.training.train import train_run

    run_dir = make_run(data_dir, old, new)
    own = (run_dir / "pipeline.config").read_text()
    with pytest.raises(DataError, match=r"run: holds checkpoints of another model") as caught:
        train_run(write_config(data_dir), run_dir, lambda: replicas(1))
    shown = [line.strip() for line in str(caught.value).splitlines()]
    assert [line for line in shown if line[0] in "+-"] == lines
    assert (run_dir / "pipeline.config").read_text() == own


@pytest.mark.slow
def test_a_config_with_another_batch_learning_rate_or_path_goes_on_and_says_so(data_dir, capsys):
    from lowlight.training.config import TrainingOptions
    from lowlight.training.train import train_run

    run_dir = make_run(data_dir, "learning_rate_base: 0.003", "learning_rate_base: 0.001")
    options = TrainingOptions(num_steps=5)
    train_run(write_config(data_dir), run_dir, lambda: replicas(1), options)
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "changed since this run was last trained:" in printed
    assert "-          learning_rate_base: 0.001".replace(" ", "") in [
        line.replace(" ", "") for line in printed
    ]


@pytest.mark.slow
def test_a_run_that_is_being_trained_is_refused(data_dir):
    from lowlight.core.files import locked
    from lowlight.training.train import train_run

    run_dir = data_dir / "run"
    run_dir.mkdir()
    with (
        locked(run_dir),
        pytest.raises(DataError, match=r"run: is being trained already, by process \d+ on "),
    ):
        train_run(write_config(data_dir), run_dir, lambda: replicas(1))


@pytest.mark.slow
def test_evaluation_along_the_way_needs_test_records_before_the_first_step(data_dir):
    from lowlight.training.config import TrainingOptions
    from lowlight.training.train import train_run

    (data_dir / "test.tfrecord").unlink()
    options = TrainingOptions(eval_every_n=100)
    with pytest.raises(DataError, match=r"no record file .*test\.tfrecord"):
        train_run(write_config(data_dir), data_dir / "run", lambda: replicas(1), options)


CLUSTER = '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}'
BAD_CLUSTERS = {
    "none": (None, 2, "TF_CONFIG: not set, but --num_workers=2"),
    "no JSON": ("{", 2, "TF_CONFIG: '{', but --num_workers=2"),
    "no cluster": ("{}", 2, "TF_CONFIG: '{}', but"),
    "index too high": (CLUSTER.replace("0", "2"), 2, "TF_CONFIG: '{"),
    "another number": (CLUSTER, 3, "TF_CONFIG: names 2 workers, but --num_workers=3"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "number", "message"), BAD_CLUSTERS.values(), ids=BAD_CLUSTERS)
def test_workers_that_cannot_work_together_are_told_before_they_wait_for_each_other(
    data_dir, monkeypatch, text, number, message
):
    from lowlight.training.config import TrainingOptions
    from lowlight.training.train import train_run

    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    options = TrainingOptions(num_workers=number)
    with pytest.raises(DataError) as caught:
        train_run(write_config(data_dir), data_dir / "run", pytest.fail, options)
    assert message in str(caught.value)


@pytest.mark.slow
def test_export_refuses_a_folder_of_other_files(tmp_path):
    from lowlight.detector import export as pipeline

    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(DataError, match="holds other files"):
        pipeline.export_run(None, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "dear"


@pytest.mark.slow
def test_a_saved_model_that_is_damaged_is_named(tmp_path):
    from lowlight.detector.detector import Detector
    from lowlight.detector.runs import find_model

    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match="can't be loaded"):
        Detector(find_model(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("script", ["evaluate.py", "export_model.py"])
def test_a_folder_without_a_model_ends_a_script_with_one_plain_message(
    tmp_path, run_script, script
):
    done = run_script(script, f"--model_dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}: holds no checkpoint")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_evaluation_names_records_that_are_not_there(data_dir):
    from lowlight.evaluation.evaluation import evaluate_model

    (data_dir / "saved_model.pb").write_bytes(b"")
    with pytest.raises(DataError, match=r"nowhere\*: no such record file"):
        evaluate_model(data_dir, records=["nowhere*"], label_map_path=data_dir / "label_map.txt")


def picture(folder):
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.jpg")
    return folder


BAD_INFERENCE = {
    "no such folder": ({"images_folder_dir": "nowhere"}, "nowhere: no such folder"),
    "empty folder": ({"images_folder_dir": "empty"}, "empty: holds no image"),
    "no label map": ({"label_map_path": "map.txt"}, "map.txt: no such file"),
    "label map without items": ({"label_map_path": "a.txt"}, "a.txt:1: not a label map"),
    "no save_path": ({"save_path": ""}, "missing flag --save_path"),
    "save_path of the images": ({"save_path": "images"}, "drawn over the images"),
    "save_path below a file": ({"save_path": "a.txt/x"}, "a.txt/x: Not a directory"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_INFERENCE.values(), ids=BAD_INFERENCE)
def test_inference_refuses_bad_flags_before_it_loads_a_model(
    data_dir, run_script, changes, message
):
    picture(data_dir / "images")
    (data_dir / "empty").mkdir()
    (data_dir / "a.txt").write_text("dear")
    flags = {
        "images_folder_dir": "images",
        "model_dir": "nowhere",
        "label_map_path": "label_map.txt",
        "save_detection": "True",
        "save_path": "out",
    } | changes
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    done = run_script("run_inference.py", *arguments, cwd=data_dir)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
