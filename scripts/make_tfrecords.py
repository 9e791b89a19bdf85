"""Splits the images and writes train.tfrecord, test.tfrecord, label_map.txt and split.csv.

  python scripts/make_tfrecords.py --data_dir=data --images_dir=data/images --output_dir=data

Reads annotations.csv and images.csv from --data_dir. --split=random puts --train_fraction of the
images into train and the rest into test; --split=official takes ExDark's own train, val and test; a
path is that of a split.csv. All files appear together, when all are whole.
"""

from absl import flags

from lowlight import command
from lowlight.classes import CLASSES, SPLITS, format_label_map
from lowlight.files import existing_dir, output_dir, whole_files
from lowlight.progress import Progress
from lowlight.split import split_by_file, split_officially, split_randomly
from lowlight.tables import SplitRow, format_table, read_tables

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Where the two csv files are.", required=True)
flags.DEFINE_string("images_dir", None, "The images that convert_images.py wrote.", required=True)
flags.DEFINE_string("output_dir", None, "Where the records are written.", required=True)
flags.DEFINE_string("split", "random", "random, official, or the path of a split.csv.")
flags.DEFINE_float("train_fraction", 0.75, "Share of images for training, of a random split.")
flags.DEFINE_integer("seed", 0, "What the random split comes from.")


def choose_split(images, data_dir):
    """Returns the SplitRows that the flags ask for."""
    names = [image.filename for image in images]
    if FLAGS.split == "random":
        return split_randomly(names, FLAGS.train_fraction, FLAGS.seed)
    if FLAGS.split == "official":
        return split_officially(images, data_dir / "images.csv")
    return split_by_file(names, FLAGS.split)


def main():
    """Reads the tables, splits, writes everything and prints what each record file holds."""
    from lowlight.records import write_records

    data_dir = existing_dir(FLAGS.data_dir, "data_dir")
    images_dir = existing_dir(FLAGS.images_dir, "images_dir")
    entries = read_tables(data_dir, CLASSES)
    rows = choose_split([image for image, _ in entries], data_dir)
    folder = output_dir(FLAGS.output_dir)
    class_ids = {name: number for number, name in enumerate(CLASSES, 1)}
    split_of = {row.filename: row.split for row in rows}
    by_split = {split: [] for split in SPLITS if split in split_of.values()}
    for entry in entries:
        by_split[split_of[entry[0].filename]].append(entry)
    paths = [folder / f"{split}.tfrecord" for split in by_split]
    extra = folder / "label_map.txt", folder / "split.csv"
    with whole_files(*paths, *extra) as partials, Progress(len(entries), "image") as progress:
        *records, label_map, split_csv = partials
        for record, group in zip(records, by_split.values(), strict=True):
            write_records(record, group, images_dir, class_ids, progress.update)
        label_map.write_text(format_label_map(), "utf-8")
        split_csv.write_text(format_table(rows, SplitRow), "utf-8")
    for path, group in zip(paths, by_split.values(), strict=True):
        print(f"{path}: {len(group)} images, {sum(len(boxes) for _, boxes in group)} boxes")
    print(f"{folder / 'label_map.txt'}: {len(CLASSES)} classes")
    for path in (folder / f"{split}.tfrecord" for split in SPLITS if split not in by_split):
        if path.exists():
            path.unlink()
            print(f"{path}: removed, since this split has no such part")


if __name__ == "__main__":
    command.run(main)
