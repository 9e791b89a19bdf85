"""Reads the scores from which detections count, for all classes or for each."""

import difflib
import json

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file


def read_thresholds(value, names, chosen=None):
    """Returns the lowest score of each class that is looked for, {class id: score}.

    Args:
        value: a number from 0 to 1 as text, or the path of a JSON file: {class name: number}, whose
            classes alone are looked for, or an evaluation's metrics.json, whose best thresholds are
            taken, for a class without one that of all classes.
        names: {class id: name}.
        chosen: names of the classes to keep; None keeps all.

    Raises:
        DataError: neither, a number outside 0 to 1, or a class that isn't in the label map.
    """
    ids = {name: number for number, name in names.items()}
    for name in chosen or ():
        _check_class(name, ids, "--classes")
    try:
        scores = dict.fromkeys(ids, float(value))
        place = f"--score_threshold={value}"
    except ValueError:
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


def _read_scores(path):
    remedy = (
        "--score_threshold is a number from 0 to 1, a JSON file {class name: number}, or an "
        "evaluation's metrics.json."
    )
    try:
        scores = json.loads(existing_file(path, remedy).read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}).\n  {remedy}") from error
    if not isinstance(scores, dict) or not scores:
        raise DataError(f"{path}: no object of class names.\n  {remedy}")
    best = scores.get("best_thresholds")
    return _best_of(best, path) if isinstance(best, dict) else scores


def _best_of(best, path):
    """Returns {class name: threshold} of an evaluation's, which begin with that of all classes."""
    try:
        (_, of_all), *of_class = ((name, entry["threshold"]) for name, entry in best.items())
    except (ValueError, TypeError, KeyError):
        of_all, of_class = None, []
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
    raise DataError(
        f"{place}: no class {name!r} in the label map.\n"
        + (f"  Is {near[0]!r} meant? " if near else "  ")
        + f"Known: {', '.join(ids)}."
    )
