"""Finds objects in the frames of a video, several steps at a time, and draws them on it."""

import contextlib
import itertools
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lowlight.core.errors import DataError, Interrupted, format_count, noted_signals
from lowlight.core.files import locked
from lowlight.core.parallel import Progress, cores, map_in_threads
from lowlight.images.drawing import brightened, brightness_of, draw_detections
from lowlight.inference.folder import AHEAD, Job, in_groups
from lowlight.inference.results import PARTS, entry_of, print_entry
from lowlight.inference.video import Frame, Video
from lowlight.inference.video_output import (
    prepare_video_path,
    sound_left_out,
    to_picture,
    video_files,
)

_MOST_THREADS = 4  # a step: a frame of 4K takes 25 MB
_MOST_IN_GROUP = 8  # frames, where only some of them go through the network
# A new frame's part in the mean brightness, small enough that a brightened video doesn't flicker.
_SLOWLY = 0.05
_AGAIN = "Run the same command again to begin from the start."


@dataclass
class Counts:
    """What was done."""

    objects: int = 0
    frames: int = 0
    seen: int = 0  # frames that were looked at
    signal: int = 0  # the one that ended it


def detect_on_video(
    source: str, make_job: Callable, save_path: str | None = None, every: int = 1
) -> tuple[str, Path | None]:
    """Detects on a video that a command names; as `folder.detect_on_images`."""
    with Video(source) as film:
        save_dir = prepare_video_path(save_path, source) if save_path else None
        counts = detect_frames(film, make_job(save_dir), every)
        codec = sound_left_out(film) if save_dir else ""
    objects, frames = format_count(counts.objects, "object"), format_count(counts.seen, "frame")
    if every != 1:
        frames = f"{counts.seen} of {format_count(counts.frames, 'frame')}"
    sound = f", without its sound ({codec}), which MP4 can't hold" if codec else ""
    return f"{objects} in {frames}{sound}", save_dir


def detect_frames(video: Video, job: Job, every: int = 1) -> Counts:
    """Detects on a video's frames, and keeps or prints what was found.

    Decoding, the network, drawing, and encoding run at the same time in threads of their own; a
    few frames are held, however long the video is. Each n-th frame, as `every` says, is looked at;
    those between show the boxes of the one before. A signal ends it with whole files. Ctrl-C is how
    a camera ends.

    Raises:
        DataError: no frame can be read, or it is damaged; the frames that can be read are done.
            Another process writes the folder.
        Interrupted: a signal came; what was done is kept.
    """
    try:
        with noted_signals() as signals, contextlib.ExitStack() as stack:
            files = None
            if job.save_dir is not None:
                stack.enter_context(locked(job.save_dir, "written", "save_path"))
                facts = {"video": video.source, **job.facts}
                facts |= {"every": every, "frame_rate": round(video.rate, 3)}
                files = stack.enter_context(video_files(job.save_dir, video, facts))
            counts = _run(video, job, every, files, signals)
    except Interrupted as stop:  # by a second Ctrl-C, which waits for no whole files
        kept = "No frame of this run was kept." if job.save_dir else ""
        raise Interrupted(stop.number, kept, _AGAIN) from stop
    _raise(video, job, counts)
    return counts


def _run(video, job, every, files, signals):
    counts = Counts()
    signals.something_to_keep = True
    with contextlib.ExitStack() as stack:
        shown = stack.enter_context(Progress(video.count, "frame", quiet=job.quiet))
        for item in _Pipeline(video, job, every).run(stack):
            _keep(item, job, files, counts)
            shown.update()
            if signals.number:
                counts.signal = signals.number
                break
    if not counts.frames:
        why = f" ({damage})" if (damage := video.damage()) else ""
        raise DataError(f"{video.source}: no frame of it can be read{why}.\n  Fetch it again.")
    return counts


def _keep(item, job, files, counts):
    counts.frames += 1
    if item.is_looked_at:
        place = {"frame": item.frame.number, "time": round(item.frame.time, 3)}
        entry = entry_of(place, item.size, item.found, job.names)
        counts.seen, counts.objects = counts.seen + 1, counts.objects + len(entry[PARTS])
        if files is not None:
            files.add(entry)
        else:
            print_entry(entry)
            sys.stdout.flush()  # so that it is seen at once through a pipe, too
    if files is not None:
        files.draw(item.picture, item.frame)


def _raise(video, job, counts):
    where = f" and kept in {job.save_dir}" if job.save_dir else ""
    if counts.signal and not (video.is_live and counts.signal == signal.SIGINT):
        kept = f"The first {counts.frames} frames are done{where}."
        raise Interrupted(counts.signal, kept, _AGAIN)
    if not counts.signal and (damage := video.damage()):
        done = f"The {counts.frames} frames that can be read are done{where}."
        raise DataError(f"{video.source}: {damage}.\n  Fetch it again. {done}")


class _Item:
    """A frame on its way."""

    def __init__(self, frame: Frame, is_looked_at: bool):
        self.frame, self.is_looked_at = frame, is_looked_at
        self.pixels = self.size = self.brightness = self.picture = None
        self.prepared = self.raw = self.found = None


class _Pipeline:
    """The steps from a video's frames to drawn ones."""

    def __init__(self, video: Video, job: Job, every: int):
        self._video, self._job, self._every = video, job, every
        self._detector = job.detector
        self._draws = job.save_dir is not None

    def run(self, stack: contextlib.ExitStack) -> Iterator[_Item]:
        """Returns an iterator over finished _Items; `stack` ends its threads, the last first."""

        def in_threads(step, items, jobs=None):
            jobs = jobs or min(cores(), _MOST_THREADS)
            steps = map_in_threads(step, items, jobs, ahead=AHEAD)
            return stack.enter_context(contextlib.closing(steps))

        source = self._video.frames()
        frames = in_threads(lambda _: next(source, None), itertools.repeat(None), 1)
        frames = itertools.takewhile(lambda frame: frame is not None, frames)
        items = (_Item(frame, frame.number % self._every == 0) for frame in frames)
        items = in_threads(self._load, items)
        size = self._detector.batch_size
        if self._every > 1:
            size = min(size * self._every, max(size, _MOST_IN_GROUP))
        groups = in_threads(self._detect, in_groups(items, size), self._detector.parallel)
        items = in_threads(self._finish, itertools.chain.from_iterable(groups))
        return in_threads(self._draw, _carried_on(items)) if self._draws else items

    def _load(self, item):
        if self._draws or item.is_looked_at:
            item.pixels = item.frame.to_rgb()
            item.size = item.pixels.shape[1::-1]
        item.frame = item.frame._replace(picture=None)
        if item.is_looked_at:
            with self._plain_errors(item):
                item.prepared = self._detector.prepare(item.pixels)
        return item

    def _detect(self, items):
        seen = [item for item in items if item.is_looked_at]
        if seen:
            with self._plain_errors(seen[0]):
                raws = self._detector.run_many([item.prepared for item in seen])
            for item, raw in zip(seen, raws, strict=True):
                item.raw = raw
        return items

    def _finish(self, item):
        if item.is_looked_at:
            item.found = self._job.choose(item.raw, item.prepared)
            item.raw = item.prepared = None
        if self._draws and self._job.pictures.brightened:
            item.brightness = brightness_of(Image.fromarray(item.pixels))
        return item

    def _draw(self, item):
        image = Image.fromarray(item.pixels)
        if item.brightness is not None:
            image = brightened(image, item.brightness)
        draw_detections(image, item.found, self._job.names)
        item.picture, item.pixels = to_picture(np.asarray(image)), None
        return item

    @contextlib.contextmanager
    def _plain_errors(self, item):
        """Turns what a detector raises on an image that it can't take into a DataError."""
        try:
            yield
        except ValueError as error:
            place = f"{self._video.source}: frame {item.frame.number}"
            raise DataError(f"{place}: {error}.\n  Crop the video.") from error


def _carried_on(items):
    """Yields the items; frames that weren't looked at show what was found before."""
    found = brightness = None
    for item in items:
        found = item.found = item.found if item.is_looked_at else found
        if item.brightness is not None:
            before = item.brightness if brightness is None else brightness
            brightness = item.brightness = before + _SLOWLY * (item.brightness - before)
        yield item
