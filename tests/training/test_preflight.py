"""What would end a training, or spoil it, is said before its first step."""

import os
import shutil
from pathlib import Path

import pytest
from object_detection.protos.train_pb2 import TrainConfig
from small_ssd import small_config

from lowlight.core.errors import DataError
from lowlight.dataset.record_counts import RecordCounts
from lowlight.tfod.config_parts import image_sides
from lowlight.tfod.start import bytes_per_pixel, describe_frozen, updated_variables
from lowlight.training import preflight as preflight_module
from lowlight.training.config import TrainingOptions
from lowlight.training.preflight import checkpoint_size, data_warnings, preflight
from lowlight.training.workers import count_devices

pytestmark = pytest.mark.slow


def run_preflight(config, data_dir, replicas=1, num_steps=10, accumulate=1):
    """Returns the table of a preflight of 10 steps on one device."""
    options = TrainingOptions(num_steps, checkpoint_every_n=5, accumulate=accumulate)
    return preflight(config, "x.config", data_dir / "run", options, replicas)


def test_a_training_that_will_work_is_described_in_a_table(data_dir):
    lines = run_preflight(small_config(data_dir), data_dir)
    assert lines[:6] == [
        "  records   2 images, 2 boxes in 1 file, whole",
        f"  classes   3, as in {data_dir}/label_map.txt",
        "  start     random weights",
        "  batch     2 on " + count_devices(1),
        "  schedule  10 steps, cosine decay, learning rate 0.0025",
        lines[5],
    ]
    assert lines[5].startswith("  disk      4 checkpoints of ")
    assert lines[6:] == ["  warning: no box of Owl in the training records."]


def test_what_spoils_a_training_or_its_evaluation_is_a_warning(data_dir):
    config = small_config(data_dir)
    (data_dir / "test.tfrecord").unlink()
    assert data_warnings(config, RecordCounts(1, 5, 300, 101, ("Owl",))) == [
        f"no record file '{data_dir}/test.tfrecord' to evaluate on.",
        "no box of Owl in the training records.",
        "an image has 101 boxes and the train_input_reader's max_number_of_boxes is 100: the rest "
        "aren't learned. Set it to 101.",
    ]


def test_the_room_for_a_checkpoint_is_what_one_takes(start, data_dir):
    train = small_config(data_dir).train_config
    written = os.path.getsize(f"{start[1]}.data-00000-of-00001")
    assert checkpoint_size(start[0], train) == pytest.approx(written, rel=0.02)


def test_a_batch_that_needs_more_memory_than_there_is_is_told_or_refused(
    start, data_dir, monkeypatch
):
    config = small_config(data_dir)
    settings = config.model.ssd
    side, _ = image_sides(settings)
    of_pixel = bytes_per_pixel(start[0])
    assert 10 < of_pixel < 20_000
    monkeypatch.setattr(preflight_module, "bytes_per_pixel", lambda model: of_pixel)
    message = f"of memory are needed for 2 images of {side}x{side} pixels at a time"

    def check(share, parts=1):
        pages = {"SC_PHYS_PAGES": int(of_pixel * 2 * side**2 / share), "SC_PAGE_SIZE": 1}
        monkeypatch.setattr("os.sysconf", pages.get)
        return preflight_module.check_memory(
            start[0], settings, config.train_config, "x.config", parts
        )

    (warning,) = check(share=2)
    assert message in warning
    with pytest.raises(DataError, match=f"x.config: roughly .* {message}"):
        check(share=5)
    (warning,) = check(share=3, parts=2)
    assert message.replace("2 images", "1 images") in warning
    assert check(share=1.9, parts=2) == []


def test_what_a_config_freezes_is_told_with_counts_and_a_pattern_without_a_match_is_refused(start):
    model, _ = start

    def describe(**patterns):
        return describe_frozen(model, TrainConfig(**patterns), "x.config")

    variables = model.trainable_variables
    heads = [v for v in variables if "BoxPredictor" in v.name]
    total, left = (sum(v.shape.num_elements() for v in some) for some in (variables, heads))
    number = len(variables) - len(heads)
    assert describe() == ""
    assert describe(update_trainable_variables=["BoxPredictor"]) == (
        f"{number} of {len(variables)} variables, {total - left:,} of {total:,} weights: "
        f'update_trainable_variables "BoxPredictor" ({len(heads)})'
    )
    both = TrainConfig(update_trainable_variables=["BoxPredictor"], freeze_variables=["kernel"])
    names = [v.name for v in updated_variables(model, both)]
    assert names == [v.name for v in heads if "kernel" not in v.name] != []
    for frozen, message in (
        (
            ["BoxPredictor", "FeatureExtractor"],
            r'"FeatureExtractor" is found in no .*\n.*begin with \w',
        ),
        (["("], r'freeze_variables: "\(" is no regular expression'),
        (["kernel", "."], rf"all {len(variables)} variables are frozen"),
    ):
        with pytest.raises(DataError, match=message):
            describe(freeze_variables=frozen)


@pytest.fixture
def built(start, monkeypatch):
    """Has preflight take the model that was built already."""
    monkeypatch.setattr("lowlight.training.preflight.build_trial", lambda *given: start[0])


@pytest.mark.usefixtures("built")
def test_what_tfods_augmentations_cannot_do_with_a_record_is_said_with_the_file(data_dir):
    config = small_config(data_dir)
    config.train_input_reader.num_keypoints = 3
    message = f"first record of {data_dir}/train.tfrecord .+\n  Remove from train_input_reader"
    with pytest.raises(DataError, match=message):
        run_preflight(config, data_dir)


@pytest.mark.usefixtures("built")
def test_a_disk_without_room_for_the_checkpoints_is_refused(data_dir, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(DataError, match=r"run: 0 MB free, .* \(4 of \d.*each\)\.\n  Make room"):
        run_preflight(small_config(data_dir), data_dir)


BAD_TRAININGS = {
    "devices that don't divide the batch": (
        2,
        {"replicas": 3},
        "batch_size: 2 can't be divided among 3 devices",
    ),
    "parts that don't divide the batch": (
        6,
        {"accumulate": 4},
        r"batch_size: 6 can't be taken in 4 parts .*\n  Give --accumulate one of 1, 2, 3, 6,",
    ),
    "parts that don't divide what a device gets": (
        4,
        {"accumulate": 4, "replicas": 2},
        "batch_size: 4, 2 on each of 2 devices, can't be taken in 4 parts",
    ),
    "no batch": (0, {}, "batch_size: 0"),
}


@pytest.mark.parametrize(("batch", "given", "message"), BAD_TRAININGS.values(), ids=BAD_TRAININGS)
def test_a_training_that_cannot_be_is_refused(data_dir, batch, given, message):
    config = small_config(data_dir)
    config.train_config.batch_size = batch
    with pytest.raises(DataError, match=message):
        run_preflight(config, data_dir, **given)


@pytest.mark.usefixtures("built")
def test_a_start_in_the_runs_own_folder_is_refused(start, data_dir):
    (data_dir / "run").mkdir()
    for path in Path(start[1]).parent.glob("ckpt-1.*"):
        shutil.copy(path, data_dir / "run")
    config = small_config(data_dir, fine_tune_checkpoint=str(data_dir / "run" / "ckpt-1"))
    with pytest.raises(DataError, match="fine_tune_checkpoint lies in the run's folder"):
        run_preflight(config, data_dir)


def test_a_model_that_tfod_cannot_build_is_told_with_its_reason(data_dir):
    config = small_config(data_dir)
    config.model.ssd.ClearField("box_coder")
    with pytest.raises(
        DataError, match=r"x.config: TFOD can't build this model \(.+\)\.\n  Correct"
    ):
        run_preflight(config, data_dir)
