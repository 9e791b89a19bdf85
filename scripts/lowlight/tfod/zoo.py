"""TFOD 2's model zoo: its archives, how they are fetched, their checkpoints and their classes."""

import os
import shlex
import tarfile
import zlib
from pathlib import Path

from lowlight.core.errors import DataError
from lowlight.core.files import folder_beside

_SERVER = "https://storage.googleapis.com/download.tensorflow.org/models/object_detection/tf2"
_DATE = "20200711"

# The archives of models that find boxes, by their date where it isn't the one above, from
# https://github.com/tensorflow/models/blob/master/research/object_detection/g3doc/tf2_detection_zoo.md
_LATER = {
    "centernet_hg104_512x512_coco17_tpu-8": "20200713",
    "centernet_hg104_1024x1024_coco17_tpu-32": "20200713",
    "centernet_mobilenetv2fpn_512x512_coco17_od": "20210210",
}
# The folder that an archive holds, where it isn't called as the archive is.
_FOLDERS = {"centernet_mobilenetv2fpn_512x512_coco17_od": "centernet_mobilenetv2_fpn_od"}
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

# Ids and names of the zoo's label map (object_detection/data/mscoco_label_map.pbtxt): 80 of 90.
_CLASSES = """
1 person, 2 bicycle, 3 car, 4 motorcycle, 5 airplane, 6 bus, 7 train, 8 truck, 9 boat,
10 traffic light, 11 fire hydrant, 13 stop sign, 14 parking meter, 15 bench, 16 bird, 17 cat,
18 dog, 19 horse, 20 sheep, 21 cow, 22 elephant, 23 bear, 24 zebra, 25 giraffe, 27 backpack,
28 umbrella, 31 handbag, 32 tie, 33 suitcase, 34 frisbee, 35 skis, 36 snowboard, 37 sports ball,
38 kite, 39 baseball bat, 40 baseball glove, 41 skateboard, 42 surfboard, 43 tennis racket,
44 bottle, 46 wine glass, 47 cup, 48 fork, 49 knife, 50 spoon, 51 bowl, 52 banana, 53 apple,
54 sandwich, 55 orange, 56 broccoli, 57 carrot, 58 hot dog, 59 pizza, 60 donut, 61 cake, 62 chair,
63 couch, 64 potted plant, 65 bed, 67 dining table, 70 toilet, 72 tv, 73 laptop, 74 mouse,
75 remote, 76 keyboard, 77 cell phone, 78 microwave, 79 oven, 80 toaster, 81 sink,
82 refrigerator, 84 book, 85 clock, 86 vase, 87 scissors, 88 teddy bear, 89 hair drier,
90 toothbrush
"""
SLOTS = 90  # num_classes of the zoo's models: ids up to the last, used or not
_ITEMS = (item.split(maxsplit=1) for item in _CLASSES.strip().replace("\n", " ").split(","))
COCO = {int(number): name for number, name in _ITEMS}

# What COCO's classes are called elsewhere, ExDark's names first; all in lower case.
COCO_ALIASES = {
    "motorbike": "motorcycle",
    "people": "person",
    "table": "dining table",
    "pedestrian": "person",
    "bike": "bicycle",
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
    "lorry": "truck",
}


def folder_of(archive: str, folder: Path | str = "checkpoint") -> Path:
    """Returns where an archive's files lie once it is unpacked in a folder."""
    return Path(folder) / _FOLDERS.get(archive, archive)


def how_to_fetch(archive: str, folder: Path | str = "checkpoint") -> str:
    """Returns the commands that fetch and unpack an archive in a folder, each on its own line."""
    url = f"{_SERVER}/{_LATER.get(archive, _DATE)}/{archive}.tar.gz"
    folder, file = shlex.quote(str(folder)), shlex.quote(f"{folder}/{archive}.tar.gz")
    return (
        "Fetch the model zoo's archive:\n"
        f"    mkdir -p {folder}\n"
        f"    curl -L -o {file} {url}\n"
        f"    tar -xzf {file} -C {folder}"
    )


def how_to_get_checkpoint(prefix: Path | str) -> str:
    """Returns the remedy for a checkpoint that isn't there: `<archive>/checkpoint/ckpt-0`."""
    folder = Path(prefix).parent.parent
    for archive in ARCHIVES if Path(prefix).parent.name == "checkpoint" else ():
        if folder_of(archive).name == folder.name:
            return how_to_fetch(archive, folder.parent)
    return (
        "Correct the path, or remove the line to start from random weights. What starts with "
        "trained heads\n  is made by scripts/make_start_checkpoint.py."
    )


def checkpoint_in(folder: Path | str) -> Path:
    """Returns the prefix of an unpacked archive's checkpoint; that of a missing one is ckpt-0.

    The archives hold one each: ckpt-0 in all but a few.
    """
    found = sorted((Path(folder) / "checkpoint").glob("ckpt-*.index"))
    return found[0].with_suffix("") if found else Path(folder) / "checkpoint" / "ckpt-0"


def unpack(archive: Path) -> Path:
    """Unpacks an archive beside itself; returns the folder in it, which appears when it is whole.

    Raises:
        DataError: not such an archive, or cut short; links in it, or paths that climb out of its
            folder; a folder of that name is there already.
    """
    with folder_beside(archive, "unpacked", waits=True) as partial:
        try:
            with tarfile.open(archive) as file:
                for member in file:
                    _check_plain(member, archive)
                    file.extract(member, partial, filter="data")
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise DataError(
                f"{archive}: can't be unpacked ({error}).\n  Fetch it from the zoo again."
            ) from error
        found = sorted(partial.iterdir())
        if len(found) != 1 or not (found[0] / "pipeline.config").is_file():
            raise DataError(f"{archive}: not one folder with a pipeline.config.\n  Check the path.")
        target = archive.parent / found[0].name
        if target.exists():
            raise DataError(f"{target}: is there already.\n  Remove it, or name it instead.")
        os.replace(found[0], target)
    return target


def _check_plain(member, archive):
    if not (member.isfile() or member.isdir()):
        raise DataError(
            f"{archive}: holds {member.name}, a link or device, which the model zoo's archives "
            "don't.\n  Fetch it from the zoo."
        )
