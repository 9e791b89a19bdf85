"""Keeps what was found in many images as a folder of Parquet files, part by part.

    pd.read_parquet(folder)

gives a row an image. The lists of a row are equally long, one value a detection, best score first.
"""

import itertools
import json
import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lowlight.core.command import print_notes
from lowlight.core.errors import DataError
from lowlight.core.files import whole_file
from lowlight.core.sources import SourceFile
from lowlight.inference.steps import PARTS, seen

SCHEMA = pa.schema(
    {
        "file": pa.string(),  # the image's path in the input folder
        "width": pa.int32(),  # of the upright image, in pixels
        "height": pa.int32(),
        "size": pa.int64(),  # of the file, in bytes; null of an archive's member
        "mtime_ns": pa.int64(),  # its last change, in nanoseconds since 1970; null likewise
        "class": pa.list_(pa.string()),
        "class_id": pa.list_(pa.int32()),  # from 1
        "score": pa.list_(pa.float64()),  # 0 to 1
        "xmin": pa.list_(pa.float64()),  # pixels of the upright image, as the other edges
        "ymin": pa.list_(pa.float64()),
        "xmax": pa.list_(pa.float64()),
        "ymax": pa.list_(pa.float64()),
    }
)
_KEPT = ["file", "size", "mtime_ns", "class_id"]  # columns that are held in memory
_IDENTITY = b"lowlight"  # where a file's metadata say how its rows were made
_PART_IMAGES, _PART_SECONDS = 1000, 60.0  # of a part: what comes first ends it


def _row(entry):
    """Returns an image's row of SCHEMA."""
    size, mtime_ns = entry["seen"] or (None, None)
    names = "class", "class_id", "score"
    row = {name: [one[name] for one in entry[PARTS]] for name in names}
    edges = enumerate(("xmin", "ymin", "xmax", "ymax"))
    row |= {name: [one["box"][n] for one in entry[PARTS]] for n, name in edges}
    return entry | row | {"size": size, "mtime_ns": mtime_ns}


class DetectionParts:
    """The files part-00000.parquet, part-00001.parquet, ... of a folder.

    A file has such a name only when it is whole. One that isn't all the same, after a power cut or
    an incomplete copy, is named in `broken` and put aside as .part-*.parquet.broken; its images
    count as not done.
    """

    def __init__(self, folder: Path | str, identity: dict):
        """Reads which images of an existing folder are done.

        Raises:
            DataError: there are parts that were made in another way than `identity`, a JSON object,
                says.
        """
        self._folder, self._identity = Path(folder), json.loads(json.dumps(identity))
        self._parts, self.broken = {}, []  # {path: Table}
        for path in sorted(self._folder.glob("part-*.parquet")):
            table = self._read(path)
            if table is None:
                self.broken.append(path.name)
                path.rename(path.with_name(f".{path.name}.broken"))
            else:
                self._parts[path] = table
        self._entries, self._began = [], time.monotonic()

    def _read(self, path):
        """Returns a part's columns that are needed here, None of a file that isn't whole."""
        data = pa.py_buffer(path.read_bytes())
        try:
            file = pq.ParquetFile(data)
            theirs = json.loads((file.schema_arrow.metadata or {}).get(_IDENTITY, b"{}"))
            names = theirs.keys() | self._identity.keys()
            other = sorted(name for name in names if theirs.get(name) != self._identity.get(name))
            if other:
                raise DataError(
                    f"{path}: made with another {', '.join(other)}.\n"
                    "  Choose another --output_dir, or remove the part-*.parquet in this one."
                )
            return file.read(_KEPT)
        except (pa.ArrowException, OSError):
            return None

    def done(self) -> dict[str, list[int] | None]:
        """Returns {name of an image: [size, time of change], None of an archive's member}."""
        tables = (table.drop_columns("class_id") for table in self._parts.values())
        rows = (row.values() for table in tables for row in table.to_pylist())
        return {name: None if size is None else [size, time_ns] for name, size, time_ns in rows}

    def count(self) -> int:
        """Returns the number of detections in all parts."""
        return sum(len(pc.list_flatten(table["class_id"])) for table in self._parts.values())

    def remove(self, names: Iterable[str]) -> None:
        """Takes images out, so that they can be done again."""
        is_other = ~pc.field("file").isin(pa.array(names, pa.string()))
        for path, table in list(self._parts.items()):
            kept = len(table.filter(is_other))
            if not kept:
                path.unlink()
                del self._parts[path]
            elif kept < len(table):
                self._write(path, pq.read_table(path, partitioning=None, filters=is_other))

    def add(self, entries: list[dict]) -> None:
        """Writes images' entries, as of `steps.detect_each`, as a part, sorted by file."""
        paths = (self._folder / f"part-{n:05}.parquet" for n in itertools.count(len(self._parts)))
        free = next(path for path in paths if path not in self._parts)
        rows = sorted(map(_row, entries), key=lambda row: row["file"])
        self._write(free, pa.Table.from_pylist(rows, SCHEMA))

    def _write(self, path, table):
        with whole_file(path) as partial:
            metadata = {_IDENTITY: json.dumps(self._identity)}
            pq.write_table(table.replace_schema_metadata(metadata), partial)
        self._parts[path] = table.select(_KEPT)

    def collect(self, entries: list[dict]) -> None:
        """Takes images' entries, which become a part together with others, or by `close`."""
        self._entries += entries
        is_due = time.monotonic() - self._began > _PART_SECONDS
        if is_due or len(self._entries) >= _PART_IMAGES:
            self.close()

    def close(self) -> None:
        """Writes what was collected."""
        # Interrupted in here, images are done again; emptied after it, they might be kept twice.
        entries, self._entries, self._began = self._entries, [], time.monotonic()
        if entries:
            self.add(entries)


def left_to_do(files: list[SourceFile], parts: DetectionParts) -> list[SourceFile]:
    """Returns the files that parts don't hold; takes out of them what has changed or is gone."""
    for name in parts.broken:
        print(f"  {name}: not whole, put aside as .{name}.broken; its images are done again")
    done, states = parts.done(), {file.name: seen(file) for file in files}
    stale = [name for name in done if name not in states or states[name] != done[name]]
    print_notes([("changed or gone since, taken out", len(stale), stale)])
    parts.remove(stale)
    kept = done.keys() - set(stale)
    return [file for file in files if file.name not in kept]
