"""Reads the frames of a video file, a camera or a stream, upright, and writes MP4, with PyAV.

A phone that is held upright stores frames that lie on their side, and a matrix that says how to
show them: FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX, as in MP4's track header (ISO/IEC 14496-12, tkhd).
It is nine int32 in rows, a b u / c d v / x y w; a point (x, y) comes to (a x + c y, b x + d y).
PyAV gives its angle, but not whether it mirrors.
"""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from lowlight.core.errors import DataError, format_count
from lowlight.inference.inputs import is_device, is_url

_TIMEOUT = 15.0  # seconds without a sign of a stream
# Frames a second: where a video doesn't say, and the most that isn't its time stamps' unit.
_USUAL_RATE, _MOST_RATE = 25.0, 500.0
# A file that ends earlier than it says is cut short; sound and picture may differ by this much.
_MISSING_SECONDS, _MISSING_PART = 0.5, 0.02
_WITH_LENGTH = "mp4", "matroska", "avi"  # of other formats FFmpeg guesses it
_ENCODERS = "libx264", "libopenh264", "mpeg4"
_X264 = {"preset": "veryfast", "crf": "20"}
_BITS = 0.2  # of the other encoders, for a pixel
_MOST_UNITS = 65535  # in a second, for MPEG-4
_FINE = Fraction(1, 60000)  # seconds: a multiple of most frame rates' periods
# What players take in an MP4; other sound is left out.
_SOUNDS = frozenset(("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"))
_BT709, _LIMITED = 1, 1  # FFmpeg's numbers


def load_av() -> ModuleType:
    """Returns the module av; raises DataError, with what to do, where it isn't installed."""
    try:
        import av
    except ImportError as error:
        raise DataError(
            "videos are read with PyAV, which isn't installed.\n"
            "  pip install -r requirements/video.txt"
        ) from error
    return av


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


class Video(contextlib.AbstractContextManager):
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
        # The first av.VideoStream that is no cover, and the first av.AudioStream that FFmpeg knows.
        self.stream = next((s for s in streams.video if not s.disposition & attached), None)
        if self.stream is None:
            container.close()
            raise DataError(f"{self.source}: holds sound or text alone.\n  Give a video.")
        self.sound = next((s for s in streams.audio if s.codec_context is not None), None)
        self.sound_left = []  # the packets of sound after the last frame, known then
        rate = float(self.stream.average_rate or self.stream.guessed_rate or 0)
        self.rate = rate if 0 < rate <= _MOST_RATE else _USUAL_RATE
        start, length = container.start_time, container.duration
        self.is_live = length is None and not Path(self.source).is_file()
        self._start = None if start is None else start / av.time_base
        self._length = None if length is None else length / av.time_base
        if length and "matroska" in container.format.name:
            self._length -= max(self._start or 0.0, 0.0)  # it counts from 0, not from the start
        self._reached, self._broken, self._failure = 0.0, 0, ""

    def __exit__(self, *error: object) -> None:
        self._container.close()

    @property
    def count(self) -> int | None:
        """About how many frames it has, None where that isn't known."""
        if self.stream.frames or self._length is None:
            return self.stream.frames or None
        return max(round(self._length * self.rate), 1)

    @property
    def sound_left_out(self) -> str:
        """The codec of its sound where an MP4 can't hold it as it is, "" otherwise."""
        codec = self.sound.codec_context.codec.canonical_name if self.sound else ""
        return "" if codec in _SOUNDS else codec

    def frames(self) -> Iterator[Frame]:
        """Yields each Frame that can be decoded; `damage` says what was left out."""
        number, sound, last = 0, [], None
        for packet in self._packets():
            if packet is not None and packet.stream.index != self.stream.index:
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
            return f"cut short: it ends at {self._reached:.1f} of {length:.1f} s"
        return f"damaged in {format_count(self._broken, 'place')}" if self._broken else ""

    def _packets(self):
        """Yields the packets of pictures and sound, their times from the video's beginning.

        Where reading fails, None comes last, for the pictures that the decoder still holds.
        """
        try:
            for packet in self._container.demux([s for s in (self.stream, self.sound) if s]):
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
            pictures = self.stream.decode(packet)
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


def _open(av, source):
    """Opens a video for reading; raises DataError."""
    options, place = {}, f"file:{source}"
    if int(av.__version__.split(".")[0]) < 19:  # PyAV 19 opens files with metadata that is no UTF-8
        options["metadata_errors"] = "replace"
    if is_device(source):
        options["format"], place = "v4l2", source
    if is_url(source):
        options["timeout"], place = _TIMEOUT, source
        if source.lower().startswith("rtsp"):
            options["options"] = {"rtsp_transport": "tcp"}  # over UDP, frames come damaged
    try:
        return av.open(place, **options)
    except av.error.FFmpegError as error:
        if is_url(source):
            why = f"no video comes from there ({_strerror(error)}).\n  Check the address."
        elif isinstance(error, OSError):
            why = f"{error.strerror}.\n  Check that it is there and may be read."
        else:
            why = (
                f"not a video, or one that is damaged from its beginning ({error.strerror}).\n"
                "  Fetch it again, or record it again."
            )
        raise DataError(f"{source}: {why}") from error


def _strerror(error):
    """Returns what FFmpeg says of an error; of a time that ran out it says that it was to end."""
    timed_out = isinstance(error, load_av().error.ExitError)
    return f"no sign of it for {_TIMEOUT:.0f} s" if timed_out else error.strerror


class Film:
    """The MP4 file of a video's drawn frames, which begins with the first of them."""

    def __init__(self, path: Path, video: Video):
        """Takes where it is written, and whose times and sound it has."""
        self._path, self._video, self._container = path, video, None

    def _begin(self, size):
        """Opens the file for frames of (width, height), both even."""
        av, video = load_av(), self._video
        unit, aspect = video.stream.time_base, video.stream.sample_aspect_ratio
        self._container = av.open(str(self._path), "w", format="mp4")
        name = next(name for name in _ENCODERS if name in av.codecs_available)
        rate = Fraction(video.rate).limit_denominator(1001)
        options = _X264 if name == "libx264" else {}
        self._stream = self._container.add_stream(name, rate=rate, options=options)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt = *size, "yuv420p"
        context.colorspace, context.color_range = _BT709, _LIMITED
        context.color_primaries = context.color_trc = _BT709
        is_too_fine = name == "mpeg4" and unit.denominator > _MOST_UNITS
        self._unit = context.time_base = _FINE if is_too_fine else unit
        if name != "libx264":
            context.bit_rate = round(size[0] * size[1] * video.rate * _BITS)
        if aspect:
            context.sample_aspect_ratio = aspect
        self._size, self._last = size, -1
        self._sound, self._last_sound = None, float("-inf")
        if video.sound and not video.sound_left_out:
            self._sound = self._container.add_stream_from_template(video.sound)

    def write(self, picture: Any, frame: Frame) -> None:
        """Adds a drawn frame, of `to_picture`, scaled to the first one, and the sound before it."""
        if self._container is None:
            self._begin((picture.width, picture.height))
        self._write_sound(frame.sound)
        if (picture.width, picture.height) != self._size:
            picture = picture.reformat(*self._size)
        self._last = max(round(frame.time / self._unit), self._last + 1)
        picture.pts, picture.time_base = self._last, self._unit
        self._container.mux(self._stream.encode(picture))

    def _write_sound(self, packets):
        """Adds packets of sound; one that isn't later than the one before is left out."""
        for packet in packets if self._sound is not None else ():
            if packet.dts is not None and packet.dts > self._last_sound:
                self._last_sound, packet.stream = packet.dts, self._sound
                self._container.mux(packet)

    def finish(self) -> None:
        """Writes the rest of the sound and what the encoder still holds, and closes the file."""
        self._write_sound(self._video.sound_left)
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def close(self) -> None:
        """Closes the file where it isn't yet, because it can't be made whole."""
        if self._container is not None:
            with contextlib.suppress(load_av().error.FFmpegError):
                self._container.close()


def to_picture(pixels: np.ndarray) -> Any:
    """Returns RGB pixels, uint8 [H, W, 3], as the encoder takes them: an av.VideoFrame.

    It is yuv420p, whose sides are even: an odd one gets its last row or column twice.
    """
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    picture = load_av().VideoFrame.from_ndarray(pixels, "rgb24")
    return picture.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)
