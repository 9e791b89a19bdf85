"""Training records of images of noise, and a config that trains on them."""

import numpy as np
from checks import write_examples
from google.protobuf import text_format
from pictures import encode
from PIL import Image

from lowlight.dataset.classes import format_label_map
from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.dataset.writing import make_example
from lowlight.tfod import model as tfod

SIZES = [(200, 150), (90, 130), (64, 64), (300, 100), (128, 40)]  # width, height


def write_shards(folder):
    """Writes train.tfrecord-0 with three images and -1 with two, and label_map.txt."""
    rng = np.random.default_rng(0)
    examples = []
    for number, (width, height) in enumerate(SIZES):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        name = f"{number}.jpg"
        boxes = [
            AnnotationRow(name, width, height, "Cat", 5, 5 + n, width // 2, height - 3)
            for n in range(number)
        ]
        image = ImageRow(name, name, width, height, "Cat", "", "", "", number)
        jpeg = encode(Image.fromarray(pixels), "JPEG")
        examples.append(make_example(image, boxes, jpeg, {"Cat": 6}))
    write_examples(folder / "train.tfrecord-0", *examples[:3])
    write_examples(folder / "train.tfrecord-1", *examples[3:])
    names = ("Cat" if number == 6 else f"c{number}" for number in range(1, 13))
    (folder / "label_map.txt").write_text(format_label_map(names))


def make_config(folder, batch_size):
    """Returns a smaller sample config on the records of `write_shards`, with D1's augmentations."""
    config = tfod.read_config("configs/sample.config")
    ssd = config.model.ssd
    ssd.feature_extractor.bifpn.num_iterations = 1
    ssd.box_predictor.weight_shared_convolutional_box_predictor.num_layers_before_predictor = 1
    reader = config.train_input_reader
    reader.label_map_path = str(folder / "label_map.txt")
    reader.tf_record_input_reader.input_path[:] = [f"{folder}/train.tfrecord-*"]
    config.train_config.batch_size = batch_size
    text_format.Parse(
        "random_scale_crop_and_pad_to_square { output_size: 192 scale_min: 0.1 scale_max: 2.0 }",
        config.train_config.data_augmentation_options.add(),
    )
    return config
