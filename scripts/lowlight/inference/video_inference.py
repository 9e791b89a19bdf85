"""Finds objects in the frames of a video, several steps at a time, and writes what was found."""

import contextlib
import itertools
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lowlight.core.errors import DataError, Interrupted, format_count, noted_signals, raise_any
from lowlight.core.files import locked, output_dir, whole_files
from lowlight.core.parallel import Progress, cores
from lowlight.images.drawing import brightened, brightness_of, draw_detections
from lowlight.inference.folder import COLUMNS, JSON_END, format_csv, format_head, print_entry
from lowlight.inference.inputs import name_of
from lowlight.inference.pictures import CSV, JSON
from lowlight.inference.steps import PARTS, Item, Job, in_threads, look_at, mapped
from lowlight.inference.video import Film, Video, load_av, to_picture

_MOST_THREADS = 4  # a step: a frame of 4K takes 25 MB
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
    with Video(source) as video:
        save_dir = prepare_video_path(save_path, source) if save_path else None
        counts = detect_frames(video, make_job(save_dir), every)
    objects, frames = format_count(counts.objects, "object"), format_count(counts.seen, "frame")
    if every != 1:
        frames = f"{counts.seen} of {format_count(counts.frames, 'frame')}"
    lost = save_dir and video.sound_left_out
    sound = f", without its sound ({lost}), which MP4 can't hold" if lost else ""
    return f"{objects} in {frames}{sound}", save_dir


def prepare_video_path(save_path: Path | str, source: Path | str) -> Path:
    """Makes the output folder and returns its Path.

    Raises:
        DataError: the annotated video would be written over the video, or a folder is in the way.
    """
    output = Path(save_path) / f"{name_of(source)}.mp4"
    if output.is_dir():
        raise DataError(f"{output}: a folder is in the way of the video.\n  Move it away.")
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise DataError(
            f"{output}: the annotated video would be written over it.\n"
            "  Choose another --save_path."
        )
    return output_dir(save_path)


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
            keep = _print
            if job.save_dir is not None:
                stack.enter_context(locked(job.save_dir, "written", "save_path"))
                facts = {"video": video.source, **job.facts}
                facts |= {"every": every, "frame_rate": round(video.rate, 3)}
                keep = stack.enter_context(_files(job.save_dir, video, facts))
            counts = _run(video, job, every, keep, signals)
    except Interrupted as stop:  # by a second Ctrl-C, which waits for no whole files
        kept = "No frame of this run was kept." if job.save_dir else ""
        raise Interrupted(stop.number, kept, _AGAIN) from stop
    where = f" and kept in {job.save_dir}" if job.save_dir else ""
    if counts.signal and not (video.is_live and counts.signal == signal.SIGINT):
        kept = f"The first {counts.frames} frames are done{where}."
        raise Interrupted(counts.signal, kept, _AGAIN)
    if not counts.signal and (damage := video.damage()):
        done = f"The {counts.frames} frames that can be read are done{where}."
        raise DataError(f"{video.source}: {damage}.\n  Fetch it again. {done}")
    return counts


def _print(item):
    if item.entry is not None:
        print_entry(item.entry)


@contextlib.contextmanager
def _files(save_dir, video, facts):
    """Yields what adds an Item to the video, detections.json and detections.csv.

    They have their names when the block has ended well.

    Raises:
        DataError: FFmpeg refuses to write it.
        OSError: the disk is full; the files are as they were before.
    """
    paths = [save_dir / name for name in (f"{name_of(video.source)}.mp4", JSON, CSV)]
    options = {"mode": "w", "encoding": "utf-8", "newline": "\n"}
    between = itertools.chain(["\n"], itertools.repeat(",\n"))
    with (
        _plain_errors(video.source),
        whole_files(*paths) as (film_path, json_path, csv_path),
        open(json_path, **options) as json_file,
        open(csv_path, **options) as csv_file,
        contextlib.closing(Film(film_path, video)) as film,
    ):

        def add(item):
            if item.entry is not None:
                json_file.write(next(between) + json.dumps(item.entry))
                csv_file.write(format_csv([item.entry]))
            film.write(item.image, item.source)

        json_file.write(format_head(facts, "frames"))
        csv_file.write(format_csv([], ["frame", "time", *COLUMNS]))
        yield add
        film.finish()
        json_file.write(JSON_END)


@contextlib.contextmanager
def _plain_errors(source):
    """Turns what FFmpeg refuses to write, such as unusual sound, into a DataError of the source."""
    try:
        yield
    except load_av().error.FFmpegError as error:
        if isinstance(error, OSError):
            raise  # the operating system's
        raise DataError(
            f"{source}: its pictures or sound can't be written as MP4 ({error.strerror}).\n"
            "  Convert it to MP4 first, for example with ffmpeg."
        ) from error


def _run(video, job, every, keep, signals):
    counts = Counts()
    signals.something_to_keep = True
    with contextlib.ExitStack() as stack:
        shown = stack.enter_context(Progress(video.count, "frame", quiet=job.quiet))
        for item in _items(stack, video, job, every):
            raise_any(item.errors)
            keep(item)
            counts.frames += 1
            counts.seen += item.entry is not None
            counts.objects += len(item.entry[PARTS]) if item.entry else 0
            shown.update()
            if signals.number:
                counts.signal = signals.number
                break
    if not counts.frames:
        why = f" ({damage})" if (damage := video.damage()) else ""
        raise DataError(f"{video.source}: no frame of it can be read{why}.\n  Fetch it again.")
    return counts


def _items(stack, video, job, every) -> Iterator[Item]:
    """Returns the Items of a video's frames, drawn where they are kept; `stack` ends the threads.

    An Item's image is then what the encoder takes.
    """
    is_drawn, jobs = job.save_dir is not None, min(cores(), _MOST_THREADS)

    def load(item):
        is_looked_at = item.source.number % every == 0
        if is_drawn or is_looked_at:
            pixels = item.source.to_rgb()
        item.source = item.source._replace(picture=None)
        if is_drawn:
            item.image = Image.fromarray(pixels)
            if job.pictures.brightened:
                item.brightness = brightness_of(item.image)
        if is_looked_at:
            item.prepare(pixels, job)

    def draw(item):
        image = item.image
        if item.brightness is not None:
            image = brightened(image, item.brightness)
        draw_detections(image, item.found, job.names)
        item.image = to_picture(np.asarray(image))

    source = video.frames()
    frames = mapped(stack, lambda _: next(source, None), itertools.repeat(None), 1)
    items = (_item(video, frame) for frame in iter(lambda: next(frames), None))
    items = look_at(stack, items, job, load, jobs, every)
    items = in_threads(stack, lambda item: item.conclude(job), items, jobs)
    return in_threads(stack, draw, _carried_on(items), jobs) if is_drawn else items


def _item(video, frame):
    about = {"frame": frame.number, "time": round(frame.time, 3)}
    return Item(frame, f"{video.source}: frame {frame.number}", about)


def _carried_on(items):
    """Yields the items; frames that weren't looked at show what was found before."""
    found = brightness = None
    for item in items:
        found = item.found = found if item.found is None else item.found
        if item.brightness is not None:
            before = item.brightness if brightness is None else brightness
            brightness = item.brightness = before + _SLOWLY * (item.brightness - before)
        yield item
