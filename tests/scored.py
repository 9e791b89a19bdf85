"""Ground truth and detections for the tests of scoring: random ones, and pycocotools' verdict."""

import contextlib
import io
import json

import numpy as np
from checks import write_tables
from PIL import Image

from lowlight.dataset.classes import format_label_map
from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.evaluation.results import format_results, make_found
from lowlight.evaluation.truth import TrueBox, format_truth, make_truth, read_truth_of_tables

CLASSES = "Cat", "Dog"


def random_case(seed, images=12, classes=4, most_boxes=8, most_found=5, ties=False, crowds=0.0):
    """Returns (Truth, Found): boxes, and detections that are these moved, misnamed or repeated.

    Of the last of several classes there is no box. Ids of images and classes have gaps.
    """
    rng = np.random.default_rng(seed)
    boxes, found = [], []
    for image in range(images):
        for _ in range(rng.integers(0, most_boxes + 1)):
            box = np.round(np.concatenate([rng.uniform(0, 300, 2), np.exp(rng.uniform(2, 5.5, 2))]))
            label = int(rng.integers(0, max(classes - 1, 1)))
            crowd = bool(rng.random() < crowds)
            boxes.append(TrueBox(3 * image + 1, 2 * label + 1, box, crowd=crowd))
            for _ in range(rng.integers(0, most_found + 1)):
                moved = box + rng.normal(0, 0.1, 4) * rng.choice([0, 1, 3]) * np.tile(box[2:], 2)
                moved[2:] = np.maximum(moved[2:], 1)
                kind = label if rng.random() < 0.8 else int(rng.integers(classes))
                score = float(rng.random())
                found.append((image, kind, moved.tolist(), round(score, 1) if ties else score))
    rng.shuffle(found)
    names = {2 * label + 1: f"class {label}" for label in range(classes)}
    sizes = [(3 * image + 1, f"{image}.jpg", 640, 480) for image in range(images)]
    return make_truth(names, sizes, boxes), make_found(*zip(*found, strict=True))


def small_case(boxes, found, images=1, classes=("Cat", "Dog", "Table")):
    """Returns (Truth, Found) from rows.

    Args:
        boxes: [(image from 0, class from 0, left, top, width, height)].
        found: the same with a score at the end.
        images: how many, each of 400x300 pixels.
        classes: their names; ids count from 1.
    """
    sizes = [(number + 1, f"{number}.jpg", 400, 300) for number in range(images)]
    rows = [TrueBox(image + 1, label + 1, ltwh) for image, label, *ltwh in boxes]
    images, labels, *edges, scores = zip(*found, strict=True) if found else [()] * 7
    found = make_found(images, labels, np.transpose(edges), scores)
    return make_truth(dict(enumerate(classes, 1)), sizes, rows), found


def score_by_pycocotools(truth, found):
    """Returns the twelve numbers; pycocotools can't read an empty list of results."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = json.loads(format_truth(truth))
    results = json.loads(format_results(found, truth))
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results) if results else COCO(), "bbox")
        evaluation.params.imgIds = sorted(coco.getImgIds())
        evaluation.params.catIds = sorted(coco.getCatIds())
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def make_data(folder):
    """Makes a data set of 30 small pictures with one or two boxes each, a third of them dark."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(5)
    images, boxes = [], []
    for number in range(30):
        name, light = f"{number:02}.jpg", ("Low", "Strong", "Weak")[number % 3]
        level = 30 if light == "Low" else 140
        pixels = rng.integers(0, level, (90, 120, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)
        count = 1 + number % 2
        images.append(ImageRow(name, name, 120, 90, "Cat", light, "Indoor", "", count))
        for place in range(count):
            left, top = 5 + 55 * place, int(rng.integers(0, 30))
            label = CLASSES[(number + place) % 2]
            boxes.append(AnnotationRow(name, 120, 90, label, left, top, left + 50, top + 45))
    write_tables(folder, images, boxes, split="test")
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    (folder / "label_map.txt").write_text(format_label_map(CLASSES))
    return folder


def make_results(data_dir):
    """Writes results for `make_data`: every box moved somewhat, and a false one an image."""
    truth, rng = read_truth_of_tables(data_dir), np.random.default_rng(6)
    moved = truth.ltwh + rng.normal(0, 4, truth.ltwh.shape)
    count = len(truth.filenames)
    found = make_found(
        [*truth.images, *range(count)],
        [*truth.labels, *(n % 2 for n in range(count))],
        [*moved, *[[60, 60, 30, 25]] * count],
        np.round(rng.uniform(0, 1, len(moved) + count), 4),
    )
    path = data_dir / "results.json"
    path.write_text(format_results(found, truth))
    return path


def evaluate(run_script, *arguments):
    """Runs evaluate.py, which must succeed, and returns what it printed."""
    done = run_script("evaluate.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done
