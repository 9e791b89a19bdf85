"""Converts ExDark's images, or your own, to RGB JPG in one flat folder.

  python scripts/convert_images.py --input_dir=ExDark --output_dir=data/images

Each becomes <stem>.jpg. The bytes of an RGB JPEG stay as they are; other forms (PNG, transparent,
grey, palette, 16 bits) are encoded at quality 95 without chroma subsampling, transparency over
black. EXIF rotations are not applied, since ExDark's boxes are in the stored pixels; TensorFlow
ignores the tag that a JPEG keeps. Your own photographs, which labelling tools show upright, want
--upright. In the same folder problems.csv names what was out of the ordinary (file,problem,detail),
and converted.csv says what was done with each image. By its SHA-256 sums the same command, run
again after an interruption or with more images, converts only what isn't there yet, and
make_tfrecords.py finds near-duplicates by its pHashes without decoding the images again.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command
from lowlight.core.errors import format_count, name_some
from lowlight.dataset.conversion import (
    PROBLEMS,
    ConversionOptions,
    convert_images,
    count_extensions,
)
from lowlight.images.reading import MAX_PIXELS, set_max_pixels
from lowlight.images.rgb_jpegs import HOWS

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "input_dir", None, "ExDark's folder of class folders, or ExDark.zip.", required=True
)
flags.DEFINE_string("output_dir", None, "Where the JPGs are written.", required=True)
flags.DEFINE_integer(
    "jobs", None, "How many images are converted at a time; all cores by default.", lower_bound=1
)
flags.DEFINE_boolean(
    "verify",
    False,
    "Decode every image whole. Otherwise of an RGB JPEG that holds its end marker only the header "
    "is read, which is faster and finds all that is cut short, but not a damage in the middle.",
)
flags.DEFINE_boolean(
    "upright",
    False,
    "Turn the pixels as EXIF says, for photographs whose labels are of the upright picture.",
)
flags.DEFINE_boolean(
    "flatten",
    False,
    "Keep the folders in the names (cam1/0001.jpg becomes cam1__0001.jpg), for images of one name "
    "in several folders.",
)
flags.DEFINE_integer(
    "max_pixels",
    MAX_PIXELS,
    "How many pixels an image may have; larger ones are refused, since a small file may need "
    "gigabytes of memory.",
    lower_bound=1,
)


def main():
    """Converts and prints what became of every file."""
    set_max_pixels(FLAGS.max_pixels)
    options = ConversionOptions(FLAGS.verify, FLAGS.upright, FLAGS.flatten)
    done = convert_images(FLAGS.input_dir, FLAGS.output_dir, FLAGS.jobs, options)
    print(f"{format_count(len(done.rows), 'image')} in {FLAGS.output_dir}")
    if done.found:
        print(f"  there already, from an earlier conversion: {done.found}")
    files = {how: [row.file for row in done.rows if row.how == how] for how in HOWS}
    rotated = [row.file for row in done.rows if row.orientation > 1 and row.how != "turned"]
    kinds = (
        ("RGB JPEGs kept byte for byte", files["kept"], False),
        ("EXIF rotation not applied", rotated, True),
        ("turned upright, encoded as RGB JPEG", files["turned"], True),
        ("given their end marker", files["completed"], True),
        ("cut behind their end marker", files["cut"], True),
        ("encoded as RGB JPEG", files["encoded"], False),
        ("other files left alone", done.strays, True),
    )
    for what, names, is_odd in kinds:
        if names or not is_odd:
            print(f"  {what}: {len(names)}{f' ({name_some(names)})' if is_odd else ''}")
    if done.others:
        print(f"  files that are no images by their extension: {count_extensions(done.others)}")
    print(f"  files found: {len(done.rows) + len(done.strays) + len(done.others)}")
    if done.problems:
        print(f"  named in {Path(FLAGS.output_dir) / PROBLEMS}: {len(done.problems)}")


if __name__ == "__main__":
    command.run(main)
