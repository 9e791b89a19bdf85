r"""Measures what a start from a whole detector gives, beside one from its feature extractor alone.

  nice python scripts/benchmarks/bench_start.py --work_dir=/tmp/bench_start

A small EfficientDet learns bright drawn scenes, ExDark's classes under COCO's ids in 90 slots, as
the zoo's D1 learned COCO's photographs. make_start_checkpoint.py makes of it a detector of the 12
classes. On dark scenes that it hasn't seen this one is scored as it is, and after a few steps on
others: with all taken over ("full"), and with TFOD's "detection" start, whose heads begin
untrained; both with the same batches for each seed. Each is scored with the weights as trained and
with their moving averages.

Run again with the same flags, it continues. The last line is one JSON object: AP at IoU 0.5 and
mAP without training, and for each start the mAP after so many steps, means over the seeds.
"""

import io
import json
import random
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from absl import flags

from lowlight.core import command
from lowlight.core.files import whole_file, write_text
from lowlight.core.tensorflow_files import frame_record
from lowlight.dataset.classes import CLASSES, LOCATIONS, format_label_map
from lowlight.dataset.scenes import class_names, draw_scene, lightings_at
from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.dataset.writing import make_example

FLAGS = flags.FLAGS
ROOT = Path(__file__).resolve().parents[2]
flags.DEFINE_string("work_dir", None, "Where data, runs and scores are kept.", required=True)
flags.DEFINE_integer("base_steps", 800, "Steps on bright scenes.", 1)
flags.DEFINE_integer("seeds", 3, "Trainings of each start.", 1)
flags.DEFINE_list("steps", ["50", "100", "200"], "When a training is scored; the last ends it.")
flags.DEFINE_integer("batch_size", 4, "Images a step.", 1)
flags.DEFINE_integer("images", 400, "Scenes to train on, of each kind.", 1)
flags.DEFINE_integer("test_images", 100, "Dark scenes to score on.", 1)
# A new head learns at the sample config's rate, a trained one at a tenth of it.
flags.DEFINE_float("kept_rate", 0.0003, "The learning rate where all is taken over.")
flags.DEFINE_float("anew_rate", 0.003, "The learning rate where heads begin untrained.")

_SIZE = 192, 144  # pixels of a scene; the sample config's model takes 192
_AP, _AP50 = "DetectionBoxes_Precision/mAP", "DetectionBoxes_Precision/mAP@.50IOU"


class Start(NamedTuple):
    """What a training begins with."""

    kind: str  # fine_tune_checkpoint_type
    rate: float


def main() -> None:
    """Makes the base and its start, trains from it in both ways, and prints the scores."""
    work = Path(FLAGS.work_dir).resolve()
    bright, dark = draw_data(work)
    base_config = write_config(work / "base.config", bright, FLAGS.base_steps, 0.003)
    base = train(base_config, work / "base", FLAGS.base_steps, 0)
    if not (work / "start").is_dir():
        labels = f"--label_map_path={dark}/label_map.txt"
        run("make_start_checkpoint.py", f"--base={base}", labels, f"--output_dir={work}/start")
    starts = {"kept": Start("full", FLAGS.kept_rate), "anew": Start("detection", FLAGS.anew_rate)}
    steps = [int(step) for step in FLAGS.steps]
    config = write_config(work / "zero_shot.config", dark, 1, 0.003)
    zero = score(work / "start", 0, config)
    figures = {"zero_shot_ap50": zero[_AP50], "zero_shot_ap": zero[_AP]}
    found = {}
    for seed in range(FLAGS.seeds):
        for name, start in starts.items():
            for step, averaged, ap in train_and_score(work, dark, name, start, seed, steps):
                key = f"ap_{name}_{step}{'_averaged' if averaged else ''}"
                found.setdefault(key, []).append(ap)
                print(f"seed {seed}: {key} {ap:.4f}", flush=True)
    print_table(found)
    figures |= {key: mean(values) for key, values in found.items()}
    middle = steps[len(steps) // 2]
    gain = figures[f"ap_kept_{middle}"] - figures[f"ap_anew_{middle}"]
    figures = {key: round(value, 4) for key, value in figures.items()}
    print(json.dumps({**figures, f"gain_at_{middle}": round(gain, 4), "seeds": FLAGS.seeds}))


def draw_data(work):
    """Draws bright and dark records where they aren't there; returns their two folders."""
    from lowlight.tfod import zoo
    from lowlight.tfod.start_checkpoint import match_classes

    own = dict(enumerate(CLASSES, 1))
    coco = {own[n]: zoo.COCO[source] for n, source in match_classes(own, zoo.COCO).items()}
    bright, dark = work / "bright", work / "dark"
    draw_part(bright, "train", FLAGS.images, zoo.COCO, coco)
    draw_part(dark, "train", FLAGS.images, own)
    draw_part(dark, "test", FLAGS.test_images, own)
    return bright, dark


def draw_part(folder, part, count, names, called=None):
    """Draws records and their label map of {id: name}, by day where classes are called otherwise.

    Args:
        called: {ExDark's name: the label map's}; None where they are the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "label_map.txt", format_label_map(names))
    path, rng = folder / f"{part}.tfrecord", random.Random(f"{folder.name} {part}")
    if not path.is_file():
        ids = {name: number for number, name in names.items()}
        records = (frame_record(draw_record(rng, n, ids, called)) for n in range(count))
        with whole_file(path) as partial:
            partial.write_bytes(b"".join(records))


def draw_record(rng, number, ids, called):
    """Returns a record of a scene, by day or in one of ExDark's lights, as bytes."""
    main_class = CLASSES[number % len(CLASSES)]
    location = rng.choice([place for place in LOCATIONS if main_class in class_names(place)])
    lighting = "Day" if called else rng.choice(lightings_at(location))
    scene, stream = draw_scene(rng, *_SIZE, lighting, location, main_class), io.BytesIO()
    scene.image.save(stream, "JPEG", quality=90)
    image = ImageRow(f"{number}.jpg", "", *_SIZE, boxes=len(scene.objects))
    boxes = []
    for name, (left, top, width, height) in scene.objects:
        edges = left, top, left + width, top + height
        text = called[name] if called else name
        boxes.append(AnnotationRow(image.filename, *_SIZE, text, *edges))
    return make_example(image, boxes, stream.getvalue(), ids).SerializeToString()


def write_config(path, data, steps, rate, start=None, checkpoint=""):
    """Writes the sample config for these data, steps and learning rate; returns its path."""
    from google.protobuf import text_format

    from lowlight.dataset.classes import read_label_map
    from lowlight.tfod.model import CHECKPOINT_V2, read_config

    config = read_config(ROOT / "configs/sample.config")
    ssd, train_config = config.model.ssd, config.train_config
    ssd.num_classes = max(read_label_map(data / "label_map.txt"))
    # Over hundreds of steps, 0.99 leaves too much of what batch norm's averages begin with.
    for part in ssd.feature_extractor, ssd.box_predictor.weight_shared_convolutional_box_predictor:
        part.conv_hyperparams.batch_norm.decay = 0.9
    schedule = train_config.optimizer.adam_optimizer.learning_rate.cosine_decay_learning_rate
    schedule.learning_rate_base, schedule.warmup_learning_rate = rate, rate / 10
    schedule.total_steps, schedule.warmup_steps = steps, steps // 16
    train_config.num_steps, train_config.batch_size = steps, FLAGS.batch_size
    if start:
        train_config.optimizer.use_moving_average = True
        train_config.optimizer.moving_average_decay = 0.98  # of the last 50 steps or so
        train_config.fine_tune_checkpoint, train_config.fine_tune_checkpoint_type = (
            str(checkpoint),
            start.kind,
        )
        train_config.fine_tune_checkpoint_version = CHECKPOINT_V2
    for reader, part in (config.train_input_reader, "train"), (config.eval_input_reader[0], "test"):
        reader.label_map_path = str(data / "label_map.txt")
        reader.tf_record_input_reader.input_path[:] = [str(data / f"{part}.tfrecord")]
    write_text(path, text_format.MessageToString(config))
    return path


def train(config, run_dir, steps, seed, every=1000):
    """Trains a run to its end, or continues it; returns its folder."""
    done = run_dir / "trained.txt"
    if not done.is_file():
        paths = f"--pipeline_config_path={config}", f"--model_dir={run_dir}"
        lengths = f"--num_train_steps={steps}", f"--checkpoint_every_n={every}"
        run("train.py", *paths, *lengths, f"--seed={seed}", "--norecord_summaries")
        write_text(done, f"{steps} steps\n")
    return run_dir


def train_and_score(work, dark, name, start, seed, steps):
    """Trains a start with a seed; yields (step, whether weights are averaged, mAP)."""
    config = work / f"{name}_{seed}.config"
    write_config(config, dark, steps[-1], start.rate, start, work / "start" / "ckpt-0")
    run_dir = train(config, work / f"{name}_{seed}", steps[-1], seed, every=steps[0])
    averages = work / f"{name}_{seed}_averages.config"
    text = config.read_text()
    write_text(averages, text.replace("use_moving_averages: false", "use_moving_averages: true"))
    for step in steps:
        for averaged in (False, True):
            yield step, averaged, score(run_dir, step, averages if averaged else config)[_AP]


def score(run_dir, step, config):
    """Returns the metrics of a run's checkpoint of a step, under a config with the test records."""
    scored = run_dir / f"{config.stem}_{step}"
    if not (scored / "metrics.json").is_file():
        from lowlight.core.tensorflow_files import checkpoint_step
        from lowlight.detector.runs import Model
        from lowlight.evaluation.evaluation import evaluate_model

        prefixes = (path.with_suffix("") for path in run_dir.glob("ckpt-*.index"))
        prefix = next(prefix for prefix in prefixes if checkpoint_step(prefix) == step)
        model = Model(prefix, run_dir, config, str(prefix))
        evaluate_model(model, eval_dir=scored)
    return json.loads((scored / "metrics.json").read_text())


def run(script, *arguments):
    """Runs one of the project's scripts; its output goes where this one's goes."""
    subprocess.run([sys.executable, str(ROOT / "scripts" / script), *arguments], check=True)


def print_table(found):
    """Prints each score's mean and range over the seeds."""
    print(f"\n{'mAP':24}{'mean':>8} (least to most)")
    for key, values in found.items():
        print(f"{key:24}{mean(values):8.4f} ({min(values):.4f} to {max(values):.4f})")


if __name__ == "__main__":
    command.run(main)
