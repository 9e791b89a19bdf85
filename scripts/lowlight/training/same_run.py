"""Tells whether a changed config can continue a run, and what has changed in it."""

import difflib

from google.protobuf import text_format

from lowlight.core.errors import DataError

# What of a model no tensor of its checkpoints depends on: the choice of boxes, and the losses.
_NOT_IN_CHECKPOINTS = (
    "ssd.post_processing",
    "ssd.loss",
    "ssd.matcher",
    "ssd.negative_class_weight",
    "ssd.normalize_loss_by_num_matches",
    "ssd.normalize_loc_loss_by_codesize",
    "faster_rcnn.first_stage_nms_score_threshold",
    "faster_rcnn.first_stage_nms_iou_threshold",
    "faster_rcnn.first_stage_max_proposals",
    "faster_rcnn.first_stage_localization_loss_weight",
    "faster_rcnn.first_stage_objectness_loss_weight",
    "faster_rcnn.second_stage_post_processing",
    "faster_rcnn.second_stage_localization_loss_weight",
    "faster_rcnn.second_stage_classification_loss_weight",
    "center_net.post_processing",
    "center_net.object_center_params.object_center_loss_weight",
    "center_net.object_center_params.min_box_overlap_iou",
    "center_net.object_center_params.max_box_predictions",
    "center_net.object_detection_task.task_loss_weight",
    "center_net.object_detection_task.offset_loss_weight",
    "center_net.object_detection_task.scale_loss_weight",
)


def check_same_run(own, given, run_dir, given_path):
    """Compares the config that a run was trained with to the one it is to continue with.

    Args:
        own: the run's TrainEvalPipelineConfig.
        given: the one to continue with.
        run_dir, given_path: for the messages.

    Returns:
        The lines of a diff of what else differs, such as batch, steps, paths or learning rate; none
        where nothing does.

    Raises:
        DataError: the checkpoints don't fit; the message holds the diff of what makes it so.
    """
    relevant = diff_lines(_what_a_checkpoint_holds(own), _what_a_checkpoint_holds(given))
    if relevant:
        shown = "\n".join(f"    {line}" for line in relevant)
        raise DataError(
            f"{run_dir}: holds checkpoints of another model or optimizer than {given_path} "
            f"describes:\n{shown}\n"
            "  Choose another --model_dir, or give the config that the run was begun with."
        )
    return diff_lines(*(text_format.MessageToString(c).splitlines() for c in (own, given)))


def diff_lines(old, new):
    """Returns the changed lines between two lists of lines, with two lines around each change."""
    return list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]


def _what_a_checkpoint_holds(config):
    """Returns, as lines of text, what of a config decides on the tensors of a checkpoint."""
    optimizer = config.train_config.optimizer
    model = type(config.model)()
    model.CopyFrom(config.model)
    for path in _NOT_IN_CHECKPOINTS:
        _clear(model, path)
    return [
        *text_format.MessageToString(model).splitlines(),
        f"optimizer: {optimizer.WhichOneof('optimizer')}",
        f"use_moving_average: {optimizer.use_moving_average}",
    ]


def _clear(message, path):
    """Clears the field of a message that a path such as ssd.loss leads to."""
    name, _, rest = path.partition(".")
    if not rest:
        message.ClearField(name)
    elif message.HasField(name):
        _clear(getattr(message, name), rest)
