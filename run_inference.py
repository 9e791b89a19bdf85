r"""Finds objects in images, draws them, and writes what was found.

  python run_inference.py --images_folder_dir=test_images --model_dir=checkpoint/ \
    --label_map_path=data/label_map.txt --save_detection=True --save_path=detections

--images_folder_dir is a folder, an image, a zip archive, a pattern ('photos/*.jpg'), "-" for a
list of paths on standard input, or a video: a file, a camera (/dev/video0), a stream's URL.
--model_dir is an exported model, a training run, a folder of runs, of which the newest is taken, or
an ONNX file of export_model.py. Without --label_map_path the label_map.txt beside it is taken, or
the names that the ONNX file holds.
With --save_detection=False what is found is printed. Otherwise --save_path gets the drawn images,
detections.json, detections.csv, and index.html to look through them. Boxes are in pixels of the
upright image. An image that can't be read is named, the others are done, and the exit status is 1.
The same command continues an interrupted run where it stopped.

A video needs `pip install -r requirements/video.txt`. --save_path gets the annotated video as MP4,
detections.json and detections.csv. --every=n looks at each n-th frame. Ctrl-C ends it and leaves
whole files.
"""

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from lowlight.core import command  # noqa: E402
from lowlight.core.errors import DataError  # noqa: E402
from lowlight.detector.engines import choose_engine  # noqa: E402
from lowlight.inference import flags as inference_flags  # noqa: E402
from lowlight.inference.folder import detect_on_images  # noqa: E402
from lowlight.inference.inputs import is_video  # noqa: E402
from lowlight.inference.pictures import Pictures  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("images_folder_dir", None, "Folder, image, zip, video, ...", required=True)
flags.DEFINE_boolean("save_detection", False, "Draw and save; without, print what is found.")
flags.DEFINE_string("save_path", None, "Where drawn images and detections.json are written.")
inference_flags.define_inference_flags()
flags.DEFINE_boolean("crops", False, "Write what lies in each box to crops/<class>/.")
flags.DEFINE_boolean("brighten", False, "Draw on brightened copies; detection sees the originals.")
flags.DEFINE_boolean("gallery", True, "Write index.html and the small pictures that it shows.")
flags.DEFINE_integer("every", 1, "Of a video, look at each n-th frame.", 1)
flags.DEFINE_boolean("gif", False, "Write detections.gif, which shows one picture after another.")
flags.DEFINE_enum("format", "json", ("json", "coco"), "coco: write coco_results.json too.")
flags.DEFINE_boolean("progress", True, "Show progress, on standard error.")
flags.DEFINE_boolean("quiet", False, "Print nothing but errors, and what is found if not saved.")


def main() -> None:
    """Checks what is asked for, and detects on images or on a video."""
    if FLAGS.save_detection and not FLAGS.save_path:
        raise DataError("missing flag --save_path: where to save the detections.")
    source, save_path = FLAGS.images_folder_dir, FLAGS.save_path if FLAGS.save_detection else None
    check_flags(source)
    if FLAGS.engine != "auto":  # which looks for GPUs, and loads TensorFlow to do so
        choose_engine(FLAGS.engine)  # says at once where it isn't installed
    wanted = inference_flags.names_and_thresholds()

    def make_job(save_dir):
        job = inference_flags.read_job(
            *wanted,
            source=source,
            save_dir=save_dir,
            pictures=Pictures(FLAGS.crops, FLAGS.brighten, FLAGS.gallery, FLAGS.gif),
            format=FLAGS.format,
            quiet=FLAGS.quiet or not FLAGS.progress,
        ).loaded()
        if not FLAGS.quiet:
            model = f"{job.model.path} (step {job.facts['step']})"
            print(f"model: {model}, run by {job.detector.engine}")
        return job

    if is_video(source):
        from lowlight.inference.video_inference import detect_on_video

        text, save_dir = detect_on_video(source, make_job, save_path, FLAGS.every)
    else:
        text, save_dir = detect_on_images(source, make_job, save_path, FLAGS.recursive)
    if not FLAGS.quiet:
        print(f"{text}: {save_dir}" if save_dir else text)


def check_flags(source: str) -> None:
    """Raises DataError where a flag that is for images is given with a video, or the reverse."""
    for_images = {"--crops": FLAGS.crops, "--gif": FLAGS.gif, "--recursive": FLAGS.recursive}
    for_images["--format=coco"] = FLAGS.format == "coco"
    refused = [flag for flag, is_given in for_images.items() if is_given]
    if is_video(source) and refused:
        raise DataError(f"{source}: {', '.join(refused)} are for images.\n  Leave them out.")
    if not is_video(source) and FLAGS.every != 1:
        raise DataError(
            f"--every={FLAGS.every}: {source} isn't named as a video is (.mp4, ...).\n"
            "  Leave --every out, or rename it."
        )


if __name__ == "__main__":
    command.run(main)
