r"""Finds objects in a folder of images, draws them and writes detections.json.

  python run_inference.py --images_folder_dir=test_images --model_dir=checkpoint/ \
    --label_map_path=data/label_map.txt --save_detection=True --save_path=detections

--model_dir is an exported model, a training run, or a folder of runs, of which the newest is taken.
With --save_detection=False what is found is printed. Images may be of any size; boxes are in pixels
of the upright image. An image that can't be read is named, the others are done, and the exit status
is 1.
"""

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from lowlight import command, inference  # noqa: E402
from lowlight.classes import read_label_map  # noqa: E402
from lowlight.errors import DataError  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("images_folder_dir", None, "The folder with the images.", required=True)
flags.DEFINE_string(
    "model_dir", None, "An exported model, a run, or a folder of runs.", required=True
)
flags.DEFINE_string("label_map_path", None, "The label map of the training.", required=True)
flags.DEFINE_boolean("save_detection", False, "Draw and save; without, print what is found.")
flags.DEFINE_string("save_path", None, "Where drawn images and detections.json are written.")
flags.DEFINE_float(
    "score_threshold", 0.3, "Lowest score of a detection (0.3 as in the original).", 0, 1
)


def main():
    """Checks the inputs, loads the model and detects."""
    if FLAGS.save_detection and not FLAGS.save_path:
        raise DataError("missing flag --save_path: where to save the detections.")
    paths = inference.list_images(FLAGS.images_folder_dir)
    names = read_label_map(FLAGS.label_map_path)
    save_dir = inference.prepare_save_path(FLAGS.save_path, paths) if FLAGS.save_detection else None

    from lowlight.detector import load_detector
    from lowlight.runs import check_classes, find_model

    model = find_model(FLAGS.model_dir)
    check_classes(model, names, FLAGS.label_map_path)
    print(f"model: {model.path} (step {model.step()})", flush=True)
    facts = {
        "model": str(model.path),
        "label_map": FLAGS.label_map_path,
        "score_threshold": FLAGS.score_threshold,
    }
    count = inference.detect_images(
        paths, load_detector(model), names, FLAGS.score_threshold, save_dir, facts
    )
    print(f"{count} objects in {len(paths)} images" + (f": {save_dir}" if save_dir else ""))


if __name__ == "__main__":
    command.run(main)
