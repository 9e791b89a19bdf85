"""What would end a training, or spoil it, is said before its first step."""

import io
import os
import re
import shutil
from pathlib import Path

import families
import pytest
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.classes import format_label_map

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
D1 = "ssd_efficientdet_d1_640x640_coco17_tpu-8.config"
ZOO_INDEX = "efficientdet_d1_coco17_tpu-32.ckpt-0"
NAMES = {1: "Fox", 2: "Owl", 3: "Hedgehog"}


def example(label):
    """Returns a record of an image of 8x6 pixels with one box."""
    from lowlight.dataset.tables import AnnotationRow, ImageRow
    from lowlight.dataset.writing import make_example

    stream = io.BytesIO()
    Image.new("RGB", (8, 6)).save(stream, "JPEG")
    image = ImageRow("a.jpg", "a.jpg", 8, 6, "", "", "", "", 1)
    row = AnnotationRow("a.jpg", 8, 6, NAMES[label], 1, 1, 5, 4)
    return make_example(image, [row], stream.getvalue(), {NAMES[label]: label})


def write(path, *examples):
    """Writes records to one file."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in examples:
            writer.write(one.SerializeToString())
    return path


@pytest.fixture
def data_dir(tmp_path):
    """Two records of three classes, in a folder with a blank in its name."""
    folder = tmp_path / "my data"
    folder.mkdir()
    (folder / "label_map.txt").write_text(format_label_map(NAMES.values()))
    write(folder / "train.tfrecord", example(1), example(3))
    write(folder / "test.tfrecord", example(2))
    return folder


def small_config(data_dir, **changes):
    """Returns an SSD's config for the data, from random weights where nothing else is said."""
    from lowlight.tfod import configs

    path = data_dir / "base.config"
    path.write_text(families.FAMILIES["SSD MobileNet FPN"])
    config, name, _ = configs.read_base(str(path))
    change = {"batch_size": 2, "num_steps": 10, "learning_rate": None, "fine_tune_checkpoint": ""}
    change = configs.Change(**change | changes)
    configs.adapt(config, configs.find_data(data_dir), change, name)
    return config


def run_preflight(config, data_dir, **changes):
    """Returns the table of a preflight of 10 steps on one device."""
    from lowlight.training.preflight import preflight

    arguments = {"replicas": 1, "num_steps": 10, "checkpoint_every_n": 5} | changes
    return preflight(config, "x.config", data_dir / "run", **arguments)


def test_a_training_that_will_work_is_described_in_a_table(data_dir):
    lines = run_preflight(small_config(data_dir), data_dir)
    assert lines[:6] == [
        "  records   2 images, 2 boxes in 1 file, whole",
        f"  classes   3, as in {data_dir}/label_map.txt",
        "  start     random weights",
        "  batch     2 on 1 device",
        "  schedule  10 steps, cosine decay, learning rate 0.0025",
        lines[5],
    ]
    assert lines[5].startswith("  disk      4 checkpoints of ")
    assert lines[6:] == ["  warning: no box of Owl in the training records."]


def test_what_spoils_a_training_or_its_evaluation_is_a_warning(data_dir):
    from lowlight.dataset.record_checks import RecordCounts
    from lowlight.training.preflight import _data_warnings

    config = small_config(data_dir)
    (data_dir / "test.tfrecord").unlink()
    assert _data_warnings(config, RecordCounts(1, 5, 300, 101, ("Owl",))) == [
        f"no record file '{data_dir}/test.tfrecord' to evaluate on.",
        "no box of Owl in the training records.",
        "an image has 101 boxes and the train_input_reader's max_number_of_boxes is 100: the rest "
        "aren't learned. Set it to 101.",
    ]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """(the small SSD's DetectionModel, the prefix of a checkpoint of it with an optimizer)."""
    import tensorflow as tf

    from lowlight.tfod import model as tfod
    from lowlight.tfod.start import build_trial

    folder = tmp_path_factory.mktemp("start")
    (folder / "base.config").write_text(families.FAMILIES["SSD MobileNet FPN"])
    model = build_trial(tfod.read_config(folder / "base.config"), "x.config")
    optimizer = tf.keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.apply_gradients((tf.zeros_like(v), v) for v in model.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    return model, checkpoint.save(str(folder / "ckpt"))


def start_config(start, data_dir, **fields):
    """Returns the small SSD's train_config, with the checkpoint to start from."""
    train = small_config(data_dir, fine_tune_checkpoint=str(start[1])).train_config
    for name, value in fields.items():
        setattr(train, name, value)
    return train


def test_the_room_for_a_checkpoint_is_what_one_takes(start, data_dir):
    from lowlight.training.room import checkpoint_size

    train = start_config(start, data_dir)
    written = os.path.getsize(f"{start[1]}.data-00000-of-00001")
    assert checkpoint_size(start[0], train) == pytest.approx(written, rel=0.02)


@pytest.mark.parametrize(("share", "refused"), [(2, False), (5, True)])
def test_a_batch_that_needs_more_memory_than_there_is_is_told_or_refused(
    start, data_dir, monkeypatch, share, refused
):
    from lowlight.tfod.architectures import image_sides
    from lowlight.tfod.start import bytes_per_pixel
    from lowlight.training.room import check_memory

    config = small_config(data_dir)
    settings = config.model.ssd
    side, _ = image_sides(settings)
    need = bytes_per_pixel(start[0]) * 2 * side**2
    assert 10 < need / (2 * side**2) < 20_000
    pages = {"SC_PHYS_PAGES": int(need / share), "SC_PAGE_SIZE": 1}
    monkeypatch.setattr("os.sysconf", pages.get)
    message = f"of memory are needed for a batch of 2 images of {side}x{side} pixels"
    if refused:
        with pytest.raises(DataError, match=f"x.config: roughly .* {message}"):
            check_memory(start[0], settings, config.train_config, "x.config")
    else:
        (warning,) = check_memory(start[0], settings, config.train_config, "x.config")
        assert message in warning


def test_what_tfods_augmentations_cannot_do_with_a_record_is_said_with_the_file(data_dir):
    config = small_config(data_dir)
    config.train_input_reader.num_keypoints = 3
    message = f"first record of {data_dir}/train.tfrecord .+\n  Remove from train_input_reader"
    with pytest.raises(DataError, match=message):
        run_preflight(config, data_dir)


def test_a_disk_without_room_for_the_checkpoints_is_refused(data_dir, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(DataError, match=r"run: 0 MB free, .* \(4 of \d.*each\)\.\n  Make room"):
        run_preflight(small_config(data_dir), data_dir)


def test_a_checkpoint_gives_the_feature_extractor_and_the_heads_begin_untrained(start, data_dir):
    import tensorflow as tf

    from lowlight.tfod.start import check_start

    model, prefix = start
    total, untrained = len(model.variables), len(model._box_predictor.variables)
    line = check_start(model, start_config(start, data_dir), "x.config")
    restored = f"{prefix} restores {total - untrained} of {total} variables"
    assert line == f"{restored}; the other {untrained} begin untrained"
    parts = model.restore_from_objects("detection")
    status = tf.train.Checkpoint(**parts).restore(prefix).expect_partial()
    status.assert_existing_objects_matched()  # so it is in TFOD's own eyes


def test_the_zoos_d1_checkpoint_restores_731_of_875_variables(exdark_root):
    from lowlight.tfod import model as tfod
    from lowlight.tfod.start import build_trial, check_start, restored_names

    prefix = exdark_root.parent / "zoo" / ZOO_INDEX
    if not Path(f"{prefix}.index").exists():
        pytest.skip(f"no {prefix}.index beside EXDARK_ROOT: the zoo checkpoint's names and shapes")
    config = tfod.read_config(CONFIGS / D1)
    config.train_config.fine_tune_checkpoint = str(prefix)
    model = build_trial(config, D1)
    names = restored_names(model, config.train_config, D1)
    assert (len(names), len(model.variables)) == (731, 875)
    assert all(name.startswith("model/_feature_extractor/") for name in names)
    with pytest.raises(DataError, match="has an index, but no weights"):
        check_start(model, config.train_config, D1)


def test_a_checkpoint_of_another_architecture_is_refused_with_examples(start, data_dir):
    from lowlight.tfod.start import build_trial, check_start

    (data_dir / "other.config").write_text(families.FAMILIES["SSD MobileNet"])
    from lowlight.tfod import model as tfod

    other = build_trial(tfod.read_config(data_dir / "other.config"), "other.config")
    with pytest.raises(DataError) as caught:
        check_start(other, start_config(start, data_dir), "other.config")
    message = str(caught.value)
    assert "is a checkpoint of another architecture: of the " in message
    assert "model/_feature_extractor/" in message
    assert "Name a checkpoint of this config's architecture, or remove" in message


BAD_STARTS = {
    "another type": ({"fine_tune_checkpoint_type": "fine_tune"}, r'Set it to "detection"'),
    "version 1": ({"fine_tune_checkpoint_version": 1}, "version isn't V2"),
    "a type of other names": (
        {"fine_tune_checkpoint_type": "classification"},
        'Set fine_tune_checkpoint_type: "detection", which its names are of',
    ),
    "no checkpoint": ({"fine_tune_checkpoint": "mine/ckpt-3"}, "no checkpoint mine/ckpt-3.index"),
    "a file of it": ({"fine_tune_checkpoint": "PREFIX.index"}, 'prefix: fine_tune_.+: "PREFIX"'),
    "its data": (
        {"fine_tune_checkpoint": "PREFIX.data-00000-of-00001"},
        'prefix: fine_tune_checkpoint: "PREFIX"',
    ),
    "its folder": ({"fine_tune_checkpoint": "FOLDER/"}, 'prefix: fine_tune_.+: "PREFIX"'),
}


@pytest.mark.parametrize(("fields", "message"), BAD_STARTS.values(), ids=BAD_STARTS)
def test_a_start_that_tfod_would_refuse_is_refused(start, data_dir, fields, message):
    from lowlight.tfod.start import check_start

    places = {"PREFIX": start[1], "FOLDER": str(Path(start[1]).parent)}
    for word, place in places.items():
        fields = {k: v.replace(word, place) if v is str(v) else v for k, v in fields.items()}
        message = message.replace(word, place)
    with pytest.raises(DataError, match=message):
        check_start(start[0], start_config(start, data_dir, **fields), "x.config")


@pytest.mark.parametrize(
    ("suffix", "keep", "message"),
    [
        (".index", 100, "ckpt-1 is damaged"),
        (".data-00000-of-00001", 100_000, "ckpt-1 is damaged"),
        (".data-00000-of-00001", None, "has an index, but no weights"),
    ],
)
def test_a_checkpoint_that_was_cut_short_is_refused(start, data_dir, suffix, keep, message):
    from lowlight.tfod.start import check_start

    prefix = Path(start[1])
    for path in prefix.parent.glob("ckpt-1.*"):
        shutil.copy(path, data_dir)
    cut = data_dir / f"ckpt-1{suffix}"
    if keep is None:
        cut.unlink()
    else:
        os.truncate(cut, keep)
    train = start_config((None, data_dir / "ckpt-1"), data_dir)
    with pytest.raises(DataError, match=message):
        check_start(start[0], train, "x.config")


BAD_TRAININGS = {
    "no steps": ({"num_steps": 0}, {}, "no num_steps"),
    "negative steps": ({"num_steps": -5}, {}, "-5 steps"),
    "devices that don't divide the batch": (
        {"replicas": 3},
        {},
        "batch_size: 2 can't be divided among 3 devices",
    ),
    "no batch": ({}, {"batch_size": 0}, "batch_size: 0"),
}


@pytest.mark.parametrize(
    ("arguments", "fields", "message"), BAD_TRAININGS.values(), ids=BAD_TRAININGS
)
def test_a_training_that_cannot_be_is_refused(data_dir, arguments, fields, message):
    config = small_config(data_dir)
    for name, value in fields.items():
        setattr(config.train_config, name, value)
    with pytest.raises(DataError, match=message):
        run_preflight(config, data_dir, **arguments)


def test_bfloat16_is_for_tpus_and_elsewhere_a_notice(data_dir):
    from lowlight.training.preflight import check_training

    config = small_config(data_dir)
    config.train_config.use_bfloat16 = True
    (notice,) = check_training(config, "x.config", 1, 10)
    assert notice.startswith("use_bfloat16: true is for TPUs; elsewhere TFOD computes in float32")


UNSUPPORTED = {
    "weights of data sets": (
        "train_input_reader { sample_from_datasets_weights: 0.5 }",
        "sample_from_datasets_weights isn't supported",
    ),
    "records of another form": (
        "train_input_reader { input_type: TF_SEQUENCE_EXAMPLE }",
        "the train_",
    ),
    "other metrics": (
        'eval_config { metrics_set: "pascal_voc_detection_metrics" }',
        "metrics_set: pascal_voc_detection_metrics isn't supported",
    ),
    "a bucket's label map": (
        'eval_input_reader { label_map_path: "gs://mine/label_map.txt" }',
        "gs://mine/label_map.txt: only files of this machine are supported",
    ),
    "a bucket's checkpoint": (
        'train_config { fine_tune_checkpoint: "gs://mine/ckpt-0" }',
        "gs://mine/ckpt-0: only files of this machine",
    ),
}


@pytest.mark.parametrize(("text", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_is_not_supported_is_refused_by_name(data_dir, text, message):
    from google.protobuf import text_format

    from lowlight.training.preflight import check_config

    config = small_config(data_dir)
    check_config(config, "x.config")
    text_format.Merge(text, config)
    with pytest.raises(DataError, match=f"x.config: {message}"):
        check_config(config, "x.config")


CHANGES = {
    "the choice of boxes": (
        "SSD MobileNet FPN",
        "ssd { post_processing { batch_non_max_suppression { iou_threshold: 0.45 } } }",
        True,
    ),
    "the weight of a loss": ("SSD MobileNet FPN", "ssd { loss { localization_weight: 3 } }", True),
    "a loss of CenterNet": (
        "CenterNet Hourglass",
        "center_net { object_center_params { object_center_loss_weight: 2 } }",
        True,
    ),
    "the proposals of Faster R-CNN": (
        "Faster R-CNN",
        "faster_rcnn { first_stage_max_proposals: 9 }",
        True,
    ),
    "the box coder": (
        "SSD MobileNet FPN",
        "ssd { box_coder { faster_rcnn_box_coder { y_scale: 7 } } }",
        False,
    ),
}


@pytest.mark.parametrize(("family", "change", "continues"), CHANGES.values(), ids=CHANGES)
def test_a_run_continues_where_only_what_no_tensor_depends_on_has_changed(
    family, change, continues, tmp_path
):
    from google.protobuf import text_format

    from lowlight.tfod import model as tfod
    from lowlight.training.same_run import check_same_run

    (tmp_path / "x.config").write_text(families.FAMILIES[family])
    own, given = tfod.read_config(tmp_path / "x.config"), tfod.read_config(tmp_path / "x.config")
    assert check_same_run(own, given, "run", "x.config") == []
    text_format.Merge(change, given.model)
    field = re.findall(r"\w+: \d[\d.]*", change)[-1]
    if continues:
        added = [line for line in check_same_run(own, given, "run", "x.config") if line[0] == "+"]
        assert any(field in line for line in added)
    else:
        with pytest.raises(DataError, match=r"another model or optimizer(.*\n)*.*y_scale: 7"):
            check_same_run(own, given, "run", "x.config")


def test_a_start_in_the_runs_own_folder_is_refused(start, data_dir):
    (data_dir / "run").mkdir()
    for path in Path(start[1]).parent.glob("ckpt-1.*"):
        shutil.copy(path, data_dir / "run")
    config = small_config(data_dir, fine_tune_checkpoint=str(data_dir / "run" / "ckpt-1"))
    with pytest.raises(DataError, match="fine_tune_checkpoint lies in the run's folder"):
        run_preflight(config, data_dir)


SCHEDULES = {
    "over long after": (
        "cosine_decay_learning_rate { learning_rate_base: 0.08 total_steps: 300000 "
        "warmup_learning_rate: 0.001 warmup_steps: 2500 }",
        "still 0.07965 of 0.08 at step 15,000: the schedule ends at step 300,000. "
        "Set total_steps: 15000 and warmup_steps: 125",
    ),
    "over long before": (
        "cosine_decay_learning_rate { learning_rate_base: 0.08 total_steps: 5000 warmup_steps: 0 }",
        "0 after step 5,000 of 15,000. Set total_steps: 15000",
    ),
    "changes that never come": (
        "manual_step_learning_rate { initial_learning_rate: 0.1 "
        "schedule { step: 9000 learning_rate: 0.01 } "
        "schedule { step: 90000 learning_rate: 0.001 } }",
        "1 of 2 changes of the learning rate come after step 15,000",
    ),
    "as long as the training": (
        "cosine_decay_learning_rate { learning_rate_base: 0.1 total_steps: 15000 warmup_steps: 0 }",
        "",
    ),
    "constant": ("constant_learning_rate { learning_rate: 0.1 }", ""),
}


def with_schedule(data_dir, text):
    from google.protobuf import text_format

    config = small_config(data_dir)
    rate = config.train_config.optimizer.momentum_optimizer.learning_rate
    rate.Clear()
    return text_format.Merge(text, rate) and config


@pytest.mark.parametrize(("schedule", "warning"), SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_that_does_not_end_with_the_training_is_a_warning(data_dir, schedule, warning):
    from lowlight.training.preflight import check_training

    found = check_training(with_schedule(data_dir, schedule), "x.config", 1, 15000)
    assert len(found) == bool(warning)
    assert warning in "".join(found)


BAD_SCHEDULES = {
    "only warm-up": (
        "cosine_decay_learning_rate { total_steps: 100 warmup_steps: 100 }",
        "total_steps: 100 isn't over",
    ),
    "warm-up from above": (
        "cosine_decay_learning_rate { learning_rate_base: 0.001 total_steps: 100 "
        "warmup_learning_rate: 0.1 warmup_steps: 9 }",
        "warmup_learning_rate: 0.1 is over learning_rate_base: 0.001",
    ),
    "no changes": (
        "manual_step_learning_rate { initial_learning_rate: 0.1 }",
        "needs one `schedule`",
    ),
    "no decay steps": (
        "exponential_decay_learning_rate { initial_learning_rate: 0.1 decay_steps: 0 }",
        "decay_steps: 0",
    ),
    "none": ("", "no optimizer with a learning rate"),
}


@pytest.mark.parametrize(("schedule", "message"), BAD_SCHEDULES.values(), ids=BAD_SCHEDULES)
def test_a_schedule_that_tfod_cannot_train_with_is_refused(data_dir, schedule, message):
    from lowlight.training.preflight import check_training

    with pytest.raises(DataError, match=message):
        check_training(with_schedule(data_dir, schedule), "x.config", 1, 15000)


def test_a_model_that_tfod_cannot_build_is_told_with_its_reason(data_dir):
    config = small_config(data_dir)
    config.model.ssd.ClearField("box_coder")
    with pytest.raises(
        DataError, match=r"x.config: TFOD can't build this model \(.+\)\.\n  Correct"
    ):
        run_preflight(config, data_dir)


BAD_TEXTS = {
    "unknown field": (
        b"train_config { batch_sise: 2 }",
        r":1:16: .*\. The nearest is batch_size\.",
    ),
    "unknown value": (
        b"train_config {\n  fine_tune_checkpoint_version: V22\n}",
        r":2:\d+: .*\. The nearest is V2\.",
    ),
    "negative steps": (b"train_config { num_steps: -3 }", r":1:\d+: .*-3"),
    "no text": (b"\xff\xfe\x00", "not a text file in UTF-8"),
    "cut short": (b"train_config { batch_size: 2", r":1:\d+: "),
}


@pytest.mark.parametrize(("text", "message"), BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_a_config_that_cannot_be_read_is_told_where_and_what(tmp_path, text, message):
    from lowlight.tfod import model as tfod

    (tmp_path / "x.config").write_bytes(text)
    with pytest.raises(DataError, match=f"x.config{message}|x.config: {message}"):
        tfod.read_config(tmp_path / "x.config")


def test_a_byte_order_mark_before_a_config_is_none_of_it(tmp_path):
    from lowlight.tfod import model as tfod

    (tmp_path / "x.config").write_text("\ufefftrain_config { batch_size: 3 }", "utf-8")
    assert tfod.read_config(tmp_path / "x.config").train_config.batch_size == 3
