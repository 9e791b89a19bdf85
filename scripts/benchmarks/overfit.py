r"""Shows that training learns: a small model from random weights, and the D1's first steps.

  EXDARK_ROOT=/path/to/exdark python scripts/benchmarks/overfit.py

Takes one photograph of each class of ExDark through the data steps, trains the sample config's
model at 256 pixels on these twelve, without augmentation, and evaluates it on the same twelve: a
loop that learns finds nearly all of their objects again. Then the D1 at 640 pixels makes 30 steps
on them from random weights. The last line is one JSON object: ap50 of the small model, and the
D1's mean loss, of classes and boxes, in each six steps, in which it sees all twelve.
"""

import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import app, flags

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from lowlight.core.tensorflow import prepare_tensorflow  # noqa: E402
from lowlight.dataset.classes import CLASSES  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_string("work_dir", None, "Where data and runs are kept; by default they are not kept.")
flags.DEFINE_integer("steps", 500, "Training steps of the small model.", 0)
flags.DEFINE_integer("d1_steps", 30, "Training steps of the D1; 0 leaves it out.", 0)

_EPOCH = 6  # steps of the D1 in which it sees each image once
_LOSSES = "Loss/classification_loss", "Loss/localization_loss"
_SCHEDULE = """\
learning_rate {{
        cosine_decay_learning_rate {{
          learning_rate_base: {base}
          total_steps: {steps}
          warmup_learning_rate: {warmup}
          warmup_steps: {warmup_steps}
        }}
      }}
"""


def run(script, *arguments):
    """Runs one of the project's scripts; its output goes where this one's goes."""
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True)


def write_data(exdark, folder):
    """Takes the first photograph of each class through the data steps, all into one part."""
    for name in CLASSES:
        first = sorted((exdark / "ExDark" / name).iterdir())[0]
        (folder / "ExDark" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(first, folder / "ExDark" / name)
    images = folder / "images"
    run("convert_images.py", f"--input_dir={folder / 'ExDark'}", f"--output_dir={images}")
    run(
        "make_annotations_csv.py",
        f"--annotations={exdark / 'ExDark_Annno.zip'}",
        f"--images_dir={images}",
        f"--output_dir={folder}",
        "--allow_missing",
    )
    split = folder / "all.csv"
    names = sorted(path.name for path in images.glob("*.jpg"))
    split.write_text("filename,split\n" + "".join(f"{name},train\n" for name in names))
    run(
        "make_tfrecords.py",
        f"--data_dir={folder}",
        f"--images_dir={images}",
        f"--output_dir={folder}",
        f"--split={split}",
    )


def write_config(base, folder, changes):
    """Writes one of the project's configs with these data, without augmentation; returns its path.

    Args:
        base: its name in configs/.
        folder: the data's, where it is written.
        changes: [(pattern, replacement)] of further regular expressions, each of which occurs.
    """
    text = (ROOT / "configs" / base).read_text()
    changes = [
        (r'"data/(sample/)?label_map', f'"{folder}/label_map'),
        (r'"data/(sample/)?(train|test)\.tfrecord', f'"{folder}/train.tfrecord'),
        (r" *data_augmentation_options \{ random_horizontal_flip \{\} \}\n", ""),
        *changes,
    ]
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text)
        if not count:
            sys.exit(f"error: {base}: no {pattern}")
    path = folder / base
    path.write_text(text)
    return path


def schedule(steps, base, warmup, warmup_steps):
    """Returns the change that gives a config a schedule which ends where training does."""
    new = _SCHEDULE.format(steps=steps, base=base, warmup=warmup, warmup_steps=warmup_steps)
    return r"learning_rate \{\n.*\{(\n.*){4}\n.*\}\n.*\}\n", new


def small_ap50(folder, steps):
    """Trains the small model and returns its AP at IoU 0.5 on the images that it was shown."""
    config = write_config(
        "sample.config",
        folder,
        [
            (r"(min|max)_dimension: 192", r"\1_dimension: 256"),
            (r"batch_size: 8", "batch_size: 6"),
            # Over hundreds of steps, 0.99 leaves too much of what batch norm's averages begin with.
            (r"decay: 0\.99", "decay: 0.9"),
            (r"max_number_of_boxes: 20", "max_number_of_boxes: 100"),
            schedule(steps, 0.003, 0.0003, min(50, steps // 10)),
        ],
    )
    model_dir = folder / "small"
    run(
        "train.py",
        f"--pipeline_config_path={config}",
        f"--model_dir={model_dir}",
        f"--num_train_steps={steps}",
    )
    run("evaluate.py", f"--model_dir={model_dir}")
    metrics = json.loads((model_dir / "eval" / "metrics.json").read_text())
    return metrics["DetectionBoxes_Precision/mAP@.50IOU"]


def d1_losses(folder, steps):
    """Trains the D1 from random weights; returns its losses without weight decay, one a step."""
    config = write_config(
        "ssd_efficientdet_d1_640x640_coco17_tpu-8.config",
        folder,
        [
            (r" *data_augmentation_options \{\n.*\n  \}\n", ""),
            (r" *fine_tune_checkpoint.*\n", ""),
            (r"batch_size: 32", "batch_size: 2"),
            schedule(steps, 0.003, 0.0003, steps // 6),
            # With the zoo's, made for 300,000 steps, nothing moves in so few: both filters of each
            # of the heads' last convolutions begin near 0, and so do their gradients.
            (r"momentum_optimizer \{", "adam_optimizer {"),
            (r" *momentum_optimizer_value.*\n", ""),
            (
                r"random_normal_initializer \{ stddev: 0\.01",
                "random_normal_initializer { stddev: 0.15",
            ),
        ],
    )
    model_dir = folder / "d1"
    run(
        "train.py",
        f"--pipeline_config_path={config}",
        f"--model_dir={model_dir}",
        f"--num_train_steps={steps}",
        "--summarize_every_n=1",
        "--norecord_summaries",
    )
    return read_losses(model_dir)


def read_losses(model_dir):
    """Returns the sums of class and box loss that a run wrote for TensorBoard, one a step."""
    prepare_tensorflow()
    import tensorflow as tf

    losses = collections.Counter()
    for path in sorted((model_dir / "train").glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.tag in _LOSSES:
                    losses[event.step] += float(tf.make_ndarray(value.tensor))
    return [losses[step] for step in sorted(losses)]


def main(_):
    """Prepares the data, trains both models, and prints what they learned."""
    if not os.environ.get("EXDARK_ROOT"):
        sys.exit("error: set EXDARK_ROOT to the folder with ExDark/ and ExDark_Annno.zip.")
    figures = {"images": len(CLASSES)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(FLAGS.work_dir or temporary).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        write_data(Path(os.environ["EXDARK_ROOT"]), folder)
        if FLAGS.steps:
            figures |= {"steps": FLAGS.steps, "ap50": round(small_ap50(folder, FLAGS.steps), 4)}
        if FLAGS.d1_steps:
            losses = d1_losses(folder, FLAGS.d1_steps)
            figures |= {"d1_steps": FLAGS.d1_steps, "d1_losses": means(losses)}
    print(json.dumps(figures))


def means(losses):
    """Returns the mean of each _EPOCH losses in turn, rounded."""
    return [
        round(sum(losses[at : at + _EPOCH]) / _EPOCH, 4)
        for at in range(0, len(losses) - _EPOCH + 1, _EPOCH)
    ]


if __name__ == "__main__":
    app.run(main)
