"""Results on ExDark that others have published, each with its split and where it stands."""

from typing import NamedTuple


class Result(NamedTuple):
    """A published score; None for a number that isn't given."""

    detector: str
    split: str
    ap: float | None  # COCO's, mean over IoU 0.50 to 0.95
    ap50: float | None  # at IoU 0.50
    source: str  # what its link is called
    url: str


_IAT = "https://github.com/cuiziteng/Illumination-Adaptive-Transformer"
_IAT_TABLE = f"{_IAT}/blob/main/IAT_high/IAT_mmdetection/README.md"
_SPLIT_80 = "80/20, the papers' own"

RESULTS = (
    Result(
        "EfficientDet-D1, as this project rebuilds it",
        "75/25, random",
        0.368919,
        None,
        "the original's report",
        "",
    ),
    Result("YOLOv3", _SPLIT_80, None, 0.764, "IAT, table of baselines", _IAT_TABLE),
    Result("YOLOv3 on KinD", _SPLIT_80, None, 0.763, "IAT, table of baselines", _IAT_TABLE),
    Result("YOLOv3 on MBLLEN", _SPLIT_80, None, 0.768, "IAT, table of baselines", _IAT_TABLE),
    Result("YOLOv3 on Zero-DCE", _SPLIT_80, None, 0.769, "IAT, table of baselines", _IAT_TABLE),
    Result("MAET with YOLOv3", _SPLIT_80, None, 0.777, "IAT, table of baselines", _IAT_TABLE),
    Result("IAT with YOLOv3", _SPLIT_80, None, 0.778, "IAT, table of baselines", _IAT_TABLE),
    Result(
        "PE-YOLO",
        "not named in its abstract",
        None,
        0.780,
        "PE-YOLO, abstract",
        "https://arxiv.org/abs/2307.10953",
    ),
)
