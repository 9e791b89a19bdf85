"""The flags of inference: by which model and how it runs, and from which scores objects count."""

import difflib
from pathlib import Path
from typing import Any

from absl import flags

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file
from lowlight.core.json_files import fingerprint, parse_json
from lowlight.dataset.classes import read_label_map
from lowlight.detector.engines import ENGINES, PRECISIONS
from lowlight.detector.onnx_files import read_facts
from lowlight.detector.runs import check_classes, find_model
from lowlight.images.reading import MAX_PIXELS
from lowlight.inference.steps import Job

flags.disclaim_key_flags()  # they belong to the command, whose --help shows them

_AUTO = "auto"
_LABEL_MAP = "label_map.txt"
_LEAST_TILE = 64  # pixels


def define_detector_flags(engine: str | None) -> None:
    """Defines how the model runs; `engine` is the one that is taken where none is given.

    None is the model's default, TensorFlow for all but ONNX files.
    """
    about = "auto: OpenVINO if it is installed, and no GPU. ONNX Runtime runs ONNX files."
    if engine is None:
        about += " By default TensorFlow."
    flags.DEFINE_enum("engine", engine, [*ENGINES, _AUTO], about)
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "auto: bfloat16 where that is fast.")
    flags.DEFINE_string("device", _AUTO, "cpu, gpu, gpu:1, ...; auto: all GPUs, or the CPU.")
    flags.DEFINE_string(
        "batch_size",
        _AUTO,
        "Images that the network takes at a time; auto: 8 on a GPU, 1 on a CPU.",
    )
    flags.DEFINE_boolean(
        "tta", False, "Look at each image as it is, mirrored and brightened, and merge the boxes."
    )
    flags.DEFINE_integer(
        "tile",
        None,
        "Look at tiles of so many pixels a side, too, for small objects in large photographs.",
        _LEAST_TILE,
    )


def define_inference_flags() -> None:
    """Defines which model is taken and what counts, and the flags of `define_detector_flags`."""
    flags.DEFINE_string(
        "model_dir",
        None,
        "An exported model, a run, a folder of runs, or an ONNX file.",
        required=True,
    )
    flags.DEFINE_string(
        "label_map_path",
        None,
        f"The label map of the training; by default {_LABEL_MAP} beside the model, or the names "
        "that an ONNX file holds.",
    )
    flags.DEFINE_string(
        "score_threshold",
        "0.3",
        "Lowest score of a detection (0.3 as in the original), or a JSON file {class name: score}, "
        "or the metrics.json of an evaluation, for the best of each class.",
    )
    flags.DEFINE_list("classes", None, "Names of the classes to look for; by default all.")
    flags.DEFINE_integer("max_detections", None, "Most detections in an image; the model's.", 1)
    flags.DEFINE_float("nms_iou", None, "Most overlap of two boxes of a class; the model's.", 0, 1)
    flags.DEFINE_integer("max_pixels", MAX_PIXELS, "Most pixels of an image.", 1)
    flags.DEFINE_boolean("recursive", False, "Search the folder's folders too.")
    define_detector_flags(engine=_AUTO)


def detector_options() -> dict:
    """Returns what these flags ask for, as `detector.Detector` takes it; raises DataError."""
    given = flags.FLAGS
    batch = given.batch_size
    if batch != _AUTO and not (batch.isdecimal() and int(batch)):
        raise DataError(f"--batch_size={batch}: neither a number from 1 nor auto.\n  Correct it.")
    options = {name: given[name].value for name in ("engine", "precision", "device", "tta", "tile")}
    return options | {"batch_size": None if batch == _AUTO else int(batch)}


def names_and_thresholds() -> tuple[dict[int, str], dict[int, float]]:
    """Returns ({class id: name}, {class id: lowest score}); raises DataError as their readers."""
    path = _label_map()
    names = read_facts(path).names if Path(path).suffix == ".onnx" else read_label_map(path)
    return names, read_thresholds(flags.FLAGS.score_threshold, names, flags.FLAGS.classes)


def _label_map():
    """Returns the label map: what is given, the file beside the model, or an ONNX file's names."""
    if flags.FLAGS.label_map_path:
        return flags.FLAGS.label_map_path
    model = find_model(flags.FLAGS.model_dir)
    path = model.path.parent / _LABEL_MAP
    if path.is_file():
        return str(path)
    if model.is_onnx and read_facts(model.path).names:
        return str(model.path)
    raise DataError(
        f"missing flag --label_map_path: {path} isn't there.\n"
        "  Give the label map that the model was trained with."
    )


def read_job(
    names: dict[int, str], thresholds: dict[int, float], absolute: bool = False, **more: Any
) -> Job:
    """Returns what these flags ask for, as a Job with these fields `more`, yet to be `loaded`.

    With `absolute` the model's paths are as processes elsewhere find them. Raises DataError where
    there is no such model, or it has other classes.
    """
    given = flags.FLAGS
    model = find_model(given.model_dir)
    check_classes(model, names, _label_map())
    model = model.absolute() if absolute else model
    limits = {"most": given.max_detections, "most_iou": given.nms_iou}
    options = detector_options() | limits | {"least_score": min(thresholds.values())}
    about = {"facts": _facts_of(model), "model_files": fingerprint(model.files())}
    about |= {"model": model, "options": options, "max_pixels": given.max_pixels}
    return Job(None, names, thresholds, **about, **more)


def _facts_of(model):
    """Returns how detections are made, a JSON object."""
    given = flags.FLAGS
    facts = {
        "model": str(model.path),
        "label_map": _label_map(),
        "score_threshold": _number_or_path(given.score_threshold),
        "step": model.step(),
        "engine": given.engine,
        "precision": given.precision,
    }
    names = "classes", "max_detections", "nms_iou", "tile"
    others = {name: given[name].value for name in names} | {"tta": given.tta or None}
    return facts | {name: value for name, value in others.items() if value is not None}


def read_thresholds(
    value: str, names: dict[int, str], chosen: list[str] | None = None
) -> dict[int, float]:
    """Returns the lowest score of each class that is looked for, {class id: score}.

    The value is a number from 0 to 1 as text, or the path of a JSON file: {class name: number},
    whose classes alone are looked for, or an evaluation's metrics.json, whose best thresholds are
    taken, for a class without one that of all classes. Of them those `chosen` by name remain.

    Raises:
        DataError: neither, a number outside 0 to 1, or a class that isn't in the label map.
    """
    ids = {name: number for number, name in names.items()}
    for name in chosen or ():
        _check_class(name, ids, "--classes")
    number = _number_or_path(value)
    if isinstance(number, float):
        scores, place = dict.fromkeys(ids, number), f"--score_threshold={value}"
    else:
        scores, place = _read_scores(value), value
    for name, score in scores.items():
        _check_class(name, ids, place)
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            raise DataError(f"{place}: {score!r} isn't a score from 0 to 1.\n  Correct it.")
    found = {ids[n]: float(s) for n, s in scores.items() if chosen is None or n in chosen}
    if not found:
        raise DataError(
            f"--classes: {value} has a score for none of them.\n  Add one, or choose others."
        )
    return found


def _number_or_path(text):
    try:
        return float(text)
    except ValueError:
        return text


def _read_scores(path):
    remedy = (
        "--score_threshold is a number from 0 to 1, a JSON file {class name: number}, or an "
        "evaluation's metrics.json."
    )
    scores = parse_json(existing_file(path, remedy).read_bytes(), path, remedy)
    if not isinstance(scores, dict) or not scores:
        raise DataError(f"{path}: no object of class names.\n  {remedy}")
    best = scores.get("best_thresholds")
    if not isinstance(best, dict):
        return scores
    try:  # that of all classes is the first
        (_, of_all), *of_class = ((name, entry["threshold"]) for name, entry in best.items())
    except (ValueError, TypeError, KeyError):
        of_all = None
    if of_all is None:
        raise DataError(
            f"{path}: holds no best thresholds; nothing was found right.\n"
            "  Give a number, or the metrics.json of another evaluation."
        )
    return {name: of_all if score is None else score for name, score in of_class}


def _check_class(name, ids, place):
    if name in ids:
        return
    near = difflib.get_close_matches(name.lower(), [known.lower() for known in ids], 1)
    near = [known for known in ids if known.lower() in near]
    meant = f"Is {near[0]!r} meant? " if near else ""
    raise DataError(
        f"{place}: no class {name!r} in the label map.\n  {meant}Known: {', '.join(ids)}."
    )
