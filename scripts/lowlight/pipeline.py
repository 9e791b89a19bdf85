"""The check of a pipeline config before training begins, and the export of what was trained."""

import os
import shutil
from pathlib import Path

from lowlight import tfod
from lowlight.errors import DataError
from lowlight.files import output_dir
from lowlight.runs import CONFIG, checkpoint_step

_ZOO = "http://download.tensorflow.org/models/object_detection/tf2/20200711"


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


def check_eval_input(config, path):
    """Raises DataError unless a config names test records and a label map that are there."""
    if not config.eval_input_reader:
        raise DataError(f"{path}: no eval_input_reader to evaluate on.\n  Add one.")
    reader = config.eval_input_reader[0]
    if not Path(reader.label_map_path).is_file():
        raise DataError(_missing_file(path, "label map", reader.label_map_path, "label_map_path"))
    check_records(reader.tf_record_input_reader.input_path, path)


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
