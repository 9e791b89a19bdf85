"""Times the counting of an evaluation on ExDark's official test split, beside pycocotools.

  EXDARK_ROOT=... python scripts/benchmarks/bench_evaluate.py

The ground truth is that of all 2,563 test images, from the annotations; the detections are made
from it, 100 an image, by seeded noise: boxes moved a little or much, some of another class, some of
nothing. Timed are the twelve numbers, all slices, 1,000 bootstrap samples, errors and curves.
Brightness, for which the images would be needed, is drawn at random: its slices cost the same. The
cost grows with the correct detections times the bootstrap samples, and with all detections times
the families of slices; hardly with the images. The last line is JSON.
"""

import contextlib
import csv
import io
import json
import os
import resource
import sys
import time
from pathlib import Path, PurePosixPath

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lowlight.core.sources import is_stray, list_files  # noqa: E402
from lowlight.dataset.annotations import parse_bbgt, parse_image_list  # noqa: E402
from lowlight.dataset.classes import CLASSES  # noqa: E402
from lowlight.evaluation.metrics import COCO_METRICS  # noqa: E402
from lowlight.evaluation.results import format_results, make_found  # noqa: E402
from lowlight.evaluation.scoring import ScoringOptions, score_detections  # noqa: E402
from lowlight.evaluation.truth import TrueBox, format_truth, make_truth  # noqa: E402
from lowlight.evaluation.truth_source import Facts  # noqa: E402
from lowlight.images.boxes import (  # noqa: E402
    clip_pixel_xyxy,
    pixel_ltwh_to_pixel_xyxy,
    pixel_xyxy_to_pixel_ltwh,
)

PER_IMAGE, SAMPLES, SEED = 100, 1000, 0


def main():
    """Reads, scores, lets pycocotools score, and prints both."""
    truth, columns = read_test_split(Path(os.environ["EXDARK_ROOT"]))
    chance = np.random.default_rng(SEED)
    found = make_detections(truth, chance)
    facts = Facts(
        columns,
        chance.uniform(0, 120, len(truth.filenames)),
        chance.uniform(0, 120, len(truth.images)),
    )
    found = found._replace(brightness=chance.uniform(0, 120, len(found.images)))
    print(
        f"{len(truth.filenames)} images, {truth.boxes} boxes, {len(found.images)} detections, "
        f"{SAMPLES} bootstrap samples"
    )
    began, cpu_began = time.perf_counter(), time.process_time()
    score = score_detections(truth, found, facts, ScoringOptions(samples=SAMPLES, seed=SEED))
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"everything, in {len(score.slices)} slices: {seconds:.1f} s, {peak:.0f} MiB at most")
    theirs, coco_seconds = score_by_pycocotools(truth, found)
    gap = max(abs(score.metrics[name] - theirs[n]) for n, name in enumerate(COCO_METRICS))
    print(f"pycocotools, the twelve numbers alone: {coco_seconds:.1f} s; largest gap {gap:.1e}")
    figures = {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),  # of the process, which other load doesn't lengthen
        "pycocotools_seconds": round(coco_seconds, 2),
        "peak_mib": round(peak),
        "largest_gap": gap,
    }
    print(json.dumps(figures))


def read_test_split(root):
    """Returns (Truth of the official test split, {column: values}) from the folder's files."""
    facts = parse_image_list((root / "imageclasslist.txt").read_bytes(), "imageclasslist.txt")
    by_stem = {PurePosixPath(name).stem: fact for name, fact in facts.items()}
    with open(root / "image_sizes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    sizes = {PurePosixPath(r["image"]).stem: (int(r["width"]), int(r["height"])) for r in rows}
    images, boxes, chosen = [], [], []
    for file in list_files(root / "ExDark_Annno.zip", "annotations"):
        stem = PurePosixPath(file.name).name.split(".")[0]
        is_test = file.name.endswith(".txt") and not is_stray(file.name)
        if not is_test or by_stem[stem].official_split != "test":
            continue
        number = len(images) + 1
        images.append((number, f"{stem}.jpg", *sizes[stem]))
        chosen.append(by_stem[stem])
        for box in parse_bbgt(file.read(), file.place):
            corners = clip_pixel_xyxy(pixel_ltwh_to_pixel_xyxy(box.pixel_ltwh), *sizes[stem])
            ltwh = pixel_xyxy_to_pixel_ltwh(corners)
            boxes.append(TrueBox(number, CLASSES.index(box.name) + 1, ltwh))
    columns = {
        name: tuple(getattr(fact, name) for fact in chosen) for name in ("lighting", "location")
    }
    return make_truth(dict(enumerate(CLASSES, 1)), images, boxes), columns


def make_detections(truth, chance):
    """Returns 100 detections an image: three of four are boxes moved, the others nothing."""
    sizes = truth.sizes[np.repeat(np.arange(len(truth.filenames)), PER_IMAGE)]
    images = np.repeat(np.arange(len(truth.filenames)), PER_IMAGE)
    counts = np.bincount(truth.images, minlength=len(truth.filenames))[images]
    starts = np.searchsorted(truth.images, images)
    boxes = starts + (chance.random(len(images)) * counts).astype(int)
    is_box = (chance.random(len(images)) < 0.75) & (counts > 0)
    boxes = np.where(is_box, boxes, 0)
    spread = chance.choice([0.03, 0.1, 0.3], len(images))
    moved = truth.ltwh[boxes] + (
        chance.normal(0, 1, (len(images), 4)) * spread[:, None] * np.tile(truth.ltwh[boxes, 2:], 2)
    )
    corner, side = chance.random((2, len(images), 2))
    nothing = np.hstack([corner * 0.8, 0.02 + side * 0.4]) * np.tile(sizes, 2)
    ltwh = np.where(is_box[:, None], moved, nothing)
    ltwh[:, 2:] = np.maximum(ltwh[:, 2:], 1)
    other = chance.integers(0, len(truth.names), len(images))
    labels = np.where(is_box & (chance.random(len(images)) < 0.85), truth.labels[boxes], other)
    scores = np.where(is_box, chance.normal(0.8 - 2 * spread, 0.15), chance.beta(1, 8, len(images)))
    return make_found(images, labels, ltwh, np.clip(scores, 0.001, 0.999))


def score_by_pycocotools(truth, found):
    """Returns (the twelve numbers, the seconds from parsed JSON to the numbers)."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset, results = json.loads(format_truth(truth)), json.loads(format_results(found, truth))
    with contextlib.redirect_stdout(io.StringIO()):
        began = time.perf_counter()
        coco = COCO()
        coco.dataset = dataset
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats, time.perf_counter() - began


if __name__ == "__main__":
    main()
