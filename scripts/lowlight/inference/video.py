"""Reads the frames of a video file, a camera or a stream, with PyAV, and turns them upright.

A phone that is held upright stores frames that lie on their side, and a matrix that says how to
show them: FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX, as in MP4's track header (ISO/IEC 14496-12, tkhd).
It is nine int32 in rows, a b u / c d v / x y w; a point (x, y) comes to (a x + c y, b x + d y).
PyAV gives its angle, but not whether it mirrors.
"""

import contextlib
import importlib
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from lowlight.core.errors import DataError, format_count

_EXTENSIONS = frozenset(
    (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts")
    + (".3gp", ".3g2", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".vob", ".mxf", ".m2v", ".dv")
)
_URL = re.compile(r"(rtsps?|rtmps?|https?|udp|rtp|srt|tcp)://", re.IGNORECASE)
_TIMEOUT = 15.0  # seconds without a sign of a stream
# Frames a second: where a video doesn't say, and the most that isn't its time stamps' unit.
_USUAL_RATE, _MOST_RATE = 25.0, 500.0
# A file that ends earlier than it says is cut short; sound and picture may differ by this much.
_MISSING_SECONDS, _MISSING_PART = 0.5, 0.02
_WITH_LENGTH = "mp4", "matroska", "avi"  # of other formats FFmpeg guesses it


def is_video(source: Path | str) -> bool:
    """Says whether what a command is given is a video file, a camera or a stream."""
    if _is_url(source) or _is_device(source):
        return True
    return is_video_name(source) and Path(source).is_file()


def is_video_name(name: Path | str) -> bool:
    """Says whether a file's extension is that of a video, in either case."""
    return PurePosixPath(name).suffix.lower() in _EXTENSIONS


def name_of(source: Path | str) -> str:
    """Returns what a video is called without its extension: "street" of "films/street.mp4"."""
    path = urlsplit(source).path if _is_url(source) else str(source)
    return PurePosixPath(path).stem or urlsplit(source).hostname or "video"


def load_av() -> ModuleType:
    """Returns the module av; raises DataError, with what to do, where it isn't installed."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise DataError(
            "videos are read with PyAV, which isn't installed.\n"
            "  pip install -r requirements/video.txt"
        ) from error


class Frame(NamedTuple):
    """A frame as it was decoded."""

    number: int  # from 0
    time: float  # seconds from the video's beginning, later than the frame before
    picture: Any  # av.VideoFrame
    sound: list  # the packets of sound that came before it

    def to_rgb(self) -> np.ndarray:
        """Returns its upright pixels, RGB, uint8 [H, W, 3]."""
        matrix = self.picture.side_data.get("DISPLAYMATRIX")
        return apply_display_matrix(self.picture.to_ndarray(format="rgb24"), matrix)


def apply_display_matrix(pixels: np.ndarray, matrix: bytes | None) -> np.ndarray:
    """Returns a stored frame's pixels, [H, W, 3], turned and flipped to the nearest side.

    The matrix is 36 bytes, nine int32 of the machine's order; None turns nothing.
    """
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist() if matrix else (1, 0, 0, 0, 1)
    flips_x, flips_y = a < 0, d < 0
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, flips_x, flips_y = pixels.swapaxes(0, 1), c < 0, b < 0
    pixels = pixels[:, ::-1] if flips_x else pixels
    return np.ascontiguousarray(pixels[::-1] if flips_y else pixels)


class Video:
    """An open video: what it says of itself, and its frames, once."""

    def __init__(self, source: Path | str):
        """Opens a file, a camera ("/dev/video0") or a URL.

        Raises:
            DataError: PyAV isn't installed; no such video, not a video, or one without pictures.
        """
        self.source, av = str(source), load_av()
        self._errors = av.error.FFmpegError
        self._container = container = _open(av, self.source)
        streams, attached = container.streams, av.stream.Disposition.attached_pic
        self._film = next((s for s in streams.video if not s.disposition & attached), None)
        if self._film is None:
            self.close()
            raise DataError(f"{self.source}: holds sound or text alone.\n  Give a video.")
        # The first av.AudioStream that FFmpeg knows.
        self.sound = next((s for s in streams.audio if s.codec_context is not None), None)
        self.sound_left = []  # the packets of sound after the last frame, known then
        self.time_base = self._film.time_base  # the unit of its time stamps in seconds
        rate = float(self._film.average_rate or self._film.guessed_rate or 0)
        self.rate = rate if 0 < rate <= _MOST_RATE else _USUAL_RATE
        self.is_live = container.duration is None and not Path(self.source).is_file()
        start, length = container.start_time, container.duration
        self._start = None if start is None else start / av.time_base
        self._length = None if length is None else length / av.time_base
        if self._length and "matroska" in container.format.name:
            self._length -= max(self._start or 0.0, 0.0)  # it counts from 0, not from the start
        self._reached, self._broken, self._failure = 0.0, 0, ""

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes it."""
        self._container.close()

    @property
    def pixel_aspect(self) -> Fraction | None:
        """A stored pixel's width by its height; None where they are alike."""
        aspect = self._film.sample_aspect_ratio
        return aspect if aspect and aspect != 1 else None

    @property
    def count(self) -> int | None:
        """About how many frames it has, None where that isn't known."""
        if self._film.frames or self._length is None:
            return self._film.frames or None
        return max(round(self._length * self.rate), 1)

    def frames(self) -> Iterator[Frame]:
        """Yields each Frame that can be decoded; `damage` says what was left out."""
        number, sound, last = 0, [], None
        for packet in self._packets():
            if packet is not None and packet.stream.index != self._film.index:
                sound += [packet] if packet.size else []
                continue
            for picture in self._decode(packet):
                last = self._time_of(picture, last)
                yield Frame(number, last, picture, sound)
                number, sound = number + 1, []
        self.sound_left = sound

    def damage(self) -> str:
        """Returns what was wrong with a video whose frames have been read, "" for nothing."""
        if self.is_live:  # where single frames come damaged now and then
            return self._failure and f"broke off ({self._failure})"
        says_length = any(name in self._container.format.name for name in _WITH_LENGTH)
        length = self._length if self._length and says_length else 0
        if length - self._reached > max(_MISSING_SECONDS, _MISSING_PART * length):
            return f"cut short: it ends at {self._reached:.1f} of {self._length:.1f} s"
        return f"damaged in {format_count(self._broken, 'place')}" if self._broken else ""

    def _packets(self):
        """Yields the packets of pictures and sound, their times from the video's beginning.

        Where reading fails, None comes last, for the pictures that the decoder still holds.
        """
        try:
            for packet in self._container.demux([s for s in (self._film, self.sound) if s]):
                self._shift(packet)
                yield packet
        except self._errors as error:  # a file that is cut short, a camera that was unplugged
            self._failure = _strerror(error)
            self._broken += 1
            yield None

    def _shift(self, packet):
        """Makes a packet's times those from the beginning, and notes how far they reach."""
        if packet.pts is None:
            return
        if self._start is None:
            self._start = float(packet.pts * packet.time_base)
        late = round(self._start / packet.time_base)
        packet.pts -= late
        if packet.dts is not None:
            packet.dts -= late
        end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
        self._reached = max(self._reached, end)

    def _decode(self, packet):
        try:
            pictures = self._film.decode(packet)
        except self._errors:
            self._broken += 1
            return []
        self._broken += sum(picture.is_corrupt for picture in pictures)
        return pictures

    def _time_of(self, picture, last):
        """Returns a time later than the last; one that is missing or steps back is made up."""
        time = picture.time
        if last is None:
            return max(time or 0.0, 0.0)
        return time if time is not None and time > last else last + 1 / self.rate


def _is_url(source):
    return _URL.match(str(source)) is not None


def _is_device(source):
    with contextlib.suppress(OSError, ValueError):
        return Path(source).is_char_device() and str(source) != "/dev/null"
    return False


def _open(av, source):
    """Opens a video for reading; raises DataError."""
    options, place = {}, f"file:{source}"
    if int(av.__version__.split(".")[0]) < 19:  # PyAV 19 opens files with metadata that is no UTF-8
        options["metadata_errors"] = "replace"
    if _is_device(source):
        options["format"], place = "v4l2", source
    if _is_url(source):
        options["timeout"], place = _TIMEOUT, source
        if source.lower().startswith("rtsp"):
            options["options"] = {"rtsp_transport": "tcp"}  # over UDP, frames come damaged
    try:
        return av.open(place, **options)
    except av.error.FFmpegError as error:
        raise DataError(f"{source}: {_reason(error, source)}") from error


def _strerror(error):
    """Returns what FFmpeg says of an error; of a time that ran out it says that it was to end."""
    timed_out = isinstance(error, load_av().error.ExitError)
    return f"no sign of it for {_TIMEOUT:.0f} s" if timed_out else error.strerror


def _reason(error, source):
    """Returns what to say of a video that can't be opened."""
    if _is_url(source):
        return f"no video comes from there ({_strerror(error)}).\n  Check the address."
    if isinstance(error, OSError):
        return f"{error.strerror}.\n  Check that it is there and may be read."
    return (
        f"not a video, or one that is damaged from its beginning ({error.strerror}).\n"
        "  Fetch it again, or record it again."
    )
