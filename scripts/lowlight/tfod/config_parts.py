"""The parts of a pipeline config that come in kinds, its model and its learning-rate schedule.

What they are, how a schedule keeps its course over other steps, and what can't be trained here. A
schedule is the `learning_rate` message of an optimizer (object_detection/protos/optimizer.proto);
what it means is in object_detection/utils/learning_schedules.py.
"""

import difflib
from collections.abc import Iterable
from math import isfinite
from pathlib import Path

from google.protobuf.message import Message
from object_detection.builders.model_builder import FEATURE_EXTRACTOR_MAPS
from object_detection.utils import learning_schedules

from lowlight.core.errors import DataError, name_some
from lowlight.tfod.model import PipelineConfig

_ARCHITECTURES = "ssd", "faster_rcnn", "center_net"
# What they may find besides boxes, which a data set of boxes can't teach them.
_MORE_THAN_BOXES = {
    "mask_head_config",
    "context_config",
    "keypoint_estimation_task",
    "mask_estimation_task",
    "densepose_estimation_task",
    "track_estimation_task",
    "temporal_offset_task",
    "deepmac_mask_estimation",
}
_BROKEN_AUGMENTATION = "autoaugment_image"  # calls tf.contrib, which left TensorFlow with 2.0
# These refuse smaller images (`check_min_image_dim` in object_detection/models/).
_NO_SMALL_SIDE, _SMALL_SIDE = ("ssd_efficientnet", "ssd_resnet"), 129
# No model has more of anything, such as classes, channels or pixels of a side; nor levels of maps,
# each half as wide as the one before.
_MOST, _MOST_LEVELS = 10_000, 12

CONSTANT, STEPS = "constant_learning_rate", "manual_step_learning_rate"
COSINE, EXPONENTIAL = "cosine_decay_learning_rate", "exponential_decay_learning_rate"
# The fields of each kind that are rates, the first at its height, and those that count steps.
_RATES = {
    CONSTANT: ("learning_rate",),
    EXPONENTIAL: ("initial_learning_rate", "burnin_learning_rate", "min_learning_rate"),
    STEPS: ("initial_learning_rate",),
    COSINE: ("learning_rate_base", "warmup_learning_rate"),
}
_STEPS = {
    EXPONENTIAL: ("decay_steps", "burnin_steps"),
    COSINE: ("warmup_steps", "hold_base_rate_steps"),
}


def model_of(config: PipelineConfig, path: Path | str) -> Message:
    """Returns the message of a config's architecture: its ssd, faster_rcnn or center_net.

    Raises:
        DataError: it has none of these; the message names the config by its path.
    """
    kind = config.model.WhichOneof("model")
    if kind not in _ARCHITECTURES:
        raise DataError(
            f"{path}: no model, or not one of {', '.join(_ARCHITECTURES)}.\n"
            "  Take one of these, as in the configs of the model zoo for TF 2."
        )
    return getattr(config.model, kind)


def check_model(config: PipelineConfig, path: Path | str) -> Message:
    """Returns what `model_of` does, of an architecture that can be trained here on boxes.

    Raises:
        DataError: as `model_of`; an architecture that needs more than boxes or TensorFlow 1, or an
            input size or augmentation that its part of TFOD fails with.
    """
    model = model_of(config, path)
    _check_numbers(config.model, path)
    _check_extractor(model.feature_extractor.type, path)
    _check_boxes_only(model, path)
    _check_side(model, path)
    for option in config.train_config.data_augmentation_options:
        if option.WhichOneof("preprocessing_step") == _BROKEN_AUGMENTATION:
            raise DataError(
                f"{path}: {_BROKEN_AUGMENTATION} needs TensorFlow 1.\n"
                "  Remove these data_augmentation_options."
            )
    return model


def needs_network(model: Message) -> bool:
    """Returns whether TFOD fetches ImageNet weights whenever it builds a model.

    It does for CenterNet's MobileNets (`weights="imagenet"` in
    object_detection/models/center_net_mobilenet_v2*), even where a checkpoint follows. Keras keeps
    them in ~/.keras/models.
    """
    extractor = model.feature_extractor
    return extractor.type.startswith("mobilenet_v2") and extractor.depth_multiplier == 1.0


def image_sides(model: Message) -> tuple[int, int]:
    """Returns (height, width) that every image is brought to; 0 where it differs by image."""
    if model.image_resizer.WhichOneof("image_resizer_oneof") == "fixed_shape_resizer":
        fixed = model.image_resizer.fixed_shape_resizer
        return fixed.height, fixed.width
    kept = model.image_resizer.keep_aspect_ratio_resizer
    side = kept.max_dimension if kept.pad_to_max_dimension else 0
    return side, side


def _check_numbers(message, path):
    """Raises DataError for a number that no machine could build a model of."""
    for field, value in message.ListFields():
        most = _MOST_LEVELS if field.name.endswith("_level") else _MOST
        for one in value if isinstance(value, Iterable) and not isinstance(value, str) else [value]:
            too_many = isinstance(one, int) and one > most
            if isinstance(one, Message):
                _check_numbers(one, path)
            elif too_many or isinstance(one, float) and not isfinite(one):
                raise DataError(
                    f"{path}: {field.name}: {one} in the model; at most {most} can be built."
                    "\n  Correct it."
                )


def _check_extractor(name, path):
    known = sorted(name for names in FEATURE_EXTRACTOR_MAPS for name in names)
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.6)
        raise DataError(
            f"{path}: feature_extractor type {name!r} isn't one that TFOD has for TensorFlow 2.\n"
            f"  Take {' or '.join(near) if near else 'one of ' + name_some(known, 40)}."
        )


def _check_boxes_only(model, path):
    found = [field.name for field, _ in model.ListFields() if field.name in _MORE_THAN_BOXES]
    if model.DESCRIPTOR.name == "FasterRcnn":
        if model.second_stage_box_predictor.mask_rcnn_box_predictor.predict_instance_masks:
            found.append("predict_instance_masks")
        if model.number_of_stages != 2:
            found.append(f"number_of_stages: {model.number_of_stages}")
    if found:
        raise DataError(
            f"{path}: {found[0]} needs more than the boxes that the records hold.\n"
            "  Take the config of a model that finds boxes alone."
        )


def _check_side(model, path):
    """Raises DataError where a side is too small, or a BiFPN's levels don't halve it evenly."""
    extractor, sides = model.feature_extractor, image_sides(model)
    if extractor.type.startswith(_NO_SMALL_SIDE) and 0 < min(sides) < _SMALL_SIDE:
        raise DataError(
            f"{path}: images of {min(sides)} pixels; {extractor.type} takes none under "
            f"{_SMALL_SIDE}.\n  Set both sides of the image_resizer to 256 or more."
        )
    if model.DESCRIPTOR.name != "Ssd" or not extractor.HasField("bifpn"):
        return
    divisor = 2**extractor.bifpn.max_level
    for side in sides:
        if side % divisor:
            near = max(round(side / divisor), 1) * divisor
            raise DataError(
                f"{path}: images of {side} pixels; a BiFPN with max_level: "
                f"{extractor.bifpn.max_level} needs sides that {divisor} divides.\n"
                f"  Set both sides of the image_resizer to {near}."
            )


def schedule_of(train_config: Message) -> tuple[str | None, Message | None]:
    """Returns (kind, message) of a train config's schedule, such as "cosine_decay_learning_rate".

    The kind is None where the config has no optimizer or no schedule.
    """
    optimizer = train_config.optimizer.WhichOneof("optimizer")
    if optimizer is None:
        return None, None
    rate = getattr(train_config.optimizer, optimizer).learning_rate
    kind = rate.WhichOneof("learning_rate")
    return kind, getattr(rate, kind) if kind else None


def base_rate(kind: str, schedule: Message) -> float:
    """Returns the rate that a schedule is at its height with, after any warm-up."""
    return getattr(schedule, _RATES[kind][0])


def length_of(train_config: Message) -> int:
    """Returns the steps that a config's schedule is made for: a cosine's own, else num_steps."""
    kind, schedule = schedule_of(train_config)
    return schedule.total_steps if kind == COSINE else train_config.num_steps


def rescale(kind: str, schedule: Message, factor: float, old_steps: int, new_steps: int) -> None:
    """Makes a schedule's rates `factor` times as high and its course as long as another training.

    Warm-up, hold and every change keep their share of the steps, each over 0; a cosine ends at the
    last step. The message is changed.
    """
    for name in _RATES[kind]:
        if getattr(schedule, name):
            setattr(schedule, name, _short(getattr(schedule, name) * factor))
    for name in _STEPS.get(kind, ()):
        if getattr(schedule, name):
            least = 0 if name == "hold_base_rate_steps" else 1
            steps = _moved(getattr(schedule, name), old_steps, new_steps)
            setattr(schedule, name, max(steps, least))
    if kind == COSINE:
        schedule.total_steps = new_steps
        schedule.warmup_steps = min(schedule.warmup_steps, new_steps - 1)
    if kind == STEPS:
        earliest = 1
        for change in schedule.schedule:
            change.step = max(_moved(change.step, old_steps, new_steps), earliest)
            change.learning_rate = _short(change.learning_rate * factor)
            earliest = change.step + 1


def _moved(step, old_steps, new_steps):
    return round(step * new_steps / old_steps)


def _short(rate):
    """Returns a rate without the digits that come of a config's floats having 32 bits."""
    return float(f"{rate:.6g}")


def check_schedule(train_config: Message, num_steps: int, path: Path | str) -> str:
    """Returns a warning with its remedy, "" where a schedule ends with the training.

    Raises:
        DataError: a schedule that TFOD can't train with; the message names the config by its path.
    """
    kind, schedule = schedule_of(train_config)
    if kind is None:
        raise DataError(
            f"{path}: no optimizer with a learning rate.\n"
            "  Copy the optimizer of a config in configs/."
        )
    if kind == COSINE:
        return _check_cosine(schedule, num_steps, path)
    if kind == STEPS:
        return _check_steps([change.step for change in schedule.schedule], num_steps, path)
    if kind == EXPONENTIAL and not schedule.decay_steps:
        raise DataError(f"{path}: decay_steps: 0.\n  Give the steps between two decays.")
    return ""


def _check_cosine(schedule, num_steps, path):
    total, warmup = schedule.total_steps, schedule.warmup_steps
    start, base = schedule.warmup_learning_rate, schedule.learning_rate_base
    hold = schedule.hold_base_rate_steps
    if total <= warmup + hold:
        raise DataError(
            f"{path}: total_steps: {total} isn't over warmup_steps and hold_base_rate_steps "
            f"together.\n  Set total_steps to {num_steps}, the training's, and warmup_steps well "
            "below."
        )
    if warmup and start > base:
        raise DataError(
            f"{path}: warmup_learning_rate: {start:g} is over learning_rate_base: {base:g}.\n"
            "  Lower the one or raise the other."
        )
    if total == num_steps:
        return ""
    if total < num_steps:
        return (
            f"the learning rate is 0 after step {total:,} of {num_steps:,}. "
            f"Set total_steps: {num_steps}."
        )
    course = base, total, start, warmup, hold
    last = float(learning_schedules.cosine_decay_with_warmup(num_steps, *course)())
    return (
        f"the learning rate is still {last:.4g} of {base:g} at step {num_steps:,}: the schedule "
        f"ends at step {total:,}. Set total_steps: {num_steps} and warmup_steps: "
        f"{max(_moved(warmup, total, num_steps), 1)}, or let make_config.py do it."
    )


def _check_steps(steps, num_steps, path):
    if not steps or steps[0] < 1 or steps != sorted(set(steps)):
        raise DataError(
            f"{path}: manual_step_learning_rate needs one `schedule` or more, with steps over 0 "
            "that grow.\n  Correct it, or take another schedule."
        )
    missed = sum(step >= num_steps for step in steps)
    if not missed:
        return ""
    return (
        f"{missed} of {len(steps)} changes of the learning rate come after step {num_steps:,}, the "
        "last. Move them in the config, or let make_config.py do it."
    )
