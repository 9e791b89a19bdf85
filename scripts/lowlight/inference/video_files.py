"""Writes what was found in a video frame by frame, so that no more than a frame is in memory."""

import contextlib
import json
from pathlib import Path

from lowlight.core.errors import DataError
from lowlight.core.files import output_dir, whole_files
from lowlight.inference.results import COLUMNS, JSON_END, format_head, format_rows, rows_of
from lowlight.inference.video import name_of
from lowlight.inference.video_output import VideoWriter, plain_errors

JSON, CSV = "detections.json", "detections.csv"


def paths_of(save_dir, source):
    """Returns the paths of the three files: the annotated video, the JSON and the table."""
    return [Path(save_dir) / name for name in (f"{name_of(source)}.mp4", JSON, CSV)]


def prepare_video_path(save_path, source):
    """Makes the output folder and returns its Path.

    Raises:
        DataError: the annotated video would be written over the video, or a folder is in the way.
    """
    output = paths_of(save_path, source)[0]
    if output.is_dir():
        raise DataError(f"{output}: a folder is in the way of the video.\n  Move it away.")
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise DataError(
            f"{output}: the annotated video would be written over it.\n"
            "  Choose another --save_path."
        )
    return output_dir(save_path)


class VideoFiles:
    """The annotated video, detections.json and detections.csv while they are written."""

    def __init__(self, partials, video, facts):
        """Begins the files.

        Args:
            partials: the paths to write to, of the three.
            video: the video.Video that is read.
            facts: what detections.json begins with.
        """
        self._film_path, json_path, csv_path = partials
        self._video, self._writer, self._is_first = video, None, True
        self._json = open(json_path, "w", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._csv = open(csv_path, "w", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._json.write(format_head(facts, "frames"))
        self._csv.write(format_rows([("frame", "time", *COLUMNS)]))

    def add(self, entry):
        """Adds the entry of a frame, as of `detection_files.entry_of`."""
        self._json.write(("\n" if self._is_first else ",\n") + json.dumps(entry))
        self._csv.write(format_rows(rows_of(entry)))
        self._is_first = False

    def draw(self, picture, frame):
        """Adds a drawn frame to the video.

        Args:
            picture: av.VideoFrame of `video_writer.to_picture`.
            frame: the video.Frame that it was.
        """
        with plain_errors(self._video.source):
            if self._writer is None:
                size = picture.width, picture.height
                self._writer = VideoWriter(self._film_path, self._video, size)
            self._writer.write(picture, frame.time, frame.sound)

    def finish(self):
        """Makes the files whole."""
        if self._writer is not None:
            with plain_errors(self._video.source):
                self._writer.write_sound(self._video.sound_left)
                writer, self._writer = self._writer, None
                writer.close()
        self._json.write(JSON_END)

    def close(self):
        """Closes the files, whole or not."""
        if self._writer is not None:
            self._writer.discard()
        for file in (self._json, self._csv):
            file.close()


@contextlib.contextmanager
def video_files(save_dir, video, facts):
    """Yields VideoFiles, whose files have their names when the block has ended well.

    Raises:
        OSError: the disk is full; the files are as they were before.
    """
    paths = paths_of(save_dir, video.source)
    with whole_files(*paths) as partials:
        files = VideoFiles(partials, video, facts)
        try:
            yield files
            files.finish()
        finally:
            files.close()
