"""Turns a pipeline config of TFOD 2's model zoo into one for a data set of records."""

import difflib
import glob
from pathlib import Path
from typing import NamedTuple

from google.protobuf import text_format

from lowlight.core.errors import DataError
from lowlight.core.files import CONFIGS
from lowlight.dataset.classes import read_label_map
from lowlight.tfod import model as tfod
from lowlight.tfod import zoo
from lowlight.tfod.architectures import check_model, needs_network
from lowlight.tfod.schedules import base_rate, length_of, rescale, schedule_of

D1 = "efficientdet_d1_coco17_tpu-32"
_D1_CONFIG = "ssd_efficientdet_d1_640x640_coco17_tpu-8.config"


class Data(NamedTuple):
    """What a config names of a data set."""

    label_map: Path
    num_classes: int
    train: str  # path or glob of the records
    test: str


class Change(NamedTuple):
    """The training that a config is to describe."""

    batch_size: int
    num_steps: int
    learning_rate: float | None  # at the schedule's height; None scales the base's with the batch
    fine_tune_checkpoint: str  # "" starts from random weights


def read_base(name):
    """Reads the config to start from.

    Args:
        name: a pipeline config's path, or the name of an archive of the zoo, which is looked for
            below checkpoint/. The D1's is built in.

    Returns:
        (TrainEvalPipelineConfig, the path or name that a diff shows, the prefix of the checkpoint
        that belongs to it or "" where none is known).

    Raises:
        DataError: no such config, or not one of TFOD's.
    """
    path = Path(name)
    if name in zoo.ARCHIVES:
        path = Path("checkpoint") / name / "pipeline.config"
        start = str(zoo.checkpoint_in(path.parent))
        if name == D1 and not path.is_file():
            return _built_in_d1(), f"{name}/pipeline.config (built in)", start
        if not path.is_file():
            raise DataError(f"{path}: not there.\n  {zoo.how_to_fetch(name)}")
        return tfod.read_config(path), str(path), start
    if not path.is_file():
        near = difflib.get_close_matches(name, zoo.ARCHIVES, 3, 0.5)
        like = f"\n  Archives of a like name: {', '.join(near)}." if near else ""
        raise DataError(
            f"{name}: no such file, and no archive of the model zoo.{like}\n  Check --base_config."
        )
    is_archive = path.name == "pipeline.config" and (path.parent / "checkpoint").is_dir()
    start = str(zoo.checkpoint_in(path.parent)) if is_archive else ""
    return tfod.read_config(path), str(path), start


def _built_in_d1():
    """Returns the config of the zoo's D1 archive, from that in configs/ with its changes undone."""
    config = tfod.read_config(CONFIGS / _D1_CONFIG)
    config.model.ssd.num_classes = 90
    train = config.train_config
    train.batch_size, train.num_steps, train.use_bfloat16 = 128, 300_000, True
    train.fine_tune_checkpoint_type = "classification"
    train.fine_tune_checkpoint = "PATH_TO_BE_CONFIGURED"
    for reader in (config.train_input_reader, config.eval_input_reader[0]):
        reader.label_map_path = "PATH_TO_BE_CONFIGURED"
        reader.tf_record_input_reader.input_path[:] = ["PATH_TO_BE_CONFIGURED"]
    return config


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
    return Data(label_map, max(names), train, test)


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
    _set_reader(config.train_input_reader, data.label_map, data.train)
    del config.eval_input_reader[1:]
    reader = config.eval_input_reader[0] if config.eval_input_reader else _add_eval_reader(config)
    _set_reader(reader, data.label_map, data.test)
    if config.eval_config.include_metrics_per_category:  # raises with stock pycocotools
        config.eval_config.include_metrics_per_category = False
    train = config.train_config
    lines += _rescale(train, change, base_name)
    train.use_bfloat16 = False  # TFOD reads it on TPUs alone
    _set_start(train, change.fine_tune_checkpoint)
    kept = [option.WhichOneof("preprocessing_step") for option in train.data_augmentation_options]
    lines.append(f"augmentations kept: {', '.join(kept) or 'none'}")
    if needs_network(model):
        lines.append("a network is needed: TFOD fetches ImageNet weights to build this model")
    return lines


def _set_reader(reader, label_map, records):
    reader.label_map_path = str(label_map)
    reader.tf_record_input_reader.input_path[:] = [records]


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
