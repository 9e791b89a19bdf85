"""Scores a run while it is trained, keeps its best checkpoint, and says when it stops improving."""

import itertools
import time
from pathlib import Path

import tensorflow as tf

from lowlight.detector.runs import BEST
from lowlight.evaluation.evaluation import evaluate_model
from lowlight.training.checkpoints import keep_best
from lowlight.training.summaries import draw_beside_truth, write_beside_truth

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

        metrics, checkpoint = evaluate_model(self._run_dir, on_image=on_image)
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
