r"""Makes the tables and classes.txt from labels of COCO's, YOLO's or Pascal VOC's form.

  python scripts/import_labels.py --format=coco --labels=mine.json \
    --images_dir=mine/images --output_dir=mine

--labels is COCO's JSON, or the folder or zip archive with YOLO's .txt files and their data.yaml or
classes.txt, or with VOC's XML files; a data.yaml stands for its folder. The images are those that
convert_images.py made, found by the stem of the name that the labels give theirs. Boxes are clipped
to the image and their edges go to the nearest whole pixel; crowd boxes are left out, and so are
boxes without width or height and categories that only group others. Where all classes are ExDark's,
they keep ExDark's ids; otherwise ids count from 1 in the labels' order, VOC's in the alphabet's
without a classes.txt. It writes annotations.csv, images.csv, classes.txt and problems.csv, which
names what was out of the ordinary: file,problem,detail.
"""

from absl import flags

from lowlight.core import command
from lowlight.core.errors import format_count, name_some
from lowlight.dataset.coco import import_coco
from lowlight.dataset.labels import Fitting
from lowlight.dataset.voc import import_voc
from lowlight.dataset.yolo import import_yolo

FORMS = {"coco": import_coco, "yolo": import_yolo, "voc": import_voc}
FLAGS = flags.FLAGS
flags.DEFINE_enum("format", None, FORMS, "The labels' form.", required=True)
flags.DEFINE_string(
    "labels", None, "The JSON file, or the folder or zip archive of label files.", required=True
)
flags.DEFINE_string("images_dir", None, "The images that convert_images.py wrote.", required=True)
flags.DEFINE_string("output_dir", None, "Where the four files are written.", required=True)
flags.DEFINE_boolean(
    "allow_missing",
    False,
    "Leave out labels of images that aren't there, and images without a label file.",
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
    fitting = Fitting(FLAGS.images_dir, FLAGS.allow_missing, FLAGS.flatten, FLAGS.keep_crowds)
    found = FORMS[FLAGS.format](FLAGS.labels, fitting)
    folder, problems = found.write(FLAGS.output_dir), found.notes.problems()
    print(f"{found.count()} in {folder}/annotations.csv")
    classes = format_count(len(found.classes), "class")
    print(f"{classes} in {folder}/classes.txt: {name_some(found.classes, 12)}")
    command.print_notes(found.notes.summaries())
    if problems:
        print(f"  named in {folder}/problems.csv: {len(problems)}")


if __name__ == "__main__":
    command.run(main)
