"""Exports a run's newest checkpoint as a SavedModel and, where it is asked for, as ONNX.

  python scripts/export_model.py --model_dir=checkpoint/ssd_efficientdet_d1_640x640_coco17_tpu-8
  python scripts/export_model.py --model_dir=checkpoint/d1 --format=saved_model,onnx --nms

Writes saved_model/, checkpoint/ and pipeline.config to --output_dir, as TFOD's exporter_main_v2
does. The SavedModel takes one uint8 RGB image [1, H, W, 3] and returns boxes, classes, scores and
num_detections. model.onnx takes any number of images, resized as its metadata says, and returns
boxes and scores; with --nms there is model_nms.onnx, too, which returns what the SavedModel does.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command
from lowlight.core.errors import DataError

FLAGS = flags.FLAGS
flags.DEFINE_string("model_dir", None, "The run's folder, or one of several runs.", required=True)
flags.DEFINE_string("output_dir", None, "Where to; exported/ in the run's folder by default.")
flags.DEFINE_list("format", ["saved_model"], "saved_model, or saved_model,onnx.")
flags.DEFINE_boolean("nms", False, "With onnx: a file that chooses among the boxes, too.")
flags.DEFINE_string("label_map_path", None, "Class names for the ONNX files; none by default.")


def main():
    """Exports the run and prints where to."""
    formats = set(FLAGS.format)
    if not {"saved_model"} <= formats <= {"saved_model", "onnx"}:
        given = ",".join(FLAGS.format)
        raise DataError(f"--format={given}: neither saved_model nor saved_model,onnx.")
    if FLAGS.nms and "onnx" not in formats:
        raise DataError("--nms: is for --format=saved_model,onnx.\n  Add it, or leave out --nms.")
    from lowlight.dataset.classes import read_label_map
    from lowlight.detector.export import export_run
    from lowlight.detector.runs import check_classes, find_checkpoint

    model, names = find_checkpoint(FLAGS.model_dir), None
    if FLAGS.label_map_path:
        names = read_label_map(FLAGS.label_map_path)
        check_classes(model, names, FLAGS.label_map_path)
    export_dir = Path(FLAGS.output_dir or model.run_dir / "exported")
    print(f"exporting {model.path}")
    for path in export_run(model, export_dir, "onnx" in formats, FLAGS.nms, names):
        print(f"wrote {path}")


if __name__ == "__main__":
    command.run(main)
