"""The three sides of bench_data.py: from raw files to verified records, and the limit."""

import concurrent.futures
import functools
import io
import multiprocessing
import random
import shutil
import time
import zipfile
from pathlib import PurePosixPath

from PIL import Image

from lowlight.core.parallel import cores
from lowlight.dataset import annotations, conversion, split
from lowlight.dataset import writing as dataset
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.split import labels_of
from lowlight.dataset.tables import read_tables

_CHUNK = 16  # images a process takes at a time


class Stages(dict):
    """Seconds by stage: each `end(name)` closes the stage since the one before."""

    def __init__(self):
        super().__init__()
        self._began = time.perf_counter()

    def end(self, name):
        """Notes the seconds since the stage before."""
        now = time.perf_counter()
        self[name], self._began = now - self._began, now


def ours(raw, out):
    """Runs what convert_images, make_annotations_csv and make_tfrecords --verify run."""
    stages, images = Stages(), out / "images"
    conversion.convert_images(raw / "ExDark", images)
    stages.end("convert")
    entries = gather_tables(raw, out)
    stages.end("annotations")
    names = [image.filename for image, _ in entries]
    groups = split.find_duplicates(names, images)
    stages.end("near-duplicates")
    labels = {image.filename: labels_of(image, boxes) for image, boxes in entries}
    rows = split.split_randomly(names, 0.75, 0, groups, labels)
    stages.end("split")
    dataset.write_dataset(out, entries, rows, images, CLASSES, verify=True)
    stages.end("records, verified")
    return stages


def gather_tables(raw, out):
    """Writes the tables of the converted images in out/images, and reads them.

    Returns:
        As `tables.read_tables`.
    """
    found = annotations.gather_annotations(
        raw / "ExDark_Annno.zip", out / "images", raw / "imageclasslist.txt"
    )
    found.write(out)
    return read_tables(out, CLASSES)


def reencode(raw, out):
    """Does it one by one: every image encoded again, tables by pandas, records by TensorFlow."""
    import pandas as pd
    import tensorflow as tf

    stages = Stages()
    converted = out / "converted"
    converted.mkdir()
    for path in sorted((raw / "ExDark").rglob("*.*")):
        Image.open(path).convert("RGB").save(converted / f"{path.stem}.jpg")
    stages.end("convert")
    paths = sorted(converted.iterdir())
    random.Random(0).shuffle(paths)
    train = round(0.75 * len(paths))
    for part, chosen in (("train", paths[:train]), ("test", paths[train:])):
        (out / part).mkdir()
        for path in chosen:
            shutil.copy(path, out / part)
    stages.end("copy")
    texts = _read_texts(raw / "ExDark_Annno.zip")
    for part in ("train", "test"):
        rows = [row for path in sorted((out / part).iterdir()) for row in _rows_of(path, texts)]
        columns = "filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"
        pd.DataFrame(rows, columns=columns).to_csv(out / f"{part}.csv", index=False)
    stages.end("csv")
    for part in ("train", "test"):
        table = pd.read_csv(out / f"{part}.csv")
        with tf.io.TFRecordWriter(str(out / f"{part}.tfrecord")) as writer:
            for name, boxes in table.groupby("filename"):
                writer.write(_example(tf, out / part / name, boxes).SerializeToString())
    stages.end("records")
    return stages


def _read_texts(path):
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".txt")]
        return {PurePosixPath(n).name.split(".")[0]: archive.read(n).decode() for n in names}


def _rows_of(path, texts):
    width, height = Image.open(path).size
    for line in texts[path.stem].splitlines()[1:]:
        name, left, top, across, down, *_ = line.split()
        left, top = int(left), int(top)
        yield path.name, width, height, name, left, top, left + int(across), top + int(down)


def _example(tf, path, boxes):
    encoded = tf.io.gfile.GFile(str(path), "rb").read()
    width, height = Image.open(io.BytesIO(encoded)).size

    def floats(values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def ints(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def texts(values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    features = {
        "image/height": ints([height]),
        "image/width": ints([width]),
        "image/filename": texts([path.name.encode()]),
        "image/source_id": texts([path.name.encode()]),
        "image/encoded": texts([encoded]),
        "image/format": texts([b"jpg"]),
        "image/object/bbox/xmin": floats(boxes["xmin"] / width),
        "image/object/bbox/xmax": floats(boxes["xmax"] / width),
        "image/object/bbox/ymin": floats(boxes["ymin"] / height),
        "image/object/bbox/ymax": floats(boxes["ymax"] / height),
        "image/object/class/text": texts([name.encode() for name in boxes["class"]]),
        "image/object/class/label": ints([CLASSES.index(name) + 1 for name in boxes["class"]]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def limit(raw, out):
    """Reads each file, encodes it where it isn't an RGB JPEG, and writes the bytes."""
    stages = Stages()
    pass_through = functools.partial(_pass_through, out=out)
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(cores(), context) as pool:
        for _ in pool.map(pass_through, sorted((raw / "ExDark").rglob("*.*")), chunksize=_CHUNK):
            pass
    stages.end("all")
    return stages


def _pass_through(path, out):
    data = path.read_bytes()
    image = Image.open(io.BytesIO(data))
    if (image.format, image.mode) != ("JPEG", "RGB"):
        stream = io.BytesIO()
        image.convert("RGB").save(stream, "JPEG", quality=95, subsampling="4:4:4")
        data = stream.getvalue()
    (out / f"{path.stem}.jpg").write_bytes(data)
