r"""Turns a pipeline config of TFOD 2's model zoo into one for this data, and shows each change.

  python scripts/make_config.py --data_dir=data --output=configs/my.config
  python scripts/make_config.py --base_config=efficientdet_d0_coco17_tpu-32 --data_dir=data \
    --output=configs/d0.config --batch_size=64
  python scripts/make_config.py --start=checkpoint/d1_start --data_dir=data \
    --output=configs/warm.config

Reads label_map.txt and the train and test records of --data_dir, whole or in shards. The D1's
config is built in; any other model's archive lies in checkpoint/, unpacked or not, or a message
says how to fetch it. EfficientDet, SSD, Faster R-CNN and CenterNet models that find boxes are
taken. Paths in the config are as given here, so relative to the folder that commands run in.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command
from lowlight.core.errors import DataError
from lowlight.core.files import existing_dir, output_dir, write_text

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "base_config",
    None,
    "A pipeline config's path, or an archive of the model zoo: its name or path; by default the "
    "D1's, or that of --start.",
)
flags.DEFINE_string(
    "start",
    None,
    "A folder of make_start_checkpoint.py, to train from with all that it knows: its heads, too.",
)
flags.DEFINE_string("data_dir", None, "Where make_tfrecords.py wrote.", required=True)
flags.DEFINE_string("output", None, "The config to write.", required=True)
flags.DEFINE_string(
    "fine_tune_checkpoint",
    None,
    "The prefix of the checkpoint to start from, or none for random weights; by default the one "
    "that the base config's archive holds.",
)
flags.DEFINE_integer("batch_size", 32, "Images a step, over all devices.", 1)
flags.DEFINE_integer("num_steps", 15_000, "Steps to train; the schedule is fitted to them.", 1)
flags.DEFINE_float(
    "learning_rate",
    None,
    "The learning rate after warm-up; by default the base config's, scaled with the batch.",
)


def main() -> None:
    """Reads the base, adapts it, prints the changes and writes the config."""
    data_dir = existing_dir(FLAGS.data_dir, "data_dir")
    if FLAGS.start and (FLAGS.base_config or FLAGS.fine_tune_checkpoint):
        raise DataError(
            "--start: its config and checkpoint are the base.\n"
            "  Leave --base_config and --fine_tune_checkpoint out."
        )
    from lowlight.tfod import configs, zoo

    data = configs.find_data(data_dir)
    kind = "full" if FLAGS.start else "detection"
    if FLAGS.start:
        from lowlight.tfod.start_checkpoint import find_start

        base, base_name, start = find_start(FLAGS.start, data.label_map)
    else:
        base, base_name, start = zoo.read_base(FLAGS.base_config or zoo.D1)
        start = configs.choose_start(FLAGS.fine_tune_checkpoint, start, base_name)
    config = type(base)()
    config.CopyFrom(base)
    change = configs.Change(FLAGS.batch_size, FLAGS.num_steps, FLAGS.learning_rate, start, kind)
    lines = configs.adapt(config, data, change, base_name)
    output = Path(FLAGS.output)
    output_dir(output.parent)
    write_text(output, configs.format_config(config, base_name, lines))
    print("\n".join(configs.diff(base, config, base_name, str(output))))
    print("\n".join(["", f"{output}:", *(f"  {line}" for line in lines)]))
    if start and not Path(f"{start}.index").is_file():
        print(f"no checkpoint {start} yet. {zoo.how_to_get_checkpoint(start)}")


if __name__ == "__main__":
    command.run(main)
