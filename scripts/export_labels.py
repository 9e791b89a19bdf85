r"""Writes a data set, or one part of its split, as COCO's JSON or as a folder of YOLO's or VOC's.

  python scripts/export_labels.py --format=coco --data_dir=data --split=test \
    --output=data/test.json
  python scripts/export_labels.py --format=yolo --data_dir=data --images_dir=data/images \
    --output=yolo

Reads images.csv, annotations.csv and split.csv, where there is one or a part is asked for, from
--data_dir. Ids of categories are those of the label map, YOLO's one less; an image has the same id
in every part. YOLO's folder is ultralytics' (data.yaml, images/train/, labels/train/ ...), Pascal
VOC's has Annotations/, JPEGImages/ and ImageSets/Main/. Neither has crowd boxes.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command
from lowlight.core.errors import DataError, format_count, name_some
from lowlight.core.files import existing_dir, locked, output_dir, write_text
from lowlight.dataset.classes import SPLITS, read_classes
from lowlight.dataset.label_export import (
    stand_ins,
    tables_to_coco,
    voc_files,
    write_folder,
    yolo_files,
)
from lowlight.dataset.split import split_by_file
from lowlight.dataset.tables import read_tables
from lowlight.evaluation.truth import names_in_split

FLAGS = flags.FLAGS
flags.DEFINE_enum("format", None, ["coco", "yolo", "voc"], "The labels' form.", required=True)
flags.DEFINE_string("data_dir", None, "Where the csv files are.", required=True)
flags.DEFINE_string(
    "output", None, "The JSON file to write, or the new folder of YOLO's or VOC's.", required=True
)
flags.DEFINE_enum("split", "all", [*SPLITS, "all"], "The part to write, or all.")
flags.DEFINE_string("images_dir", None, "The images, for YOLO's and VOC's folders.")
flags.DEFINE_enum(
    "images",
    "link",
    ["link", "copy"],
    "How these folders hold the images: as symbolic links, which take no space, or as copies, "
    "which can be passed on.",
)


def main():
    """Reads the tables, writes the labels and prints what they hold."""
    if FLAGS.format != "coco" and not FLAGS.images_dir:
        raise DataError(
            f"missing flag --images_dir: --format={FLAGS.format} takes the images along.\n"
            "  Give the folder that convert_images.py wrote."
        )
    data_dir = existing_dir(FLAGS.data_dir, "data_dir")
    classes = read_classes(data_dir)
    entries = read_tables(data_dir, classes)
    split = None if FLAGS.split == "all" else FLAGS.split
    chosen = names_in_split(data_dir, {image.filename for image, _ in entries}, split)
    if FLAGS.format == "coco":
        output = Path(FLAGS.output)
        with locked(output_dir(output.parent), "written", "output"):
            write_text(output, tables_to_coco(entries, classes, chosen))
        boxes = sum(len(rows) for image, rows in entries if image.filename in chosen)
        notes = []
    else:
        boxes, notes = write_labels(data_dir, entries, chosen, classes)
    counts = (len(chosen), "image"), (boxes, "box"), (len(classes), "class")
    print(f"{FLAGS.output}: {', '.join(format_count(*count) for count in counts)}")
    for note in notes:
        print(f"  {note}")


def write_labels(data_dir, entries, chosen, classes):
    """Writes YOLO's or VOC's folder; returns how many boxes it holds, and lines about it."""
    path, split_of, notes = data_dir / "split.csv", {}, []
    if path.exists():
        split_of = dict(split_by_file((image.filename for image, _ in entries), path))
    else:
        notes.append(f"no {path}: all images are for training")
    parts, boxes, crowds = {}, 0, 0
    for image, rows in entries:
        if image.filename in chosen:
            objects = [row for row in rows if not row.is_crowd]
            boxes, crowds = boxes + len(objects), crowds + len(rows) - len(objects)
            parts.setdefault(split_of.get(image.filename, "train"), []).append((image, objects))
    form = yolo_files if FLAGS.format == "yolo" else voc_files
    turned = write_folder(FLAGS.output, *form(parts, classes), FLAGS.images_dir, FLAGS.images)
    notes += [f"{split}: {format_count(len(part), 'image')}" for split, part in parts.items()]
    if FLAGS.format == "yolo":
        others = {key: part for key, part in stand_ins(parts).items() if key != part}
        notes += [f"data.yaml: {key} is {part}'s images" for key, part in others.items()]
    if turned:
        notes.append(
            f"images with an EXIF rotation: {len(turned)} ({name_some(turned)}); boxes are in the "
            "pixels as stored, so switch the rotation off where these labels are read"
        )
    if crowds:
        notes.append(f"crowd boxes left out: {crowds}")
    return boxes, notes


if __name__ == "__main__":
    command.run(main)
