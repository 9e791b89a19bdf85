"""A config is checked before a training, and compared to the one that its run was begun with."""

import types

import families
import pytest
import tensorflow as tf
from google.protobuf import text_format
from small_ssd import small_config

from lowlight.core.errors import DataError
from lowlight.tfod import model as tfod
from lowlight.training.config import TrainingOptions, check_config, check_same_run, check_training
from lowlight.training.train import train_run

pytestmark = pytest.mark.slow


def test_bfloat16_is_for_tpus_and_elsewhere_a_notice(data_dir):
    config = small_config(data_dir)
    config.train_config.use_bfloat16 = True
    (notice,) = check_training(config, "x.config", 1, 10)
    assert notice.startswith("use_bfloat16: true is for TPUs; elsewhere TFOD computes in float32")


def test_anchors_drawn_from_a_whole_batch_are_refused_where_it_is_taken_in_parts(data_dir):
    config = small_config(data_dir)
    config.model.ssd.loss.random_example_sampler.positive_sample_fraction = 0.5
    check_training(config, "x.config", 1, 10)
    with pytest.raises(DataError, match="random_example_sampler draws anchors from a whole batch"):
        check_training(config, "x.config", 1, 10, parts=2)


ZOO = "efficientdet_d1_coco17_tpu-32"
REFUSED = {
    "other number of classes": (
        "model { ssd { num_classes: 90 } }",
        "the model has num_classes: 90, .*label_map.txt has ids up to 3.\n  Set num_classes to 3 ",
    ),
    "no such records": (
        'train_input_reader { tf_record_input_reader { input_path: "trian.tfrecord" } }',
        "no record file 'trian.tfrecord'.*\n?.*make_tfrecords.py writes it",
    ),
    "no such label map": (
        'train_input_reader { label_map_path: "labels.txt" }',
        "no label map 'labels.txt' .*\n.* correct label_map_path",
    ),
    "no zoo checkpoint": (
        f'train_config {{ fine_tune_checkpoint: "checkpoint/{ZOO}/checkpoint/ckpt-0" }}',
        rf"(.|\n)*tf2/20200711/{ZOO}.tar.gz(.|\n)*tar -xzf checkpoint/{ZOO}.tar.gz -C checkpoint",
    ),
    "no other checkpoint": (
        'train_config { fine_tune_checkpoint: "mine/ckpt-3" }',
        "no checkpoint mine/ckpt-3.index.*\n.*Correct the path",
    ),
    "weights of data sets": (
        "train_input_reader { sample_from_datasets_weights: 0.5 }",
        "sample_from_datasets_weights isn't supported",
    ),
    "records of another form": (
        "train_input_reader { input_type: TF_SEQUENCE_EXAMPLE }",
        "the train_input_reader's input_type",
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


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_config_that_does_not_fit_or_is_not_supported_is_refused(data_dir, text, message):
    config = small_config(data_dir)
    check_config(config, "x.config")
    text_format.Merge(text, config)
    with pytest.raises(DataError, match=f"x.config: {message}"):
        check_config(config, "x.config")


def write_config(data_dir, **changes):
    config = data_dir / "x.config"
    config.write_text(text_format.MessageToString(small_config(data_dir, **changes)))
    return config


def train(config, options=None):
    """Trains in `run` beside a config that nothing is to be trained with in fact."""
    one = types.SimpleNamespace(num_replicas_in_sync=1)
    train_run(config, config.parent / "run", lambda: one, options)


def test_what_a_training_lacks_is_said_before_its_run_is_made(data_dir):
    with pytest.raises(DataError, match=r"x\.config: no checkpoint mine/ckpt-3"):
        train(write_config(data_dir, fine_tune_checkpoint="mine/ckpt-3"))
    config = write_config(data_dir)
    (data_dir / "test.tfrecord").unlink()
    with pytest.raises(DataError, match=r"no record file .*test\.tfrecord"):
        train(config, TrainingOptions(eval_every_n=100))
    assert not (data_dir / "run").exists()


def make_run(data_dir, **changes):
    """Makes a run at step 5 of a config that may differ from the one given later."""
    (data_dir / "run").mkdir()
    write_config(data_dir, **changes).rename(data_dir / "run" / "pipeline.config")
    checkpoint = tf.train.Checkpoint(step=tf.Variable(5, dtype=tf.int64))
    tf.train.CheckpointManager(checkpoint, str(data_dir / "run"), 7).save()
    return data_dir / "run" / "pipeline.config"


def test_a_run_of_another_model_is_left_as_it_is(data_dir):
    own = make_run(data_dir)
    text = own.read_text().replace("y_scale: 10", "y_scale: 7")
    own.write_text(text)
    with pytest.raises(DataError, match="run: holds checkpoints of another model or optimizer"):
        train(write_config(data_dir))
    assert own.read_text() == text


def test_a_config_with_another_batch_learning_rate_or_path_goes_on_and_says_so(data_dir, capsys):
    make_run(data_dir, learning_rate=0.001)
    train(write_config(data_dir, learning_rate=0.003), TrainingOptions(num_steps=5))
    printed = [line.replace(" ", "") for line in capsys.readouterr().out.splitlines()]
    assert "changedsincethisrunwaslasttrained:" in printed
    assert "-learning_rate_base:0.001" in printed


SSD = "SSD MobileNet FPN"
# What is changed in a family's config, and whether a run of it continues.
CHANGES = {
    "the choice of boxes": (SSD, "iou_threshold: 0.6", "iou_threshold: 0.45", True),
    "the weight of a loss": (SSD, "localization_weight: 1.0", "localization_weight: 3.0", True),
    "a loss of CenterNet": (
        "CenterNet Hourglass",
        "object_center_loss_weight: 1.0",
        "object_center_loss_weight: 2.0",
        True,
    ),
    "the proposals of Faster R-CNN": (
        "Faster R-CNN",
        "first_stage_max_proposals: 16",
        "first_stage_max_proposals: 9",
        True,
    ),
    "the box coder": (SSD, "y_scale: 10.0", "y_scale: 7.0", False),
    "the network": ("EfficientDet", "num_filters: 16", "num_filters: 32", False),
    "the optimizer": (SSD, "momentum_optimizer {", "rms_prop_optimizer {", False),
    "averages": (SSD, "use_moving_average: false", "use_moving_average: true", False),
}


@pytest.mark.parametrize(("family", "old", "new", "continues"), CHANGES.values(), ids=CHANGES)
def test_a_run_continues_where_only_what_no_tensor_depends_on_has_changed(
    family, old, new, continues
):
    text = families.FAMILIES[family]
    own, given = (
        text_format.Parse(t, tfod.PipelineConfig()) for t in (text, text.replace(old, new))
    )
    assert check_same_run(own, own, "run", "x.config") == []
    if continues:
        lines = check_same_run(own, given, "run", "x.config")
    else:
        with pytest.raises(DataError, match="another model or optimizer than x.config") as caught:
            check_same_run(own, given, "run", "x.config")
        lines = str(caught.value).splitlines()
    for sign, text in (("-", old), ("+", new)):
        (line,) = (line for line in lines if line.strip().startswith(sign))
        assert text.removesuffix(" {") in line.lower()


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
    config = small_config(data_dir)
    rate = config.train_config.optimizer.momentum_optimizer.learning_rate
    rate.Clear()
    return text_format.Merge(text, rate) and config


@pytest.mark.parametrize(("schedule", "warning"), SCHEDULES.values(), ids=SCHEDULES)
def test_a_schedule_that_does_not_end_with_the_training_is_a_warning(data_dir, schedule, warning):
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
    with pytest.raises(DataError, match=message):
        check_training(with_schedule(data_dir, schedule), "x.config", 1, 15000)


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
    (tmp_path / "x.config").write_bytes(text)
    with pytest.raises(DataError, match=f"x.config{message}|x.config: {message}"):
        tfod.read_config(tmp_path / "x.config")


def test_a_byte_order_mark_before_a_config_is_none_of_it(tmp_path):
    (tmp_path / "x.config").write_text("\ufefftrain_config { batch_size: 3 }", "utf-8")
    assert tfod.read_config(tmp_path / "x.config").train_config.batch_size == 3
