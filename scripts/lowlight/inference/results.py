"""Writes what was found as JSON, as a table, in COCO's form, and as a page."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

from lowlight.core.errors import escape_controls, printable
from lowlight.core.files import write_texts
from lowlight.core.json_texts import format_coco_results
from lowlight.detector.detections import Detections
from lowlight.images.boxes import pixel_xyxy_to_pixel_ltwh
from lowlight.images.drawing import colour_of
from lowlight.inference.pictures import COCO, CSV, JSON, PAGE, output_name, small_name
from lowlight.pages.rendering import render

if TYPE_CHECKING:
    from lowlight.inference.folder import Job

PARTS = "detections"
COLUMNS = "class", "class_id", "score", "xmin", "ymin", "xmax", "ymax"
JSON_END = "\n]}\n"


def entry_of(place: dict, size: tuple[int, int], found: Detections, names: dict) -> dict:
    """Returns what detections.json says of one image of (width, height).

    `place` tells it from others: {"file": name}, or {"frame": number, "time": seconds}.
    """
    return {**place, "width": size[0], "height": size[1], PARTS: found.to_json(names)}


def print_entry(entry: dict) -> None:
    """Prints an image's entry for people."""
    name = entry["file"] if "file" in entry else f"frame {entry['frame']}, {entry['time']:.3f} s"
    print(f"{printable(name)} ({entry['width']}x{entry['height']}):")
    for one in entry[PARTS]:
        xmin, ymin, xmax, ymax = one["box"]
        place = f"x {xmin:.0f} to {xmax:.0f}, y {ymin:.0f} to {ymax:.0f}"
        print(f"  {one['class']:<10} {one['score']:.2f}  {place}")
    if not entry[PARTS]:
        print("  nothing")


def write_files(save_dir: Path, entries: list[dict], job: "Job") -> None:
    """Writes detections.json, detections.csv and what else the folder.Job asks for, all or none.

    Other facts of entries than those of `entry_of` are left out.
    """
    entries = [{key: entry[key] for key in ("file", "width", "height", PARTS)} for entry in entries]
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    texts = {
        save_dir / JSON: f"{format_head(job.facts, 'images')}\n{lines}{JSON_END}",
        save_dir / CSV: format_csv(entries, ["file", *COLUMNS]),
    }
    if job.format == "coco":
        texts[save_dir / COCO] = format_coco_results(_coco_rows(entries))
    if job.pictures.gallery:
        texts[save_dir / PAGE] = _format_page(entries, job)
    write_texts(texts)


def format_head(facts: dict, list_name: str) -> str:
    """Returns what detections.json begins with, down to the list of this name; JSON_END ends it."""
    head = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in facts.items())
    return f"{{{head}{json.dumps(list_name)}: ["


def format_csv(entries: Iterable[dict], columns: Iterable[str] = ()) -> str:
    """Returns lines of detections.csv: the columns if given, and a row a detection.

    All texts are quoted where a name holds a carriage return: the csv module leaves that one bare,
    and no reader takes it so.
    """
    rows = [list(columns)] if columns else []
    for entry in entries:
        place = [entry[key] for key in ("file", "frame", "time") if key in entry]
        for one in entry[PARTS]:
            rows.append([*place, one["class"], one["class_id"], one["score"], *one["box"]])
    is_odd = any("\r" in str(field) for row in rows for field in row)
    quoting = csv.QUOTE_NONNUMERIC if is_odd else csv.QUOTE_MINIMAL
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", quoting=quoting).writerows(rows)
    return stream.getvalue()


def _coco_rows(entries) -> Iterator[tuple]:
    """Yields what `format_coco_results` takes, with the file's name as the image's id."""
    for entry in entries:
        for one in entry[PARTS]:
            ltwh = [round(edge, 1) for edge in pixel_xyxy_to_pixel_ltwh(one["box"])]
            yield entry["file"], one["class_id"], ltwh, one["score"]


def _format_page(entries, job):
    """Returns index.html, which shows the pictures that lie beside it, by class and score."""
    found = [one for entry in entries for one in entry[PARTS]]
    counts = Counter(one["class_id"] for one in found)
    names = {number: f"class {number}" for number in counts} | job.names
    names = {number: escape_controls(name) for number, name in names.items()}
    colours = {number: "rgb({},{},{})".format(*colour_of(number)) for number in names}
    lowest = min((one["score"] for one in found), default=0)
    return render(
        "detections.html",
        facts={
            "Images": len(entries),
            "Objects": len(found),
            "Images without": sum(not entry[PARTS] for entry in entries),
            "Model": _run_name(job.facts.get("model", "not named")),
        },
        classes=[
            {"id": n, "name": names[n], "count": counts[n], "colour": colours[n]}
            for n in sorted(counts)
        ],
        lowest=math.floor(100 * lowest) / 100,
        found={
            "classes": {number: [names[number], colours[number]] for number in names},
            "images": [_shown(entry) for entry in entries],
        },
    )


def _shown(entry):
    """Returns what the page's script takes of an image."""
    return {
        "name": escape_controls(entry["file"]),
        "picture": quote(output_name(entry["file"])),
        "small": quote(small_name(entry["file"])),
        "size": [entry["width"], entry["height"]],
        "found": [[one["class_id"], one["score"], *one["box"]] for one in entry[PARTS]],
    }


def _run_name(path):
    """Returns the name of the run that a model's path lies in."""
    parts = [p for p in PurePosixPath(path).parts if p not in ("saved_model", "exported")]
    return parts[-1] if parts else str(path)
