"""Makes and reads small videos, and has a detector that finds something in each frame."""

import json
from fractions import Fraction
from types import SimpleNamespace

import numpy as np

from lowlight.detector.detections import Detections
from lowlight.inference.inputs import name_of
from lowlight.inference.steps import Job
from lowlight.inference.video import Video
from lowlight.inference.video_inference import detect_frames

SIZE, COUNT = (96, 64), 20
_UNIT = Fraction(1, 24000)  # seconds
RED = np.array([200, 30, 30])
NAMES = {1: "Bicycle", 2: "Boat", 3: "Bottle"}


def shade_of(number):
    """Returns the grey level of a frame's ground."""
    return 20 + 4 * (number % 50)


def number_of(pixels):
    """Returns the number of a frame, below 50, by its pixels."""
    return round((float(pixels[-4, -4, 0]) - shade_of(0)) / (shade_of(1) - shade_of(0)))


def make_video(path, count, codec="libx264", rate=10, size=SIZE, times=None, sound=None, **more):
    """Writes a video and returns its path.

    A frame is grey, as `shade_of` says, with a red quarter at the top left.

    Args:
        path: the file; its extension is the form.
        count: frames; 0 leaves pictures out.
        codec: FFmpeg's name of the encoder.
        rate: frames a second.
        size: (width, height) in pixels.
        times: when each frame is shown, in seconds; by default evenly.
        sound: the encoder of two seconds of sound, silent but for a click at 1 s.
        more: `degrees`, `hflip` and `vflip` of a display matrix; `aspect` of a pixel; `gop`, frames
            from one key frame to the next; `noise` instead of grey; `faststart`, the index first.
    """
    import av

    options = {"movflags": "faststart"} if more.get("faststart") else {}
    with av.open(str(path), "w", options=options) as container:
        film = _add_film(container, codec, rate, size, more) if count else None
        heard = container.add_stream(sound, rate=44100, layout="mono") if sound else None
        rng = np.random.default_rng(0)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(_pixels(number, size, rng, more), "rgb24")
            if times is not None:
                film.codec_context.time_base = frame.time_base = _UNIT
                frame.pts = round(times[number] / _UNIT)
            container.mux(film.encode(frame))
        if count:
            container.mux(film.encode(None))
        if sound:
            _add_sound(av, container, heard)
    return path


def _add_film(container, codec, rate, size, more):
    film = container.add_stream(codec, rate=rate)
    film.width, film.height = size
    film.pix_fmt = "yuv444p" if codec == "ffv1" else "yuv420p"
    film.bit_rate = 2_000_000
    if "aspect" in more:
        film.codec_context.sample_aspect_ratio = more["aspect"]
    if "gop" in more:
        film.gop_size = more["gop"]
    turns = {name: more[name] for name in ("hflip", "vflip") if name in more}
    if more.get("degrees") or turns:
        film.set_display_rotation(more.get("degrees", 0), **turns)
    return film


def _pixels(number, size, rng, more):
    width, height = size
    if more.get("noise"):
        return rng.integers(0, 255, (height, width, 3), np.uint8)
    pixels = np.full((height, width, 3), shade_of(number), np.uint8)
    pixels[: height // 2, : width // 2] = RED
    return pixels


def _add_sound(av, container, stream):
    wave = np.zeros((1, 2 * 44100), np.float32)
    wave[0, 44100:46100] = 0.8 * np.sin(np.arange(2000) / 8)
    frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
    frame.sample_rate, frame.pts = 44100, 0
    resampler = av.AudioResampler(stream.codec_context.format, "mono", 44100, frame_size=1024)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def read_frames(path):
    """Returns (the frames of a video, what is asked of its stream)."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        names = "average_rate", "sample_aspect_ratio", "codec_context"
        asked = SimpleNamespace(**{name: getattr(stream, name) for name in names})
        return list(container.decode(stream)), asked


class FakeDetector:
    """Finds a boat that moves with the frame's light, and a bicycle, and remembers what it saw."""

    parallel = 1

    def __init__(self, batch_size=2):
        self.batch_size, self.seen = batch_size, []

    def prepare(self, image):
        return image

    def run_many(self, prepared):
        self.seen.extend(prepared)
        return [None] * len(prepared)

    def finish(self, raw, prepared):
        number = number_of(prepared)
        boxes = [[number, 8, number + 40, 30], [2, 2, 60, 40], [0, 0, 3, 3]]
        scores = np.array([0.75, 0.5, 0.25], np.float32)
        return Detections(np.array(boxes, np.float32), np.array([2, 1, 3]), scores)


def job_of(save_dir, detector=None, thresholds=None, **options):
    """Returns a Job whose facts name a model."""
    thresholds = thresholds or dict.fromkeys(NAMES, 0.3)
    options |= {"facts": {"model": "m/exported"}, "quiet": True}
    return Job(detector or FakeDetector(), NAMES, thresholds, save_dir=save_dir, **options)


def detect(path, out, detector=None, every=1, **options):
    """Detects on a video; returns (Counts, the annotated video's path in the folder `out`)."""
    out.mkdir(exist_ok=True)
    with Video(path) as opened:
        counts = detect_frames(opened, job_of(out, detector, **options), every)
    return counts, out / f"{name_of(path)}.mp4"


def json_of(out):
    """Returns the value of detections.json in a folder."""
    return json.loads((out / "detections.json").read_text())
