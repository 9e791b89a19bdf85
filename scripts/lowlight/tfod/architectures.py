"""Which architectures of TFOD can be trained here, and what of a model config they can't do."""

import difflib
import math
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.message import Message

from lowlight.core.errors import DataError, name_some
from lowlight.tfod.model import PipelineConfig, feature_extractors

# What each may find besides boxes, which a data set of boxes can't teach it.
_MORE_THAN_BOXES = {
    "ssd": ("mask_head_config",),
    "faster_rcnn": ("context_config",),
    "center_net": (
        "keypoint_estimation_task",
        "mask_estimation_task",
        "densepose_estimation_task",
        "track_estimation_task",
        "temporal_offset_task",
        "deepmac_mask_estimation",
    ),
}
_BROKEN_AUGMENTATION = "autoaugment_image"  # calls tf.contrib, which left TensorFlow with 2.0
# These refuse smaller images (`check_min_image_dim` in object_detection/models/).
_NO_SMALL_SIDE, _SMALL_SIDE = ("ssd_efficientnet", "ssd_resnet"), 129
# No model has more of anything, such as classes, channels or pixels of a side; nor levels of maps,
# each half as wide as the one before.
_MOST, _MOST_LEVELS = 10_000, 12


def model_of(config: PipelineConfig, path: Path | str) -> Message:
    """Returns the message of a config's architecture: its ssd, faster_rcnn or center_net.

    Raises:
        DataError: it has none of these; the message names the config by its path.
    """
    kind = config.model.WhichOneof("model")
    if kind not in _MORE_THAN_BOXES:
        raise DataError(
            f"{path}: no model, or not one of {', '.join(_MORE_THAN_BOXES)}.\n"
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
    _check_boxes_only(config.model.WhichOneof("model"), model, path)
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


def is_set(message: Message, name: str) -> bool:
    """Returns whether a field, single or repeated, has a value of its own."""
    return any(field.name == name for field, _ in message.ListFields())


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
            if isinstance(one, Message):
                _check_numbers(one, path)
            elif isinstance(one, int) and one > most or not _is_finite(one):
                raise DataError(
                    f"{path}: {field.name}: {one} in the model; at most {most} can be built."
                    "\n  Correct it."
                )


def _is_finite(value):
    return not isinstance(value, float) or math.isfinite(value)


def _check_extractor(name, path):
    known = feature_extractors()
    if name in known:
        return
    near = difflib.get_close_matches(name, known, 3, 0.6)
    raise DataError(
        f"{path}: feature_extractor type {name!r} isn't one that TFOD has for TensorFlow 2.\n"
        f"  Take {' or '.join(near) if near else 'one of ' + name_some(known, 40)}."
    )


def _check_boxes_only(kind, model, path):
    found = [name for name in _MORE_THAN_BOXES[kind] if is_set(model, name)]
    if kind == "faster_rcnn":
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
    if not is_set(extractor, "bifpn"):
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
