"""What is wrong with a config, a model or a folder is said before anything long begins."""

import types
from pathlib import Path

import pytest
from PIL import Image

from lowlight.classes import format_label_map
from lowlight.errors import DataError

CONFIGS = Path(__file__).parents[1] / "configs"


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
    "no number of steps": ("num_steps: 800", "num_steps: 0", ["no num_steps"]),
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
            f"curl -L http://download.tensorflow.org/models/object_detection/tf2/20200711/{ZOO}.tar.gz"
            " | tar -xz -C checkpoint",
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
    from lowlight import pipeline

    config, run_dir = write_config(data_dir, old, new), data_dir / "run"
    strategy = types.SimpleNamespace(num_replicas_in_sync=1)
    with pytest.raises(DataError) as caught:
        pipeline.train_run(config, run_dir, strategy)
    assert all(word in str(caught.value) for word in [*words, str(data_dir)]), caught.value
    assert not run_dir.exists()


@pytest.mark.slow
def test_training_refuses_a_batch_that_the_devices_cannot_share(data_dir):
    from lowlight import pipeline

    strategy = types.SimpleNamespace(num_replicas_in_sync=3)
    with pytest.raises(DataError, match="batch_size: 8 can't be divided among 3 devices"):
        pipeline.train_run(write_config(data_dir), data_dir / "run", strategy)


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_training_and_says_how_to_go_back(tmp_path):
    from lowlight.loop_hooks import LoopHooks

    for number in (1, 2, 10):
        (tmp_path / f"ckpt-{number}.index").touch()
    hooks = LoopHooks(tmp_path, None, 100, 1000, 15000)
    hooks.manager = types.SimpleNamespace(latest_checkpoint=str(tmp_path / "ckpt-10"))
    with pytest.raises(DataError, match="the loss at step 7 is nan") as caught:
        hooks._check_loss(7, float("nan"))
    assert str(caught.value).endswith(
        f"There are ckpt-1, ckpt-2. To go on from ckpt-2:\n"
        f"    echo 'model_checkpoint_path: \"ckpt-2\"' > {tmp_path}/checkpoint"
    )


@pytest.mark.slow
def test_a_run_of_another_model_is_left_as_it_is(data_dir):
    import tensorflow as tf

    from lowlight import pipeline

    run_dir = data_dir / "run"
    run_dir.mkdir()
    own = (CONFIGS / "sample.config").read_text().replace("num_filters: 64", "num_filters: 32")
    (run_dir / "pipeline.config").write_text(own)
    step = tf.Variable(5, dtype=tf.int64)
    tf.train.CheckpointManager(tf.train.Checkpoint(step=step), str(run_dir), 7).save()
    strategy = types.SimpleNamespace(num_replicas_in_sync=1)
    with pytest.raises(DataError, match=r"run: holds checkpoints of another model"):
        pipeline.train_run(write_config(data_dir), run_dir, strategy)
    assert (run_dir / "pipeline.config").read_text() == own


@pytest.mark.slow
def test_export_refuses_a_folder_of_other_files(tmp_path):
    from lowlight import pipeline

    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(DataError, match="holds other files"):
        pipeline.export_run(None, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "dear"


@pytest.mark.slow
def test_a_saved_model_that_is_damaged_is_named(tmp_path):
    from lowlight.detector import load_detector
    from lowlight.runs import find_model

    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match="can't be loaded"):
        load_detector(find_model(tmp_path))


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
    from lowlight.evaluation import evaluate_model

    (data_dir / "saved_model.pb").write_bytes(b"")
    with pytest.raises(DataError, match=r"nowhere\*: no such record file"):
        evaluate_model(data_dir, ["nowhere*"], data_dir / "label_map.txt")


def picture(folder):
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.jpg")
    return folder


BAD_INFERENCE = {
    "no such folder": ({"images_folder_dir": "nowhere"}, "nowhere: no such folder"),
    "empty folder": ({"images_folder_dir": "empty"}, "empty: holds no image"),
    "no label map": ({"label_map_path": "map.txt"}, "map.txt: no such file"),
    "label map without items": ({"label_map_path": "a.txt"}, "a.txt: not a label map"),
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
