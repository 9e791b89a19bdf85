"""Finds objects in many images, several steps at a time, and keeps what was found."""

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from lowlight.core.errors import DataError, join_errors
from lowlight.core.files import locked
from lowlight.core.log import DetectionLog, fingerprint, fingerprint_of
from lowlight.core.parallel import Progress, cores, map_in_threads
from lowlight.images.reading import is_large
from lowlight.inference.inputs import find_images, opened_upright
from lowlight.inference.output_paths import LOG, output_name, prepare_save_path
from lowlight.inference.pictures import Pictures, Saver, write_gif
from lowlight.inference.results import PARTS, entry_of, print_entry, write_files

_MOST_THREADS = 16  # a step; more hold more images than they gain
_AHEAD = 2  # images a thread that wait for it: enough for no thread to wait, and few in memory


@dataclass(frozen=True)
class Job:
    """What is to be done with each image."""

    detector: object  # detector.Detector
    names: dict  # {class id: name}
    thresholds: dict  # {class id: lowest score}; other classes are left out
    save_dir: Path | None = None  # an existing folder; None prints what is found
    model_files: str = ""  # the `fingerprint` of the model's
    facts: dict = field(default_factory=dict)  # what detections.json begins with
    pictures: Pictures = Pictures()
    format: str = "json"  # or "coco", which adds coco_results.json
    quiet: bool = False  # show no progress


def detect_on_images(
    source: str, make_job: Callable, save_path: str | None = None, recursive: bool = False
) -> tuple[str, Path | None]:
    """Finds the images that a command names, and detects on them.

    Args:
        source: as `inputs.find_images` takes it, and `recursive`.
        make_job: make_job(save_dir) loads the model and returns the Job; it is called once the
            inputs are known to be good.
        save_path: the output folder; None prints what is found.

    Returns:
        (what was found, as text; the folder that holds it, or None).

    Raises:
        DataError: as `find_images`, `prepare_save_path` and `detect_files`.
    """
    files = find_images(source, recursive)
    save_dir = prepare_save_path(save_path, files, source) if save_path else None
    count, before = detect_files(files, make_job(save_dir), source)
    earlier = f", {before} of them by an earlier run" if before else ""
    return f"{count} objects in {len(files)} images{earlier}", save_dir


class Item:
    """An image on its way; at its end it holds an `entry`, or an `error`.

    The entry is `entry_of`'s, with the file's size and time of change under "seen". A large image
    isn't held on its way, but read again to be drawn on.
    """

    def __init__(self, file):
        self.file, self.error = file, None
        self.image = self.size = self.prepared = self.raw = self.entry = None


def detect_files(files: list, job: Job, source: str = "") -> tuple[int, int]:
    """Detects on each image, in its upright form, and keeps or prints what was found.

    Decoding, the network, and drawing and writing run at the same time in threads of their own.
    With a `save_dir`, an interrupted run continues: its log names the images that are done, from
    the same source by the same model with the same settings, and unchanged since. A run that came
    to its end leaves no log; the next begins anew.

    Args:
        files: [SourceFile] of `inputs.find_images`.
        job: Job.
        source: where they are from.

    Returns:
        (number of detections, number of images that an earlier run had done).

    Raises:
        DataError: images that can't be read, all of them named, after the others are done; another
            process writes the folder.
    """
    if job.save_dir is None:
        with Progress(len(files), "image", quiet=job.quiet) as progress:
            counts, errors = _run(files, job, None, print_entry, progress)
        _raise(errors, len(counts))
        return sum(counts), 0
    saver = Saver(job.save_dir, job.names, job.pictures)
    path, done, errors = job.save_dir / LOG, False, []
    lock = locked(job.save_dir, "written", "save_path")
    with lock, DetectionLog(path, _identity(job, files, source)) as log:
        known = {file.name for file in files if _is_done(file, log.images, job.save_dir)}
        rest = [file for file in files if file.name not in known]
        try:
            with Progress(len(files), "image", len(known), quiet=job.quiet) as progress:
                _, errors = _run(rest, job, saver, log.add, progress)
            done = True
        finally:  # also after Ctrl-C: what is done is kept, and the log to continue with
            entries = [log.images[f.name] for f in files if f.name in log.images]
            write_files(job.save_dir, entries, job)
        if done:
            path.unlink()
        if job.pictures.gif:
            write_gif(job.save_dir, files)
    _raise(errors, len(entries))
    return sum(len(entry["detections"]) for entry in entries), len(known)


def _raise(errors, others):
    if errors:
        rest = "The other image is done." if others == 1 else f"The other {others} images are done."
        raise join_errors(errors, rest if others else "")


def _identity(job, files, source):
    """Returns what a log's detections depend on, a JSON value."""
    members = [[file.name, file.crc] for file in files if file.crc is not None]
    return {
        "facts": job.facts,
        "model files": job.model_files,
        "thresholds": sorted(job.thresholds.items()),
        "names": sorted(job.names.items()),
        "pictures": asdict(job.pictures),
        "source": source and os.path.abspath(source),
        "archive": members and [fingerprint([source]), fingerprint_of(members)],
    }


def _is_done(file, entries, save_dir):
    entry = entries.get(file.name)
    is_same = entry is not None and entry.get("seen") == seen(file)
    return is_same and (save_dir / output_name(file.name)).is_file()


def seen(file) -> list | None:
    """Returns an input's size and time of change, None of an archive's member."""
    with contextlib.suppress(OSError):
        status = Path(file.place).stat()
        return [status.st_size, status.st_mtime_ns]
    return None


def _run(files, job, saver, add, progress):
    """Runs all steps on all files; returns (numbers of detections, errors)."""
    counts, errors = [], []
    with contextlib.closing(detect_each(files, job, saver)) as items:
        for item in items:
            if item.error is None:
                add(item.entry)
                counts.append(len(item.entry[PARTS]))
            else:
                errors.append(item.error)
            progress.update()
    return counts, errors


def detect_each(files: list, job: Job, saver: Saver | None = None) -> Iterator[Item]:
    """Yields the Item of each file, in the files' order, as soon as it is done.

    Args:
        files: [SourceFile].
        job: Job.
        saver: pictures.Saver, which writes the pictures; None writes none.
    """
    detector = job.detector

    def load(item):
        with opened_upright(item.file) as image:
            item.size = image.size
            try:
                item.prepared = detector.prepare(np.asarray(image))
            except ValueError as error:
                raise _cannot_be_resized(item, error) from error
            item.image = None if is_large(image) else image

    def run(items):
        _detect(detector, items)
        return items

    def finish(item):
        found = choose(detector.finish(item.raw, item.prepared), job.thresholds)
        item.entry = entry_of({"file": item.file.name}, item.size, found, job.names)
        item.entry["seen"] = seen(item.file)
        if saver is not None:
            held = contextlib.nullcontext(item.image) if item.image else opened_upright(item.file)
            with held as image:
                _save(saver, image, item.file, found)
        item.image = item.prepared = item.raw = None

    jobs = min(cores(), _MOST_THREADS)
    items = map_in_threads(_guarded(load), map(Item, files), jobs, ahead=_AHEAD)
    groups = in_groups(items, detector.batch_size)
    groups = map_in_threads(run, groups, detector.parallel, ahead=_AHEAD)
    items = itertools.chain.from_iterable(groups)
    yield from map_in_threads(_guarded(finish), items, jobs, ahead=_AHEAD)


def in_groups(items, size):
    """Yields lists of so many items, at the end of fewer."""
    while group := list(itertools.islice(items, size)):
        yield group


def _detect(detector, items):
    """Runs the network on the items whose image could be read."""
    items = [item for item in items if item.error is None]
    try:
        raws = detector.run_many([item.prepared for item in items])
    except ValueError as error:
        if len(items) == 1:
            items[0].error = _cannot_be_resized(items[0], error)
        else:
            for item in items:
                _detect(detector, [item])
        return
    for item, raw in zip(items, raws, strict=True):
        item.raw = raw


def _guarded(step):
    """Returns a step that keeps what is wrong with an image in its item, and spares the others."""

    def run(item):
        if item.error is None:
            try:
                step(item)
            except DataError as error:
                item.error = error
        return item

    return run


def _cannot_be_resized(item, error):
    return DataError(f"{item.file.place}: {error}.\n  Crop or remove it.")


def _save(saver, image, file, found):
    """Writes an image's pictures; raises DataError where an encoder can't, as with a huge image."""
    try:
        saver.save(image, found, file.name)
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENAMETOOLONG):
            raise  # of the disk, which no other image would be written to either
        why = getattr(error, "strerror", None) or error or "no reason given"
        raise DataError(
            f"{file.place}: its picture can't be written ({type(error).__name__}: {why}).\n"
            "  Convert it to another format, make it smaller, or give it a shorter name."
        ) from error


def choose(found, thresholds):
    """Returns the Detections of the chosen classes that score enough, of thresholds by class id."""
    limits = [thresholds.get(number, np.inf) for number in found.classes.tolist()]
    return found.where(found.scores >= np.array(limits, np.float32))
