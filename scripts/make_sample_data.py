"""Draws a small data set in ExDark's own form, for trying the pipeline without ExDark.

  python scripts/make_sample_data.py --output_dir=data/sample

Writes ExDark/<Class>/, ExDark_Annno/<Class>/ and imageclasslist.txt to --output_dir: night scenes
with objects of all 12 classes, in ExDark's formats and with its irregularities. The same flags
write the same bytes. test_images/ was drawn by:

  python scripts/make_sample_data.py --test_images_dir=test_images
"""

from absl import flags

from lowlight.core import command
from lowlight.core.errors import DataError, format_count
from lowlight.dataset.sample import write_sample, write_test_images

FLAGS = flags.FLAGS
flags.DEFINE_string("output_dir", None, "Where to write the data set.")
flags.DEFINE_string("test_images_dir", None, "Where to write scenes that no data set holds.")
flags.DEFINE_integer("images", 400, "Number of images in the data set.", 1)
flags.DEFINE_integer("seed", 0, "What the drawing's chances come from.")
flags.DEFINE_integer("width", 320, "Width of most images, in pixels.", 64)
flags.DEFINE_integer("height", 240, "Height of most images, in pixels.", 64)


def main():
    """Draws what the flags ask for."""
    if not (FLAGS.output_dir or FLAGS.test_images_dir):
        raise DataError("nothing to draw.\n  Give --output_dir, --test_images_dir or both.")
    if FLAGS.output_dir:
        write_sample(FLAGS.output_dir, FLAGS.images, FLAGS.seed, FLAGS.width, FLAGS.height)
        print(f"drew {format_count(FLAGS.images, 'image')} in {FLAGS.output_dir}")
    if FLAGS.test_images_dir:
        write_test_images(FLAGS.test_images_dir, FLAGS.seed)
        print(f"drew test images in {FLAGS.test_images_dir}")


if __name__ == "__main__":
    command.run(main)
