"""Two records of three classes, and a small SSD with a checkpoint to start from."""

import families
import pytest
from small_ssd import NAMES, write_records

from lowlight.dataset.classes import format_label_map


@pytest.fixture
def data_dir(tmp_path):
    """Two records of three classes, in a folder with a blank in its name."""
    folder = tmp_path / "my data"
    folder.mkdir()
    (folder / "label_map.txt").write_text(format_label_map(NAMES.values()))
    write_records(folder / "train.tfrecord", 1, 3)
    write_records(folder / "test.tfrecord", 2)
    return folder


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """(the small SSD's DetectionModel, the prefix of a checkpoint of it with an optimizer)."""
    import tensorflow as tf

    from lowlight.tfod import model as tfod
    from lowlight.tfod.start import build_trial

    folder = tmp_path_factory.mktemp("start")
    (folder / "base.config").write_text(families.FAMILIES["SSD MobileNet FPN"])
    model = build_trial(tfod.read_config(folder / "base.config"), "x.config")
    optimizer = tf.keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.apply_gradients((tf.zeros_like(v), v) for v in model.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    return model, checkpoint.save(str(folder / "ckpt"))
