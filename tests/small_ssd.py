"""A small SSD to train on two records, for tests of the checks before a training."""

import io

import families
from PIL import Image

NAMES = {1: "Fox", 2: "Owl", 3: "Hedgehog"}


def example(label):
    """Returns a record of an image of 8x6 pixels with one box."""
    from lowlight.dataset.tables import AnnotationRow, ImageRow
    from lowlight.dataset.writing import make_example

    stream = io.BytesIO()
    Image.new("RGB", (8, 6)).save(stream, "JPEG")
    image = ImageRow("a.jpg", "a.jpg", 8, 6, "", "", "", "", 1)
    row = AnnotationRow("a.jpg", 8, 6, NAMES[label], 1, 1, 5, 4)
    return make_example(image, [row], stream.getvalue(), {NAMES[label]: label})


def write(path, *examples):
    """Writes records to one file."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in examples:
            writer.write(one.SerializeToString())
    return path


def small_config(data_dir, **changes):
    """Returns an SSD's config for the data, from random weights where nothing else is said."""
    from lowlight.tfod import configs

    path = data_dir / "base.config"
    path.write_text(families.FAMILIES["SSD MobileNet FPN"])
    config, name, _ = configs.read_base(str(path))
    change = {"batch_size": 2, "num_steps": 10, "learning_rate": None, "fine_tune_checkpoint": ""}
    change = configs.Change(**change | changes)
    configs.adapt(config, configs.find_data(data_dir), change, name)
    return config
