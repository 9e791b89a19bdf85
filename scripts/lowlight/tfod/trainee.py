"""What a run trains, built from TFOD: model, optimizer, step, and the weights it begins with."""

from typing import NamedTuple

import tensorflow as tf
from object_detection import model_lib_v2
from object_detection.core import standard_fields
from object_detection.utils import config_util, variables_helper

from lowlight.core.errors import DataError
from lowlight.tfod import model as tfod
from lowlight.tfod import training as tfod_training

FIELDS = standard_fields.InputDataFields  # the names of a batch's tensors


class Trainee(NamedTuple):
    """What a run trains."""

    model: object  # TFOD's detection model
    optimizer: object
    step: tf.Variable  # int64, the steps made since the run began
    schedule_step: tf.Variable  # int64, the steps made since the learning rate's schedule began

    def checkpoint(self):
        """Returns a tf.train.Checkpoint of it, with the names that TFOD's own loop gives."""
        return tf.train.Checkpoint(step=self.step, model=self.model, optimizer=self.optimizer)


def final_config(config, num_steps, use_tpu=False):
    """Returns the config as TFOD's loop trains and keeps it: with these steps, bfloat16 on TPUs."""
    final = type(config)()
    final.CopyFrom(config)
    final.train_config.num_steps = num_steps
    final.train_config.use_bfloat16 = config.train_config.use_bfloat16 and use_tpu
    config_util.update_fine_tune_checkpoint_type(final.train_config)
    return final


def make_trainee(config, make_batches, step=0, schedule_start=0, mixed_precision=None):
    """Builds a config's model and optimizer, in the scope of the current strategy.

    Args:
        config: TrainEvalPipelineConfig.
        make_batches: takes the model and returns its dataset of training batches.
        step: the step that training goes on from; 0 takes the config's fine_tune_checkpoint.
        schedule_start: the step at which the learning rate's schedule begins.
        mixed_precision: as `train_step.choose_precision` returned it.

    Returns:
        (Trainee, what make_batches returned).

    Raises:
        DataError: the fine-tune checkpoint isn't one of this model.
    """
    train_config = config.train_config
    model = tfod.build_model(config, is_training=True)
    counters = [
        tf.Variable(
            value,
            trainable=False,
            dtype=tf.int64,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        for value in (step, step - schedule_start)
    ]
    optimizer, _ = tfod_training.build_optimizer(config, counters[1], mixed_precision)
    batches = make_batches(model)
    # A tf.function that makes its variables is traced twice, and can't on several devices.
    model_lib_v2._ensure_model_is_built(model, batches, train_config.unpad_groundtruth_tensors)
    if train_config.optimizer.use_moving_average:
        optimizer.shadow_copy(model)
    inner = getattr(optimizer, "_optimizer", optimizer)
    inner._create_all_weights(model.trainable_variables)
    if train_config.fine_tune_checkpoint and not step:
        _restore_fine_tune_checkpoint(model, train_config, batches)
    return Trainee(model, optimizer, *counters), batches


def _restore_fine_tune_checkpoint(model, train_config, batches):
    """Gives a model the weights that it starts from."""
    start, kind = train_config.fine_tune_checkpoint, train_config.fine_tune_checkpoint_type
    try:
        variables_helper.ensure_checkpoint_supported(start, kind, "")
        model_lib_v2.load_fine_tune_checkpoint(
            model,
            start,
            kind,
            train_config.fine_tune_checkpoint_version,
            False,  # The model is built already.
            batches,
            train_config.unpad_groundtruth_tensors,
        )
    except (AssertionError, ValueError, OSError, tf.errors.OpError) as error:
        raise DataError(
            f"{start}: can't give this model its first weights ({str(error).splitlines()[0]}).\n"
            '  Check fine_tune_checkpoint, fine_tune_checkpoint_type ("detection" for one\n'
            "  of a whole detector) and fine_tune_checkpoint_version (V2) in the config."
        ) from error
