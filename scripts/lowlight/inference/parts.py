"""Keeps what was found in many images as a folder of Parquet files, part by part.

    pd.read_parquet(folder)

gives a row an image. The lists of a row are equally long, one value a detection, best score first.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lowlight.core.command import print_notes
from lowlight.core.errors import DataError
from lowlight.core.files import whole_file
from lowlight.inference.folder import seen
from lowlight.inference.results import PARTS

SCHEMA = pa.schema(
    [
        ("file", pa.string()),  # the image's path in the input folder
        ("width", pa.int32()),  # of the upright image, in pixels
        ("height", pa.int32()),
        ("size", pa.int64()),  # of the file, in bytes; null of an archive's member
        ("mtime_ns", pa.int64()),  # its last change, in nanoseconds since 1970; null likewise
        ("class", pa.list_(pa.string())),
        ("class_id", pa.list_(pa.int32())),  # from 1
        ("score", pa.list_(pa.float64())),  # 0 to 1
        ("xmin", pa.list_(pa.float64())),  # pixels of the upright image, as the other edges
        ("ymin", pa.list_(pa.float64())),
        ("xmax", pa.list_(pa.float64())),
        ("ymax", pa.list_(pa.float64())),
    ]
)
_EDGES = "xmin", "ymin", "xmax", "ymax"
_KEPT = ["file", "size", "mtime_ns", "class_id"]  # columns that are held in memory
_IDENTITY = b"lowlight"  # where a file's metadata say how its rows were made
_REMEDY = "Choose another --output_dir, or remove the part-*.parquet in this one."


def table_of(entries):
    """Returns a pyarrow Table of SCHEMA, a row an image.

    Args:
        entries: as of `results.entry_of`, with "seen": [size, time of change] or None.
    """
    return pa.Table.from_pylist([_row(entry) for entry in entries], SCHEMA)


def _row(entry):
    size, mtime_ns = entry["seen"] or (None, None)
    found = entry[PARTS]
    row = {key: entry[key] for key in ("file", "width", "height")}
    row |= {"size": size, "mtime_ns": mtime_ns}
    row |= {key: [one[key] for one in found] for key in ("class", "class_id", "score")}
    return row | {edge: [one["box"][k] for one in found] for k, edge in enumerate(_EDGES)}


class DetectionParts:
    """The files part-00000.parquet, part-00001.parquet, ... of a folder.

    A file has such a name only when it is whole. One that isn't all the same, after a power cut or
    an incomplete copy, is named in `broken` and put aside as .part-*.parquet.broken; its images
    count as not done.
    """

    def __init__(self, folder, identity):
        """Reads which images are done.

        Args:
            folder: an existing folder.
            identity: a JSON object that says how detections are made.

        Raises:
            DataError: there are parts that were made in another way.
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
        self._next = max((_number(path) for path in self._parts), default=-1) + 1

    def _read(self, path):
        """Returns a part's columns that are needed here, None of a file that isn't whole."""
        data = pa.py_buffer(path.read_bytes())
        try:
            file = pq.ParquetFile(data)
            self._check_identity(path, file.schema_arrow.metadata or {})
            return file.read(_KEPT)
        except (pa.ArrowException, OSError):
            return None

    def _check_identity(self, path, metadata):
        theirs = json.loads(metadata.get(_IDENTITY, b"{}"))
        names = theirs.keys() | self._identity.keys()
        other = sorted(name for name in names if theirs.get(name) != self._identity.get(name))
        if other:
            raise DataError(f"{path}: made with another {', '.join(other)}.\n  {_REMEDY}")

    def done(self):
        """Returns {name of an image: [size, time of change], None of an archive's member}."""
        done = {}
        for table in self._parts.values():
            columns = (table[name].to_pylist() for name in ("file", "size", "mtime_ns"))
            for name, *state in zip(*columns, strict=True):
                done[name] = None if state == [None, None] else state
        return done

    def count(self):
        """Returns the number of detections in all parts."""
        lengths = [pc.list_value_length(table["class_id"]) for table in self._parts.values()]
        return sum(pc.sum(each).as_py() or 0 for each in lengths)

    def remove(self, names):
        """Takes images out, so that they can be done anew."""
        unwanted = pa.array(sorted(names), pa.string())
        for path, table in list(self._parts.items()):
            kept = pc.invert(pc.is_in(table["file"], value_set=unwanted))
            if pc.all(kept).as_py():
                continue
            if pc.any(kept).as_py():
                self._write(path, pq.read_table(path, partitioning=None).filter(kept))
            else:
                path.unlink()
                del self._parts[path]

    def add(self, table):
        """Writes a Table of SCHEMA as the next part, its rows sorted by file."""
        self._write(self._folder / f"part-{self._next:05}.parquet", table.sort_by("file"))
        self._next += 1

    def _write(self, path, table):
        with whole_file(path) as partial:
            metadata = {_IDENTITY: json.dumps(self._identity)}
            pq.write_table(table.replace_schema_metadata(metadata), partial)
        self._parts[path] = table.select(_KEPT)


def _number(path):
    digits = path.stem.removeprefix("part-")
    return int(digits) if digits.isdecimal() else -1


def left_to_do(files: list, parts: DetectionParts) -> list:
    """Returns the files that parts don't hold; takes out of them what has changed or is gone."""
    for name in parts.broken:
        print(f"  {name}: not whole, put aside as .{name}.broken; its images are done again")
    done, states = parts.done(), {file.name: seen(file) for file in files}
    stale = [name for name in done if name not in states or states[name] != done[name]]
    print_notes([("changed or gone since, taken out", len(stale), stale)])
    parts.remove(stale)
    done = done.keys() - set(stale)
    return [file for file in files if file.name not in done]
