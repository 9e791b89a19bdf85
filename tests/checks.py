"""What tests of several packages check and write alike."""

import contextlib
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from lowlight.core.errors import DataError
from lowlight.core.tensorflow_files import Example, frame_record
from lowlight.dataset.tables import AnnotationRow, ImageRow, SplitRow, format_table


@contextlib.contextmanager
def refused(start: str, end: str = "") -> Iterator[None]:
    """Checks that a block raises a DataError which begins and ends so, and holds a remedy."""
    with pytest.raises(DataError) as caught:
        yield
    message = str(caught.value)
    assert message.startswith(start), message
    assert message.endswith(end), message
    assert "\n  " in message


def message_of(run: subprocess.CompletedProcess) -> str:
    """Returns the error that a script ended with, after the log lines of its work."""
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    return run.stderr[run.stderr.index("error: ") :]


def contents(folder: Path) -> dict[str, bytes]:
    """Returns {path inside: bytes} of all files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_tables(
    folder: Path, images: Iterable[tuple], boxes: Iterable[tuple], split: str = ""
) -> None:
    """Writes images.csv and annotations.csv of rows, and a split.csv that puts all in one part."""
    tables = {"images.csv": (images, ImageRow), "annotations.csv": (boxes, AnnotationRow)}
    if split:
        tables["split.csv"] = [SplitRow(image.filename, split) for image in images], SplitRow
    write_files(folder, {name: format_table(*table) for name, table in tables.items()})


def write_examples(path: Path, *examples: Example) -> Path:
    """Writes a TFRecord file of examples, and returns it."""
    path.write_bytes(b"".join(frame_record(one.SerializeToString()) for one in examples))
    return path


def write_files(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Writes {name: text or bytes} into a folder, made where it is missing, and returns it."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder
