"""Scores a model with TFOD's COCO evaluator: prints the twelve numbers and writes metrics.json.

  python scripts/evaluate.py --model_dir=checkpoint/ssd_efficientdet_d1_640x640_coco17_tpu-8

Takes a training run or an exported model, and by default the test records and label map of its
pipeline.config. Writes metrics.json, metrics.txt and TensorBoard events to --output_dir.
"""

from absl import flags

from lowlight import command

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "model_dir", None, "A run, an exported model, or a folder of runs.", required=True
)
flags.DEFINE_list(
    "records", None, "TFRecord files or globs; the config's eval_input_reader's by default."
)
flags.DEFINE_string("label_map_path", None, "The label map; the config's by default.")
flags.DEFINE_string(
    "output_dir",
    None,
    "Where to; by default eval/ in the run's folder, or eval_<name>/ with --records.",
)
flags.DEFINE_integer("sample_1_of_n", 1, "Score only every n-th image.", 1)


def main():
    """Evaluates, prints the table and says where it is kept."""
    from lowlight.evaluation import evaluate_model

    evaluate_model(
        FLAGS.model_dir, FLAGS.records, FLAGS.label_map_path, FLAGS.output_dir, FLAGS.sample_1_of_n
    )


if __name__ == "__main__":
    command.run(main)
