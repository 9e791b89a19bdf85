r"""Runs TFOD's own training loop, model_main_tf2, unmodified, on today's TensorFlow.

  python scripts/model_main_tf2.py --num_train_steps=15000 \
    --pipeline_config_path=configs/ssd_efficientdet_d1_640x640_coco17_tpu-8.config \
    --model_dir=checkpoint/ssd_efficientdet_d1_640x640_coco17_tpu-8

Flags, messages and behaviour are TFOD's; train.py is this project's loop. Beside the checkpoints
the run's pipeline.config is left, so that train.py, evaluate.py, export_model.py and
run_inference.py take the folder as they take one of train.py's.
"""

import functools
import importlib
import runpy
import sys

from lowlight.core.errors import DataError


def main() -> None:
    """Runs the program with an option of its loop that its command line lacks."""
    try:
        importlib.import_module("lowlight.tfod")  # which repairs TFOD
    except DataError as error:
        sys.exit(f"error: {error}")
    from object_detection import model_lib_v2

    model_lib_v2.train_loop = functools.partial(model_lib_v2.train_loop, save_final_config=True)
    runpy.run_module("object_detection.model_main_tf2", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
