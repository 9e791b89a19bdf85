r"""Scores a model, or any detector's results, and writes a report on where it fails in the dark.

  python scripts/evaluate.py --model_dir=checkpoint/ssd_efficientdet_d1_640x640_coco17_tpu-8
  python scripts/evaluate.py --detections=results.json --data_dir=data --split=test

The first runs a training run or an exported model, by default on the test records of its
pipeline.config; the same command continues an interrupted one where it stopped. With --watch it
scores each new checkpoint of a training until that ends. The second scores COCO's results form
against the csv files in --data_dir, a COCO file (--truth) or --records, without TensorFlow. Both
print COCO's twelve numbers and write metrics.json, metrics.txt, slices.csv, detections.json,
ground_truth.json and report.html.
"""

from dataclasses import replace

from absl import flags

from lowlight.core import command
from lowlight.core.errors import DataError
from lowlight.evaluation.scoring import ScoringOptions, score_file
from lowlight.evaluation.truth_source import TruthSource
from lowlight.inference.flags import define_detector_flags, detector_options

FLAGS = flags.FLAGS
flags.DEFINE_string("model_dir", None, "A run, an exported model, or a folder of runs.")
flags.DEFINE_string("detections", None, "Score this JSON file in COCO's results form instead.")
flags.DEFINE_list(
    "records", None, "TFRecord files or globs; the config's eval_input_reader's by default."
)
flags.DEFINE_string("label_map_path", None, "The records' label map; the config's by default.")
flags.DEFINE_string(
    "data_dir", None, "Where images.csv is, with lighting and location; by default the records'."
)
flags.DEFINE_string("split", "test", "With --detections and --data_dir: train, val, test or all.")
flags.DEFINE_string("truth", None, "With --detections: a COCO file with the ground truth.")
flags.DEFINE_string(
    "images_dir", None, "With --detections: the images; by default images/ in --data_dir."
)
flags.DEFINE_string(
    "output_dir",
    None,
    "Where to; by default eval/ in the run's folder, eval_<name>/ with --records, or "
    "<name>_eval/ beside --detections; with flags that change the score their names at the end.",
)
define_detector_flags(engine=None)
flags.DEFINE_float("score_threshold", 0.0, "Leave out detections with a lower score.", 0, 1)
flags.DEFINE_integer("max_detections", None, "Keep only so many of an image, the best.", 1)
flags.DEFINE_integer("limit", None, "Score only the first images.", 1)
flags.DEFINE_integer("sample_1_of_n", 1, "With --model_dir: score only every n-th image.", 1)
flags.DEFINE_integer("bootstrap", 1000, "Samples for the 95% intervals; 0 for none.", 0)
flags.DEFINE_integer("seed", 0, "What the samples come from.", 0)
flags.DEFINE_boolean("report", True, "Write report.html.")
flags.DEFINE_boolean(
    "raw_weights", False, "With --model_dir, a run: not the averages that its config asks for."
)
flags.DEFINE_boolean("watch", False, "Score each new checkpoint of --model_dir's training.")
flags.DEFINE_integer(
    "watch_timeout", 3600, "With --watch: seconds without a new checkpoint before it ends.", 1
)


def main() -> None:
    """Evaluates, prints the table and says where everything is kept."""
    if not (FLAGS.model_dir or FLAGS.detections):
        raise DataError(
            "missing flag --model_dir or --detections.\n"
            "  The first runs a model, the second scores a file of results."
        )
    if FLAGS.model_dir and FLAGS.detections:
        raise DataError("--model_dir and --detections: only one can be scored.\n  Leave one out.")
    options = ScoringOptions(
        score_threshold=FLAGS.score_threshold,
        max_detections=FLAGS.max_detections,
        limit=FLAGS.limit,
        samples=FLAGS.bootstrap,
        seed=FLAGS.seed,
        report=FLAGS.report,
        data_dir=FLAGS.data_dir,
    )
    if FLAGS.detections:
        source = TruthSource(
            data_dir=FLAGS.data_dir,
            coco=FLAGS.truth,
            records=FLAGS.records,
            label_map_path=FLAGS.label_map_path,
            split=FLAGS.split,
            images_dir=FLAGS.images_dir,
        )
        score_file(FLAGS.detections, source, FLAGS.output_dir, options)
    else:
        _score_model(options)


def _score_model(options):
    from lowlight.evaluation.evaluation import evaluate_model, watch_run

    given = {
        "records": FLAGS.records,
        "label_map_path": FLAGS.label_map_path,
        "eval_dir": FLAGS.output_dir,
        "options": replace(
            options,
            sample_1_of_n=FLAGS.sample_1_of_n,
            raw_weights=FLAGS.raw_weights,
            detector=detector_options(),
        ),
    }
    if FLAGS.watch:
        watch_run(FLAGS.model_dir, FLAGS.watch_timeout, **given)
    else:
        evaluate_model(FLAGS.model_dir, **given)


if __name__ == "__main__":
    command.run(main)
