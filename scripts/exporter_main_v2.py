r"""Runs TFOD's own exporter, exporter_main_v2, unmodified, on today's TensorFlow.

  python scripts/exporter_main_v2.py \
    --pipeline_config_path=checkpoint/ssd_efficientdet_d1_640x640_coco17_tpu-8/pipeline.config \
    --trained_checkpoint_dir=checkpoint/ssd_efficientdet_d1_640x640_coco17_tpu-8 \
    --output_directory=exported/d1

Flags, messages and behaviour are TFOD's, the input types other than one image among them.
export_model.py writes the same model sooner, and in more forms.
"""

import importlib
import runpy
import sys

from lowlight.core.errors import DataError


def main():
    """Runs the program as it is."""
    try:
        importlib.import_module("lowlight.tfod")  # which repairs TFOD
    except DataError as error:
        sys.exit(f"error: {error}")
    runpy.run_module("object_detection.exporter_main_v2", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
