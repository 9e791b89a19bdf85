r"""Splits the images and writes train.tfrecord, test.tfrecord, label_map.txt and split.csv.

  python scripts/make_tfrecords.py --data_dir=data --images_dir=data/images --output_dir=data

Reads annotations.csv and images.csv from --data_dir, and classes.txt where it holds other classes
than ExDark's: a name a line, in the order of the ids from 1. --split=random puts --train_fraction
of the images into train and the rest into test, and the same share of each class, lighting and
location; near-duplicate photographs come into the same part. --split=official takes ExDark's own
train, val and test; a path is that of a split.csv. These two stay as they are, and near-duplicates
that lie in several parts are listed. --shards deals each part to several files, and --verify reads
the records back. All files appear together, when all are whole.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command
from lowlight.core.files import existing_dir, locked, output_dir
from lowlight.dataset.classes import read_classes
from lowlight.dataset.split import (
    check_fraction,
    describe_duplicates,
    describe_fraction,
    find_duplicates,
    labels_of,
    split_by_file,
    split_officially,
    split_randomly,
)
from lowlight.dataset.tables import read_tables
from lowlight.dataset.writing import Entries, write_dataset

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Where the two csv files are.", required=True)
flags.DEFINE_string("images_dir", None, "The images that convert_images.py wrote.", required=True)
flags.DEFINE_string("output_dir", None, "Where the records are written.", required=True)
flags.DEFINE_string("split", "random", "random, official, or the path of a split.csv.")
flags.DEFINE_float("train_fraction", 0.75, "Share of images for training, of a random split.")
flags.DEFINE_integer("seed", 0, "What the random split comes from.")
flags.DEFINE_boolean(
    "keep_duplicates_together",
    True,
    "Look for near-duplicate photographs, and keep each group of them in one part of a random "
    "split.",
)
flags.DEFINE_integer(
    "shards",
    1,
    "How many files each part is dealt to, as train.tfrecord-00000-of-00004. In a config give "
    "input_path: 'data/train.tfrecord-?????-of-?????', and the same to evaluate.py's --records.",
    lower_bound=1,
    upper_bound=99_999,
)
flags.DEFINE_boolean(
    "verify",
    False,
    "Read the records back and compare names, boxes and the images' SHA-256 with the tables and "
    "image files, before they get their names.",
)


def choose_split(entries: Entries, data_dir: Path, images_dir: Path) -> tuple[list, list]:
    """Returns the SplitRows that the flags ask for, and the groups of near-duplicates."""
    names = [image.filename for image, _ in entries]
    rows = None
    if FLAGS.split == "random":
        check_fraction(FLAGS.train_fraction)
    elif FLAGS.split == "official":
        rows = split_officially([image for image, _ in entries], data_dir / "images.csv")
    else:
        rows = split_by_file(names, FLAGS.split)
    groups = find_duplicates(names, images_dir) if FLAGS.keep_duplicates_together else []
    if rows is None:
        labels = {image.filename: labels_of(image, boxes) for image, boxes in entries}
        rows = split_randomly(names, FLAGS.train_fraction, FLAGS.seed, groups, labels)
    return rows, groups


def main():
    """Reads the tables, splits, writes everything and prints what each file holds."""
    data_dir = existing_dir(FLAGS.data_dir, "data_dir")
    images_dir = existing_dir(FLAGS.images_dir, "images_dir")
    classes = read_classes(data_dir)
    entries = read_tables(data_dir, classes)
    rows, groups = choose_split(entries, data_dir, images_dir)
    folder = output_dir(FLAGS.output_dir)
    with locked(folder, "written", "output_dir"):
        lines = write_dataset(
            folder, entries, rows, images_dir, classes, FLAGS.shards, FLAGS.verify
        )
    if FLAGS.keep_duplicates_together:
        lines += describe_duplicates(groups, rows)
    if FLAGS.split == "random":
        lines += describe_fraction(rows, FLAGS.train_fraction)
    print("\n".join(lines))


if __name__ == "__main__":
    command.run(main)
