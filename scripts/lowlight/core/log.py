"""Keeps what was found image by image, so that an interrupted run can continue."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from lowlight.core.files import no_links

LOG = "scored.jsonl"


class DetectionLog:
    """An append-only file: a line that says what was run on what, then one for each image.

    A log of another model, other records or another label map is replaced. A line that was cut
    short, by a kill or a full disk, is cut off, and its image counts as not yet scored.
    """

    def __init__(self, path: Path | str, identity: Any):
        """Opens the file, which may be missing.

        The identity is a JSON value that says what is run on what, such as `fingerprint` gives.
        """
        self._head = json.dumps({"identity": identity}, sort_keys=True) + "\n"
        self.images, whole = self._read(Path(path))  # {filename: its line's value}
        self._file = open(path, "r+b" if whole else "wb", opener=no_links)  # noqa: SIM115 - closed by __exit__
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._write(self._head)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error):
        self._file.close()

    def _read(self, path):
        """Returns ({filename: its line's value}, how many bytes of the file hold good)."""
        images = {}
        if path.is_symlink() or not path.is_file():
            return images, 0
        with open(path, "rb") as file:
            head = file.readline()
            if head.decode(errors="replace") != self._head:
                return images, 0
            whole = len(head)
            for line in file:
                value = _parse(line)
                if value is None:
                    break
                images[value["file"]] = value
                whole += len(line)
        return images, whole

    def add(self, value: dict) -> None:
        """Appends an image's line; `value` is a JSON object with its name under "file"."""
        self._write(json.dumps(value) + "\n")
        self.images[value["file"]] = value

    def _write(self, line):
        self._file.write(line.encode())
        self._file.flush()


def _parse(line):
    """Returns the value of a whole line, None of one that was cut short."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    is_whole = line.endswith(b"\n") and isinstance(value, dict) and "file" in value
    return value if is_whole else None


def fingerprint(paths: Iterable[Path | str]) -> str:
    """Returns a text that changes with the files' names, sizes and times of change."""
    states = [(Path(path).name, Path(path).stat()) for path in paths]
    value = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
