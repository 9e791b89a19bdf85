r"""Finds objects in images on many machines or GPUs, with Ray, and writes them as Parquet.

  pip install -r requirements/ray.txt
  python scripts/run_inference_ray.py --input_dir=photos --output_dir=detections/photos \
    --model_dir=checkpoint/ --label_map_path=data/label_map.txt

finds what run_inference.py finds. --output_dir gets part-00000.parquet and so on, which
pd.read_parquet(output_dir) reads: a row an image, with a list a column of its detections, in pixels
of the upright image. Without --address, Ray runs on this machine alone, or where RAY_ADDRESS says;
--address=auto takes the cluster that this machine is in. All machines need the images and the model
at the same paths; --output_dir is needed on this one only. A worker has a GPU, or two cores where
there is no GPU. Workers that are killed lose nothing. An image that can't be read is named, the
others are done, and the exit status is 1. The same command continues where it was interrupted,
and does images anew that have changed since.
"""

import os
import zipfile

from absl import flags

from lowlight.core import command
from lowlight.core.errors import DataError, join_errors
from lowlight.core.files import is_inside, locked, output_dir
from lowlight.core.log import fingerprint
from lowlight.core.parallel import Progress
from lowlight.inference import inputs, video
from lowlight.inference.flags import (
    define_inference_flags,
    facts_of,
    find_flags_model,
    inference_options,
    names_and_thresholds,
)
from lowlight.inference.parts import DetectionParts, left_to_do
from lowlight.inference.ray_cluster import HERE, connected, load_ray, share_cluster
from lowlight.inference.ray_inference import Task, detect_in_workers

FLAGS = flags.FLAGS
flags.DEFINE_string("input_dir", None, "The images: folder, file, zip, ...", required=True)
flags.DEFINE_string("output_dir", None, "Where part-*.parquet is written.", required=True)
define_inference_flags()
flags.DEFINE_string("address", None, "A Ray cluster's: auto, host:port; by default this machine.")
flags.DEFINE_integer("workers", None, "Models at a time; one a GPU, or one for two cores.", 1)


def main():
    """Checks the inputs, sees what is done, and has the rest done by Ray."""
    load_ray()
    if video.is_video(FLAGS.input_dir):
        raise DataError(f"{FLAGS.input_dir}: is a video.\n  Use run_inference.py.")
    names, thresholds = names_and_thresholds()
    files = inputs.find_images(FLAGS.input_dir, FLAGS.recursive, flag="input_dir")
    if is_inside(FLAGS.output_dir, FLAGS.input_dir):
        raise DataError(
            f"{FLAGS.output_dir}: lies in the folder of the images, which is left as it is.\n"
            "  Choose another --output_dir."
        )
    options = inference_options(thresholds)
    folder = output_dir(FLAGS.output_dir)
    model = find_flags_model(names)
    archive = FLAGS.input_dir if zipfile.is_zipfile(FLAGS.input_dir) else None
    task = Task(
        model=model.absolute(),
        options=options,
        names=names,
        thresholds=thresholds,
        archive=archive and os.path.abspath(archive),
        max_pixels=FLAGS.max_pixels,
    )
    with locked(folder, "written", "output_dir"):
        parts = DetectionParts(folder, identity(task))
        rest = left_to_do(files, parts)
        errors = detect(rest, task, parts) if rest else []
        before = len(files) - len(rest)
        earlier = f", {before} of them by an earlier run" if before else ""
        if errors:
            others = len(parts.done())
            rest = f"The other {others} images are done{earlier}." if others else ""
            raise join_errors(errors, rest)
        print(f"{parts.count()} objects in {len(files)} images{earlier}: {folder}")


def identity(task):
    """Returns what the detections depend on, a JSON object."""
    facts = facts_of(task.model, FLAGS.engine)
    del facts["label_map"], facts["score_threshold"]
    return facts | {
        "model files": fingerprint(task.model.files()),
        "label map": task.names,
        "thresholds": task.thresholds,
        "input folder": os.path.abspath(FLAGS.input_dir),
        "archive": task.archive and fingerprint([task.archive]),
    }


def detect(files, task, parts):
    """Returns the errors of those that can't be done."""
    address = FLAGS.address or os.environ.get("RAY_ADDRESS") or HERE
    with connected(address) as ray:
        share = share_cluster(ray, FLAGS.workers, use_gpus=FLAGS.device != "cpu")
        model = f"{task.model.path} (step {task.model.step()})"
        print(f"model: {model}, run by workers: {share}", flush=True)
        with Progress(len(files), "image") as progress:
            return detect_in_workers(ray, files, task, share, parts, progress)


if __name__ == "__main__":
    command.run(main)
