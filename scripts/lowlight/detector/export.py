"""Exports what a run has trained."""

import os
import shutil
from pathlib import Path

from lowlight.core.checkpoint_files import checkpoint_step
from lowlight.core.errors import DataError
from lowlight.core.files import output_dir
from lowlight.detector.network import keep_network, kept_folder
from lowlight.detector.onnx_export import check_installed, convert_network, whole_model
from lowlight.detector.runs import CONFIG, Model, record_source
from lowlight.detector.tracing import trace_network
from lowlight.tfod import model as tfod

ONNX, ONNX_NMS = "model.onnx", "model_nms.onnx"
_PARTS = CONFIG, "checkpoint", ONNX, ONNX_NMS, "saved_model"  # the last makes an export of it


def export_run(
    model: Model,
    export_dir: Path | str,
    with_onnx: bool = False,
    with_nms: bool = False,
    names: dict | None = None,
) -> list[Path]:
    """Exports a run's checkpoint as a SavedModel, with the network that detectors run.

    The export is made beside its place. An earlier one is replaced part by part, the SavedModel
    last, so that there is one only where all is whole.

    Args:
        model: of `runs.find_checkpoint`.
        export_dir: the folder to write, made where it is missing; other files in it stay.
        with_onnx, with_nms: write model.onnx and model_nms.onnx, as `onnx_export.whole_model`
            makes them without and with the choice of boxes.
        names: {class id: name}, for the ONNX files.

    Returns the paths of the models that were written.

    Raises:
        DataError: the folder holds files, but no export; or the model can't be written as ONNX.
    """
    export_dir = Path(export_dir).resolve()
    is_export = (export_dir / "saved_model" / "saved_model.pb").is_file()
    if not is_export and export_dir.is_dir() and any(export_dir.iterdir()):
        raise DataError(f"{export_dir}: holds other files.\n  Choose another --output_dir.")
    onnx_files = [ONNX] if with_onnx else []
    onnx_files += [ONNX_NMS] if with_nms else []
    if onnx_files:
        check_installed()
    partial = output_dir(export_dir) / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        network = _write_export(model, partial)
        if onnx_files:
            _write_onnx(model, network, partial, onnx_files, names)
        for part in _PARTS:
            _replace(partial / part, export_dir / part)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [export_dir / part for part in ("saved_model", *onnx_files)]


def _write_export(model, folder):
    step, config = checkpoint_step(model.path), tfod.read_config(model.config_path)
    module = tfod.detection_module(config, model.path)
    tfod.save_export(module, config, step, folder)
    record_source(folder / "saved_model", model.path, step)
    network = trace_network(module, config, module.__call__)
    if network is not None:
        keep_network(network, folder / "saved_model")
    return network


def _write_onnx(model, network, folder, files, names):
    if network is None:
        raise DataError(
            f"{model.config_path}: a model of this architecture or resizer can't be written as "
            "ONNX.\n  SSD models can, EfficientDet among them, that resize to one shape."
        )
    bare = convert_network(network)
    path = network.kept_path(kept_folder(folder / "saved_model"), ".onnx")
    path.write_bytes(bare.SerializeToString())
    for file in files:
        whole = whole_model(bare, network, names, with_choice=file == ONNX_NMS)
        (folder / file).write_bytes(whole.SerializeToString())


def _replace(new, old):
    """Puts a file or folder in another's place; without a new one the old one is removed."""
    if old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)
    if new.exists():
        os.replace(new, old)
