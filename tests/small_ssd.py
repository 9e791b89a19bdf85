"""A small SSD to train on two records, for tests of the checks before a training."""

import io

import families
from PIL import Image

NAMES = {1: "Fox", 2: "Owl", 3: "Hedgehog"}


def write_records(path, *labels):
    """Writes records of an image of 8x6 pixels, each with one box of a label."""
    import tensorflow as tf

    from lowlight.dataset.tables import AnnotationRow, ImageRow
    from lowlight.dataset.writing import make_example

    stream, image = io.BytesIO(), ImageRow("a.jpg", "a.jpg", 8, 6, "", "", "", "", 1)
    Image.new("RGB", (8, 6)).save(stream, "JPEG")
    ids = {name: number for number, name in NAMES.items()}
    with tf.io.TFRecordWriter(str(path)) as writer:
        for label in labels:
            row = AnnotationRow("a.jpg", 8, 6, NAMES[label], 1, 1, 5, 4)
            example = make_example(image, [row], stream.getvalue(), ids)
            writer.write(example.SerializeToString())


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
