"""Exports what a run has trained."""

import os
import shutil
from pathlib import Path

from lowlight.core.errors import DataError
from lowlight.core.files import output_dir
from lowlight.detector.freezing import freeze_network
from lowlight.detector.network import keep_network
from lowlight.detector.runs import CONFIG, checkpoint_step
from lowlight.tfod import model as tfod


def export_run(model, export_dir):
    """Exports a run's checkpoint as a SavedModel, with the network that detectors run.

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
        step = checkpoint_step(model.path)
        network = freeze_network(tfod.export(model.config_path, model.path, step, partial))
        if network is not None:
            keep_network(network, partial / "saved_model")
        for part in ("saved_model", "checkpoint"):
            shutil.rmtree(export_dir / part, ignore_errors=True)
        for part in (CONFIG, "checkpoint", "saved_model"):
            os.replace(partial / part, export_dir / part)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
