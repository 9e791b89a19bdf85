"""Turns a pipeline config of TFOD 2's model zoo into one for a data set of records."""

import difflib
import glob
from pathlib import Path
from typing import NamedTuple

from google.protobuf import text_format

from lowlight.core.errors import DataError
from lowlight.core.tfrecords import Example, find_frames, read_frame
from lowlight.dataset.classes import read_label_map
from lowlight.tfod import model as tfod
from lowlight.tfod import zoo
from lowlight.tfod.architectures import check_model, is_set, needs_network
from lowlight.tfod.schedules import base_rate, length_of, rescale, schedule_of

D1 = "efficientdet_d1_coco17_tpu-32"
_EDGE = "image/object/bbox/xmin"  # a record has one for each box
_D1_CONFIG = Path(__file__).with_name("efficientdet_d1.config")
# What a config may ask of records besides images and boxes.
_MORE_THAN_BOXES = (
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
)


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


def read_base(name):
    """Reads the config to start from.

    Args:
        name: a pipeline config's path, or an archive of the zoo: its path, or its name where it is
            in checkpoint/, unpacked or not. The D1's config is built in.

    Returns:
        (TrainEvalPipelineConfig, the path or name that a diff shows, the prefix of the checkpoint
        that belongs to it or "" where none is known).

    Raises:
        DataError: no such config, or not one of TFOD's; as `zoo.unpack`.
    """
    path = Path(name)
    if name in zoo.ARCHIVES:
        path = zoo.folder_of(name) / "pipeline.config"
        fetched = Path("checkpoint", f"{name}.tar.gz")
        if not path.is_file() and fetched.is_file():
            path = zoo.unpack(fetched) / "pipeline.config"
        start = str(zoo.checkpoint_in(path.parent))
        if name == D1 and not path.is_file():
            return tfod.read_config(_D1_CONFIG), f"{name}/pipeline.config (built in)", start
        if not path.is_file():
            raise DataError(f"{path}: not there.\n  {zoo.how_to_fetch(name)}")
        return tfod.read_config(path), str(path), start
    if path.is_file() and name.endswith((".tar.gz", ".tgz", ".tar")):
        path = zoo.unpack(path) / "pipeline.config"
    if not path.is_file():
        near = difflib.get_close_matches(name, zoo.ARCHIVES, 3, 0.5)
        like = f"\n  Archives of a like name: {', '.join(near)}." if near else ""
        raise DataError(
            f"{name}: no such file, and no archive of the model zoo.{like}\n  Check --base_config."
        )
    is_archive = path.name == "pipeline.config" and (path.parent / "checkpoint").is_dir()
    start = str(zoo.checkpoint_in(path.parent)) if is_archive else ""
    return tfod.read_config(path), str(path), start


def choose_start(given, start, base_name):
    """Returns the prefix of the checkpoint to start from, "" for random weights.

    Args:
        given: a prefix, "none" for random weights, or None.
        start: as `read_base` returns it, taken where none is given.
        base_name: what messages call the config.

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


def find_data(data_dir):
    """Returns the Data of a folder that make_tfrecords.py wrote.

    Raises:
        DataError: no label map; no records, or a part in two numbers of shards.
    """
    label_map = Path(data_dir) / "label_map.txt"
    names = read_label_map(label_map)
    train, test = (_records(Path(data_dir), part) for part in ("train", "test"))
    return Data(label_map, max(names), train, test, _most_boxes((train, test)))


def _most_boxes(patterns):
    """Returns the number of boxes of the image that has most."""
    return max(
        (
            len(
                Example.FromString(read_frame(path, frame)).features.feature[_EDGE].float_list.value
            )
            for pattern in patterns
            for path in glob.glob(pattern)
            for frame in find_frames(path)
        ),
        default=0,
    )


def _records(data_dir, part):
    """Returns the path of a part's record file, or the glob of its shards."""
    whole = data_dir / f"{part}.tfrecord"
    shards = glob.glob(f"{glob.escape(str(whole))}-?????-of-?????")
    found = [str(whole)] if whole.is_file() else []
    found += sorted({f"{whole}-?????-of-{shard[-5:]}" for shard in shards})
    if len(found) == 1:
        return found[0]
    problem = f"both {' and '.join(found)} are there" if found else "no such file, nor shards of it"
    raise DataError(
        f"{whole}: {problem}.\n  make_tfrecords.py writes records anew; check --data_dir."
    )


def adapt(config, data, change, base_name):
    """Changes a config so that it trains a detector on a data set.

    Args:
        config: TrainEvalPipelineConfig, which is changed.
        data: Data.
        change: Change.
        base_name: what messages call the config.

    Returns:
        Lines that say what was done.

    Raises:
        DataError: as `check_model`; no learning-rate schedule or no batch size to scale.
    """
    model = check_model(config, base_name)
    lines = [f"classes: {model.num_classes} -> {data.num_classes}, from {data.label_map}"]
    model.num_classes = data.num_classes
    del config.eval_input_reader[1:]
    reader = config.eval_input_reader[0] if config.eval_input_reader else _add_eval_reader(config)
    lines += _set_reader(config.train_input_reader, data, data.train)
    lines += [f"{line} (evaluation)" for line in _set_reader(reader, data, data.test)]
    lines += _set_evaluation(config.eval_config)
    train = config.train_config
    lines += _clear_keypoints(train)
    lines += _rescale(train, change, base_name)
    train.use_bfloat16 = False  # TFOD reads it on TPUs alone
    _set_start(train, change.fine_tune_checkpoint)
    kept = [option.WhichOneof("preprocessing_step") for option in train.data_augmentation_options]
    lines.append(f"augmentations kept: {', '.join(kept) or 'none'}")
    if needs_network(model):
        lines.append("a network is needed: TFOD fetches ImageNet weights to build this model")
    return lines


def _set_reader(reader, data, records):
    """Has a reader take the data's boxes and nothing else; returns lines that say what it lost."""
    cleared = [name for name in _MORE_THAN_BOXES if is_set(reader, name)]
    for name in cleared:
        reader.ClearField(name)
    reader.label_map_path = str(data.label_map)
    reader.tf_record_input_reader.input_path[:] = [records]
    lines = [f"removed, as the records hold boxes alone: {', '.join(cleared)}"] if cleared else []
    if data.most_boxes > reader.max_number_of_boxes:
        lines.append(f"max_number_of_boxes: {reader.max_number_of_boxes} -> {data.most_boxes}")
        reader.max_number_of_boxes = data.most_boxes
    return lines


def _set_evaluation(settings):
    """Has an evaluation count COCO's metrics of boxes; returns lines that say what it lost."""
    if settings.include_metrics_per_category:  # raises with stock pycocotools
        settings.include_metrics_per_category = False
    settings.ClearField("eval_instance_masks")
    others = {*settings.metrics_set} - {"coco_detection_metrics"}
    if others:
        settings.metrics_set[:] = ["coco_detection_metrics"]
    return [f"metrics_set: {', '.join(sorted(others))} -> coco_detection_metrics"] if others else []


def _clear_keypoints(train):
    """Removes from augmentations what they do with keypoints; returns lines that say so."""
    lines = []
    for option in train.data_augmentation_options:
        step = option.WhichOneof("preprocessing_step")
        message = getattr(option, step) if step else option
        for field, _ in message.ListFields():
            if field.name.startswith("keypoint"):
                message.ClearField(field.name)
                lines.append(f"removed, as the records hold boxes alone: {step}'s {field.name}")
    return lines


def _add_eval_reader(config):
    reader = config.eval_input_reader.add()
    reader.shuffle, reader.num_epochs = False, 1
    return reader


def _set_start(train, checkpoint):
    """Names the checkpoint to start from, as TFOD 2 wants it for every architecture.

    "detection" takes the feature extractor alone; the heads begin anew, with these classes
    (`restore_from_objects` of object_detection/meta_architectures/).
    """
    for field in ("from_detection_checkpoint", "load_all_detection_checkpoint_vars"):
        train.ClearField(field)
    if checkpoint:
        train.fine_tune_checkpoint = checkpoint
        train.fine_tune_checkpoint_type = "detection"
        train.fine_tune_checkpoint_version = tfod.CHECKPOINT_V2
    else:
        for name in ("checkpoint", "checkpoint_type", "checkpoint_version"):
            train.ClearField(f"fine_tune_{name}")


def _rescale(train, change, base_name):
    """Sets batch and steps and fits the learning rate to them; returns lines that say so."""
    kind, schedule = schedule_of(train)
    if kind is None or not train.batch_size:
        missing = "optimizer with a learning rate" if train.batch_size else "batch_size"
        raise DataError(f"{base_name}: no {missing} to scale.\n  Add it, or take another config.")
    old_batch, old_steps, old_rate = train.batch_size, length_of(train), base_rate(kind, schedule)
    factor = change.batch_size / old_batch
    how = f"linear with the batch, x {change.batch_size}/{old_batch}"
    if change.learning_rate is not None:
        if not (0 < change.learning_rate < float("inf") and old_rate):
            raise DataError(
                f"{base_name}: learning rate {old_rate:g} to {change.learning_rate:g}.\n"
                "  Give --learning_rate over 0, or leave it out; the base config's must be, too."
            )
        factor, how = change.learning_rate / old_rate, "as asked for"
    rescale(kind, schedule, factor, old_steps or change.num_steps, change.num_steps)
    train.batch_size, train.num_steps = change.batch_size, change.num_steps
    lines = [
        f"batch: {old_batch} -> {change.batch_size}",
        f"learning rate: {old_rate:g} -> {base_rate(kind, schedule):g} ({how})",
    ]
    if kind == "constant_learning_rate":
        return [*lines, f"steps: {change.num_steps:,}, at this rate throughout"]
    return [*lines, f"steps: {old_steps:,} -> {change.num_steps:,}, and the schedule with them"]


def format_config(config, base_name, lines):
    """Returns a config as text, after a comment of what it was made from and how."""
    notes = "".join(f"#   {line}\n" for line in lines)
    return f"# Made by make_config.py from {base_name}:\n{notes}\n" + _plain(config)


def _plain(config):
    return text_format.MessageToString(config)


def diff(base, config, base_name, name):
    """Returns what differs between two configs, as lines of a unified diff."""
    texts = (_plain(message).splitlines() for message in (base, config))
    return list(difflib.unified_diff(*texts, base_name, name, lineterm=""))
