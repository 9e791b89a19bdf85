"""Exports a run's newest checkpoint as a SavedModel, as ONNX, or as both.

  python scripts/export_model.py --model_dir=checkpoint/ssd_efficientdet_d1_640x640_coco17_tpu-8
  python scripts/export_model.py --model_dir=checkpoint/d1 --format=saved_model,onnx --nms

Writes saved_model/, checkpoint/ and pipeline.config to --output_dir, as TFOD's exporter_main_v2
does. The SavedModel takes one uint8 RGB image [1, H, W, 3] and returns boxes, classes, scores and
num_detections. model.onnx takes any number of images, resized as its metadata says, and returns
boxes and scores; with --nms there is model_nms.onnx, too, which returns what the SavedModel does.
With --format=onnx there is no SavedModel and no checkpoint/. Parts of an earlier export stay where
they were made from the same checkpoint, and are removed otherwise.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command
from lowlight.core.errors import DataError

FLAGS = flags.FLAGS
flags.DEFINE_string("model_dir", None, "The run's folder, or one of several runs.", required=True)
flags.DEFINE_string("output_dir", None, "Where to; exported/ in the run's folder by default.")
flags.DEFINE_list("format", ["saved_model"], "saved_model, onnx, or saved_model,onnx.")
flags.DEFINE_boolean("nms", False, "With onnx: a file that chooses among the boxes, too.")
flags.DEFINE_boolean("raw_weights", False, "Not the averages that the config asks for.")
flags.DEFINE_string("label_map_path", None, "Class names for ONNX; by default the config's.")


def main():
    """Exports the run and prints where to."""
    formats = check_formats()
    from lowlight.detector.export import export_run
    from lowlight.detector.runs import find_checkpoint

    model = find_checkpoint(FLAGS.model_dir, FLAGS.raw_weights)
    names = read_names(model) if "onnx" in formats or FLAGS.label_map_path else None
    # Raw weights go where they aren't taken for an export of the averages.
    folder = "exported_raw_weights" if model.raw_weights else "exported"
    export_dir = Path(FLAGS.output_dir or model.run_dir / folder)
    print(f"exporting {model.path}")
    for path in export_run(model, export_dir, formats, FLAGS.nms, names):
        print(f"wrote {path}")


def check_formats() -> set[str]:
    """Returns the formats that are asked for; raises DataError where there is no such."""
    formats, known = set(FLAGS.format), {"saved_model", "onnx"}
    if formats - known:
        unknown = ", ".join(map(repr, sorted(formats - known)))
        raise DataError(
            f"--format={','.join(FLAGS.format)}: {unknown} isn't a format.\n"
            "  Give saved_model, onnx, or saved_model,onnx."
        )
    if FLAGS.nms and "onnx" not in formats:
        raise DataError("--nms: is for --format=onnx and saved_model,onnx.\n  Leave it out.")
    return formats


def read_names(model) -> dict[int, str] | None:
    """Returns the names that ONNX files hold, {id: name}; prints where a runs.Model has none."""
    from lowlight.dataset.classes import read_label_map
    from lowlight.detector.runs import check_classes
    from lowlight.tfod.model import read_config

    path = FLAGS.label_map_path
    path = path or read_config(model.config_path).train_input_reader.label_map_path
    if not FLAGS.label_map_path and not Path(path).is_file():
        print(f"the ONNX files get no class names: {path} isn't there; --label_map_path gives them")
        return None
    names = read_label_map(path)
    check_classes(model, names, path)
    return names


if __name__ == "__main__":
    command.run(main)
