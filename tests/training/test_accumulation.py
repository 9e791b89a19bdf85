"""A batch that is taken in parts teaches what it teaches as a whole."""

import numpy as np
import pytest
from noise_records import write_shards
from tiny_training import ROOT

pytestmark = pytest.mark.slow

BATCH = 4


@pytest.fixture(scope="module")
def trainee_and_batch(tmp_path_factory):
    """(config, Trainee, (features, labels)) of images with 0 to 4 boxes; batch norm is frozen."""
    import tensorflow as tf
    from google.protobuf import text_format

    from lowlight.tfod.model import PipelineConfig
    from lowlight.tfod.training import make_trainee
    from lowlight.training.step import TrainingInput

    folder = tmp_path_factory.mktemp("parts")
    write_shards(folder)
    text = (ROOT / "tests" / "tiny.config").read_text().replace("FOLDER", str(folder))
    config = text_format.Parse(text.replace("train.tfrecord", "train.tfrecord-*"), PipelineConfig())
    tf.keras.utils.set_random_seed(1)
    strategy = tf.distribute.get_strategy()
    trainee, batches = make_trainee(
        config, lambda model: TrainingInput(config, 1).batches(strategy, 0, model)
    )
    return config, trainee, next(iter(batches))


@pytest.fixture(scope="module")
def step_in(trainee_and_batch):
    """step_in(parts) -> (losses, gradients by variable) of one step from the same weights."""
    import tensorflow as tf

    from lowlight.training.step import TrainStep

    config, trainee, batch = trainee_and_batch
    variables = trainee.model.trainable_variables
    first = [variable.numpy() for variable in variables]

    def step(parts):
        for variable, value in zip(variables, first, strict=True):
            variable.assign(value)
        optimizer = tf.keras.optimizers.SGD(1.0)  # a weight moves by its gradient
        made = TrainStep(
            trainee.model, config, optimizer, tf.distribute.get_strategy(), seed=1, parts=parts
        )
        losses = {name: float(value) for name, value in made(*batch).items()}
        moved = {v.name: b - v.numpy() for v, b in zip(variables, first, strict=True)}
        return losses, moved

    return step


def test_losses_and_gradients_of_parts_are_those_of_the_whole_batch(trainee_and_batch, step_in):
    _, _, (_, labels) = trainee_and_batch
    boxes = labels["num_groundtruth_boxes"].numpy()
    assert len(boxes) == BATCH
    assert len(set(boxes)) > 2  # so that the parts weigh differently
    (losses, gradients), (own_losses, own) = step_in(1), step_in(BATCH)
    assert own_losses == pytest.approx(losses, rel=1e-5)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(own[name], gradient, rtol=1e-5, atol=1e-5, err_msg=name)
