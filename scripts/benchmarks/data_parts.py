"""What each part of the data steps costs of a processor's time, beside what the limit needs."""

import resource
from pathlib import PurePosixPath

from data_sides import gather_tables

from lowlight.core.files import whole_file
from lowlight.core.sources import list_files
from lowlight.dataset import conversion, duplicates, records, split
from lowlight.dataset import writing as dataset
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.duplicates import hash_image
from lowlight.dataset.split import labels_of
from lowlight.images.rgb_jpegs import to_rgb_jpeg

HASH = "pHash"
_LIMIT = "read", "decode, encode", "write"  # what the limit does, too


class _Parts(dict):
    """Seconds of processor time by part, of this process and its children, added up."""

    def __init__(self):
        super().__init__()
        self._began = processor_seconds()

    def end(self, name):
        """Adds the time since the part before."""
        now = processor_seconds()
        self[name], self._began = self.get(name, 0) + now - self._began, now


def processor_seconds():
    """Returns the processor time of this process and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure_parts(raw, out):
    """Does the work of all steps part by part, one image after the other.

    Args:
        raw: what `made_exdark.make_exdark` made; out: an empty folder.

    Returns:
        {part: milliseconds of processor time an image}.
    """
    files, images = list_files(raw / "ExDark", "input_dir"), out / "images"
    images.mkdir()
    parts = _Parts()
    for file in files:
        _convert(parts, file, images)
    conversion.convert_images(raw / "ExDark", images)  # leaves converted.csv
    parts.end("")
    _make_records(parts, raw, out, images)
    del parts[""]
    return {part: 1e3 * seconds / len(files) for part, seconds in parts.items()}


def _convert(parts, file, images):
    data = file.read()
    parts.end("read")
    jpeg = to_rgb_jpeg(data, file.place)
    parts.end("decode, encode" if jpeg.how == "encoded" else "headers, markers")
    conversion._sha256(data), conversion._sha256(jpeg.data)
    parts.end("SHA-256")
    with whole_file(images / f"{PurePosixPath(file.name).stem}.jpg") as partial:
        partial.write_bytes(jpeg.data)
    parts.end("write")
    hash_image(jpeg.data, file.place)
    parts.end(HASH)


def _make_records(parts, raw, out, images):
    entries = gather_tables(raw, out)
    parts.end("annotations")
    names = [image.filename for image, _ in entries]
    groups = duplicates.find_duplicates(names, images)
    parts.end("hashes compared")
    labels = {image.filename: labels_of(image, boxes) for image, boxes in entries}
    split.split_randomly(names, 0.75, 0, groups, labels)
    parts.end("split")
    ids = {name: number for number, name in enumerate(CLASSES, 1)}
    records.write_records(out / "records", entries, images, ids, lambda: None)
    parts.end("records")
    dataset.verify_records(out / "records", "records", entries, images, ids, lambda: None)
    parts.end("records, verified")


def print_parts(parts):
    """Prints the table: a part's milliseconds an image, and their share of what the limit needs."""
    limit = sum(parts[part] for part in _LIMIT)
    print("processor time an image, one image after the other:")
    for part, needed in sorted(parts.items(), key=lambda item: item[0] not in _LIMIT):
        note = "  the limit, too" if part in _LIMIT else ""
        print(f"    {part:18} {needed:7.3f} ms {needed / limit:7.0%} of the limit{note}")
    print(f"    {'all':18} {sum(parts.values()):7.3f} ms {sum(parts.values()) / limit:7.0%}")
