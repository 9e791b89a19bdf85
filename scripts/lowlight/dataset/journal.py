"""A csv file that grows by a row at a time, so that an interrupted step knows what it had done."""

import contextlib
import csv
import io
from pathlib import Path

from lowlight.dataset.tables import row_of


def read_journal(path, row_type):
    """Returns the rows of a journal, none where there is no such file.

    What an interruption cut, or is not of the row type, isn't among them.

    Args:
        path: a journal, or a table that `tables.format_table` made.
        row_type: a NamedTuple of strings and ints.
    """
    with contextlib.suppress(FileNotFoundError):
        text = Path(path).read_bytes().decode("utf-8", "replace")
        whole_lines = text[: text.rfind("\n") + 1].replace("\0", "")
        rows = []
        with contextlib.suppress(csv.Error):
            for fields in csv.reader(io.StringIO(whole_lines, newline="")):
                with contextlib.suppress(ValueError):
                    rows.append(row_of(fields, row_type))
        return rows
    return []


@contextlib.contextmanager
def open_journal(path):
    """Yields a function that adds a row; the file is removed when the block ends well."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb+") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
    with open(path, "a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")

        def add(row):
            writer.writerow(row)
            file.flush()

        yield add
    Path(path).unlink()
