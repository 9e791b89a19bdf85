"""Exports a run's newest checkpoint as a SavedModel.

  python scripts/export_model.py --model_dir=checkpoint/ssd_efficientdet_d1_640x640_coco17_tpu-8

Writes saved_model/, checkpoint/ and pipeline.config to --output_dir, as TFOD's exporter_main_v2
does. The SavedModel takes one uint8 RGB image [1, H, W, 3] and returns boxes, classes, scores and
num_detections.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command

FLAGS = flags.FLAGS
flags.DEFINE_string("model_dir", None, "The run's folder, or one of several runs.", required=True)
flags.DEFINE_string("output_dir", None, "Where to; exported/ in the run's folder by default.")


def main():
    """Exports the run and prints where to."""
    from lowlight.detector.export import export_run
    from lowlight.detector.runs import find_checkpoint

    model = find_checkpoint(FLAGS.model_dir)
    export_dir = Path(FLAGS.output_dir or model.run_dir / "exported")
    print(f"exporting {model.path}")
    export_run(model, export_dir)
    print(f"wrote {export_dir / 'saved_model'}")


if __name__ == "__main__":
    command.run(main)
