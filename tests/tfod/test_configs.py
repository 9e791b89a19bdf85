"""A config of the model zoo becomes one for the data at hand, and says what was changed."""

import io
import re
import tarfile
from pathlib import Path

import families
import numpy as np
import pytest
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.classes import format_label_map

CONFIGS = Path(__file__).parents[2] / "configs"
D1 = "efficientdet_d1_coco17_tpu-32"
COSINE = """
momentum_optimizer { learning_rate { cosine_decay_learning_rate {
  learning_rate_base: 0.08 total_steps: 1000 warmup_learning_rate: 0.02 warmup_steps: 100
  hold_base_rate_steps: 50
} } }"""
EXPONENTIAL = """
rms_prop_optimizer { learning_rate { exponential_decay_learning_rate {
  initial_learning_rate: 0.4 decay_steps: 100 decay_factor: 0.5 burnin_learning_rate: 0.1
  burnin_steps: 20 min_learning_rate: 0.01
} } }"""
STEPPED = """
adam_optimizer { learning_rate { manual_step_learning_rate {
  initial_learning_rate: 0.1 warmup: true
  schedule { step: 100 learning_rate: 0.4 } schedule { step: 800 learning_rate: 0.04 }
} } }"""
CONSTANT = "adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.1 } } }"


@pytest.fixture
def data_dir(tmp_path):
    """A folder with the names that make_tfrecords.py writes; one has a blank in it."""
    folder = tmp_path / "my data"
    folder.mkdir()
    (folder / "label_map.txt").write_text(format_label_map(["Fox", "Owl", "Hedgehog"]))
    for part in ("train", "test"):
        (folder / f"{part}.tfrecord").touch()
    return folder


def train_config(optimizer, batch=128, steps=1000):
    """Returns a TrainConfig."""
    from google.protobuf import text_format

    from lowlight.tfod import model as tfod

    config = tfod.read_config(CONFIGS / "sample.config").train_config
    config.ClearField("optimizer")
    text_format.Merge(f"optimizer {{ {optimizer} }}", config)
    config.batch_size, config.num_steps = batch, steps
    return config


def adapted(text, data_dir, tmp_path, **changes):
    """Returns the config that the text of a base becomes, and what is said of it."""
    from lowlight.tfod import configs

    path = tmp_path / "base.config"
    path.write_text(text)
    base, name, start = configs.read_base(str(path))
    change = {
        "batch_size": 32,
        "num_steps": 15000,
        "learning_rate": None,
        "fine_tune_checkpoint": start,
    }
    change = configs.Change(**change | changes)
    return base, configs.adapt(base, configs.find_data(data_dir), change, name)


@pytest.mark.slow
def test_the_d1_is_built_in_and_each_change_of_it_is_shown(data_dir, tmp_path, run_script):
    from lowlight.tfod import model as tfod

    output = tmp_path / "new" / "d1.config"
    done = run_script("make_config.py", f"--data_dir={data_dir}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    changed = [line for line in done.stdout.splitlines() if re.match(r"[-+] ", line)]
    assert [line.split() for line in changed] == [
        ["-", "num_classes:", "90"],
        ["+", "num_classes:", "3"],
        ["-", "batch_size:", "128"],
        ["+", "batch_size:", "32"],
        ["-", "learning_rate_base:", "0.08"],
        ["-", "total_steps:", "300000"],
        ["-", "warmup_learning_rate:", "0.001"],
        ["-", "warmup_steps:", "2500"],
        ["+", "learning_rate_base:", "0.02"],
        ["+", "total_steps:", "15000"],
        ["+", "warmup_learning_rate:", "0.00025"],
        ["+", "warmup_steps:", "125"],
        ["-", "fine_tune_checkpoint:", '"PATH_TO_BE_CONFIGURED"'],
        ["-", "num_steps:", "300000"],
        ["+", "fine_tune_checkpoint:", f'"checkpoint/{D1}/checkpoint/ckpt-0"'],
        ["+", "num_steps:", "15000"],
        ["-", "fine_tune_checkpoint_type:", '"classification"'],
        ["-", "use_bfloat16:", "true"],
        ["+", "fine_tune_checkpoint_type:", '"detection"'],
        ["+", "use_bfloat16:", "false"],
        ["-", "label_map_path:", '"PATH_TO_BE_CONFIGURED"'],
        ["+", "label_map_path:", *f'"{data_dir}/label_map.txt"'.split()],
        ["-", "input_path:", '"PATH_TO_BE_CONFIGURED"'],
        ["+", "input_path:", *f'"{data_dir}/train.tfrecord"'.split()],
        ["-", "label_map_path:", '"PATH_TO_BE_CONFIGURED"'],
        ["+", "label_map_path:", *f'"{data_dir}/label_map.txt"'.split()],
        ["-", "input_path:", '"PATH_TO_BE_CONFIGURED"'],
        ["+", "input_path:", *f'"{data_dir}/test.tfrecord"'.split()],
    ]
    assert "learning rate: 0.08 -> 0.02 (linear with the batch, x 32/128)" in done.stdout
    assert f"tar -xzf checkpoint/{D1}.tar.gz -C checkpoint" in done.stdout
    faithful = tfod.read_config(CONFIGS / "ssd_efficientdet_d1_640x640_coco17_tpu-8.config")
    made = tfod.read_config(output)
    faithful.model.ssd.num_classes = 3
    assert made.model == faithful.model
    assert (
        made.train_config.data_augmentation_options
        == faithful.train_config.data_augmentation_options
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", families.FAMILIES)
def test_each_familys_config_is_fitted_to_the_data(family, data_dir, tmp_path):
    from lowlight.tfod.architectures import model_of

    config, lines = adapted(families.FAMILIES[family], data_dir, tmp_path)
    train = config.train_config
    assert model_of(config, "").num_classes == 3
    assert (train.batch_size, train.num_steps, train.use_bfloat16) == (32, 15000, False)
    assert train.fine_tune_checkpoint == train.fine_tune_checkpoint_type == ""
    assert "augmentations kept: random_horizontal_flip" in lines[-1]


@pytest.mark.slow
def test_a_model_that_needs_a_network_to_be_built_is_told(data_dir, tmp_path):
    _, lines = adapted(families.center_net(), data_dir, tmp_path)
    assert "fetches ImageNet weights to build this model" in lines[-1]
    _, lines = adapted(families.FAMILIES["CenterNet MobileNet"], data_dir, tmp_path)
    assert "ImageNet" not in lines[-1]


@pytest.mark.slow
def test_every_architecture_starts_from_a_detection_checkpoint(data_dir, tmp_path):
    from lowlight.tfod import model as tfod

    text = families.FAMILIES["CenterNet Hourglass"]
    config, _ = adapted(text, data_dir, tmp_path, fine_tune_checkpoint="a/ckpt-1")
    train = config.train_config
    assert (train.fine_tune_checkpoint, train.fine_tune_checkpoint_type) == (
        "a/ckpt-1",
        "detection",
    )
    assert train.fine_tune_checkpoint_version == tfod.CHECKPOINT_V2


@pytest.fixture(scope="module")
def records_dir(tmp_path_factory):
    """Four images of 160x120 pixels as records, each with a bright box."""
    from lowlight.dataset.tables import AnnotationRow, ImageRow
    from lowlight.dataset.writing import write_records

    folder, entries = tmp_path_factory.mktemp("drawn"), []
    for number in range(4):
        name, box = f"{number}.jpg", (20 + 10 * number, 30, 80 + 10 * number, 90)
        image = Image.new("RGB", (160, 120), (20, 20, 40))
        image.paste((200, 180, 40), box)
        image.save(folder / name)
        boxes = [AnnotationRow(name, 160, 120, "Owl", *box)]
        entries.append((ImageRow(name, name, 160, 120, "", "", "", "", 1), boxes))
    for part in ("train", "test"):
        write_records(folder / f"{part}.tfrecord", entries, folder, {"Owl": 2}, lambda: None)
    (folder / "label_map.txt").write_text(format_label_map(["Fox", "Owl", "Hedgehog"]))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("family", families.FAMILIES)
def test_each_family_is_built_and_trained_for_two_steps(family, records_dir, tmp_path):
    import tensorflow as tf

    from lowlight.tfod.training import make_trainee
    from lowlight.training.input import TrainingInput
    from lowlight.training.step import make_train_step

    text = families.FAMILIES[family]
    config, _ = adapted(text, records_dir, tmp_path, batch_size=2, num_steps=2)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    tf.config.run_functions_eagerly(True)  # two steps are made sooner than traced
    try:
        with strategy.scope():
            trainee, batches = make_trainee(
                config, lambda model: TrainingInput(config, 0).batches(strategy, 0, model)
            )
        step = make_train_step(trainee.model, config, trainee.optimizer, strategy)
        losses = [step(*batch)["Loss/total_loss"] for _, batch in zip("ab", batches, strict=False)]
    finally:
        tf.config.run_functions_eagerly(False)
        tf.keras.backend.clear_session()
    assert np.isfinite(losses).tolist() == [True, True]


RESCALED = {
    "cosine": (
        COSINE,
        {
            "learning_rate_base": 0.02,
            "total_steps": 500,
            "warmup_learning_rate": 0.005,
            "warmup_steps": 50,
            "hold_base_rate_steps": 25,
        },
    ),
    "exponential": (
        EXPONENTIAL,
        {
            "initial_learning_rate": 0.1,
            "decay_steps": 50,
            "decay_factor": 0.5,
            "burnin_learning_rate": 0.025,
            "burnin_steps": 10,
            "min_learning_rate": 0.0025,
        },
    ),
    "steps": (STEPPED, {"initial_learning_rate": 0.025}),
    "constant": (CONSTANT, {"learning_rate": 0.025}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "expected"), RESCALED.values(), ids=RESCALED)
def test_a_quarter_of_the_batch_and_half_the_steps_rescale_a_schedule(optimizer, expected):
    from lowlight.tfod.schedules import rescale, schedule_of

    kind, schedule = schedule_of(train_config(optimizer))
    rescale(kind, schedule, 0.25, 1000, 500)
    for name, value in expected.items():
        assert getattr(schedule, name) == pytest.approx(value), name
    if optimizer is STEPPED:
        changes = [(change.step, change.learning_rate) for change in schedule.schedule]
        assert changes == [(50, pytest.approx(0.1)), (400, pytest.approx(0.01))]


@pytest.mark.slow
def test_changes_of_the_rate_stay_in_order_however_few_the_steps(data_dir, tmp_path):
    text = families.FAMILIES["CenterNet Hourglass"]
    config, _ = adapted(text, data_dir, tmp_path, num_steps=1)
    rate = config.train_config.optimizer.adam_optimizer.learning_rate
    assert [change.step for change in rate.manual_step_learning_rate.schedule] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [COSINE, EXPONENTIAL], ids=["cosine", "exponential"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_schedule_made_very_short_can_still_be_trained_with(optimizer, steps):
    from lowlight.tfod.schedules import check_schedule, rescale, schedule_of

    config = train_config(optimizer)
    rescale(*schedule_of(config), 1.0, 1000, steps)
    assert check_schedule(config, steps) == ""


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_that_is_none_is_refused(rate, data_dir, tmp_path):
    with pytest.raises(DataError, match="Give --learning_rate over 0"):
        adapted(families.FAMILIES["EfficientDet"], data_dir, tmp_path, learning_rate=rate)


@pytest.mark.slow
def test_a_learning_rate_that_is_given_is_the_schedules_height(data_dir, tmp_path):
    text = families.FAMILIES["EfficientDet"]
    config, lines = adapted(text, data_dir, tmp_path, learning_rate=0.04)
    rate = config.train_config.optimizer.momentum_optimizer.learning_rate
    assert rate.cosine_decay_learning_rate.learning_rate_base == pytest.approx(0.04)
    assert rate.cosine_decay_learning_rate.warmup_learning_rate == pytest.approx(0.013333)
    assert "learning rate: 0.08 -> 0.04 (as asked for)" in lines


@pytest.mark.slow
def test_sharded_records_are_named_by_a_glob_of_their_number(data_dir):
    from lowlight.tfod import configs

    (data_dir / "train.tfrecord").unlink()
    for number in range(4):
        (data_dir / f"train.tfrecord-{number:05}-of-00004").touch()
    data = configs.find_data(data_dir)
    assert data.train == f"{data_dir}/train.tfrecord-?????-of-00004"
    (data_dir / "train.tfrecord").touch()
    with pytest.raises(DataError, match=r"both .*/train.tfrecord and .*-of-00004 are there"):
        configs.find_data(data_dir)


def keypoints(text):
    """Adds a task to a CenterNet."""
    return text.replace("object_center_params", "keypoint_estimation_task {} object_center_params")


REFUSED = {
    "an extractor of TF 1": (
        families.ssd("ssd_mobilenet_v2"),
        r"'ssd_mobilenet_v2' isn't one .*\n  Take mobilenet_v2 or ssd_mobilenet_v2_keras",
    ),
    "keypoints": (keypoints(families.center_net()), "keypoint_estimation_task needs more than"),
    "masks": (
        families.faster_rcnn().replace("fc_hyper", "predict_instance_masks: true fc_hyper"),
        "predict_instance_masks needs more than the boxes",
    ),
    "a side that a BiFPN can't halve": (
        families.efficientdet(side=200),
        "images of 200 pixels; .* sides that 64 divides.\n.* to 192",
    ),
    "autoaugment": (
        families.ssd().replace("ssd_random_crop", "autoaugment_image"),
        "autoaugment_image needs TensorFlow 1",
    ),
    "no model": ("train_config { batch_size: 8 }", "no model, or not one of ssd, faster_rcnn, "),
    "a side that is too small": (families.ssd_fpn("ssd_resnet50_v1_fpn_keras", 96), "under 129"),
    "no batch size": (families.ssd().replace("size: 512", "size: 0"), "no batch_size to scale"),
    "no config": ("dear", r"base.config:1:1: .*\n  Correct the config"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_base_that_cannot_be_trained_here_is_refused(text, message, data_dir, tmp_path):
    with pytest.raises(DataError, match=message):
        adapted(text, data_dir, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "efficientdet_d9",
            "no archive of the model zoo.\n  Archives of a like name: efficientdet_d",
        ),
        ("efficientdet_d0_coco17_tpu-32", "20200711/efficientdet_d0_coco17_tpu-32.tar.gz\n"),
        ("my/pipeline.config", "my/pipeline.config: no such file"),
    ],
)
def test_a_base_that_is_not_there_is_named_with_what_to_do(name, message, tmp_path, monkeypatch):
    from lowlight.tfod import configs

    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        configs.read_base(name)
    assert message in str(caught.value)


@pytest.mark.slow
def test_a_base_without_a_checkpoint_beside_it_needs_one_named(tmp_path):
    from lowlight.tfod import configs

    with pytest.raises(DataError, match="Give --fine_tune_checkpoint=.../ckpt-0, or =none"):
        configs.choose_start(None, "", "x.config")
    assert configs.choose_start("none", "a/ckpt-0", "x.config") == ""
    assert configs.choose_start("b/ckpt-7", "a/ckpt-0", "x.config") == "b/ckpt-7"
    assert configs.choose_start(None, "a/ckpt-0", "x.config") == "a/ckpt-0"


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--data_dir=nowhere", "nowhere: no such folder"), ("--batch_size=0", "batch_size")],
)
def test_bad_flags_end_with_one_plain_message(flag, message, data_dir, tmp_path, run_script):
    output = tmp_path / "x.config"
    done = run_script("make_config.py", f"--data_dir={data_dir}", f"--output={output}", flag)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not output.exists()


@pytest.mark.slow
def test_an_archives_checkpoint_is_the_one_that_it_holds(tmp_path):
    from lowlight.tfod import zoo

    assert zoo.checkpoint_in(tmp_path) == tmp_path / "checkpoint" / "ckpt-0"
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "ckpt-301.index").touch()
    assert zoo.checkpoint_in(tmp_path) == tmp_path / "checkpoint" / "ckpt-301"


@pytest.mark.slow
def test_the_zoo_has_35_archives_of_models_that_find_boxes():
    from lowlight.tfod import zoo

    assert len(set(zoo.ARCHIVES)) == len(zoo.ARCHIVES) == 35


@pytest.mark.slow
def test_a_missing_checkpoint_of_the_zoo_is_told_where_it_is_fetched():
    from lowlight.tfod import zoo

    name = "centernet_hg104_512x512_coco17_tpu-8"
    remedy = zoo.how_to_get_checkpoint(f"zoo models/{name}/checkpoint/ckpt-1")
    url = f"https://storage.googleapis.com/download.tensorflow.org/models/object_detection/tf2/20200713/{name}.tar.gz"
    assert f"curl -L -o 'zoo models/{name}.tar.gz' {url}\n" in remedy
    assert f"tar -xzf 'zoo models/{name}.tar.gz' -C 'zoo models'" in remedy
    assert zoo.how_to_get_checkpoint("mine/ckpt-3").startswith("Correct the path")


def write_archive(path, *members):
    """Writes an archive of an unpacked zoo model's folder, and these members of tarfile besides."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (
            ("mine/pipeline.config", families.FAMILIES["SSD MobileNet FPN"]),
            ("mine/checkpoint/ckpt-301.index", ""),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        for member in members:
            archive.addfile(member)
    return path


@pytest.mark.slow
def test_an_archive_is_unpacked_beside_itself_and_gives_config_and_checkpoint(tmp_path):
    from lowlight.tfod import configs

    _, name, start = configs.read_base(str(write_archive(tmp_path / "mine.tar.gz")))
    assert (name, start) == (
        f"{tmp_path}/mine/pipeline.config",
        f"{tmp_path}/mine/checkpoint/ckpt-301",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "mine.tar.gz"]


def tar_member(name, kind=tarfile.REGTYPE, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


BAD_ARCHIVES = {
    "a link": (tar_member("mine/a", tarfile.SYMTYPE, "/etc/passwd"), "holds mine/a, a link or dev"),
    "a hard link": (tar_member("mine/a", tarfile.LNKTYPE, "mine/pipeline.config"), "a link or dev"),
    "a device": (tar_member("mine/a", tarfile.CHRTYPE), "a link or device"),
    "a path that climbs": (tar_member("mine/../../a"), "can't be unpacked"),
    "another folder": (tar_member("other"), "not one folder with a pipeline.config"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("member", "message"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_an_archive_with_more_than_plain_files_in_a_folder_is_refused(member, message, tmp_path):
    from lowlight.tfod import zoo

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    archive = write_archive(folder / "mine.tar.gz", member)
    with pytest.raises(DataError, match=f"mine.tar.gz: .*{message}"):
        zoo.unpack(archive)
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(DataError, match="mine.tar.gz: can't be unpacked"):
        zoo.unpack(archive)
    assert [path.name for path in tmp_path.rglob("*") if path != folder] == ["mine.tar.gz"]


@pytest.mark.slow
def test_what_records_of_boxes_cannot_serve_is_removed_and_said(data_dir, tmp_path):
    text = families.FAMILIES["SSD MobileNet FPN"].replace(
        "train_input_reader {",
        "train_input_reader { load_instance_masks: true num_keypoints: 17",
        1,
    )
    text = text.replace(
        "random_horizontal_flip {", "random_horizontal_flip { keypoint_flip_permutation: 1", 1
    )
    config, lines = adapted(text, data_dir, tmp_path)
    assert not config.train_input_reader.load_instance_masks
    assert config.train_input_reader.num_keypoints == 0
    removed = [line.split(": ")[1] for line in lines if line.startswith("removed")]
    assert removed == [
        "num_keypoints, load_instance_masks",
        "random_horizontal_flip's keypoint_flip_permutation",
    ]


@pytest.mark.slow
def test_a_reader_takes_as_many_boxes_as_an_image_of_the_data_has(data_dir):
    from lowlight.tfod import configs

    base, name, _ = configs.read_base(D1)
    data = configs.find_data(data_dir)._replace(most_boxes=150)
    lines = configs.adapt(base, data, configs.Change(32, 100, None, ""), name)
    readers = base.train_input_reader, base.eval_input_reader[0]
    assert [reader.max_number_of_boxes for reader in readers] == [150, 150]
    assert "max_number_of_boxes: 100 -> 150" in lines


NO_MODEL = {
    "levels": ("max_level: 6", "max_level: 2000", "max_level: 2000 in the model; at most 12"),
    "classes": ("num_classes: 90", "num_classes: 999999999", "num_classes: 999999999 in"),
    "no number": ("decay: 0.997", "decay: nan", "decay: nan in the model"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new", "message"), NO_MODEL.values(), ids=NO_MODEL)
def test_a_model_that_no_machine_could_build_is_refused_at_once(
    old, new, message, data_dir, tmp_path
):
    text = families.FAMILIES["EfficientDet"]
    assert old in text
    with pytest.raises(DataError, match=f"base.config: {message}"):
        adapted(text.replace(old, new), data_dir, tmp_path)
