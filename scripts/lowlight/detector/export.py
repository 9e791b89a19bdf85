"""Exports what a run has trained."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from lowlight.core.errors import DataError
from lowlight.core.files import LOCK, locked, output_dir
from lowlight.core.tensorflow_files import checkpoint_step
from lowlight.detector.network import EXTRA, Network, keep_network
from lowlight.detector.onnx_files import check_installed, convert_network, read_facts, whole_model
from lowlight.detector.runs import CONFIG, ONNX, Model, record_source, source_of, was_made_from
from lowlight.detector.tracing import build_module, trace_network
from lowlight.tfod import model as tfod

ONNX_NMS = "model_nms.onnx"
_PARTS = CONFIG, "checkpoint", ONNX_NMS, ONNX, "saved_model"  # a file's first, the export's last
_PARTIAL = ".partial"


def export_run(
    model: Model,
    export_dir: Path | str,
    formats: Collection[str] = ("saved_model",),
    with_nms: bool = False,
    names: dict | None = None,
) -> list[Path]:
    """Exports a run's checkpoint, as a SavedModel with the network that detectors run, and as ONNX.

    The export is made beside its place. An earlier one is replaced part by part, the SavedModel
    last, so that there is one only where all is whole. Of an earlier one of the same checkpoint
    the parts of other formats stay; others' are removed.

    Args:
        model: of `runs.find_checkpoint`.
        export_dir: the folder to write, made where it is missing; other files in it stay.
        formats: of saved_model and onnx, which writes `onnx_files.whole_model` as model.onnx.
        with_nms: with onnx, write model_nms.onnx, too, which chooses among the boxes.
        names: {class id: name}, for the ONNX files.

    Returns the paths of the models that were written.

    Raises:
        DataError: the folder holds files, but no export, or another process writes it; the model
            can't be written as ONNX.
    """
    export_dir = Path(export_dir).resolve()
    _check_dir(export_dir)
    with locked(output_dir(export_dir), "written", "output_dir"):
        return _export(model, export_dir, formats, with_nms, names)


def _export(model, export_dir, formats, with_nms, names):
    onnx_files = [ONNX, *([ONNX_NMS] if with_nms else [])] if "onnx" in formats else []
    if onnx_files:
        check_installed()
    partial = export_dir / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        network = _write_export(model, partial, "saved_model" in formats)
        if onnx_files:
            _write_onnx(model, network, partial, onnx_files, names)
        stays = was_made_from(export_dir, model.path, model.is_averaged)
        for part in _PARTS:
            if not stays or (partial / part).exists():
                _replace(partial / part, export_dir / part)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    written = [*(["saved_model"] if "saved_model" in formats else []), *onnx_files]
    return [export_dir / part for part in written]


def _check_dir(export_dir):
    """Raises DataError where a folder holds files, but no export."""
    if (export_dir / "saved_model" / "saved_model.pb").is_file() or not export_dir.is_dir():
        return
    if (export_dir / _PARTIAL).is_dir():  # of one that was killed, between two parts perhaps
        return
    if (export_dir / ONNX).is_file():
        read_facts(export_dir / ONNX)  # that of another program isn't written over
    elif any(path.name != LOCK for path in export_dir.iterdir()):
        raise DataError(f"{export_dir}: holds other files.\n  Choose another --output_dir.")


def _write_export(model, folder, as_saved_model) -> Network | None:
    """Writes a run's config and, if wanted, its SavedModel; returns its network."""
    step = checkpoint_step(model.path)
    module, config = build_module(model, model.path, model.raw_weights)
    if as_saved_model:
        tfod.save_export(module, config, step, folder)
        record_source(folder / "saved_model", model.path, step, model.is_averaged)
    else:
        shutil.copyfile(model.config_path, folder / CONFIG)
    network = trace_network(module, config, module.__call__)
    if network is not None and as_saved_model:
        keep_network(network, folder / "saved_model")
    return network


def _write_onnx(model, network, folder, files, names):
    if network is None:
        config = tfod.read_config(model.config_path).model
        kind = config.WhichOneof("model")
        resizer = getattr(config, kind).image_resizer.WhichOneof("image_resizer_oneof")
        raise DataError(
            f"{model.config_path}: a {kind} with this {resizer} can't be written as ONNX.\n"
            "  SSD models can, EfficientDet among them, that resize to one shape."
        )
    if ONNX_NMS in files and network.suppression.sigma:
        raise DataError(
            f"{model.config_path}: soft_nms_sigma: {network.suppression.sigma:g}, and ONNX has no "
            f"Soft-NMS for {ONNX_NMS}.\n  Leave out --nms: run_inference.py chooses {ONNX}'s "
            "boxes as the config says."
        )
    bare = convert_network(network, folder / "saved_model" / EXTRA)
    source = source_of(model.path, checkpoint_step(model.path), model.is_averaged)
    source["num_classes"] = model.num_classes()
    for file in files:
        (folder / file).write_bytes(whole_model(bare, network, names, file == ONNX_NMS, source))


def _replace(new, old):
    """Puts a file or folder in another's place; without a new one the old one is removed."""
    if old.is_dir():
        shutil.rmtree(old)
    else:
        old.unlink(missing_ok=True)
    if new.exists():
        os.replace(new, old)
