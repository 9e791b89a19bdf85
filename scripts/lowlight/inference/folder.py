"""Finds objects in many images, continues where it was interrupted, and writes what was found."""

import contextlib
import csv
import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from lowlight.core.errors import escape_controls, format_count, printable, raise_any, say_others
from lowlight.core.files import locked, write_texts
from lowlight.core.json_files import DetectionLog, fingerprint, format_coco_results
from lowlight.core.parallel import Progress
from lowlight.core.sources import SourceFile
from lowlight.images.boxes import pixel_xyxy_to_pixel_ltwh
from lowlight.images.drawing import colour_of
from lowlight.inference.inputs import find_images, is_archive
from lowlight.inference.pictures import (
    COCO,
    CSV,
    JSON,
    LOG,
    PAGE,
    output_name,
    prepare_save_path,
    small_name,
    write_gif,
)
from lowlight.inference.steps import PARTS, Job, detect_each, seen
from lowlight.pages.rendering import render

COLUMNS = "class", "class_id", "score", "xmin", "ymin", "xmax", "ymax"
JSON_END = "\n]}\n"


def detect_on_images(
    source: str, make_job: Callable, save_path: str | None = None, recursive: bool = False
) -> tuple[str, Path | None]:
    """Finds the images that a command names, as `inputs.find_images`, and detects on them.

    Once they are known to be good, make_job(save_dir) loads the model and returns the Job. Returns
    (what was found, as text; the folder that holds it, or None where it is printed).
    """
    files = find_images(source, recursive)
    save_dir = prepare_save_path(save_path, files, source) if save_path else None
    count, before = detect_files(files, make_job(save_dir))
    found = f"{format_count(count, 'object')} in {format_count(len(files), 'image')}"
    return found + by_earlier_run(before), save_dir


def by_earlier_run(count: int) -> str:
    """Returns what a sentence about images ends with where an earlier run had done some."""
    return f", {count} of them by an earlier run" if count else ""


def detect_files(files: list[SourceFile], job: Job) -> tuple[int, int]:
    """Detects on each image, in its upright form, and keeps or prints what was found.

    Decoding, the network, and drawing and writing run at the same time in threads of their own.
    With a `save_dir`, an interrupted run continues: its log names the images that are done, from
    the same source by the same model with the same settings, and unchanged since. A run that came
    to its end leaves no log; the next begins from the start.

    Returns:
        (number of detections, number of images that an earlier run had done).

    Raises:
        DataError: images that can't be read, all of them named, after the others are done; another
            process writes the folder.
    """
    if job.save_dir is None:
        before, (counts, errors) = 0, _run(files, job, print_entry)
    else:
        before, counts, errors = _run_and_keep(files, job)
    raise_any(errors, say_others(len(counts), "done"))
    return sum(counts), before


def _run_and_keep(files, job):
    """Returns (images that were done before, the detections in each that is done, errors)."""
    identity = identity_of(job) | {"pictures": asdict(job.pictures)}
    path = job.save_dir / LOG
    with locked(job.save_dir, "written", "save_path"), DetectionLog(path, identity) as log:
        rest = [file for file in files if not _is_done(file, log.images, job.save_dir)]
        before = len(files) - len(rest)
        try:
            _, errors = _run(rest, job, log.add, before)
        finally:  # also after Ctrl-C: what is done is kept, and the log to continue with
            entries = [log.images[f.name] for f in files if f.name in log.images]
            write_files(job.save_dir, entries, job)
        path.unlink()
        if job.pictures.gif:
            write_gif(job.save_dir, files)
    return before, [len(entry[PARTS]) for entry in entries], errors


def identity_of(job: Job) -> dict:
    """Returns what detections depend on, a JSON object."""
    others = {k: v for k, v in job.facts.items() if k not in ("label_map", "score_threshold")}
    return others | {
        "model files": job.model_files,
        "label map": job.names,
        "thresholds": job.thresholds,
        "input folder": os.path.abspath(job.source),
        "archive": fingerprint([job.source]) if is_archive(job.source) else None,
    }


def _is_done(file, entries, save_dir):
    entry = entries.get(file.name)
    is_same = entry is not None and entry.get("seen") == seen(file)
    return is_same and (save_dir / output_name(file.name)).is_file()


def _run(files, job, add, before=0):
    """Runs all steps on all files, hands each entry to `add`.

    Returns (the number of detections in each image, errors).
    """
    counts, errors = [], []
    progress = Progress(before + len(files), "image", before, quiet=job.quiet)
    with progress, contextlib.closing(detect_each(files, job)) as items:
        for item in items:
            errors += item.errors
            if not item.errors:
                add(item.entry)
                counts.append(len(item.entry[PARTS]))
            progress.update()
    return counts, errors


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


def write_files(save_dir: Path, entries: list[dict], job: Job) -> None:
    """Writes detections.json, detections.csv and what else the Job asks for, all or none.

    Other facts of entries than those of detections.json are left out.
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
        texts[save_dir / PAGE] = _format_page(entries, job.facts)
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


def _format_page(entries, facts):
    """Returns index.html, which shows the pictures that lie beside it, by class and score."""
    found = [one for entry in entries for one in entry[PARTS]]
    counts = sorted(Counter((one["class_id"], one["class"]) for one in found).items())
    classes = [
        {
            "id": number,
            "name": escape_controls(name),
            "count": count,
            "colour": "rgb({},{},{})".format(*colour_of(number)),
        }
        for (number, name), count in counts
    ]
    lowest = min((one["score"] for one in found), default=0)
    return render(
        "detections.html",
        facts={
            "Images": len(entries),
            "Objects": len(found),
            "Images without": sum(not entry[PARTS] for entry in entries),
            "Model": _run_name(facts.get("model", "not named")),
        },
        classes=classes,
        lowest=math.floor(100 * lowest) / 100,
        found={
            "classes": {one["id"]: [one["name"], one["colour"]] for one in classes},
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
