"""Writes an annotated video as MP4, and what was found in it frame by frame."""

import contextlib
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from lowlight.core.errors import DataError
from lowlight.core.files import output_dir, whole_files
from lowlight.inference.pictures import CSV, JSON
from lowlight.inference.results import COLUMNS, JSON_END, format_csv, format_head
from lowlight.inference.video import Frame, Video, load_av, name_of

_ENCODERS = "libx264", "libopenh264", "mpeg4"
_X264 = {"preset": "veryfast", "crf": "20"}
_BITS = 0.2  # of the other encoders, for a pixel
_MOST_UNITS = 65535  # in a second, for MPEG-4
_FINE = Fraction(1, 60000)  # seconds: a multiple of most frame rates' periods
# What players take in an MP4; other sound is left out.
_SOUNDS = frozenset(("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"))
_BT709, _LIMITED = 1, 1  # FFmpeg's numbers


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


def to_picture(pixels: np.ndarray) -> Any:
    """Returns RGB pixels, uint8 [H, W, 3], as the encoder takes them: an av.VideoFrame.

    It is yuv420p, whose sides are even: an odd one gets its last row or column twice.
    """
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    picture = load_av().VideoFrame.from_ndarray(pixels, "rgb24")
    return picture.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)


def sound_left_out(video: Video) -> str:
    """Returns the codec of a video's sound where the MP4 can't hold it as it is, "" otherwise."""
    codec = video.sound.codec_context.codec.canonical_name if video.sound else ""
    return "" if codec in _SOUNDS else codec


class _Film:
    """An MP4 file that is being written."""

    def __init__(self, path: Path, video: Video, size: tuple[int, int]):
        """Opens the file for the frames of a video; `size` is their (width, height), both even."""
        av = load_av()
        self._container = av.open(str(path), "w", format="mp4")
        name = next(name for name in _ENCODERS if name in av.codecs_available)
        rate = Fraction(video.rate).limit_denominator(1001)
        options = _X264 if name == "libx264" else {}
        self._stream = self._container.add_stream(name, rate=rate, options=options)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = *size, "yuv420p"
        context.colorspace, context.color_range = _BT709, _LIMITED
        context.color_primaries = context.color_trc = _BT709
        is_too_fine = name == "mpeg4" and video.time_base.denominator > _MOST_UNITS
        self._unit = context.time_base = _FINE if is_too_fine else video.time_base
        if name != "libx264":
            context.bit_rate = round(size[0] * size[1] * video.rate * _BITS)
        if video.pixel_aspect:
            context.sample_aspect_ratio = video.pixel_aspect
        self._size, self._last = size, -1
        self._sound, self._last_sound = None, float("-inf")
        if video.sound and not sound_left_out(video):
            self._sound = self._container.add_stream_from_template(video.sound)

    def write(self, picture, frame):
        """Adds a drawn frame, scaled to the first one's size, and the sound that came before it."""
        self.write_sound(frame.sound)
        if (picture.width, picture.height) != self._size:
            picture = picture.reformat(*self._size)
        self._last = max(round(frame.time / self._unit), self._last + 1)
        picture.pts, picture.time_base = self._last, self._unit
        self._container.mux(self._stream.encode(picture))

    def write_sound(self, packets):
        """Adds packets of sound; one that isn't later than the one before is left out."""
        for packet in packets if self._sound is not None else ():
            if packet.dts is not None and packet.dts > self._last_sound:
                self._last_sound, packet.stream = packet.dts, self._sound
                self._container.mux(packet)

    def finish(self):
        """Writes what the encoder still holds, and closes the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def close(self):
        """Closes the file where it isn't yet, because it can't be made whole."""
        with contextlib.suppress(load_av().error.FFmpegError):
            self._container.close()


class VideoFiles:
    """The annotated video, detections.json and detections.csv while they are written."""

    def __init__(self, film_path: Path, json_file: IO, csv_file: IO, video: Video, facts: dict):
        """Begins the files; `facts` are what detections.json begins with."""
        self._film_path, self._json, self._csv = film_path, json_file, csv_file
        self._video, self._film, self._between = video, None, "\n"
        self._json.write(format_head(facts, "frames"))
        self._csv.write(format_csv([], ["frame", "time", *COLUMNS]))

    def add(self, entry: dict) -> None:
        """Adds the entry of a frame, as of `results.entry_of`."""
        self._json.write(self._between + json.dumps(entry))
        self._csv.write(format_csv([entry]))
        self._between = ",\n"

    def draw(self, picture: Any, frame: Frame) -> None:
        """Adds a drawn frame, an av.VideoFrame of `to_picture`, to the video."""
        with _plain_errors(self._video.source):
            if self._film is None:
                size = picture.width, picture.height
                self._film = _Film(self._film_path, self._video, size)
            self._film.write(picture, frame)

    def finish(self) -> None:
        """Makes the files whole."""
        if self._film is not None:
            with _plain_errors(self._video.source):
                self._film.write_sound(self._video.sound_left)
                self._film.finish()
        self._json.write(JSON_END)

    def close(self) -> None:
        """Closes the video, whole or not."""
        if self._film is not None:
            self._film.close()


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


@contextlib.contextmanager
def video_files(save_dir: Path, video: Video, facts: dict) -> Iterator[VideoFiles]:
    """Yields VideoFiles, whose files have their names when the block has ended well.

    Raises:
        OSError: the disk is full; the files are as they were before.
    """
    paths = [save_dir / name for name in (f"{name_of(video.source)}.mp4", JSON, CSV)]
    options = {"mode": "w", "encoding": "utf-8", "newline": "\n"}
    with (
        whole_files(*paths) as (film_path, json_path, csv_path),
        open(json_path, **options) as json_file,
        open(csv_path, **options) as csv_file,
        contextlib.closing(VideoFiles(film_path, json_file, csv_file, video, facts)) as files,
    ):
        yield files
        files.finish()
