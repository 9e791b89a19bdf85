"""Writes a page to look through what was found in thousands of images, by class and score."""

import json
import math
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from lowlight.images.drawing import colour_of
from lowlight.pages.charts import to_html
from lowlight.pages.document import format_document

_FOLDER = Path(__file__).parent
_PICTURES = "data: 'self' file:"  # a page that is opened as a file has no 'self'


def format_gallery(entries, job, saver):
    """Returns index.html, which shows the drawn pictures that lie beside it.

    Args:
        entries: as detections.json has them.
        job: inference.Job.
        saver: saving.Saver, which knows where the pictures are.
    """
    found = sum(len(entry["detections"]) for entry in entries)
    facts = {
        "Images": len(entries),
        "Objects": found,
        "Images without": sum(not entry["detections"] for entry in entries),
        "Model": _run_name(job.facts.get("model", "not named")),
    }
    style = (_FOLDER / "detection_page.css").read_text("utf-8")
    body = (
        f"<style>\n{style}</style>\n"
        f'<script type="application/json" id="found">{_data(entries, job, saver)}</script>\n'
        f"{_controls(entries, job.names)}"
        '<div class="gallery found" id="pictures"></div>\n<div id="end"></div>\n'
    )
    script = (_FOLDER / "../pages/templates/detections.js").read_text("utf-8")
    return format_document("Detections", facts, [], {"Pictures": body}, script, _PICTURES)


def _run_name(path):
    """Returns the name of the run that a model's path lies in."""
    parts = [p for p in PurePosixPath(path).parts if p not in ("saved_model", "exported")]
    return parts[-1] if parts else str(path)


def _data(entries, job, saver):
    """Returns what the script shows, as JSON that can't end its element."""
    top = saver.path_of("x").parent
    images = [
        {
            "name": entry["file"],
            "picture": _link(saver.path_of(entry["file"]), top),
            "small": _link(saver.small_path_of(entry["file"]), top),
            "size": [entry["width"], entry["height"]],
            "found": [[one["class_id"], one["score"], *one["box"]] for one in entry["detections"]],
        }
        for entry in entries
    ]
    ids = {one["class_id"] for entry in entries for one in entry["detections"]} | set(job.names)
    classes = {
        number: [
            job.names.get(number, f"class {number}"),
            "rgb({},{},{})".format(*colour_of(number)),
        ]
        for number in sorted(ids)
    }
    return json.dumps({"classes": classes, "images": images}).replace("<", "\\u003c")


def _link(path, top):
    return quote(path.relative_to(top).as_posix())


def _controls(entries, names):
    counts = {}
    for entry in entries:
        for one in entry["detections"]:
            counts[one["class_id"]] = counts.get(one["class_id"], 0) + 1
    boxes = "".join(
        f'<label class="chip"><input type="checkbox" name="class" value="{number}" checked>'
        f'<i style="background:rgb{colour_of(number)}"></i>'
        f"{to_html(names.get(number, f'class {number}'))} {to_html(count)}</label>"
        for number, count in sorted(counts.items())
    )
    lowest = min((o["score"] for e in entries for o in e["detections"]), default=0)
    return (
        '<form class="controls" id="controls" autocomplete="off">\n'
        f'<fieldset><legend>Classes</legend>{boxes}<button type="button" id="all">all</button>'
        '<button type="button" id="none">none</button></fieldset>\n'
        '<label>Score at least <output id="score-shown"></output>'
        '<input type="range" name="score" min="0" max="1" step="0.01" '
        f'value="{math.floor(100 * lowest) / 100:.2f}"></label>\n'
        '<label>Brightness <output id="light-shown"></output>'
        '<input type="range" name="light" min="1" max="6" step="0.1" value="1"></label>\n'
        '<label>Order<select name="order"><option value="name">by name</option>'
        '<option value="score">best score first</option>'
        '<option value="count">most objects first</option></select></label>\n'
        '<label>Name contains<input type="search" name="text"></label>\n'
        '<label class="chip"><input type="checkbox" name="empty" checked>'
        "also images without an object</label>\n"
        '<p id="shown" role="status"></p>\n</form>\n'
    )
