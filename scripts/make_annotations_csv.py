"""Gathers ExDark's annotations into annotations.csv (a row a box) and images.csv (a row an image).

  python scripts/make_annotations_csv.py --annotations=ExDark_Annno.zip --images_dir=data/images \
    --image_list=imageclasslist.txt --output_dir=data

Boxes are in pixels of the converted image, xmin,ymin,xmax,ymax with the last two exclusive, and are
clipped to it. Both files are written only when every annotation could be read.
"""

from absl import flags

from lowlight import command
from lowlight.annotations import gather_annotations
from lowlight.errors import name_some
from lowlight.files import output_dir, whole_files, write_text
from lowlight.tables import AnnotationRow, ImageRow, format_table

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "annotations", None, "ExDark_Annno: the folder of class folders, or its zip.", required=True
)
flags.DEFINE_string("images_dir", None, "The images that convert_images.py wrote.", required=True)
flags.DEFINE_string("output_dir", None, "Where the two csv files are written.", required=True)
flags.DEFINE_string(
    "image_list", None, "imageclasslist.txt, which gives lighting, location and official split."
)
flags.DEFINE_boolean(
    "allow_missing", False, "Leave out annotations whose image isn't there, for a part of ExDark."
)


def main():
    """Gathers, writes both files and prints what they hold."""
    found = gather_annotations(
        FLAGS.annotations, FLAGS.images_dir, FLAGS.image_list, FLAGS.allow_missing
    )
    folder = output_dir(FLAGS.output_dir)
    with whole_files(folder / "images.csv", folder / "annotations.csv") as (images, annotations):
        write_text(images, format_table(found.images, ImageRow))
        write_text(annotations, format_table(found.boxes, AnnotationRow))
    print(f"{len(found.images)} images with {len(found.boxes)} boxes in {folder}/annotations.csv")
    notes = (
        (found.without_boxes, "images without boxes"),
        (found.unlisted, "images that the image list doesn't name"),
        (found.without_image, "annotations left out, whose image is missing"),
        (found.strays, "other files left alone"),
    )
    if found.clipped:
        boxes = sum(found.clipped.values())
        print(f"{boxes} boxes clipped to the image in {name_some(found.clipped)}")
    for names, what in notes:
        if names:
            print(f"{len(names)} {what}: {name_some(names)}")


if __name__ == "__main__":
    command.run(main)
