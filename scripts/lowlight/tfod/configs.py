"""Turns a pipeline config of TFOD 2's model zoo into one for a data set of records."""

import difflib
import glob
import re
from pathlib import Path
from typing import NamedTuple

from google.protobuf import text_format

from lowlight.core.errors import DataError
from lowlight.core.tensorflow_files import Example, find_frames, read_frame
from lowlight.dataset.classes import read_label_map
from lowlight.tfod.config_parts import (
    CONSTANT,
    base_rate,
    check_model,
    length_of,
    needs_network,
    rescale,
    schedule_of,
)
from lowlight.tfod.model import CHECKPOINT_V2, PipelineConfig

# The share of a learning rate for new heads that trained ones get: EfficientDet learns COCO at 0.08
# for a batch of 64 (https://github.com/google/automl/tree/master/efficientdet), and is fine-tuned
# from COCO to VOC at 0.008 (https://github.com/rwightman/efficientdet-pytorch).
_WARM = 0.1
_EDGE = "image/object/bbox/xmin"  # a record has one for each box
_REMOVED = "removed, as the records hold boxes alone"
# What a config may ask of records besides images and boxes.
_MORE_THAN_BOXES = {
    "external_input_reader",
    "input_type",
    "sample_from_datasets_weights",
    "num_additional_channels",
    "num_keypoints",
    "keypoint_type_weight",
    "load_keypoint_depth_features",
    "use_keypoint_label_map",
    "load_instance_masks",
    "mask_type",
    "load_multiclass_scores",
    "load_context_features",
    "load_context_image_ids",
    "load_dense_pose",
    "load_track_id",
    "frame_index",
}


class Data(NamedTuple):
    """What a config names of a data set."""

    label_map: Path
    num_classes: int
    train: str  # path or glob of the records
    test: str
    most_boxes: int  # in an image


class Change(NamedTuple):
    """The training that a config is to describe."""

    batch_size: int
    num_steps: int
    learning_rate: float | None  # at the schedule's height; None scales the base's with the batch
    fine_tune_checkpoint: str  # "" starts from random weights
    checkpoint_type: str = "detection"  # or "full", which takes over the heads, too


def choose_start(given: str | None, start: str, base_name: str) -> str:
    """Returns the prefix of the checkpoint to start from, "" for random weights.

    That is the one given, "none" for random weights, or else the base's own, of `zoo.read_base`.

    Raises:
        DataError: there is neither.
    """
    if given == "none":
        return ""
    if not (given or start):
        raise DataError(
            f"{base_name}: lies beside no checkpoint/ as in the zoo's archives.\n"
            "  Give --fine_tune_checkpoint=.../ckpt-0, or =none to start from random weights."
        )
    return given or start


def find_data(data_dir: Path | str) -> Data:
    """Finds a data set in a folder that make_tfrecords.py wrote.

    Raises:
        DataError: no label map; no records, or a part in two numbers of shards.
    """
    label_map = Path(data_dir) / "label_map.txt"
    names = read_label_map(label_map)
    train, test = (find_records(Path(data_dir), part) for part in ("train", "test"))
    return Data(
        label_map=label_map,
        num_classes=max(names),
        train=train,
        test=test,
        most_boxes=max(map(_most_boxes, glob.glob(train) + glob.glob(test)), default=0),
    )


def _most_boxes(path):
    """Returns the number of boxes of the image that has most, in a record file."""
    records = (Example.FromString(read_frame(path, frame)) for frame in find_frames(path))
    edges = (record.features.feature[_EDGE].float_list.value for record in records)
    return max(map(len, edges), default=0)


def find_records(data_dir: Path, part: str) -> str:
    """Returns the path of a part's record file, or the glob of its shards; raises as `find_data`.

    The part is "train" or "test".
    """
    whole = data_dir / f"{part}.tfrecord"
    shards = glob.glob(f"{glob.escape(str(whole))}-?????-of-?????")
    found = [str(whole)] if whole.is_file() else []
    found += sorted({f"{whole}-?????-of-{shard[-5:]}" for shard in shards})
    if len(found) == 1:
        return found[0]
    problem = f"both {' and '.join(found)} are there" if found else "no such file, nor shards of it"
    raise DataError(
        f"{whole}: {problem}.\n  make_tfrecords.py writes records again; check --data_dir."
    )


def adapt(config: PipelineConfig, data: Data, change: Change, base_name: str) -> list[str]:
    """Changes a base config so that it trains a detector on a data set; says what was done.

    Raises:
        DataError: as `check_model`; no learning-rate schedule or no batch size to scale.
    """
    model, train = check_model(config, base_name), config.train_config
    lines = [f"classes: {model.num_classes} -> {data.num_classes}, from {data.label_map}"]
    model.num_classes = data.num_classes
    del config.eval_input_reader[1:]
    if not config.eval_input_reader:
        config.eval_input_reader.add(shuffle=False, num_epochs=1)
    lines += _set_reader(config.train_input_reader, data, data.train)
    of_evaluation = _set_reader(config.eval_input_reader[0], data, data.test)
    lines += [f"{line} (evaluation)" for line in of_evaluation]
    lines += _set_evaluation(config.eval_config)
    lines += _clear_keypoints(train)
    lines += _rescale(train, change, base_name)
    train.use_bfloat16 = False  # TFOD reads it on TPUs alone
    _set_start(train, change)
    kept = [option.WhichOneof("preprocessing_step") for option in train.data_augmentation_options]
    lines.append(f"augmentations kept: {', '.join(kept) or 'none'}")
    if needs_network(model):
        lines.append("a network is needed: TFOD fetches ImageNet weights to build this model")
    return lines


def _set_reader(reader, data, records):
    """Has a reader take the data's boxes and nothing else; returns lines that say what it lost."""
    cleared = [field.name for field, _ in reader.ListFields() if field.name in _MORE_THAN_BOXES]
    for name in cleared:
        reader.ClearField(name)
    reader.label_map_path = str(data.label_map)
    reader.tf_record_input_reader.input_path[:] = [records]
    lines = [f"{_REMOVED}: {', '.join(cleared)}"] if cleared else []
    if data.most_boxes > reader.max_number_of_boxes:
        lines.append(f"max_number_of_boxes: {reader.max_number_of_boxes} -> {data.most_boxes}")
        reader.max_number_of_boxes = data.most_boxes
    return lines


def _set_evaluation(settings):
    """Has an evaluation count COCO's metrics of boxes; returns lines that say what it lost."""
    if settings.include_metrics_per_category:  # raises with stock pycocotools
        settings.include_metrics_per_category = False
    settings.ClearField("eval_instance_masks")
    others = sorted({*settings.metrics_set} - {"coco_detection_metrics"})
    if not others:
        return []
    settings.metrics_set[:] = ["coco_detection_metrics"]
    return [f"metrics_set: {', '.join(others)} -> coco_detection_metrics"]


def _clear_keypoints(train):
    """Removes from augmentations what they do with keypoints; returns lines that say so."""
    lines = []
    for option in train.data_augmentation_options:
        for step, message in option.ListFields():
            names = [field.name for field, _ in message.ListFields()]
            for name in filter(re.compile("keypoint").match, names):
                message.ClearField(name)
                lines.append(f"{_REMOVED}: {step.name}'s {name}")
    return lines


def _set_start(train, change):
    """Names the checkpoint to start from, as TFOD 2 wants it for every architecture.

    "detection" takes the feature extractor alone; the heads begin untrained, with these classes
    (`restore_from_objects` of object_detection/meta_architectures/).
    """
    for name in ("checkpoint", "checkpoint_type", "checkpoint_version"):
        train.ClearField(f"fine_tune_{name}")
    for name in ("from_detection_checkpoint", "load_all_detection_checkpoint_vars"):
        train.ClearField(name)
    if change.fine_tune_checkpoint:
        train.fine_tune_checkpoint = change.fine_tune_checkpoint
        train.fine_tune_checkpoint_type = change.checkpoint_type
        train.fine_tune_checkpoint_version = CHECKPOINT_V2


def _rescale(train, change, base_name):
    """Sets batch and steps and fits the learning rate to them; returns lines that say so."""
    kind, schedule = schedule_of(train)
    if kind is None or not train.batch_size:
        missing = "optimizer with a learning rate" if train.batch_size else "batch_size"
        raise DataError(f"{base_name}: no {missing} to scale.\n  Add it, or take another config.")
    old_batch, old_steps, old_rate = train.batch_size, length_of(train), base_rate(kind, schedule)
    if change.learning_rate is None:
        factor = change.batch_size / old_batch
        how = f"linear with the batch, x {change.batch_size}/{old_batch}"
        if change.checkpoint_type == "full":
            factor *= _WARM
            how += f", and x {_WARM}, as the heads are trained already"
    elif 0 < change.learning_rate < float("inf") and old_rate:
        factor, how = change.learning_rate / old_rate, "as asked for"
    else:
        raise DataError(
            f"{base_name}: learning rate {old_rate:g} to {change.learning_rate:g}.\n"
            "  Give --learning_rate over 0, or leave it out; the base config's must be, too."
        )
    rescale(kind, schedule, factor, old_steps or change.num_steps, change.num_steps)
    train.batch_size, train.num_steps = change.batch_size, change.num_steps
    course = f"{old_steps:,} -> {change.num_steps:,}, and the schedule with them"
    if kind == CONSTANT:
        course = f"{change.num_steps:,}, at this rate throughout"
    return [
        f"batch: {old_batch} -> {change.batch_size}",
        f"learning rate: {old_rate:g} -> {base_rate(kind, schedule):g} ({how})",
        f"steps: {course}",
    ]


def format_config(config: PipelineConfig, base_name: str, lines: list[str]) -> str:
    """Returns a config as text, after a comment of what it was made from and how."""
    notes = "".join(f"#   {line}\n" for line in lines)
    text = text_format.MessageToString(config)
    return f"# Made by make_config.py from {base_name}:\n{notes}\n{text}"


def diff(base: PipelineConfig, config: PipelineConfig, base_name: str, name: str) -> list[str]:
    """Returns what differs between two configs, as lines of a unified diff."""
    texts = (text_format.MessageToString(message).splitlines() for message in (base, config))
    return list(difflib.unified_diff(*texts, base_name, name, lineterm=""))
