"""Finds the model that is meant: a training run's checkpoint, a SavedModel, or an ONNX file."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from lowlight.core.errors import DataError
from lowlight.core.files import existing_dir, existing_file
from lowlight.core.tensorflow_files import checkpoint_step, latest_checkpoint
from lowlight.detector.network import EXTRA
from lowlight.detector.onnx_files import read_facts

CONFIG = "pipeline.config"
ONNX = "model.onnx"
BEST = "best"  # in a run's folder: its best checkpoint, in the form of a run
_SOURCE = f"{EXTRA}/checkpoint.json"  # in a SavedModel: what it was made from


class Model(NamedTuple):
    """A trained model on disk."""

    path: Path  # a checkpoint's prefix, the folder that holds saved_model.pb, or an ONNX file
    run_dir: Path  # where evaluations of it belong
    config_path: Path  # the pipeline config; an export of another program may lack the file
    checkpoint: str | None  # prefix of the checkpoint that holds its step
    raw_weights: bool = False  # of a checkpoint: not the averages that its config asks for

    @property
    def name(self) -> str:
        """Its path, and that it is of raw weights where others are meant otherwise."""
        return f"{self.path}{' (raw weights)' if self.raw_weights else ''}"

    @property
    def is_exported(self) -> bool:
        """Whether `path` is that of a SavedModel."""
        return (self.path / "saved_model.pb").is_file()

    @property
    def is_onnx(self) -> bool:
        """Whether `path` is that of an ONNX file."""
        return self.path.suffix == ".onnx"

    @property
    def default_engine(self) -> str:
        """The engine that runs it as TFOD does; ONNX Runtime for an ONNX file."""
        return "onnxruntime" if self.is_onnx else "tensorflow"

    def absolute(self) -> "Model":
        """Returns it with paths that don't depend on the working folder."""
        places = (Path(os.path.abspath(p)) for p in (self.path, self.run_dir, self.config_path))
        checkpoint = self.checkpoint and os.path.abspath(self.checkpoint)
        return Model(*places, checkpoint, self.raw_weights)

    @property
    def is_averaged(self) -> bool:
        """Whether a checkpoint is run with moving averages of its weights, as its config asks."""
        asks = r"^[^#\n]*\buse_moving_averages:\s*(true|True|t|1)\b"
        return not self.raw_weights and bool(self._in_config(asks))

    def _in_config(self, pattern):
        """Returns the match in the config as text; TFOD takes five seconds to be imported."""
        is_there = self.config_path.is_file()
        text = self.config_path.read_text("utf-8", errors="replace") if is_there else ""
        return re.search(pattern, text, re.MULTILINE)

    def files(self) -> list[Path]:
        """Returns the paths of the files that change when another model takes its place."""
        paths = [Path(f"{self.path}.index"), self.config_path, self.path]
        paths += [self.path / "saved_model.pb", self.path / "variables" / "variables.index"]
        return [path for path in paths if path.is_file()]

    def step(self) -> int:
        """Returns how many training steps it has behind it, 0 where that isn't known.

        TFOD's own exporter keeps no step, and other programs may keep no checkpoint.
        """
        noted = read_facts(self.path).source if self.is_onnx else _read_source(self.path)
        if noted or self.checkpoint is None:
            return noted.get("step", 0)
        return checkpoint_step(self.checkpoint, unknown=0 if self.is_exported else None)

    def num_classes(self) -> int | None:
        """Returns the config's num_classes, or the ONNX file's, None where neither is known."""
        if self.is_onnx:
            return read_facts(self.path).source.get("num_classes")
        found = self._in_config(r"^\s*num_classes:\s*(\d+)")
        return int(found[1]) if found else None


def record_source(
    saved_model: Path | str, prefix: Path | str, step: int, averaged: bool = False
) -> None:
    """Notes in a SavedModel from which checkpoint of which training step it was made, and how."""
    path = Path(saved_model) / _SOURCE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(source_of(prefix, step, averaged)))


def source_of(prefix: Path | str, step: int, averaged: bool = False) -> dict:
    """Returns what an export notes of the checkpoint that it is made from, a JSON object.

    The digest of one of averaged weights is another than that of one of raw weights.
    """
    return {"step": step, "sha256": _digest(prefix, averaged)}


def _read_source(saved_model):
    """Returns what a SavedModel notes of its checkpoint, {} where it notes nothing."""
    try:
        noted = json.loads((Path(saved_model) / _SOURCE).read_text())
        return {"step": int(noted["step"]), "sha256": str(noted["sha256"])}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def was_made_from(export_dir: Path, prefix: Path | str, averaged: bool = False) -> bool:
    """Says whether all that an export's folder holds was made from one checkpoint, this one."""
    noted = []
    if (export_dir / "saved_model").exists():
        noted.append(_read_source(export_dir / "saved_model"))
    if (export_dir / ONNX).is_file():
        noted.append(read_facts(export_dir / ONNX).source)
    return all(source.get("sha256") == _digest(prefix, averaged) for source in noted)


def _digest(prefix, averaged):
    """Returns the SHA-256 of a checkpoint's index, which holds a checksum of each weight."""
    which = b"averages" if averaged else b""
    return hashlib.sha256(Path(f"{prefix}.index").read_bytes() + which).hexdigest()


def check_classes(model: Model, names: dict, label_map_path: Path | str) -> None:
    """Raises DataError where the ids of names, {id: name} of a label map, aren't a model's."""
    number = model.num_classes()
    if number is not None and number != max(names):
        raise DataError(
            f"{label_map_path}: ids up to {max(names)}, but {model.path} has {number} classes "
            f"(num_classes in {model.config_path}).\n"
            "  Give the label map that the model was trained with."
        )


def find_model(model_dir: Path | str | Model, raw_weights: bool = False) -> Model:
    """Finds what to run: a SavedModel, a run's checkpoint, or the newest run below a folder.

    Of a run whose newest checkpoint was exported, the SavedModel is taken: it is the same model and
    starts sooner. An ONNX file is taken where it is named, or where nothing else is there. A Model
    is returned as it is. With `raw_weights` a checkpoint is taken, without averages.

    Raises:
        DataError: no such folder or ONNX file, or no model in it.
    """
    if isinstance(model_dir, Model):
        return model_dir
    if raw_weights:
        return find_checkpoint(model_dir, raw_weights)
    path = Path(model_dir)
    if path.suffix == ".onnx" and not path.is_dir():
        return _export_in(existing_file(path, "Check --model_dir.").parent, path.name)
    missing = f"no checkpoint (ckpt-*.index), no saved_model.pb and no {ONNX}"
    return _find(model_dir, _model_in, missing)


def find_checkpoint(model_dir: Path | str, raw_weights: bool = False) -> Model:
    """As `find_model`, for checkpoints only."""
    model = _find(model_dir, _checkpoint_in, "no checkpoint (ckpt-*.index)")
    return model._replace(raw_weights=raw_weights and model.is_averaged)


def _find(model_dir, find_in, missing):
    folder = existing_dir(model_dir, "model_dir")
    model = find_in(folder)
    if model is None:
        run = _newest_run(folder)
        model = run and find_in(run)
    if model is None:
        raise DataError(
            f"{folder}: holds {missing}.\n  Check --model_dir: a run of train.py, a folder of "
            "runs, or what export_model.py wrote."
        )
    return model


def _model_in(folder):
    places = "", "saved_model/", "exported/saved_model/"
    exported = _export_in(folder, *(f"{place}saved_model.pb" for place in places))
    checkpoint = _checkpoint_in(folder)
    if exported and checkpoint:
        digest = _digest(checkpoint.path, checkpoint.is_averaged)
        return exported if _read_source(exported.path).get("sha256") == digest else checkpoint
    return exported or checkpoint or _export_in(folder, ONNX, f"exported/{ONNX}")


def _export_in(folder, *files):
    """Returns the export that the first of its files which is there belongs to, or None."""
    file = next((folder / name for name in files if (folder / name).is_file()), None)
    if file is None:
        return None
    path = file if file.suffix == ".onnx" else file.parent
    top = path.parent if path == file or path.name == "saved_model" else path
    run_dir = top.parent if top.name == "exported" else top
    checkpoint = None if path == file else latest_checkpoint(top / "checkpoint")
    return Model(path, run_dir, top / CONFIG, checkpoint)


def _checkpoint_in(folder):
    """Returns the newest checkpoint of the run that this folder is, or None."""
    prefix = latest_checkpoint(folder)
    return Model(Path(prefix), folder, folder / CONFIG, prefix) if prefix else None


def _newest_run(folder):
    """Returns the folder of the run below this one that was trained last, or None."""
    states = [path for path in folder.rglob("checkpoint") if path.is_file()]
    states = [path for path in states if _is_run(path.parent)]
    return max(states, key=lambda path: path.stat().st_mtime).parent if states else None


def _is_run(folder):
    """Says whether it is a run's folder, not the best/ in one, nor what a killed one left."""
    is_best = folder.name == BEST and (folder.parent / CONFIG).is_file()
    return (folder / CONFIG).is_file() and not is_best and not folder.name.startswith(".")
