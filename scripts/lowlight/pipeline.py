"""Training and export of a run, and the check of a pipeline config before either begins."""

import glob
import os
import shutil
import time
from pathlib import Path

import tensorflow as tf

from lowlight import tfod
from lowlight.classes import read_label_map
from lowlight.errors import DataError
from lowlight.files import output_dir
from lowlight.progress import Progress
from lowlight.runs import CONFIG, checkpoint_step, latest_checkpoint

_ZOO = "http://download.tensorflow.org/models/object_detection/tf2/20200711"

# How a progress line calls TFOD's losses.
_LOSSES = {
    "Loss/classification_loss": "class",
    "Loss/localization_loss": "box",
    "Loss/regularization_loss": "reg",
}


def check_config(config, path):
    """Checks that what a pipeline config names is there and fits together.

    Args:
        config: TrainEvalPipelineConfig. Its paths are relative to the working directory.
        path: the config's own path, for the messages.

    Raises:
        DataError: training records, label map or fine-tune checkpoint missing; another number of
            classes in the label map than in the model.
    """
    reader = config.train_input_reader
    if not Path(reader.label_map_path).is_file():
        raise DataError(_missing_file(path, "label map", reader.label_map_path, "label_map_path"))
    names = read_label_map(reader.label_map_path)
    model = getattr(config.model, config.model.WhichOneof("model") or "ssd")
    if max(names) != model.num_classes:
        raise DataError(
            f"{path}: the model has num_classes: {model.num_classes}, "
            f"but {reader.label_map_path} has ids up to {max(names)}.\n"
            f"  Set num_classes to {max(names)} or name the right label map."
        )
    check_records(reader.tf_record_input_reader.input_path, path)
    start = config.train_config.fine_tune_checkpoint
    if start and not Path(f"{start}.index").is_file():
        raise DataError(_missing_start(path, start))


def check_records(patterns, path):
    """Raises DataError unless each of the config's record paths (globs) names a file."""
    for pattern in patterns or [""]:
        if not glob.glob(pattern):
            raise DataError(_missing_file(path, "record file", pattern, "input_path"))


def _missing_file(path, what, name, field):
    return (
        f"{path}: no {what} {name!r} (paths are relative to the folder that the command runs in).\n"
        f"  make_tfrecords.py writes it, or correct {field}."
    )


def _missing_start(path, start):
    """Returns the message for a fine-tune checkpoint that isn't there."""
    message = f"{path}: no checkpoint {start}.index to start from (fine_tune_checkpoint).\n  "
    folder = Path(start).parent.parent
    if Path(start).parent.name != "checkpoint" or "coco17_tpu" not in folder.name:
        return message + "Correct the path, or remove the line to start from random weights."
    return message + (
        f"Fetch the model zoo's archive:\n"
        f"    mkdir -p {folder.parent}\n"
        f"    curl -L {_ZOO}/{folder.name}.tar.gz | tar -xz -C {folder.parent}"
    )


def choose_strategy(num_workers=1, use_tpu=False, tpu_name=None):
    """Returns the tf.distribute strategy that TFOD's model_main_tf2 would choose.

    A MirroredStrategy over every GPU (the CPU where there is none); a TPUStrategy with `use_tpu`; a
    MultiWorkerMirroredStrategy, which takes the workers from TF_CONFIG, with over one worker.
    """
    tf.config.set_soft_device_placement(True)
    if use_tpu:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu_name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    if num_workers > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy()


def train_run(config_path, model_dir, strategy, num_steps=None, **options):
    """Trains a run to its last step, going on from its newest checkpoint.

    Args:
        config_path: the pipeline config to train.
        model_dir: the run's folder, made where it is missing.
        strategy: the tf.distribute strategy to train under.
        num_steps: the step to train to; the config's num_steps by default.
        options: as in `tfod.train`.

    Raises:
        DataError: as `check_config`; no number of steps; a batch that the replicas don't divide; a
            run of another model in the folder; a loss that is not a finite number.
    """
    config = tfod.read_config(config_path)
    check_config(config, config_path)
    num_steps = num_steps or config.train_config.num_steps
    if not num_steps:
        raise DataError(f"{config_path}: no num_steps.\n  Add it, or give --num_train_steps.")
    batch_size, replicas = config.train_config.batch_size, strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise DataError(
            f"{config_path}: batch_size: {batch_size} can't be divided among {replicas} devices.\n"
            f"  Make it a multiple of {replicas}, or hide devices with CUDA_VISIBLE_DEVICES."
        )
    output_dir(model_dir)
    checkpoint = latest_checkpoint(model_dir)
    if checkpoint:
        _check_same_model(config, config_path, Path(model_dir))
    done = checkpoint_step(checkpoint) if checkpoint else 0
    print(
        f"training {model_dir}: step {done} to {num_steps}, batch {batch_size}, "
        f"{replicas} device{'s' if replicas > 1 else ''}"
    )
    if done >= num_steps:
        print(f"nothing to do: {checkpoint} is at step {done}")
        return
    began = time.monotonic()
    print("the first step takes longest: it traces the model")
    with strategy.scope(), Progress(num_steps, "step", start=done) as progress:
        last = tfod.train(
            config_path,
            model_dir,
            num_steps,
            lambda read: progress.update(lambda: _step_detail(read())),
            **options,
        )
    print(f"trained to step {num_steps} in {time.monotonic() - began:.0f} s: {last}")


def _check_same_model(config, config_path, run_dir):
    """Raises DataError where a config's model isn't the one whose checkpoints a run holds."""
    if (run_dir / CONFIG).is_file() and tfod.read_config(run_dir / CONFIG).model != config.model:
        raise DataError(
            f"{run_dir}: holds checkpoints of another model than that of {config_path} "
            f"(compare {run_dir / CONFIG}).\n  Choose another --model_dir."
        )


def _step_detail(step):
    """Returns the losses of a step as text."""
    parts = " + ".join(
        f"{word} {step.losses[name]:.4f}" for name, word in _LOSSES.items() if name in step.losses
    )
    return f"loss {step.losses['Loss/total_loss']:.4f} = {parts}, lr {step.learning_rate:.5f}"


def export_run(model, export_dir):
    """Exports a run's checkpoint as a SavedModel.

    The export is made beside its place. An earlier one is replaced part by part, the SavedModel
    last, so that there is one only where all is whole.

    Args:
        model: what `runs.find_checkpoint` found.
        export_dir: the folder to write, made where it is missing; other files in it stay.

    Raises:
        DataError: the folder holds files, but no export.
    """
    export_dir = Path(export_dir).resolve()
    is_export = (export_dir / "saved_model" / "saved_model.pb").is_file()
    if not is_export and export_dir.is_dir() and any(export_dir.iterdir()):
        raise DataError(f"{export_dir}: holds other files.\n  Choose another --output_dir.")
    partial = output_dir(export_dir) / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        tfod.export(model.config_path, model.path, checkpoint_step(model.path), partial)
        for part in ("saved_model", "checkpoint"):
            shutil.rmtree(export_dir / part, ignore_errors=True)
        for part in (CONFIG, "checkpoint", "saved_model"):
            os.replace(partial / part, export_dir / part)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
