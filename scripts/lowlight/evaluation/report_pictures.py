"""Chooses the pictures of an evaluation's report, and draws what is there and what was found."""

from typing import NamedTuple

import numpy as np

from lowlight.evaluation.mistakes import MEANINGS
from lowlight.images.boxes import pixel_ltwh_to_pixel_xyxy
from lowlight.images.drawing import brightened, draw_frame, encode_thumbnail
from lowlight.images.reading import open_reduced

_WORST = 12  # pictures of the worst images
_MISTAKES = 12  # of the most confident mistakes
_SIDE = 360  # pixels of a picture's longer side
_TRUE, _RIGHT, _WRONG = (255, 255, 255), (0, 200, 140), (255, 110, 70)
COLOURS = {"what is there": _TRUE, "found, and right": _RIGHT, "found, and wrong": _WRONG}


class Chosen(NamedTuple):
    """An image of the report."""

    image: int  # its place
    remark: str
    rows: np.ndarray  # int, the detections to draw


def worst_images(score) -> list[Chosen]:
    """Returns the Chosen images with the lowest F1 that are wrong about something."""
    confusion, found = score.confusion, score.found
    errors = confusion.wrong + confusion.missed
    order = np.lexsort((-errors, confusion.f1()))
    chosen = []
    for image in order[errors[order] > 0][:_WORST]:
        rows = np.flatnonzero((found.images == image) & (found.scores >= confusion.threshold))
        remark = (
            f"{confusion.correct[image]} right, {confusion.wrong[image]} wrong, "
            f"{confusion.missed[image]} missed"
        )
        chosen.append(Chosen(int(image), remark, rows))
    return chosen


def confident_mistakes(score) -> list[Chosen]:
    """Returns the Chosen images of the wrong detections with the highest scores."""
    errors, found, truth = score.errors, score.found, score.truth
    wrong = np.flatnonzero((errors.kinds != "") & (errors.kinds != "ignored"))
    order = wrong[np.argsort(-found.scores[errors.rows[wrong]], kind="stable")]
    _, first = np.unique(found.images[errors.rows[order]], return_index=True)
    chosen = []
    for place in order[np.sort(first)][:_MISTAKES]:
        row, kind, box = errors.rows[place], str(errors.kinds[place]), errors.boxes[place]
        remark = f"{truth.names[found.labels[row]]} {found.scores[row]:.2f}: {MEANINGS[kind]}"
        if box >= 0:
            remark += f" ({truth.names[truth.labels[box]]}, IoU {errors.ious[place]:.2f})"
        chosen.append(Chosen(int(found.images[row]), remark, np.array([row])))
    return chosen


def draw_found(score, chosen: Chosen, data: bytes) -> tuple:
    """Returns (an image brightened, with what is there and what was found; its mean luma).

    Args:
        score: scoring.Score.
        chosen: Chosen.
        data: the image's bytes.
    """
    truth, name = score.truth, score.truth.filenames[chosen.image]
    width, height = truth.sizes[chosen.image]
    image = open_reduced(data, name, "RGB", _SIDE)
    image.thumbnail((_SIDE, _SIDE))
    brightness = np.asarray(image.convert("L")).mean()
    image = brightened(image, brightness)
    scale = np.array([image.width / width, image.height / height] * 2)
    boxes = [(ltwh, _TRUE) for ltwh in truth.ltwh[truth.images == chosen.image]]
    right = set(score.errors.rows[score.errors.kinds == ""].tolist())
    for row in chosen.rows[np.argsort(score.found.scores[chosen.rows])]:
        boxes.append((score.found.ltwh[row], _RIGHT if int(row) in right else _WRONG))
    for ltwh, colour in boxes:
        corners = np.clip(pixel_ltwh_to_pixel_xyxy(ltwh) * scale, -_SIDE, 2 * _SIDE)
        draw_frame(image, corners, colour, line=2)
    return image, brightness


def show(score, chosen: Chosen, sources: dict) -> dict:
    """Returns what the report shows of a Chosen image, whose bytes are in {filename: bytes}."""
    name = score.truth.filenames[chosen.image]
    image, brightness = draw_found(score, chosen, sources[name])
    facts = [values[chosen.image] for values in score.facts.columns.values()]
    return {
        "name": name,
        "jpeg": encode_thumbnail(image),
        "facts": [*filter(None, facts), f"brightness {brightness:.0f}"],
        "remark": chosen.remark,
        "found": _list_found(score, chosen),
    }


def _list_found(score, chosen):
    """Returns what is there and what the drawn detections say, as a line of text."""
    truth, found = score.truth, score.found
    there = [truth.names[label] for label in truth.labels[truth.images == chosen.image]]
    counts = {name: there.count(name) for name in dict.fromkeys(there)}
    is_there = ", ".join(f"{n}\u00a0{name}" for name, n in counts.items()) or "nothing"
    best = chosen.rows[np.argsort(-found.scores[chosen.rows])][:8]
    names = (f"{truth.names[found.labels[row]]}\u00a0{found.scores[row]:.2f}" for row in best)
    return f"There: {is_there}. Found: {', '.join(names) or 'nothing'}."
