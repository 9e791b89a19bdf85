"""Shows what a data set holds in one HTML page: counts, box sizes, brightness and pictures.

  python scripts/describe_data.py --data_dir=data --output=data/describe.html

Reads annotations.csv, images.csv and every image from --data_dir, and where they are there
classes.txt (other classes than ExDark's), split.csv and problems.csv (columns file,problem,detail).
Boxes are compared with the anchors of --config. The page loads nothing from elsewhere; the same
data and flags write the same bytes.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command
from lowlight.core.errors import format_count
from lowlight.core.files import CONFIGS, locked, output_dir, write_text
from lowlight.dataset.overview import read_anchors, read_data_set
from lowlight.dataset.overview_page import format_page

CONFIG = "ssd_efficientdet_d1_640x640_coco17_tpu-8.config"

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Where the csv files are.", required=True)
flags.DEFINE_string("images_dir", None, "The images; by default images/ in --data_dir.")
flags.DEFINE_string("output", None, "The HTML page to write.", required=True)
flags.DEFINE_string(
    "config", None, f"The pipeline config whose anchors count; by default configs/{CONFIG}."
)
flags.DEFINE_integer("seed", 0, "What the choice of pictures comes from.")


def main():
    """Reads and measures everything, then writes the page."""
    data_dir, output = Path(FLAGS.data_dir), Path(FLAGS.output)
    images_dir = FLAGS.images_dir or data_dir / "images"
    config = FLAGS.config or CONFIGS / CONFIG
    anchors = read_anchors(config)
    data_set = read_data_set(data_dir, images_dir)
    page = format_page(data_dir.resolve().name, data_set, anchors, images_dir, FLAGS.seed)
    with locked(output_dir(output.parent), "written", "output"):
        write_text(output, page)
    images = format_count(len(data_set.images), "image")
    print(f"{output}: {images} with {format_count(len(data_set.boxes), 'box')}")


if __name__ == "__main__":
    command.run(main)
