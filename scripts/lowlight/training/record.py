"""Keeps what a run leaves beside its checkpoints: run.json, scores along the way, and pictures."""

import contextlib
import glob
import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.core.files import write_text
from lowlight.detector.detector import Detections
from lowlight.detector.runs import BEST, find_checkpoint
from lowlight.evaluation.evaluation import evaluate_model
from lowlight.images.boxes import unit_yxyx_to_pixel_xyxy
from lowlight.images.drawing import brightened, brightness_of, draw_detections, draw_frames
from lowlight.tfod.training import FIELDS
from lowlight.training.checkpoints import keep_best

_PACKAGES = "tensorflow", "tf-keras", "tf-models-research-object-detection", "numpy"
_HEAD = 65536  # bytes of a record file that its fingerprint hashes: the file's first images
_METRIC = "DetectionBoxes_Precision/mAP"
_MOST_IMAGES = 3  # of a training batch, as TFOD shows
_SIDE = 640  # pixels of the longer side of an evaluated image
_LEAST_SCORE = 0.3  # of a detection that is drawn, as in run_inference.py


class RunRecord:
    """A run's run.json; `values` is what it holds.

    seed: what the order of the data, augmentation and first weights come from.
    schedule_start: the step at which the learning rate's schedule begins.
    schedule_restarted_for: the number of steps for which it was begun again, None for none.
    sessions: one for each time that training was begun or continued, as `begin` takes it, with
        the step it reached, its seconds (those of evaluations apart) and how it ended.
    evaluations: {"step", "mAP", "seconds"} of each evaluation along the way.
    """

    def __init__(self, run_dir: Path | str):
        """Reads it where it is there; raises DataError where it isn't JSON of this form."""
        self._path = Path(run_dir) / "run.json"
        self.values = {"seed": None, "schedule_start": 0, "schedule_restarted_for": None}
        self.values |= {"sessions": [], "evaluations": []}
        if self._path.is_file():
            self.values |= self._read()

    def _read(self):
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
            if values["sessions"][-1]["begun"] and isinstance(values["evaluations"], list):
                return values
        except (ValueError, KeyError, IndexError, TypeError):
            pass
        raise DataError(
            f"{self._path}: isn't what training wrote.\n"
            "  Correct it, or remove it: training then continues with another order of the data."
        )

    @property
    def last_session(self) -> dict | None:
        """What `begin` was last given, None in a new run."""
        return self.values["sessions"][-1] if self.values["sessions"] else None

    def begin(self, step: int, facts: dict) -> None:
        """Opens a session at a step, with {name: JSON value} such as flags, devices, data."""
        session = {"begun": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "from_step": step, **facts}
        self.values["sessions"].append({**session, "to_step": step, "seconds": 0, "ended": None})

    def save(self, step: int, seconds: float, ended: str | None = None) -> None:
        """Writes the file: the step reached, seconds trained, how it ended (None: it runs)."""
        now = {"to_step": step, "seconds": round(seconds, 1), "ended": ended}
        self.last_session.update(now)
        write_text(self._path, json.dumps(self.values, indent=2) + "\n")


def software() -> dict[str, str]:
    """Returns {package: version} of what training stands on, and the platform."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "platform": platform.platform(), **versions}


def git_commit() -> str | None:
    """Returns the project's commit, with "+" where files differ from it; None outside of git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(
            [*command, "--abbrev=40", "--exclude=*"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def data_fingerprint(patterns: Iterable[str], label_map_path: Path | str) -> dict[str, list]:
    """Tells one set of records, of paths or globs, from another without reading them whole.

    Returns {path: [bytes, hexadecimal SHA-256 of the first 64 KiB]} of each file, of the label map,
    and of the split.csv beside the records where there is one.
    """
    paths = {Path(path) for pattern in patterns for path in glob.glob(pattern)}
    splits = {path.parent / "split.csv" for path in paths}
    fingerprint = {}
    for path in sorted({*paths, Path(label_map_path), *filter(Path.is_file, splits)}):
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(_HEAD)).hexdigest()
        fingerprint[str(path)] = [path.stat().st_size, head]
    return fingerprint


@dataclass
class RunEvaluation:
    """Scores a run's newest checkpoint on the config's test records, each time it is called."""

    run_dir: Path  # results go to its eval/ and best/
    record: RunRecord  # its evaluations are added to
    names: dict[int, str]  # by class id
    patience: int = 0  # evaluations in a row without a better one that end the training; 0 for none
    most_pictures: int = 10  # shown in TensorBoard with what was found on them

    def __call__(self, step: int) -> bool:
        """Evaluates; returns whether it has been long enough without a better score."""
        began, pictures = time.monotonic(), []

        def on_image(image, detections, boxes, classes):
            if len(pictures) < self.most_pictures:
                truth = Detections(boxes, classes, np.ones(len(classes), np.float32))
                pictures.append(draw_beside_truth(image, detections, truth, self.names))

        metrics, checkpoint = evaluate_model(find_checkpoint(self.run_dir), on_image=on_image)
        writer = tf.summary.create_file_writer(str(self.run_dir / "eval"))
        with contextlib.closing(writer), writer.as_default(step=step):
            for number, picture in enumerate(pictures):
                tf.summary.image(f"eval_side_by_side_{number}", picture[np.newaxis])
        earlier = self.record.values["evaluations"]
        score, seconds = metrics[_METRIC], round(time.monotonic() - began, 1)
        if score > best_score(earlier):
            keep_best(self.run_dir, checkpoint, self.run_dir / "eval" / "metrics.json")
            print(f"the best so far: kept in {self.run_dir / BEST}")
        earlier.append({"step": step, "mAP": score, "seconds": seconds})
        waited = evaluations_since_best(earlier)
        if self.patience and waited >= self.patience:
            print(f"no better for {waited} evaluations: training ends here (--patience)")
            return True
        return False


def best_score(evaluations: list[dict]) -> float:
    """Returns the best mAP of evaluations as run.json holds them, under any where there is none."""
    return max((one["mAP"] for one in evaluations), default=-2.0)


def evaluations_since_best(evaluations: list[dict]) -> int:
    """Returns how many evaluations, at the end, came after the first that scored the best mAP."""
    scores = [one["mAP"] for one in evaluations]
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def draw_beside_truth(
    image: np.ndarray, detections: Detections, truth: Detections, names: dict[int, str]
) -> np.ndarray:
    """Draws detections on the left and ground truth on the right, both on a brightened image.

    Of an image, uint8 [H, W, 3] RGB, it makes uint8 [h, 2 w, 3], with h and w at most 640.
    """
    picture = Image.fromarray(image)
    scale = min(1.0, _SIDE / max(picture.size))
    picture = picture.resize([max(1, round(side * scale)) for side in picture.size])
    picture = brightened(picture, brightness_of(picture))
    both = Image.new("RGB", (2 * picture.width, picture.height))
    for number, found in enumerate((detections.over(_LEAST_SCORE), truth)):
        half = picture.copy()
        draw_detections(half, found._replace(boxes=found.boxes * scale), names)
        both.paste(half, (number * picture.width, 0))
    return np.asarray(both)


class TrainingImages:
    """Shows images of training batches as the model gets them: augmented, with their boxes."""

    def __init__(self, model):
        """Takes TFOD's detection model."""
        # What preprocessing makes of black and of white tells how to undo it.
        ends = tf.stack([tf.zeros([64, 64, 3]), tf.fill([64, 64, 3], 255.0)])
        seen = tf.cast(model.preprocess(ends)[0], tf.float32)
        self._black, self._white = seen[:, seen.shape[1] // 2, seen.shape[2] // 2].numpy()

    def draw(self, features: dict, labels: dict) -> np.ndarray:
        """Returns the first images of a batch, drawn on: uint8 [up to 3, H, W, 3] RGB."""
        images = tf.cast(features[FIELDS.image][:_MOST_IMAGES], tf.float32).numpy()
        pixels = 255 * (images - self._black) / (self._white - self._black)
        pictures = []
        for number, image in enumerate(np.clip(pixels, 0, 255).astype(np.uint8)):
            count = int(labels[FIELDS.num_groundtruth_boxes][number])
            boxes = labels[FIELDS.groundtruth_boxes][number][:count].numpy()
            classes = labels[FIELDS.groundtruth_classes][number][:count].numpy()
            height, width = image.shape[:2]
            picture = Image.fromarray(image)
            picture = brightened(picture, brightness_of(picture))
            pixel_xyxy = unit_yxyx_to_pixel_xyxy(boxes, width, height)
            draw_frames(picture, pixel_xyxy, classes.argmax(axis=-1) + 1, max(1, width // 200))
            pictures.append(np.asarray(picture))
        return np.stack(pictures)
