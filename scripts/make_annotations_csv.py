r"""Gathers ExDark's annotations into annotations.csv (a row a box) and images.csv (a row an image).

  python scripts/make_annotations_csv.py --annotations=ExDark_Annno.zip --images_dir=data/images \
    --image_list=imageclasslist.txt --output_dir=data

Boxes are in pixels of the converted image, xmin,ymin,xmax,ymax with the last two exclusive, and are
clipped to it. Both files are written only when every annotation could be read.
"""

from absl import flags

from lowlight import command
from lowlight.annotations import gather_annotations
from lowlight.errors import name_some
from lowlight.files import output_dir, whole_files
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
        images.write_text(format_table(found.images, ImageRow), "utf-8")
        annotations.write_text(format_table(found.boxes, AnnotationRow), "utf-8")
    print(f"{len(found.images)} images with {len(found.boxes)} boxes in {folder}/annotations.csv")
    notes = (
        ("boxes clipped to the image", sum(found.clipped.values()), found.clipped),
        ("images without boxes", len(found.without_boxes), found.without_boxes),
        ("images not in the image list", len(found.unlisted), found.unlisted),
        ("annotations left out, no image", len(found.without_image), found.without_image),
        ("other files left alone", len(found.strays), found.strays),
    )
    for what, count, names in notes:
        if count:
            print(f"  {what}: {count} ({name_some(names)})")


if __name__ == "__main__":
    command.run(main)
