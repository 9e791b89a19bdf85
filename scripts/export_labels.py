r"""Writes a data set, or one part of its split, as COCO's JSON for other tools.

  python scripts/export_labels.py --format=coco --data_dir=data --split=test \
    --output=data/test.json

Reads images.csv, annotations.csv and, for a part, split.csv from --data_dir. Category ids are those
of the label map; an image has the same id in every part.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command
from lowlight.core.errors import format_count
from lowlight.core.files import existing_dir, locked, output_dir, write_text
from lowlight.dataset.classes import SPLITS, read_classes
from lowlight.dataset.coco import tables_to_coco
from lowlight.dataset.tables import read_tables
from lowlight.evaluation.truth import names_in_split

FLAGS = flags.FLAGS
flags.DEFINE_enum("format", None, ["coco"], "The labels' form.", required=True)
flags.DEFINE_string("data_dir", None, "Where the csv files are.", required=True)
flags.DEFINE_string("output", None, "The JSON file to write.", required=True)
flags.DEFINE_enum("split", "all", [*SPLITS, "all"], "The part to write, or all.")


def main():
    """Reads the tables, writes the file and prints what it holds."""
    data_dir = existing_dir(FLAGS.data_dir, "data_dir")
    classes = read_classes(data_dir)
    entries = read_tables(data_dir, classes)
    split = None if FLAGS.split == "all" else FLAGS.split
    chosen = names_in_split(data_dir, {image.filename for image, _ in entries}, split)
    output = Path(FLAGS.output)
    with locked(output_dir(output.parent), "written", "output"):
        write_text(output, tables_to_coco(entries, classes, chosen))
    boxes = sum(len(boxes) for image, boxes in entries if image.filename in chosen)
    counts = (len(chosen), "image"), (boxes, "box"), (len(classes), "class")
    print(f"{output}: {', '.join(format_count(*count) for count in counts)}")


if __name__ == "__main__":
    command.run(main)
