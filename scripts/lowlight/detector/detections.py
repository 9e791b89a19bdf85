"""What a detector found in one image, and what other libraries take of it."""

from typing import NamedTuple

import numpy as np


class Detections(NamedTuple):
    """What was found in one image, best score first."""

    boxes: np.ndarray  # float32 [N, 4], pixel xyxy
    classes: np.ndarray  # int64 [N], ids from 1
    scores: np.ndarray  # float32 [N], 0 to 1

    def where(self, chosen: np.ndarray) -> "Detections":
        """Returns those that a mask, bool [N], or places choose."""
        return Detections(*(part[chosen] for part in self))

    def over(self, score: float) -> "Detections":
        """Returns those that have this score at least."""
        return self.where(self.scores >= score)

    def to_frame(self, names: dict | None = None):
        """Returns a pandas DataFrame, a row a detection.

        Its columns are class_id, score, xmin, ymin, xmax and ymax, and before them class where
        `names`, {class id: name}, is given.
        """
        import pandas as pd

        columns = {"class_id": self.classes, "score": self.scores}
        columns |= dict(zip(("xmin", "ymin", "xmax", "ymax"), self.boxes.T, strict=True))
        if names is not None:
            columns = {"class": [names.get(int(n), f"class {n}") for n in self.classes], **columns}
        return pd.DataFrame(columns)

    def to_supervision(self) -> dict:
        """Returns what supervision.Detections takes: xyxy, class_id and confidence."""
        return {"xyxy": self.boxes, "class_id": self.classes, "confidence": self.scores}
