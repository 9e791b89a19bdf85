"""TFOD 2's model zoo: its archives' names, how they are fetched, and where their checkpoint is."""

import shlex
from pathlib import Path

_SERVER = "http://download.tensorflow.org/models/object_detection/tf2"
_DATE = "20200711"

# The archives of models that find boxes, by their date where it isn't the one above, from
# https://github.com/tensorflow/models/blob/master/research/object_detection/g3doc/tf2_detection_zoo.md
_LATER = {
    "centernet_hg104_512x512_coco17_tpu-8": "20200713",
    "centernet_hg104_1024x1024_coco17_tpu-32": "20200713",
    "centernet_mobilenetv2fpn_512x512_coco17_od": "20210210",
}
_RCNN_SIZES = ("640x640_coco17_tpu-8", "1024x1024_coco17_tpu-8", "800x1333_coco17_gpu-8")
ARCHIVES = (
    *(f"efficientdet_d{n}_coco17_tpu-32" for n in range(8)),
    "ssd_mobilenet_v2_320x320_coco17_tpu-8",
    "ssd_mobilenet_v1_fpn_640x640_coco17_tpu-8",
    "ssd_mobilenet_v2_fpnlite_320x320_coco17_tpu-8",
    "ssd_mobilenet_v2_fpnlite_640x640_coco17_tpu-8",
    *(
        f"ssd_resnet{n}_v1_fpn_{side}x{side}_coco17_tpu-8"
        for n in (50, 101, 152)
        for side in (640, 1024)
    ),
    *(f"faster_rcnn_resnet{n}_v1_{size}" for n in (50, 101, 152) for size in _RCNN_SIZES),
    "faster_rcnn_inception_resnet_v2_640x640_coco17_tpu-8",
    "faster_rcnn_inception_resnet_v2_1024x1024_coco17_tpu-8",
    "centernet_resnet50_v1_fpn_512x512_coco17_tpu-8",
    "centernet_resnet101_v1_fpn_512x512_coco17_tpu-8",
    "centernet_resnet50_v2_512x512_coco17_tpu-8",
    *_LATER,
)


def how_to_fetch(archive, folder="checkpoint"):
    """Returns the commands that fetch and unpack an archive, each on a line of its own.

    Args:
        archive: one of ARCHIVES.
        folder: where its folder is to lie.
    """
    folder = shlex.quote(str(folder))
    url = f"{_SERVER}/{_LATER.get(archive, _DATE)}/{archive}.tar.gz"
    return (
        "Fetch the model zoo's archive:\n"
        f"    mkdir -p {folder}\n"
        f"    curl -L {url} | tar -xz -C {folder}"
    )


def how_to_get_checkpoint(prefix):
    """Returns the remedy for a checkpoint that isn't there: `<archive>/checkpoint/ckpt-0`."""
    folder = Path(prefix).parent.parent
    if Path(prefix).parent.name == "checkpoint" and folder.name in ARCHIVES:
        return how_to_fetch(folder.name, folder.parent)
    return "Correct the path, or remove the line to start from random weights."


def checkpoint_in(folder):
    """Returns the prefix of an unpacked archive's checkpoint; that of a missing one is ckpt-0.

    The archives hold one each: ckpt-0 in all but a few.
    """
    found = sorted((Path(folder) / "checkpoint").glob("ckpt-*.index"))
    return found[0].with_suffix("") if found else Path(folder) / "checkpoint" / "ckpt-0"
