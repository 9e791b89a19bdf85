"""Converts ExDark's images to RGB JPG in one flat folder.

  python scripts/convert_images.py --input_dir=ExDark --output_dir=data/images

Each becomes <stem>.jpg. The bytes of an RGB JPEG stay as they are; other forms (PNG, transparent,
grey, palette) are encoded at quality 95 without chroma subsampling, transparency over black. EXIF
rotations are not applied, since ExDark's boxes are in the stored pixels.
"""

from absl import flags

from lowlight import command
from lowlight.errors import name_some
from lowlight.images import convert_images

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "input_dir", None, "ExDark's folder of class folders, or ExDark.zip.", required=True
)
flags.DEFINE_string("output_dir", None, "Where the JPGs are written.", required=True)


def main():
    """Converts and prints what became of every file."""
    done = convert_images(FLAGS.input_dir, FLAGS.output_dir)
    total = len(done.kept) + len(done.completed) + len(done.encoded)
    print(f"{total} images in {FLAGS.output_dir}")
    print(f"  RGB JPEGs kept byte for byte: {len(done.kept)}")
    if done.completed:
        print(f"  given their end marker: {len(done.completed)} ({name_some(done.completed)})")
    print(f"  encoded as RGB JPEG: {len(done.encoded)}")
    if done.strays:
        print(f"  other files left alone: {len(done.strays)} ({name_some(done.strays)})")


if __name__ == "__main__":
    command.run(main)
