"""What a conversion leaves beside its images: converted.csv, and its journal until it ends."""

from pathlib import Path, PurePosixPath

from lowlight.dataset.journal import read_journal
from lowlight.dataset.tables import ConvertedRow

CONVERTED = "converted.csv"
# What is done of an interrupted conversion, in the form of CONVERTED.
JOURNAL = ".converted.journal"


def converted_name(source):
    """Returns the name of the converted image of a source file."""
    return f"{PurePosixPath(source).stem}.jpg"


def read_converted(folder):
    """Returns {source file: ConvertedRow} of what earlier conversions made in a folder."""
    paths = Path(folder) / CONVERTED, Path(folder) / JOURNAL
    return {row.file: row for path in paths for row in read_journal(path, ConvertedRow)}


def read_hashes(folder):
    """Returns {converted image: (SHA-256 sum, pHash)} of what conversions made in a folder."""
    rows = read_converted(folder).values()
    return {converted_name(row.file): (row.sha256, row.phash) for row in rows}
