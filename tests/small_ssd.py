"""A small SSD to train on two records, for tests of the checks before a training."""

import families
from checks import write_examples
from pictures import encode
from PIL import Image

from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.dataset.writing import make_example

NAMES = {1: "Fox", 2: "Owl", 3: "Hedgehog"}


def write_records(path, *labels):
    """Writes records of an image of 8x6 pixels, each with one box of a label."""
    image, jpeg = ImageRow("a.jpg", "a.jpg", 8, 6), encode(Image.new("RGB", (8, 6)), "JPEG")
    ids = {name: number for number, name in NAMES.items()}
    rows = [AnnotationRow("a.jpg", 8, 6, NAMES[label], 1, 1, 5, 4) for label in labels]
    write_examples(path, *(make_example(image, [row], jpeg, ids) for row in rows))


def small_config(data_dir, **changes):
    """Returns an SSD's config for the data, from random weights where nothing else is said."""
    from lowlight.tfod import configs, zoo

    path = data_dir / "base.config"
    path.write_text(families.FAMILIES["SSD MobileNet FPN"])
    config, name, _ = zoo.read_base(str(path))
    change = {"batch_size": 2, "num_steps": 10, "learning_rate": None, "fine_tune_checkpoint": ""}
    change = configs.Change(**change | changes)
    configs.adapt(config, configs.find_data(data_dir), change, name)
    return config
