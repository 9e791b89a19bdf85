"""Looks at many images, or frames of a video, in steps that run at the same time in threads."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lowlight.core.errors import DataError, kept_in
from lowlight.core.parallel import cores, map_in_threads
from lowlight.core.sources import SourceFile
from lowlight.detector.detector import Detector
from lowlight.detector.runs import Model
from lowlight.images.reading import MAX_PIXELS, set_max_pixels
from lowlight.inference.inputs import opened_upright
from lowlight.inference.pictures import Pictures, save_pictures

PARTS = "detections"  # of an entry
_MOST_THREADS = 16  # a step; more hold more images than they gain
_AHEAD = 2  # images a thread that wait for it: enough for no thread to wait, and few in memory
_MOST_HELD = 480_000_000  # pixels of all images on their way
_MOST_IN_GROUP = 8  # frames, where only some of them go through the network


@dataclass(frozen=True)
class Job:
    """What is to be done with each image, or each frame of a video."""

    detector: Detector | None  # None until it is `loaded`
    names: dict[int, str]  # {class id: name}
    thresholds: dict[int, float]  # {class id: lowest score}; other classes are left out
    source: str = ""  # what the command was given
    save_dir: Path | None = None  # an existing folder; None prints what is found
    model: Model | None = None  # which the detector is made of, with these
    options: dict = field(default_factory=dict)  # of detector.Detector
    facts: dict = field(default_factory=dict)  # what detections.json begins with
    model_files: str = ""  # the `fingerprint` of the model's
    pictures: Pictures = Pictures()
    format: str = "json"  # or "coco", which adds coco_results.json
    max_pixels: int = MAX_PIXELS  # of an image
    quiet: bool = False  # show no progress

    def loaded(self) -> "Job":
        """Returns it ready to be done in this process; raises DataError as Detector does."""
        set_max_pixels(self.max_pixels)
        detector = Detector(self.model, **self.options)
        return replace(self, detector=detector, facts=self.facts | {"engine": detector.engine})


class Item:
    """An image, or a frame of a video, on its way."""

    def __init__(self, source: Any, place: str, about: dict):
        """Takes what it is read from, its place for messages, and what tells its entry apart.

        That is {"file": name}, or {"frame": number, "time": seconds}.
        """
        self.source, self.place, self.about = source, place, about
        self.image = self.size = self.prepared = self.raw = self.found = None
        self.brightness = None  # of a frame that is to be drawn brightened
        self.entry = None  # what detections.json says of it, where it was looked at
        self.errors = []  # what is wrong with it, at most one DataError

    def prepare(self, pixels: np.ndarray, job: Job) -> None:
        """Makes it ready for the network; the pixels are RGB, uint8 [H, W, 3]."""
        self.size = pixels.shape[1::-1]
        try:
            self.prepared = job.detector.prepare(pixels)
        except ValueError as error:
            raise self.refused(error) from error

    def refused(self, error: ValueError) -> DataError:
        """Returns what to say where a detector can't take it."""
        return DataError(f"{self.place}: {error}.\n  Crop it, or leave it out.")

    def conclude(self, job: Job) -> None:
        """Makes the entry of one that was looked at, of the classes asked for that score enough."""
        if self.prepared is None:
            return
        found = job.detector.finish(self.raw, self.prepared)
        limits = [job.thresholds.get(number, np.inf) for number in found.classes.tolist()]
        self.found = found.where(found.scores >= np.array(limits, np.float32))
        width, height = self.size
        detections = self.found.to_json(job.names)
        self.entry = {**self.about, "width": width, "height": height, PARTS: detections}
        self.prepared = self.raw = None


def detect_each(files: Iterable[SourceFile], job: Job) -> Iterator[Item]:
    """Yields the Item of each file, in the files' order, as soon as it is done and drawn.

    Its entry has the file's size and time of change, too, under "seen".
    """
    jobs = min(cores(), _MOST_THREADS)
    most = _MOST_HELD // (2 * _AHEAD * jobs)  # pixels of one that isn't read again to be drawn

    def load(item):
        with opened_upright(item.source) as image:
            item.prepare(np.asarray(image), job)
            item.image = image if image.width * image.height <= most else None

    def finish(item):
        item.conclude(job)
        item.entry["seen"] = seen(item.source)
        if job.save_dir is not None:
            held = contextlib.nullcontext(item.image) if item.image else opened_upright(item.source)
            with held as image:
                save_pictures(job, image, item.found, item.source)
        item.image = None

    items = (Item(file, file.place, {"file": file.name}) for file in files)
    with contextlib.ExitStack() as stack:
        items = look_at(stack, items, job, load, jobs)
        yield from in_threads(stack, finish, items, jobs)


def seen(file: SourceFile) -> list[int] | None:
    """Returns an input's size and time of change, None of an archive's member."""
    with contextlib.suppress(OSError):
        status = Path(file.place).stat()
        return [status.st_size, status.st_mtime_ns]
    return None


def look_at(
    stack: contextlib.ExitStack,
    items: Iterable[Item],
    job: Job,
    load: Callable,
    jobs: int,
    every: int = 1,
) -> Iterator[Item]:
    """Returns the Items in their order, as soon as the network has looked at them.

    load(item), in `jobs` threads, prepares those that are to be looked at, one of `every`. The
    ExitStack ends the threads.
    """
    items = in_threads(stack, load, items, jobs)
    batch = job.detector.batch_size
    size = batch if every == 1 else min(batch * every, max(batch, _MOST_IN_GROUP))
    groups = iter(lambda: list(itertools.islice(items, size)), [])
    detect = functools.partial(_detect, job.detector)
    return itertools.chain.from_iterable(mapped(stack, detect, groups, job.detector.parallel))


def in_threads(
    stack: contextlib.ExitStack, step: Callable, items: Iterable[Item], jobs: int
) -> Iterator[Item]:
    """Returns the Items after step(item), whose DataError is kept in the item and spares others."""

    def run(item):
        if not item.errors:
            with kept_in(item.errors):
                step(item)
        return item

    return mapped(stack, run, items, jobs)


def mapped(stack: contextlib.ExitStack, function: Callable, items: Iterable, jobs: int) -> Iterator:
    """As `map_in_threads`; the ExitStack ends the threads, those that were begun last first."""
    return stack.enter_context(
        contextlib.closing(map_in_threads(function, items, jobs, ahead=_AHEAD))
    )


def _detect(detector, items):
    """Runs the network on the items that are prepared; returns all of them."""
    ready = [item for item in items if item.prepared is not None]
    try:
        raws = detector.run_many([item.prepared for item in ready])
    except ValueError as error:
        if len(ready) == 1:
            ready[0].errors.append(ready[0].refused(error))
        else:
            for item in ready:
                _detect(detector, [item])
        return items
    for item, raw in zip(ready, raws, strict=True):
        item.raw = raw
    return items
