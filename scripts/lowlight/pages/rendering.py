"""Makes an HTML page from a template of templates/, where every table of a page is laid out."""

import base64
import functools
import hashlib
from pathlib import Path

from lowlight.core.errors import escape_controls

_FOLDER = Path(__file__).parent / "templates"


def render(template: str, **data: object) -> str:
    """Returns a page that loads nothing from elsewhere; whatever the data holds is shown as text.

    Args:
        template: the name of a file in templates/.
        data: what the template shows. Text is escaped on its way into the page, but for a
            figure's SVG that the template marks as safe. Control characters are shown as escapes.
    """
    return escape_controls(_environment().get_template(template).render(data), kept="\n\t")


@functools.cache
def _environment():
    import jinja2
    from markupsafe import Markup  # Jinja2's own

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "base64": lambda data: base64.b64encode(data).decode(),
        "between": between,
        "decimals": decimals,
        "digest": lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
        "length_of": lambda part, whole: f"{100 * part / whole:.2f}" if whole else "0",
        "percent": percent,
        "whole": lambda value: f"{value:,}" if isinstance(value, int) else value,
    }
    environment.globals["file"] = lambda name: Markup((_FOLDER / name).read_text("utf-8"))
    return environment


def percent(part: float, whole: float) -> str:
    """Returns a share as text, such as "12.5 %"; "-" of nothing."""
    return f"{100 * part / whole:.1f}\u00a0%" if whole else "-"


def decimals(value: float, digits: int = 3, sign: str = "", unknown: str = "") -> str:
    """Returns a number with so many decimals, and what stands for nan."""
    return f"{value:{sign}.{digits}f}" if value == value else unknown


def between(low: float, high: float, sign: str = "") -> str:
    """Returns an interval as text, "" where its ends are nan."""
    return f"{low:{sign}.3f} to {high:{sign}.3f}" if low == low else ""
