"""Finds out before the first step whether a training will work."""

import functools
import glob
from pathlib import Path

import tensorflow as tf

from lowlight.core.errors import DataError, format_count, name_some
from lowlight.core.tensorflow import plain_message
from lowlight.dataset.classes import read_label_map
from lowlight.dataset.record_checks import count_and_check, record_files
from lowlight.tfod.architectures import check_model, model_of
from lowlight.tfod.schedules import base_rate, check_schedule, schedule_of
from lowlight.tfod.start import build_trial, check_start, read_shapes
from lowlight.tfod.training import example_reader
from lowlight.training.room import check_disk, check_memory, checkpoint_size


def preflight(
    config,
    config_path,
    model_dir,
    replicas,
    num_steps,
    checkpoint_every_n=1000,
    check_images=False,
):
    """Checks what a training needs besides what `check_config` has seen.

    Args:
        config: TrainEvalPipelineConfig. Its paths are relative to the working directory.
        config_path: the config's own path, for the messages.
        model_dir: the run's folder, which needn't be there.
        replicas: devices that share a batch.
        num_steps: the step to train to.
        checkpoint_every_n: steps between two checkpoints.
        check_images: decode all of them, which takes longer than all else.

    Returns:
        Lines for a table of what was found, and a line for each warning.

    Raises:
        DataError: as `check_training`, `count_and_check`, `check_start` and `check_memory`; too
            little room on the disk; a record that TFOD can't take.
    """
    warnings = check_training(config, config_path, replicas, num_steps)
    counts = _check_records(config, config_path, check_images)
    model, train, start = build_trial(config, config_path), config.train_config, "random weights"
    if train.fine_tune_checkpoint:
        _check_apart(train.fine_tune_checkpoint, model_dir, config_path)
        start = check_start(model, train, config_path)
    size, settings = checkpoint_size(model, train), model_of(config, config_path)
    warnings += check_memory(model, settings, train, config_path)
    _try_records(config, config_path, model)
    labels, files = config.train_input_reader.label_map_path, format_count(counts.files, "file")
    rows = {
        "records": f"{counts.images:,} images, {counts.boxes:,} boxes in {files}, whole",
        "classes": f"{settings.num_classes}, as in {labels}",
        "start": start,
        "batch": f"{train.batch_size} on {format_count(replicas, 'device')}",
        "schedule": _describe_schedule(train, num_steps),
        "disk": check_disk(size, model_dir, num_steps, checkpoint_every_n),
    }
    warnings += _data_warnings(config, counts)
    lines = [f"  {name:<9} {text}" for name, text in rows.items()]
    return lines + [f"  warning: {text}" for text in warnings]


def _try_records(config, path, model):
    """Sends the first record of each file through TFOD's own decoder and augmentations.

    Raises:
        DataError: TFOD can't take one.
    """
    reader = config.train_input_reader
    files = record_files(reader.tf_record_input_reader.input_path, path)
    try:
        read = example_reader(config, model.preprocess)
        records = tf.data.Dataset.from_tensor_slices(files)
        records = records.flat_map(lambda file: tf.data.TFRecordDataset(file).take(1))
        for _ in records.map(lambda record: read(record, tf.constant([0, 0], tf.int64))):
            files = files[1:]
    except Exception as error:  # TFOD and TensorFlow raise every kind
        raise DataError(
            f"{path}: TFOD can't make a training image of the first record of {files[0]} "
            f"({plain_message(error)}).\n  Remove from train_input_reader and "
            "data_augmentation_options what the records don't hold, such as masks or keypoints."
        ) from error


def _check_records(config, path, check_images):
    """Returns the RecordCounts of a config's training records; raises DataError as `preflight`."""
    reader = config.train_input_reader
    files = record_files(reader.tf_record_input_reader.input_path, path)
    decode = functools.partial(tf.io.decode_image, expand_animations=False)
    names = read_label_map(reader.label_map_path)
    return count_and_check(files, names, decode if check_images else None)


def _describe_schedule(train, num_steps):
    kind, schedule = schedule_of(train)
    name = kind.removesuffix("_learning_rate").replace("_", " ")
    return f"{num_steps:,} steps, {name}, learning rate {base_rate(kind, schedule):g}"


def check_config(config, path):
    """Checks that what a pipeline config names is there and fits together; reads no records.

    Args:
        config: TrainEvalPipelineConfig. Its paths are relative to the working directory.
        path: the config's own path, for the messages.

    Raises:
        DataError: as `architectures.check_model`; something that isn't supported; training records,
            label map or fine-tune checkpoint missing; another number of classes in the label map
            than in the model.
    """
    model, reader = check_model(config, path), config.train_input_reader
    _check_supported(config, path)
    if not Path(reader.label_map_path).is_file():
        raise DataError(
            f"{path}: no label map {reader.label_map_path!r} (paths are relative to the folder "
            "that the command runs in).\n  make_tfrecords.py writes it, or correct label_map_path."
        )
    names = read_label_map(reader.label_map_path)
    if max(names) != model.num_classes:
        raise DataError(
            f"{path}: the model has num_classes: {model.num_classes}, "
            f"but {reader.label_map_path} has ids up to {max(names)}.\n"
            f"  Set num_classes to {max(names)} or name the right label map."
        )
    record_files(reader.tf_record_input_reader.input_path, path)
    if config.train_config.fine_tune_checkpoint:
        read_shapes(config.train_config.fine_tune_checkpoint, path)


def _check_supported(config, path):
    """Raises DataError that names what this training leaves out of TFOD's."""
    reader, train = config.train_input_reader, config.train_config
    if reader.sample_from_datasets_weights:
        raise DataError(
            f"{path}: sample_from_datasets_weights isn't supported.\n"
            "  Remove it: each epoch takes every record of all input_path files once."
        )
    if reader.input_type != type(reader)().input_type or reader.HasField("external_input_reader"):
        raise DataError(
            f"{path}: the train_input_reader's input_type or external_input_reader isn't "
            "supported.\n  Remove it: records hold tf.train.Examples in TFRecord files."
        )
    others = sorted({*config.eval_config.metrics_set} - {"coco_detection_metrics"})
    if others:
        raise DataError(
            f"{path}: metrics_set: {', '.join(others)} isn't supported.\n"
            '  Set it to "coco_detection_metrics"; scripts/model_main_tf2.py has TFOD\'s others.'
        )
    paths = [train.fine_tune_checkpoint]
    for one in (reader, *config.eval_input_reader):
        paths += [one.label_map_path, *one.tf_record_input_reader.input_path]
    for one in paths:
        check_local(one, path)


def check_local(path, where):
    """Raises DataError for a path such as gs://bucket/file."""
    if "://" in str(path):
        raise DataError(
            f"{where}: {path}: only files of this machine are supported.\n"
            "  Copy or mount it, and give that path."
        )


def check_training(config, path, replicas, num_steps):
    """Checks batch, steps, number format and learning rate of a config.

    Returns:
        Warnings, such as one about a learning-rate schedule that doesn't fit the steps.

    Raises:
        DataError: one of them can't be trained with.
    """
    train = config.train_config
    if num_steps is None or num_steps < 1:
        raise DataError(
            f"{path}: {f'{num_steps} steps' if num_steps else 'no num_steps'}.\n"
            "  Give num_steps, or --num_train_steps, of 1 or more."
        )
    if train.batch_size < 1 or train.batch_size % replicas:
        raise DataError(
            f"{path}: batch_size: {train.batch_size} can't be divided among {replicas} devices.\n"
            f"  Make it a multiple of {replicas}, or hide devices with CUDA_VISIBLE_DEVICES."
        )
    try:
        warnings = [check_schedule(train, num_steps)]
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if train.use_bfloat16:
        warnings.append(
            "use_bfloat16: true is for TPUs; elsewhere TFOD computes in float32, and so does this "
            "training. --mixed_precision computes in half precision."
        )
    return [warning for warning in warnings if warning]


def _check_apart(prefix, model_dir, path):
    if Path(prefix).parent.resolve() == Path(model_dir).resolve():
        raise DataError(
            f"{path}: fine_tune_checkpoint lies in the run's folder, {model_dir}.\n"
            "  Choose another --model_dir, or remove fine_tune_checkpoint to continue the run."
        )


def _data_warnings(config, counts):
    warnings, most = [], config.train_input_reader.max_number_of_boxes
    for reader in config.eval_input_reader:
        for pattern in reader.tf_record_input_reader.input_path:
            if not glob.glob(pattern):
                warnings.append(f"no record file {pattern!r} to evaluate on.")
    if counts.unseen:
        warnings.append(f"no box of {name_some(counts.unseen)} in the training records.")
    if counts.most > most:
        warnings.append(
            f"an image has {counts.most} boxes and the train_input_reader's max_number_of_boxes is "
            f"{most}: the rest aren't learned. Set it to {counts.most}."
        )
    return warnings
