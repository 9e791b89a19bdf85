r"""Finds objects in images, draws them, and writes what was found.

  python run_inference.py --images_folder_dir=test_images --model_dir=checkpoint/ \
    --label_map_path=data/label_map.txt --save_detection=True --save_path=detections

--images_folder_dir is a folder, an image, a zip archive, a pattern ('photos/*.jpg'), "-" for a
list of paths on standard input, or a video: a file, a camera (/dev/video0), a stream's URL.
--model_dir is an exported model, a training run, or a folder of runs, of which the newest is taken.
With --save_detection=False what is found is printed. Otherwise --save_path gets the drawn images,
detections.json, detections.csv, and index.html to look through them. Boxes are in pixels of the
upright image. An image that can't be read is named, the others are done, and the exit status is 1.
A run that was interrupted goes on where it stopped when the same command is run again.

A video needs `pip install -r requirements-video.txt`. --save_path gets the annotated video as MP4,
detections.json and detections.csv. --every=n looks at each n-th frame. Ctrl-C ends it and leaves
whole files.
"""

import functools
import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from lowlight.core import command
from lowlight.core.errors import DataError  # noqa: E402
from lowlight.detector.engines import choose_engine  # noqa: E402
from lowlight.inference import folder as inference
from lowlight.inference import (
    inputs,
    video,  # noqa: E402
)
from lowlight.inference import pictures as saving
from lowlight.inference.flags import (  # noqa: E402
    define_inference_flags,
    facts_of,
    find_flags_model,
    inference_options,
    names_and_thresholds,
)

FLAGS = flags.FLAGS
flags.DEFINE_string("images_folder_dir", None, "Folder, image, zip, video, ...", required=True)
flags.DEFINE_boolean("save_detection", False, "Draw and save; without, print what is found.")
flags.DEFINE_string("save_path", None, "Where drawn images and detections.json are written.")
define_inference_flags()
flags.DEFINE_boolean("crops", False, "Write what lies in each box to crops/<class>/.")
flags.DEFINE_boolean("brighten", False, "Draw on brightened copies; detection sees the originals.")
flags.DEFINE_boolean("gallery", True, "Write index.html and the small pictures that it shows.")
flags.DEFINE_integer("every", 1, "Of a video, look at each n-th frame.", 1)
flags.DEFINE_boolean("gif", False, "Write detections.gif, which shows one picture after another.")
flags.DEFINE_enum("format", "json", ("json", "coco"), "coco: write coco_results.json too.")
flags.DEFINE_boolean("progress", True, "Show progress, on standard error.")
flags.DEFINE_boolean("quiet", False, "Print nothing but errors, and what is found if not saved.")


def main():
    """Checks the inputs, loads the model and detects."""
    if FLAGS.save_detection and not FLAGS.save_path:
        raise DataError("missing flag --save_path: where to save the detections.")
    choose_engine(FLAGS.engine)
    names, thresholds = names_and_thresholds()
    source = FLAGS.images_folder_dir
    detect = detect_on_video if video.is_video(source) else detect_on_images
    text, save_dir = detect(source, functools.partial(make_job, names, thresholds))
    if not FLAGS.quiet:
        print(f"{text}: {save_dir}" if save_dir else text)


def detect_on_images(source, job_for):
    """Detects on images, as the Job that job_for(save_dir) returns says.

    Returns:
        (what was found, as text; the folder that holds it or None).
    """
    if FLAGS.every != 1:
        raise DataError(
            f"--every={FLAGS.every}: {source} isn't named as a video is (.mp4, ...).\n"
            "  Leave --every out, or rename it."
        )
    files = inputs.find_images(source, FLAGS.recursive)
    save_dir = None
    if FLAGS.save_detection:
        save_dir = saving.prepare_save_path(FLAGS.save_path, files, source)
    count, before = inference.detect_files(files, job_for(save_dir))
    if save_dir and FLAGS.gif:
        saving.write_gif(save_dir, files)
    earlier = f", {before} of them by an earlier run" if before else ""
    return f"{count} objects in {len(files)} images{earlier}", save_dir


def detect_on_video(source, job_for):
    """Detects on a video; returns as `detect_on_images`."""
    from lowlight.inference import video_inference, video_output

    asked = {"--crops": FLAGS.crops, "--gif": FLAGS.gif, "--recursive": FLAGS.recursive}
    asked["--format=coco"] = FLAGS.format == "coco"
    if refused := [flag for flag, is_asked in asked.items() if is_asked]:
        raise DataError(f"{source}: {', '.join(refused)} are for images.\n  Leave them out.")
    with video.Video(source) as film:
        save_dir = None
        if FLAGS.save_detection:
            save_dir = video_output.prepare_video_path(FLAGS.save_path, source)
        counts = video_inference.detect_on_video(film, job_for(save_dir), FLAGS.every)
    of = f" of {counts.frames}" if FLAGS.every != 1 else ""
    return f"{counts.objects} objects in {counts.seen}{of} frames", save_dir


def make_job(names, thresholds, save_dir):
    """Loads the model and returns the inference.Job that the flags ask for."""
    detector = load_detector(names, thresholds)
    return inference.Job(
        detector,
        names,
        thresholds,
        save_dir,
        facts_of(detector.model, detector.engine),
        {"crops": FLAGS.crops, "brightened": FLAGS.brighten, "gallery": FLAGS.gallery},
        FLAGS.format,
        quiet=FLAGS.quiet or not FLAGS.progress,
    )


def load_detector(names, thresholds):
    """Returns the Detector that the flags ask for."""
    from lowlight.detector.detector import Detector

    detector = Detector(find_flags_model(names), **inference_options(thresholds))
    if not FLAGS.quiet:
        model = detector.model
        print(f"model: {model.path} (step {model.step()}), run by {detector.engine}", flush=True)
    return detector


if __name__ == "__main__":
    command.run(main)
