"""Finds objects in images with a model in each of many workers, by Ray Data."""

import contextlib
import logging
import os
import socket
import time
import traceback
import warnings
from typing import NamedTuple

import pyarrow as pa

from lowlight.core.errors import DataError, name_some, noted_signals
from lowlight.core.sources import file_on_disk
from lowlight.images.reading import set_max_pixels
from lowlight.inference.folder import Job, detect_each
from lowlight.inference.inputs import find_images
from lowlight.inference.parts import SCHEMA, table_of

_MOST_IMAGES = 32  # given to a worker at a time; as many are repeated after it was killed
_ROUNDS = 4  # and at least so many times, for all workers to end at about the same time
_RETRIES = 3  # of images whose worker died, before they are tried one by one
_MODEL, _BUG = "", "\0"  # names that no file has
_ERROR = pa.field("error", pa.string())
_PART_IMAGES, _PART_SECONDS = 1000, 60.0  # of a part: what comes first ends it


class Task(NamedTuple):
    """What each worker needs; paths are absolute, because it has another working folder."""

    model: object  # runs.Model
    options: dict  # of detector.Detector
    names: dict  # {class id: name}
    thresholds: dict  # {class id: lowest score}
    archive: str | None  # the zip archive that holds the images, if one does
    max_pixels: int  # of an image


class Worker:
    """A model in a process of its own. Ray Data gives it tables of images, and takes what it found.

    What isn't an image's fault comes back as an error of _MODEL or _BUG, because Ray would try the
    other tables as well, and get the same of each.
    """

    def __init__(self, task):
        """Loads the model."""
        from lowlight.detector.detector import Detector

        self._name = f"process {os.getpid()} on {socket.gethostname()}"
        self._job, self._error, self._members = None, None, None
        set_max_pixels(task.max_pixels)
        try:
            detector = Detector(task.model, **task.options)
            self._job = Job(detector, task.names, task.thresholds)
            if task.archive:
                self._members = {file.name: file for file in find_images(task.archive)}
        except DataError as error:
            self._error = str(error)

    def __call__(self, images):
        """Takes a table of `file` and `place`; returns one of SCHEMA, `error` and `worker`."""
        if self._error:
            return self._result([], {_MODEL: self._error})
        try:
            return self._detect(images)
        except Exception:
            return self._result([], {_BUG: traceback.format_exc()})

    def _detect(self, images):
        items = list(detect_each([self._file(row) for row in images.to_pylist()], self._job))
        found = [item.entry for item in items if item.error is None]
        wrong = {item.file.name: str(item.error) for item in items if item.error is not None}
        return self._result(found, wrong)

    def _result(self, entries, errors):
        rows = [{"file": file, "error": error} for file, error in errors.items()]
        tables = [table_of(entries), pa.Table.from_pylist(rows, SCHEMA.append(_ERROR))]
        table = pa.concat_tables(tables, promote_options="default")
        return table.append_column("worker", pa.array([self._name] * len(table), pa.string()))

    def _file(self, row):
        if self._members is not None:
            return self._members[row["file"]]
        return file_on_disk(row["place"], row["file"])


def detect_in_workers(ray, files, task, share, parts, progress):
    """Detects on each image in the workers, and keeps what was found part by part.

    What workers had in hand when they were killed is done again by others, at last image by image,
    so that one that kills its worker keeps no other from being done. After Ctrl-C what has arrived
    is kept.

    Args:
        ray: the module, connected.
        files: [SourceFile].
        task: Task.
        share: ray_cluster.Share.
        parts: parts.DetectionParts.
        progress: Progress, which counts images.

    Returns:
        [DataError] of the images that couldn't be done.

    Raises:
        DataError: the model can't be run.
        Interrupted: by SIGINT or SIGTERM.
    """
    errors, missing, died = [], {file.name: file for file in files}, 0
    most = min(_MOST_IMAGES, -(-len(files) // (share.workers * _ROUNDS)))
    with noted_signals(), _collected(parts) as add:
        for size in (most, 1):
            workers = set()
            for table in _stream(ray, list(missing.values()), task, share, size):
                for name, error in _errors_of(table):
                    if error is not None:
                        errors.append(error)
                    del missing[name]
                    progress.update()
                workers.update(table["worker"].unique().to_pylist())
                add(table.filter(table["error"].is_null()).select(SCHEMA.names))
            died += max(len(workers) - share.workers, 0)
            if not missing:
                break
    if died:
        print(f"  workers that died: {died}; their images went to others", flush=True)
    if missing:
        errors.append(
            DataError(
                f"{name_some(missing)}: each worker that had one died.\n"
                "  Memory may be short: take fewer --workers, and run the same command again."
            )
        )
    return errors


def _errors_of(table):
    """Yields (name, DataError or None) of each image; raises what isn't an image's fault."""
    for row in table.select(["file", "error"]).to_pylist():
        name, error = row["file"], row["error"]
        if name == _BUG:
            raise RuntimeError(f"in a worker:\n{error}")
        if name == _MODEL:
            raise DataError(error)
        yield name, None if error is None else DataError(error)


@contextlib.contextmanager
def _collected(parts):
    """Yields a function that takes tables, which become parts when they are enough, or at the end.

    At the end means also: when the block is interrupted.
    """
    tables, began = [], time.monotonic()

    def add(table):
        tables.append(table)
        is_due = time.monotonic() - began > _PART_SECONDS
        if is_due or sum(map(len, tables)) >= _PART_IMAGES:
            write()

    def write():
        nonlocal tables, began
        # Interrupted in here, images are done again; emptied after it, they might be kept twice.
        full, tables, began = tables, [], time.monotonic()
        if any(map(len, full)):
            parts.add(pa.concat_tables(full))

    try:
        yield add
    finally:
        write()


def _stream(ray, files, task, share, size):
    """Yields tables of what the workers found, in the order in which they are done.

    Each is given about `size` images at a time.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.max_errored_blocks = -1  # the other images are done; these are missing
    context.max_consecutive_actor_init_deaths = _RETRIES
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # There is no other way to limit the retries in this version; the next ones are held back.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
    rows = [{"file": f.name, "place": f.place} for f in files]
    if not task.archive:
        rows = [row | {"place": os.path.abspath(row["place"])} for row in rows]
    found = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // size)).map_batches(
        Worker,
        fn_constructor_args=(task,),
        concurrency=share.workers,
        num_cpus=share.cores,
        num_gpus=share.gpus,
        max_task_retries=_RETRIES,
        batch_size=size,
        batch_format="pyarrow",
    )
    return found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
