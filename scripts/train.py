r"""Trains a TFOD pipeline config, on every GPU there is.

  python scripts/train.py \
    --pipeline_config_path=configs/ssd_efficientdet_d1_640x640_coco17_tpu-8.config \
    --model_dir=checkpoint/ssd_efficientdet_d1_640x640_coco17_tpu-8

Writes pipeline.config, run.json, checkpoints (ckpt-N.*) and, under train/, TensorBoard events to
--model_dir. The same command run again continues from the newest checkpoint. The flags are those of
TFOD's model_main_tf2, without TPUs, and some more; with --checkpoint_dir it evaluates each new
checkpoint instead, as evaluate.py --watch. TFOD's own loop is scripts/model_main_tf2.py.
"""

from dataclasses import fields

from absl import flags

from lowlight.core import command

FLAGS = flags.FLAGS
flags.DEFINE_string("pipeline_config_path", None, "The pipeline config to train.", required=True)
flags.DEFINE_string("model_dir", None, "The run's folder.", required=True)
flags.DEFINE_integer("num_train_steps", None, "The step to train to; the config's by default.", 1)
flags.DEFINE_integer("checkpoint_every_n", 1000, "Steps between two checkpoints.", 1)
flags.DEFINE_integer("summarize_every_n", 100, "Steps between two TensorBoard summaries.", 1)
flags.DEFINE_boolean("record_summaries", True, "Show training images in TensorBoard, too.")
flags.DEFINE_integer(
    "seed", None, "Makes a run repeatable on the same machine, at some cost in speed.", 0
)
flags.DEFINE_boolean(
    "restart_schedule", False, "Begin the learning rate's schedule again where training continues."
)
flags.DEFINE_integer(
    "eval_every_n", 0, "Steps between two evaluations, which keep best/; 0 for none.", 0
)
flags.DEFINE_integer(
    "patience", 0, "Stop after this many evaluations without a better mAP; 0 doesn't.", 0
)
flags.DEFINE_integer(
    "accumulate", 1, "Parts in which a batch is taken, one after the other, to save memory.", 1
)
flags.DEFINE_boolean(
    "balance", False, "Have images of rare classes come more often, as LVIS's repeat factors say."
)
flags.DEFINE_float(
    "balance_share",
    None,
    "With --balance: classes in a smaller share of the images come more often (LVIS's t); by "
    "default the median of the classes' shares, for the rarer half of them.",
    0,
    1,
)
flags.DEFINE_boolean("mixed_precision", False, "Compute in float16 on GPUs, in bfloat16 on CPUs.")
flags.DEFINE_boolean("dry_run", False, "End after the checks, before the first step.")
flags.DEFINE_boolean("check_images", False, "Decode every image of the records before training.")
flags.DEFINE_integer("num_workers", 1, "Over 1, MultiWorkerMirroredStrategy by TF_CONFIG.", 1)
flags.DEFINE_string(
    "checkpoint_dir", None, "Evaluate this folder's checkpoints instead, each as it comes."
)
flags.DEFINE_integer(
    "eval_timeout", 3600, "With --checkpoint_dir: seconds without a new checkpoint before it ends."
)
flags.DEFINE_boolean("eval_on_train_data", False, "Evaluate on the training records.")
flags.DEFINE_integer("sample_1_of_n_eval_examples", 1, "Evaluate every n-th image.", 1)
flags.DEFINE_integer(
    "sample_1_of_n_eval_on_train_examples", 5, "The same with --eval_on_train_data.", 1
)


def main():
    """Trains, or with --checkpoint_dir evaluates."""
    if FLAGS.checkpoint_dir:
        from lowlight.evaluation.evaluation import watch_run
        from lowlight.evaluation.scoring import ScoringOptions

        on_train, every_n = FLAGS.eval_on_train_data, FLAGS.sample_1_of_n_eval_examples
        if on_train:
            every_n = FLAGS.sample_1_of_n_eval_on_train_examples
        watch_run(
            FLAGS.checkpoint_dir,
            FLAGS.eval_timeout,
            config_path=FLAGS.pipeline_config_path,
            run_dir=FLAGS.model_dir,
            on_train_data=on_train,
            options=ScoringOptions(sample_1_of_n=every_n),
        )
        return
    from lowlight.training.config import TrainingOptions
    from lowlight.training.train import train_run
    from lowlight.training.workers import choose_strategy

    given = {flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(__name__)}
    alike = {one.name: given[one.name] for one in fields(TrainingOptions) if one.name in given}
    options = TrainingOptions(num_steps=FLAGS.num_train_steps, flags=given, **alike)
    train_run(
        FLAGS.pipeline_config_path,
        FLAGS.model_dir,
        lambda: choose_strategy(FLAGS.num_workers),
        options,
    )


if __name__ == "__main__":
    command.run(main)
