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
and does images again that have changed since.
"""

import os

from absl import flags

from lowlight.core import command
from lowlight.core.errors import DataError, raise_any, say_others
from lowlight.core.files import is_inside, locked, output_dir
from lowlight.core.parallel import Progress
from lowlight.core.sources import SourceFile
from lowlight.inference import flags as inference_flags
from lowlight.inference import ray_inference
from lowlight.inference.folder import by_earlier_run, identity_of
from lowlight.inference.inputs import find_images, is_video
from lowlight.inference.steps import Job

FLAGS = flags.FLAGS
flags.DEFINE_string("input_dir", None, "The images: folder, file, zip, ...", required=True)
flags.DEFINE_string("output_dir", None, "Where part-*.parquet is written.", required=True)
inference_flags.define_inference_flags()
flags.DEFINE_string("address", None, "A Ray cluster's: auto, host:port; by default this machine.")
flags.DEFINE_integer("workers", None, "Models at a time; one a GPU, or one for two cores.", 1)


def main() -> None:
    """Checks the inputs, sees what is done, and has the rest done by Ray."""
    ray_inference.load_ray()
    from lowlight.inference.parts import DetectionParts, left_to_do  # needs what comes with Ray

    files = find_files()
    wanted = inference_flags.names_and_thresholds()
    folder = output_dir(FLAGS.output_dir)
    job = inference_flags.read_job(*wanted, absolute=True, source=os.path.abspath(FLAGS.input_dir))
    with locked(folder, "written", "output_dir"):
        parts = DetectionParts(folder, identity_of(job))
        rest = left_to_do(files, parts)
        errors = detect(rest, job, parts) if rest else []
    earlier = by_earlier_run(len(files) - len(rest))
    raise_any(errors, say_others(len(parts.done()), f"done{earlier}"))
    print(f"{parts.count()} objects in {len(files)} images{earlier}: {folder}")


def find_files() -> list[SourceFile]:
    """Returns the images; raises DataError where it is a video or the output."""
    if is_video(FLAGS.input_dir):
        raise DataError(f"{FLAGS.input_dir}: is a video.\n  Use run_inference.py.")
    files = find_images(FLAGS.input_dir, FLAGS.recursive, flag="input_dir")
    if is_inside(FLAGS.output_dir, FLAGS.input_dir):
        raise DataError(
            f"{FLAGS.output_dir}: lies in the folder of the images, which is left as it is.\n"
            "  Choose another --output_dir."
        )
    return files


def detect(files: list[SourceFile], job: Job, parts) -> list[DataError]:
    """Returns the errors of those that can't be done."""
    address = FLAGS.address or os.environ.get("RAY_ADDRESS") or ray_inference.HERE
    with ray_inference.connected(address) as ray:
        nodes, uses_gpus = ray_inference.nodes_of(ray), FLAGS.device != "cpu"
        share = ray_inference.share_out(nodes, FLAGS.workers, uses_gpus)
        print(f"model: {job.model.path} (step {job.facts['step']}), run by workers: {share}")
        with Progress(len(files), "image") as progress:
            return ray_inference.detect_in_workers(ray, files, job, share, parts, progress)


if __name__ == "__main__":
    command.run(main)
