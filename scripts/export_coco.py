r"""Writes a data set, or one part of its split, as COCO's JSON for other tools.

  python scripts/export_coco.py --data_dir=data --split=test --output=data/test.json

Reads images.csv, annotations.csv and, for a part, split.csv from --data_dir. Category ids are those
of the label map; an image has the same id in every part.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command
from lowlight.core.errors import DataError
from lowlight.core.files import existing_dir, locked, output_dir, write_text
from lowlight.dataset.classes import SPLITS, read_classes
from lowlight.dataset.coco import tables_to_coco
from lowlight.dataset.split import split_by_file
from lowlight.dataset.tables import read_tables

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Where the csv files are.", required=True)
flags.DEFINE_string("output", None, "The JSON file to write.", required=True)
flags.DEFINE_enum("split", "all", [*SPLITS, "all"], "The part to write, or all.")


def choose_images(entries, data_dir):
    """Returns the filenames of the part that --split names."""
    names = [image.filename for image, _ in entries]
    if FLAGS.split == "all":
        return names
    path = data_dir / "split.csv"
    chosen = [row.filename for row in split_by_file(names, path) if row.split == FLAGS.split]
    if not chosen:
        raise DataError(f"{path}: no image is in {FLAGS.split}.\n  Choose another --split.")
    return chosen


def main():
    """Reads the tables, writes the file and prints what it holds."""
    data_dir = existing_dir(FLAGS.data_dir, "data_dir")
    classes = read_classes(data_dir)
    entries = read_tables(data_dir, classes)
    chosen = set(choose_images(entries, data_dir))
    output = Path(FLAGS.output)
    with locked(output_dir(output.parent), "written", "output"):
        write_text(output, tables_to_coco(entries, classes, chosen))
    boxes = sum(len(boxes) for image, boxes in entries if image.filename in chosen)
    print(f"{output}: {len(chosen)} images, {boxes} boxes, {len(classes)} classes")


if __name__ == "__main__":
    command.run(main)
