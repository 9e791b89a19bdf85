"""Keeps a run's run.json, and scores the run on the way."""

import glob
import hashlib
import itertools
import json
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path

import tensorflow as tf

from lowlight.core.errors import DataError
from lowlight.core.files import write_text
from lowlight.detector.runs import BEST, find_checkpoint
from lowlight.evaluation.evaluation import evaluate_model
from lowlight.training.checkpoints import keep_best
from lowlight.training.pictures import draw_beside_truth, write_beside_truth

RECORD = "run.json"

_PACKAGES = "tensorflow", "tf-keras", "tf-models-research-object-detection", "numpy"
_HEAD = 65536  # bytes of a record file that its fingerprint hashes: the file's first images


class RunRecord:
    """A run's run.json.

    `values` is what it holds:
        seed: what the order of the data, augmentation and first weights come from.
        schedule_start: the step at which the learning rate's schedule begins.
        schedule_restarted_for: the number of steps for which it was begun anew, None for none.
        sessions: one for each time that training was begun or continued, as `begin` takes it,
            with the step it reached, its seconds (those of evaluations apart) and how it ended.
        evaluations: {"step", "mAP", "seconds"} of each evaluation along the way.
    """

    def __init__(self, run_dir):
        """Reads it where it is there.

        Raises:
            DataError: it isn't JSON of this form.
        """
        self._path = Path(run_dir) / RECORD
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
            "  Mend it, or remove it: training then continues with another order of the data."
        )

    @property
    def last_session(self):
        """What `begin` was last given, None in a new run."""
        return self.values["sessions"][-1] if self.values["sessions"] else None

    def begin(self, step, facts):
        """Opens a session at a step.

        Args:
            step: the step that training begins at or continues from.
            facts: {name: JSON value}, such as flags, devices, data.
        """
        session = {"begun": _now(), "from_step": step, **facts}
        self.values["sessions"].append({**session, "to_step": step, "seconds": 0, "ended": None})

    def save(self, step, seconds, ended=None):
        """Writes the file.

        Args:
            step: the step reached.
            seconds: wall time of the session's training.
            ended: how the session ended, None while it runs.
        """
        now = {"to_step": step, "seconds": round(seconds, 1), "ended": ended}
        self.last_session.update(now)
        write_text(self._path, json.dumps(self.values, indent=2) + "\n")


def _now():
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def software():
    """Returns {package: version} of what training stands on, and the platform."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), "platform": platform.platform(), **versions}


def git_commit():
    """Returns the project's commit, with "+" where files differ from it; None outside of git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if changed else commit


def data_fingerprint(patterns, label_map_path):
    """Tells one set of records from another, without reading them whole.

    Args:
        patterns: paths or globs of record files.
        label_map_path: the label map.

    Returns:
        {path: [bytes, SHA-256 of the first 64 KiB, hexadecimal]} of each record file, of the
        label map, and of the split.csv beside the records where there is one.
    """
    paths = {Path(path) for pattern in patterns for path in glob.glob(pattern)}
    splits = {path.parent / "split.csv" for path in paths}
    fingerprint = {}
    for path in sorted({*paths, Path(label_map_path), *filter(Path.is_file, splits)}):
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(_HEAD)).hexdigest()
        fingerprint[str(path)] = [path.stat().st_size, head]
    return fingerprint


def text_hash(text):
    """Returns the SHA-256 of a text, such as a config's, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


_METRIC = "DetectionBoxes_Precision/mAP"


class RunEvaluation:
    """Scores a run's newest checkpoint on the config's test records, each time it is called."""

    def __init__(self, run_dir, record, names, patience=0, most_pictures=10):
        """Takes where results go.

        Args:
            run_dir: the run's folder; results go to its eval/ and best/.
            record: RunRecord, whose evaluations are added to.
            names: {class id: name}.
            patience: this many evaluations in a row that aren't better than the best end the
                training; 0 never does.
            most_pictures: images that are shown in TensorBoard with what was found on them.
        """
        self._run_dir, self._record, self._names = Path(run_dir), record, names
        self._patience, self._most_pictures = patience, most_pictures

    def __call__(self, step):
        """Evaluates; returns whether it has been long enough without a better score."""
        began, pictures = time.monotonic(), []

        def on_image(image, detections, boxes, classes):
            if len(pictures) < self._most_pictures:
                truth = boxes, classes
                pictures.append(draw_beside_truth(image, detections, truth, self._names))

        metrics, checkpoint = evaluate_model(find_checkpoint(self._run_dir), on_image=on_image)
        self._write_pictures(step, pictures)
        earlier = self._record.values["evaluations"]
        seconds = round(time.monotonic() - began, 1)
        score = metrics[_METRIC]
        if score > best_score(earlier):
            keep_best(self._run_dir, checkpoint, self._run_dir / "eval" / "metrics.json")
            print(f"the best so far: kept in {self._run_dir / BEST}")
        earlier.append({"step": step, "mAP": score, "seconds": seconds})
        waited = evaluations_since_best(earlier)
        if self._patience and waited >= self._patience:
            print(f"no better for {waited} evaluations: training ends here (--patience)")
            return True
        return False

    def _write_pictures(self, step, pictures):
        writer = tf.summary.create_file_writer(str(self._run_dir / "eval"))
        write_beside_truth(writer, step, pictures)
        writer.close()


def best_score(evaluations):
    """Returns the best mAP of evaluations as run.json holds them, under any where there is none."""
    return max((one["mAP"] for one in evaluations), default=-2.0)


def evaluations_since_best(evaluations):
    """Returns how many evaluations, at the end, came after the first that scored the best mAP."""
    best = best_score(evaluations)
    after = itertools.dropwhile(lambda one: one["mAP"] < best, evaluations)
    return max(0, len(list(after)) - 1)
