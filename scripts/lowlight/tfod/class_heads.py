"""Makes a detector for other classes of one that is trained, class by class."""

from typing import NamedTuple

import tensorflow as tf

from lowlight.core.errors import DataError, name_some
from lowlight.core.tensorflow import plain_message
from lowlight.tfod import zoo
from lowlight.tfod.architectures import check_model, model_of
from lowlight.tfod.model import build_model
from lowlight.tfod.start import make_variables, named_variables

_BOX = 4  # numbers of a box


class Adapted(NamedTuple):
    """A detector for other classes."""

    config: object  # TrainEvalPipelineConfig
    model: object  # TFOD's DetectionModel, with its weights
    taken: int  # variables taken over as they were
    heads: int  # variables of which some rows were taken over


def match_classes(names: dict, base_names: dict, given: dict | None = None) -> dict:
    """Finds for each class the one of a trained detector that it begins as.

    Args:
        names: {id: name} of the classes to be; base_names: {id: name} of the detector's.
        given: {name: base name, "" to begin anew} of what the user says; the others meet by name,
            without regard to case, or by `zoo.COCO_ALIASES`.

    Returns:
        {id: base id, None to begin anew}.

    Raises:
        DataError: a name in `given` that is none of the classes.
    """
    ids = {name.lower(): number for number, name in base_names.items()}
    given = {name.lower(): base.lower() for name, base in (given or {}).items()}
    unknown = given.keys() - {name.lower() for name in names.values()}
    unknown |= {base for base in given.values() if base and base not in ids}
    if unknown:
        raise DataError(
            f"--classes: {', '.join(sorted(unknown))}: no such class.\n"
            f"  Yours: {name_some(names.values(), 20)}. The detector's: "
            f"{name_some(base_names.values(), 90)}."
        )

    sources = {}
    for number, name in names.items():
        own = name.lower()
        found = [given[own]] if own in given else [own, zoo.COCO_ALIASES.get(own)]
        sources[number] = next((ids[one] for one in found if one in ids), None)
    return sources


def adapt(config, checkpoint, sources: dict, path) -> Adapted:
    """Makes a detector for other classes, with a trained one's weights.

    All that doesn't depend on the number of classes is taken over; of the heads' last layers the
    rows of each class that has a source. The other rows keep what TFOD begins them with.

    Args:
        config: the trained detector's TrainEvalPipelineConfig.
        checkpoint: its prefix.
        sources: as `match_classes` returns them; its ids are 1 to their number.
        path: the config's, for messages.

    Raises:
        DataError: as `check_model`; a checkpoint that isn't the config's, or is damaged.
    """
    check_model(config, path)
    base, own_config = build_model(config), type(config)()
    own_config.CopyFrom(config)
    model_of(own_config, path).num_classes = max(sources)
    own = build_model(own_config)
    for model in (base, own):
        make_variables(model)
    _restore(base, checkpoint)
    before = named_variables(tf.train.Checkpoint(model=base))
    after = named_variables(tf.train.Checkpoint(model=own))
    classes = model_of(config, path).num_classes, max(sources)
    background, heads = _background_slots(config), 0
    for name, variable in after.items():
        value, own_value = before[name].numpy(), variable.numpy()
        if value.shape != own_value.shape:
            sizes = value.shape[-1], own_value.shape[-1]
            columns = _columns(sizes, classes, background, sources)
            if columns is None or value.shape[:-1] != own_value.shape[:-1]:
                raise DataError(
                    f"{path}: this architecture's heads aren't known here ({name} has "
                    f"{list(value.shape)}).\n  Train it from the checkpoint: "
                    'fine_tune_checkpoint_type: "detection".'
                )
            for to, of in columns:
                own_value[..., to] = value[..., of]
            value, heads = own_value, heads + 1
        variable.assign(value)
    return Adapted(own_config, own, len(after) - heads, heads)


def _restore(model, checkpoint):
    try:
        status = tf.train.Checkpoint(model=model).restore(str(checkpoint)).expect_partial()
        status.assert_existing_objects_matched()
    except (tf.errors.OpError, AssertionError, ValueError, IndexError, RuntimeError) as error:
        raise DataError(
            f"{checkpoint}: can't give its config's model its weights ({plain_message(error)}).\n"
            "  It is of another architecture, damaged, or an index without weights: name the "
            "folder of a whole archive or run."
        ) from error


def _background_slots(config):
    """Returns how many outputs of a class head, before those of the classes, are of none."""
    kind = config.model.WhichOneof("model")
    return int(kind == "faster_rcnn" or kind == "ssd" and config.model.ssd.add_background_class)


def _columns(sizes, classes, background, sources):
    """Returns [(output of a new head, output of the trained one that it begins as)].

    A class head gives its outputs anchor by anchor, and of each anchor one a slot: the background
    where there is one, then the classes. Faster R-CNN gives four numbers of a box for each class.

    Args:
        sizes: outputs of the trained head and of the new one; classes: of both.
        background: slots of it.
        sources: {id: base id or None}.

    Returns:
        None for a head of another form.
    """
    pairs = [(number - 1, source - 1) for number, source in sources.items() if source]
    if background and sizes == tuple(_BOX * number for number in classes):
        return [(_BOX * to + edge, _BOX * of + edge) for to, of in pairs for edge in range(_BOX)]
    of_slots, to_slots = (number + background for number in classes)
    anchors = sizes[0] // of_slots
    if sizes != (anchors * of_slots, anchors * to_slots):
        return None
    pairs = [(to + background, of + background) for to, of in pairs]
    pairs += [(slot, slot) for slot in range(background)]
    return [(a * to_slots + to, a * of_slots + of) for a in range(anchors) for to, of in pairs]
