"""Puts together an HTML page that loads nothing from elsewhere, and its tables."""

import base64
import hashlib
from pathlib import Path

from lowlight.pages.charts import Html, to_html

_FOLDER = Path(__file__).parent / "templates"
# Nothing but the page's own style, pictures and script is ever loaded, whatever a name in it holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src "


def format_document(title, facts, notes, sections, script="", images="data:"):
    """Returns a page.

    Args:
        title: text of its first heading and of the window.
        facts: {name: value}, shown large under the heading.
        notes: sentences on what the page can't show.
        sections: {heading: HTML}; empty ones are left out.
        script: JavaScript that the page ends with.
        images: where pictures may come from; by default from the page itself.
    """
    sections = {heading: body for heading, body in sections.items() if body}
    links = [f'<a href="#part{n}">{heading}</a>' for n, heading in enumerate(sections, 1)]
    links = f"<nav>{''.join(links)}</nav>" if len(links) > 1 else ""
    parts = (
        f'<section><h2 id="part{n}">{heading}</h2>\n{body}</section>\n'
        for n, (heading, body) in enumerate(sections.items(), 1)
    )
    end = f"<script>{script}</script>\n" if script else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n{_head(title, script, images)}'
        f"<body>\n<header><h1>{to_html(title)}</h1>\n{_facts(facts, notes)}"
        f"{links}</header>\n<main>\n{''.join(parts)}</main>\n{end}"
        "</body>\n</html>\n"
    )


def _head(title, script, images):
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"{_POLICY}{images}" + (f"; script-src 'sha256-{digest}'" if script else "")
    style = (_FOLDER / "page.css").read_text("utf-8")
    return (
        f'<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<link rel="icon" href="data:,">\n'
        f"<title>{to_html(title)}</title>\n<style>\n{style}</style>\n"
        "</head>\n"
    )


def _facts(facts, notes):
    items = (f"<div><dt>{to_html(k)}</dt><dd>{to_html(v)}</dd></div>" for k, v in facts.items())
    lines = "".join(f"<li>{to_html(note)}</li>" for note in notes)
    missing = f'<ul class="missing">{lines}</ul>\n' if lines else ""
    return f'<dl class="facts">{"".join(items)}</dl>\n{missing}'


class Cell(str):
    """A cell's text with the number that its column is sorted by."""

    __slots__ = ("key",)

    def __new__(cls, text, key):
        """Makes one; a key of nan is sorted last."""
        cell = super().__new__(cls, text)
        cell.key = key
        return cell


def format_table(head, rows, total=None, sortable=False):
    """Returns a table.

    Args:
        head: the columns' names.
        rows: tuples; the first cell names the row, cells of Html are drawings.
        total: a last row, set apart.
        sortable: a click on a column's name sorts by it, where the page has `sort_script`.
    """
    cells = "".join(f'<th scope="col">{to_html(name)}</th>' for name in head)
    body = "".join(_row(row) for row in rows) + (_row(total, ' class="all"') if total else "")
    kind = ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll"><table{kind}>\n<thead><tr>{cells}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>\n"
    )


def _row(row, kind=""):
    cells = "".join(_cell(cell) for cell in row[1:])
    return f'<tr{kind}><th scope="row">{to_html(row[0])}</th>{cells}</tr>\n'


def _cell(cell):
    if isinstance(cell, Cell):
        return f'<td data-key="{cell.key}">{to_html(str(cell))}</td>'
    drawn = ' class="drawn"' if isinstance(cell, Html) else ""
    return f"<td{drawn}>{to_html(cell)}</td>"


def sort_script():
    """Returns the JavaScript that makes the sortable tables of a page so."""
    return (_FOLDER / "sort.js").read_text("utf-8")


def show_jpeg(jpeg, text):
    """Returns an image's element.

    Args:
        jpeg: its bytes.
        text: what stands in its place where it can't be seen.
    """
    data = base64.b64encode(jpeg).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{to_html(text)}">'
