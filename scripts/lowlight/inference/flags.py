"""The flags that say what is to be found, and by which model, which commands of inference have."""

from absl import flags

from lowlight.dataset.classes import read_label_map
from lowlight.inference.detector_flags import define_detector_flags, detector_options
from lowlight.inference.thresholds import read_thresholds

flags.disclaim_key_flags()  # they belong to the command, whose --help shows them


def define_inference_flags():
    """Defines them, those of `define_detector_flags` too."""
    flags.DEFINE_string(
        "model_dir", None, "An exported model, a run, or a folder of runs.", required=True
    )
    flags.DEFINE_string("label_map_path", None, "The label map of the training.", required=True)
    flags.DEFINE_string(
        "score_threshold",
        "0.3",
        "Lowest score of a detection (0.3 as in the original), or a JSON file {class name: score}, "
        "or the metrics.json of an evaluation, for the best of each class.",
    )
    flags.DEFINE_list("classes", None, "Names of the classes to look for; by default all.")
    flags.DEFINE_integer("max_detections", None, "Most detections in an image; the model's.", 1)
    flags.DEFINE_float("nms_iou", None, "Most overlap of two boxes of a class; the model's.", 0, 1)
    flags.DEFINE_boolean("recursive", False, "Search the folder's folders too.")
    define_detector_flags(engine="auto")


def names_and_thresholds():
    """Returns ({class id: name}, {class id: lowest score}); raises DataError as their readers."""
    given = flags.FLAGS
    names = read_label_map(given.label_map_path)
    return names, read_thresholds(given.score_threshold, names, given.classes)


def find_flags_model(names):
    """Returns the runs.Model that is asked for.

    Raises:
        DataError: there is none, or its classes aren't the label map's.
    """
    from lowlight.detector.runs import check_classes, find_model

    model = find_model(flags.FLAGS.model_dir)
    check_classes(model, names, flags.FLAGS.label_map_path)
    return model


def inference_options(thresholds):
    """Returns what the flags ask for, as `detector.Detector` takes it; raises DataError."""
    given = flags.FLAGS
    limits = {"most": given.max_detections, "most_iou": given.nms_iou}
    return {**detector_options(), **limits, "least_score": min(thresholds.values())}


def facts_of(model, engine):
    """Returns what is told of how detections were made, a JSON object.

    Args:
        model: runs.Model.
        engine: the name of what runs it.
    """
    given = flags.FLAGS
    facts = {
        "model": str(model.path),
        "label_map": given.label_map_path,
        "score_threshold": _number(given.score_threshold),
        "step": model.step(),
        "engine": engine,
        "precision": given.precision,
    }
    names = "classes", "max_detections", "nms_iou", "tile"
    others = {name: given[name].value for name in names} | {"tta": given.tta or None}
    return facts | {name: value for name, value in others.items() if value is not None}


def _number(text):
    try:
        return float(text)
    except ValueError:
        return text
