r"""Makes the tables and classes.txt from a COCO file, for one's own photographs.

  python scripts/import_labels.py --format=coco --labels=mine.json \
    --images_dir=mine/images --output_dir=mine

The images are those that convert_images.py made, found by the stem of each file_name. Boxes are
clipped to the image and their edges go to the nearest whole pixel; crowd boxes are left out, and so
are boxes without width or height and categories that only group others. Where
all categories are ExDark's classes, they keep ExDark's ids; otherwise ids count from 1 in the order
of the category ids. It writes annotations.csv, images.csv, classes.txt and problems.csv, which
names what was out of the ordinary: file,problem,detail.
"""

from absl import flags

from lowlight.core import command
from lowlight.core.errors import format_count, name_some
from lowlight.dataset.coco_import import import_coco

FLAGS = flags.FLAGS
flags.DEFINE_enum("format", None, ["coco"], "The labels' form.", required=True)
flags.DEFINE_string("labels", None, "The JSON file, of COCO's object detection.", required=True)
flags.DEFINE_string("images_dir", None, "The images that convert_images.py wrote.", required=True)
flags.DEFINE_string("output_dir", None, "Where the four files are written.", required=True)
flags.DEFINE_boolean(
    "allow_missing", False, "Leave out what the file says of images that aren't there."
)
flags.DEFINE_boolean(
    "flatten",
    False,
    "Look for cam1/0001.jpg as cam1__0001.jpg, as convert_images.py --flatten names it.",
)
flags.DEFINE_boolean(
    "keep_crowds",
    False,
    "Take crowd boxes too, as single objects where all are crowds, as CVAT's masks.",
)


def main():
    """Imports, writes the files and prints what they hold."""
    found = import_coco(
        FLAGS.labels, FLAGS.images_dir, FLAGS.allow_missing, FLAGS.flatten, FLAGS.keep_crowds
    )
    folder, problems = found.write(FLAGS.output_dir), found.notes.problems()
    print(f"{found.count()} in {folder}/annotations.csv")
    classes = format_count(len(found.classes), "class")
    print(f"{classes} in {folder}/classes.txt: {name_some(found.classes, 12)}")
    command.print_notes(found.notes.summaries())
    if problems:
        print(f"  named in {folder}/problems.csv: {len(problems)}")


if __name__ == "__main__":
    command.run(main)
