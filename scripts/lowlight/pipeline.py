"""Training and export of a run."""

import os
import shutil
import time
from pathlib import Path

import tensorflow as tf

from lowlight import tfod
from lowlight.errors import DataError
from lowlight.files import output_dir
from lowlight.preflight import check_config, preflight
from lowlight.progress import Progress
from lowlight.runs import CONFIG, checkpoint_step, latest_checkpoint

# How a progress line calls TFOD's losses.
_LOSSES = {
    "Loss/classification_loss": "class",
    "Loss/localization_loss": "box",
    "Loss/regularization_loss": "reg",
}


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
        DataError: as `check_config` and `preflight`; a run of another model in the folder;
            a loss that is not a finite number.
    """
    config = tfod.read_config(config_path)
    check_config(config, config_path)
    num_steps = num_steps or config.train_config.num_steps
    batch_size, replicas = config.train_config.batch_size, strategy.num_replicas_in_sync
    checkpoint = latest_checkpoint(model_dir)
    if checkpoint:
        _check_same_model(config, config_path, Path(model_dir))
    done = checkpoint_step(checkpoint) if checkpoint else 0
    if num_steps and done >= num_steps:
        print(f"nothing to do: {checkpoint} is at step {done}")
        return
    every_n, use_tpu = options.get("checkpoint_every_n", 1000), options.get("use_tpu", False)
    lines = preflight(config, config_path, model_dir, replicas, num_steps, every_n, use_tpu=use_tpu)
    print("\n".join(["preflight:", *lines]))
    output_dir(model_dir)
    print(
        f"training {model_dir}: step {done} to {num_steps}, batch {batch_size}, "
        f"{replicas} device{'s' if replicas > 1 else ''}"
    )
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
