"""Finds objects in many images, several steps at a time, and keeps what was found."""

import contextlib
import functools
import itertools
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from lowlight.core.errors import DataError, format_count, raise_any, say_others
from lowlight.core.files import locked
from lowlight.core.log import DetectionLog, fingerprint, fingerprint_of
from lowlight.core.parallel import Progress, cores, map_in_threads
from lowlight.core.sources import SourceFile
from lowlight.detector.detections import Detections
from lowlight.detector.detector import Detector, Prepared
from lowlight.inference.inputs import find_images, opened_upright
from lowlight.inference.pictures import (
    LOG,
    Pictures,
    output_name,
    prepare_save_path,
    save_pictures,
    write_gif,
)
from lowlight.inference.results import PARTS, entry_of, print_entry, write_files

_MOST_THREADS = 16  # a step; more hold more images than they gain
AHEAD = 2  # images a thread that wait for it: enough for no thread to wait, and few in memory
_MOST_HELD = 480_000_000  # pixels of all images on their way


@dataclass(frozen=True)
class Job:
    """What is to be done with each image."""

    detector: Detector
    names: dict[int, str]  # {class id: name}
    thresholds: dict[int, float]  # {class id: lowest score}; other classes are left out
    save_dir: Path | None = None  # an existing folder; None prints what is found
    model_files: str = ""  # the `fingerprint` of the model's
    facts: dict = field(default_factory=dict)  # what detections.json begins with
    pictures: Pictures = Pictures()
    format: str = "json"  # or "coco", which adds coco_results.json
    quiet: bool = False  # show no progress

    def choose(self, raw: list, prepared: Prepared) -> Detections:
        """Returns what a detector found, of the chosen classes that score enough."""
        found = self.detector.finish(raw, prepared)
        limits = [self.thresholds.get(number, np.inf) for number in found.classes.tolist()]
        return found.where(found.scores >= np.array(limits, np.float32))


def detect_on_images(
    source: str, make_job: Callable, save_path: str | None = None, recursive: bool = False
) -> tuple[str, Path | None]:
    """Finds the images that a command names, as `inputs.find_images`, and detects on them.

    Once they are known to be good, make_job(save_dir) loads the model and returns the Job. Returns
    (what was found, as text; the folder that holds it, or None where it is printed).
    """
    files = find_images(source, recursive)
    save_dir = prepare_save_path(save_path, files, source) if save_path else None
    count, before = detect_files(files, make_job(save_dir), source)
    found = f"{format_count(count, 'object')} in {format_count(len(files), 'image')}"
    return found + by_earlier_run(before), save_dir


def by_earlier_run(count: int) -> str:
    """Returns what a sentence about images ends with where an earlier run had done some."""
    return f", {count} of them by an earlier run" if count else ""


def detect_files(files: list[SourceFile], job: Job, source: str = "") -> tuple[int, int]:
    """Detects on each image, in its upright form, and keeps or prints what was found.

    Decoding, the network, and drawing and writing run at the same time in threads of their own.
    With a `save_dir`, an interrupted run continues: its log names the images that are done, from
    the same source by the same model with the same settings, and unchanged since. A run that came
    to its end leaves no log; the next begins from the start.

    Returns:
        (number of detections, number of images that an earlier run had done).

    Raises:
        DataError: images that can't be read, all of them named, after the others are done; another
            process writes the folder.
    """
    if job.save_dir is None:
        before, (counts, errors) = 0, _run(files, job, print_entry)
    else:
        before, counts, errors = _run_and_keep(files, job, source)
    raise_any(errors, say_others(len(counts), "done"))
    return sum(counts), before


def _run_and_keep(files, job, source):
    """Returns (images that were done before, the detections in each that is done, errors)."""
    identity = identity_of(job.facts, job.model_files, job.names, job.thresholds, source)
    members = [[file.name, file.crc] for file in files if file.crc is not None]
    identity |= {"pictures": asdict(job.pictures), "members": fingerprint_of(members)}
    path = job.save_dir / LOG
    with locked(job.save_dir, "written", "save_path"), DetectionLog(path, identity) as log:
        rest = [file for file in files if not _is_done(file, log.images, job.save_dir)]
        before = len(files) - len(rest)
        try:
            _, errors = _run(rest, job, log.add, before)
        finally:  # also after Ctrl-C: what is done is kept, and the log to continue with
            entries = [log.images[f.name] for f in files if f.name in log.images]
            write_files(job.save_dir, entries, job)
        path.unlink()
        if job.pictures.gif:
            write_gif(job.save_dir, files)
    return before, [len(entry[PARTS]) for entry in entries], errors


def identity_of(facts: dict, model_files: str, names: dict, thresholds: dict, source: str) -> dict:
    """Returns what detections depend on, a JSON object; files count by what they hold."""
    others = {k: v for k, v in facts.items() if k not in ("label_map", "score_threshold")}
    return others | {
        "model files": model_files,
        "label map": names,
        "thresholds": thresholds,
        "input folder": os.path.abspath(source),
        "archive": fingerprint([source]) if is_archive(source) else None,
    }


def is_archive(source: str) -> bool:
    """Says whether a command's input is a zip archive; what is no plain file isn't opened."""
    return os.path.isfile(source) and zipfile.is_zipfile(source)


def _is_done(file, entries, save_dir):
    entry = entries.get(file.name)
    is_same = entry is not None and entry.get("seen") == seen(file)
    return is_same and (save_dir / output_name(file.name)).is_file()


def seen(file: SourceFile) -> list[int] | None:
    """Returns an input's size and time of change, None of an archive's member."""
    with contextlib.suppress(OSError):
        status = Path(file.place).stat()
        return [status.st_size, status.st_mtime_ns]
    return None


def _run(files, job, add, before=0):
    """Runs all steps on all files, hands each entry to `add`.

    Returns (the number of detections in each image, errors).
    """
    counts, errors = [], []
    progress = Progress(before + len(files), "image", before, quiet=job.quiet)
    with progress, contextlib.closing(detect_each(files, job)) as items:
        for item in items:
            if item.error is None:
                add(item.entry)
                counts.append(len(item.entry[PARTS]))
            else:
                errors.append(item.error)
            progress.update()
    return counts, errors


class Item:
    """An image on its way; at its end it holds an `entry`, or an `error`.

    The entry is `entry_of`'s, with the file's size and time of change under "seen". An image
    so large that all on their way might have more than _MOST_HELD pixels is read again to be drawn.
    """

    def __init__(self, file: SourceFile):
        self.file, self.error = file, None
        self.image = self.size = self.prepared = self.raw = self.entry = None


def detect_each(files: Iterable[SourceFile], job: Job) -> Iterator[Item]:
    """Yields the Item of each file, in the files' order, as soon as it is done and drawn."""
    detector, jobs = job.detector, _threads()
    items = map_in_threads(_guarded(_load, job), map(Item, files), jobs, ahead=AHEAD)
    groups = in_groups(items, detector.batch_size)
    detect = functools.partial(_detect, detector)
    groups = map_in_threads(detect, groups, detector.parallel, ahead=AHEAD)
    items = itertools.chain.from_iterable(groups)
    yield from map_in_threads(_guarded(_finish, job), items, jobs, ahead=AHEAD)


def _threads():
    """Returns how many threads decode, and how many draw."""
    return min(cores(), _MOST_THREADS)


def _guarded(step, job):
    """Returns a step that keeps what is wrong with an image in its item, and spares the others."""

    def run(item):
        if item.error is None:
            try:
                step(item, job)
            except DataError as error:
                item.error = error
        return item

    return run


def _load(item, job):
    with opened_upright(item.file) as image:
        item.size = image.size
        try:
            item.prepared = job.detector.prepare(np.asarray(image))
        except ValueError as error:
            raise _cannot_be_resized(item, error) from error
        if image.width * image.height * 2 * AHEAD * _threads() <= _MOST_HELD:
            item.image = image


def _finish(item, job):
    found = job.choose(item.raw, item.prepared)
    item.entry = entry_of({"file": item.file.name}, item.size, found, job.names)
    item.entry["seen"] = seen(item.file)
    if job.save_dir is not None:
        held = contextlib.nullcontext(item.image) if item.image else opened_upright(item.file)
        with held as image:
            save_pictures(job, image, found, item.file)
    item.image = item.prepared = item.raw = None


def in_groups(items: Iterator, size: int) -> Iterator[list]:
    """Yields lists of so many items, at the end of fewer."""
    while group := list(itertools.islice(items, size)):
        yield group


def _detect(detector, items):
    """Runs the network on the items whose image could be read; returns all of them."""
    good = [item for item in items if item.error is None]
    try:
        raws = detector.run_many([item.prepared for item in good])
    except ValueError as error:
        if len(good) == 1:
            good[0].error = _cannot_be_resized(good[0], error)
        else:
            for item in good:
                _detect(detector, [item])
        return items
    for item, raw in zip(good, raws, strict=True):
        item.raw = raw
    return items


def _cannot_be_resized(item, error):
    return DataError(f"{item.file.place}: {error}.\n  Crop or remove it.")
