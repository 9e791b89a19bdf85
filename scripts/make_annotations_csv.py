r"""Gathers ExDark's annotations into annotations.csv (a row a box) and images.csv (a row an image).

  python scripts/make_annotations_csv.py --annotations=ExDark_Annno.zip --images_dir=data/images \
    --image_list=imageclasslist.txt --output_dir=data

Boxes are in pixels of the converted image, xmin,ymin,xmax,ymax with the last two exclusive, and are
clipped to it. problems.csv names what was out of the ordinary: file,problem,detail. The three files
are written together, only when every annotation could be read.
"""

from absl import flags

from lowlight.core import command
from lowlight.dataset.annotations import gather_annotations
from lowlight.dataset.labels import Oddity

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "annotations", None, "ExDark_Annno: the folder of class folders, or its zip.", required=True
)
flags.DEFINE_string("images_dir", None, "The images that convert_images.py wrote.", required=True)
flags.DEFINE_string("output_dir", None, "Where the three csv files are written.", required=True)
flags.DEFINE_string(
    "image_list", None, "imageclasslist.txt, which gives lighting, location and official split."
)
flags.DEFINE_boolean(
    "allow_missing", False, "Leave out annotations whose image isn't there, for a part of ExDark."
)


def main():
    """Gathers, writes the three files and prints what they hold."""
    found = gather_annotations(
        FLAGS.annotations, FLAGS.images_dir, FLAGS.image_list, FLAGS.allow_missing
    )
    folder, problems = found.write(FLAGS.output_dir), found.notes.problems()
    print(f"{found.count()} in {folder}/annotations.csv")
    command.print_notes(found.notes.summaries())
    left = sum(len(found.notes[oddity]) for oddity in (Oddity.WITHOUT_IMAGE, Oddity.STRAY))
    print(f"  files found: {len(found.images) + left}, of them {len(found.images)} used")
    if problems:
        print(f"  named in {folder}/problems.csv: {len(problems)}")


if __name__ == "__main__":
    command.run(main)
