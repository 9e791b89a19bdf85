"""A config is checked before a training, and compared to the one that its run was begun with."""

import re

import families
import pytest
from small_ssd import small_config

from lowlight.core.errors import DataError

pytestmark = pytest.mark.slow


def test_bfloat16_is_for_tpus_and_elsewhere_a_notice(data_dir):
    from lowlight.training.config import check_training

    config = small_config(data_dir)
    config.train_config.use_bfloat16 = True
    (notice,) = check_training(config, "x.config", 1, 10)
    assert notice.startswith("use_bfloat16: true is for TPUs; elsewhere TFOD computes in float32")


def test_anchors_drawn_from_a_whole_batch_are_refused_where_it_is_taken_in_parts(data_dir):
    from lowlight.training.config import check_training

    config = small_config(data_dir)
    config.model.ssd.loss.random_example_sampler.positive_sample_fraction = 0.5
    check_training(config, "x.config", 1, 10)
    with pytest.raises(DataError, match="random_example_sampler draws anchors from a whole batch"):
        check_training(config, "x.config", 1, 10, parts=2)


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

    from lowlight.training.config import check_config

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
    from lowlight.training.config import check_same_run

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
    from lowlight.training.config import check_training

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
    from lowlight.training.config import check_training

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
    from lowlight.tfod import model as tfod

    (tmp_path / "x.config").write_bytes(text)
    with pytest.raises(DataError, match=f"x.config{message}|x.config: {message}"):
        tfod.read_config(tmp_path / "x.config")


def test_a_byte_order_mark_before_a_config_is_none_of_it(tmp_path):
    from lowlight.tfod import model as tfod

    (tmp_path / "x.config").write_text("\ufefftrain_config { batch_size: 3 }", "utf-8")
    assert tfod.read_config(tmp_path / "x.config").train_config.batch_size == 3
