"""TFOD 2's model zoo: its archives, how they are fetched and read, and their classes."""

import csv
import difflib
import os
import shlex
import tarfile
import zlib
from pathlib import Path
from typing import NamedTuple

from lowlight.core.errors import DataError
from lowlight.core.files import existing_file, folder_beside
from lowlight.dataset.classes import read_label_map
from lowlight.tfod.model import PipelineConfig, read_config

_SERVER = "https://storage.googleapis.com/download.tensorflow.org/models/object_detection/tf2"
D1 = "efficientdet_d1_coco17_tpu-32"
_HERE = Path(__file__).parent
# The archives of models that find boxes, with the folder that each holds, from
# https://github.com/tensorflow/models/blob/master/research/object_detection/g3doc/tf2_detection_zoo.md
_ROWS = list(csv.DictReader((_HERE / "zoo.csv").read_text().splitlines()))
ARCHIVES = {row["archive"]: row for row in _ROWS}
# Ids and names of the zoo's label map (object_detection/data/mscoco_label_map.pbtxt): 80 of 90.
COCO = read_label_map(_HERE / "coco_label_map.txt")
SLOTS = 90  # num_classes of the zoo's models: ids up to the last, used or not

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


class Base(NamedTuple):
    """What a config is made from."""

    config: PipelineConfig
    name: str  # its path, or what a diff shows instead
    checkpoint: str  # the prefix of the one that belongs to it; "" where none is known


def folder_of(archive: str, folder: Path | str = "checkpoint") -> Path:
    """Returns where an archive's files lie once it is unpacked in a folder."""
    return Path(folder) / (ARCHIVES[archive]["folder"] if archive in ARCHIVES else archive)


def how_to_fetch(archive: str, folder: Path | str = "checkpoint") -> str:
    """Returns the commands that fetch and unpack an archive in a folder, each on its own line."""
    url = f"{_SERVER}/{ARCHIVES[archive]['date']}/{archive}.tar.gz"
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


def find_folder(given: Path | str, flag: str) -> Path:
    """Returns the folder of an archive, which is unpacked beside itself if it isn't there yet.

    The archive is given by its path, packed or unpacked, or by its name where it is in checkpoint/.
    Any other folder is returned as it is.

    Raises:
        DataError: it isn't there: how to fetch it, or names that are alike; as `unpack`.
    """
    path = Path(given)
    if str(given) in ARCHIVES and not path.exists():
        path = Path("checkpoint", given)
    archive = path.name.removesuffix(".tar.gz")
    folder = folder_of(archive, path.parent)
    if (folder / "pipeline.config").is_file():
        return folder
    for packed in (path, path.parent / f"{archive}.tar.gz"):
        if packed.is_file():
            return unpack(packed)
    if path.is_dir():
        return path
    if archive in ARCHIVES:
        raise DataError(f"{path}: not there.\n  {how_to_fetch(archive, path.parent)}")
    near = difflib.get_close_matches(path.name, ARCHIVES, 3, 0.5)
    like = f"\n  Archives of a like name: {', '.join(near)}." if near else ""
    raise DataError(
        f"{given}: no such file or folder, and no archive of the model zoo.{like}\n"
        f"  Check --{flag}."
    )


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


def read_base(name: str) -> Base:
    """Reads the config to start from, and finds the checkpoint that belongs to it.

    It is given by its path, or as an archive of the zoo, as `find_folder` takes it. The D1's
    config is built in.

    Raises:
        DataError: no such config, or not one of TFOD's; as `find_folder`.
    """
    path, d1 = Path(name), folder_of(D1)
    own_d1 = d1 / "pipeline.config", d1.with_name(f"{D1}.tar.gz")
    if name == D1 and not any(own.is_file() for own in own_d1):
        built_in = read_config(_HERE / "efficientdet_d1.config")
        return Base(built_in, f"{D1}/pipeline.config (built in)", str(checkpoint_in(d1)))
    if not path.is_file() or name.endswith((".tar.gz", ".tgz", ".tar")):
        folder = find_folder(name, "base_config")
        path = existing_file(folder / "pipeline.config", "Check --base_config.")
    is_archive = path.name == "pipeline.config" and (path.parent / "checkpoint").is_dir()
    start = str(checkpoint_in(path.parent)) if is_archive else ""
    return Base(read_config(path), str(path), start)
