"""Draws what has axes, by matplotlib, as SVG that takes its colours and letters from the page."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

# The colours that matplotlib draws with, and the variables of page.css that stand in their place.
_BLUE, _ORANGE, _GREEN, _MARK = "#2f6fb5", "#d98a1f", "#2a9d7c", "#b4531a"
_INK, _FAINT, _LINE = "#1c2127", "#5d6772", "#d9dee4"
_VARIABLES = {_BLUE: "s0", _ORANGE: "s1", _GREEN: "s2", _MARK: "mark"}
_VARIABLES |= {_INK: "ink", _FAINT: "faint", _LINE: "line"}
_LINES = {
    "line": {"color": _BLUE, "linewidth": 2},
    "second": {"color": _ORANGE, "linewidth": 2},
    "guide": {"color": _FAINT, "linewidth": 1, "dashes": (3, 3)},
}
_STYLE = {
    "svg.fonttype": "none",  # letters stay letters, in the page's font
    "font.size": 11,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.linewidth": 1,
    **{f"axes.spines.{side}": False for side in ("left", "right", "top")},
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelpad": 5,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    **{f"{axis}tick.labelcolor": _FAINT for axis in "xy"},
    **{f"{axis}tick.major.size": 0 for axis in "xy"},
    "xtick.major.pad": 9,
    "ytick.major.pad": 4,
    "xtick.color": _MARK,
    "xtick.minor.size": 6,
    "xtick.minor.width": 1.5,
}


@dataclass(frozen=True)
class Size:
    """A figure's size and margins in pixels; it is shown as wide as there is room."""

    width: int = 360
    height: int = 200
    left: int = 40
    right: int = 20
    top: int = 12
    bottom: int = 46


WIDE = Size()
SMALL = Size(width=240, height=170, left=38, right=12, top=10, bottom=36)


def draw_histogram(
    values: Sequence,
    edges: Sequence,
    ticks: Sequence[tuple],
    label: str,
    axis: str,
    band: tuple | None = None,
    marks: Sequence = (),
) -> str:
    """Returns a histogram as an SVG.

    Args:
        values: what is counted; those beyond the edges count in the first and last bin.
        edges: [N + 1], the bins', ascending, on a linear axis.
        ticks: [(place on the axis, text)].
        label: what the figure shows, for those who don't see it.
        axis: name of the axis across.
        band: (from, to) on the axis, a range shown behind the bars.
        marks: places on the axis, shown as short lines under the bars.
    """
    from matplotlib.ticker import MaxNLocator

    edges = np.asarray(edges, float)
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    steps = MaxNLocator(4, steps=[1, 2, 5, 10], integer=True).tick_values(0, max(counts.max(), 1))
    pixel = (edges[-1] - edges[0]) / (WIDE.width - WIDE.left - WIDE.right)

    def paint(axes):
        if band:
            low, high = np.clip(band, edges[0], edges[-1])
            axes.axvspan(low, high, color=_GREEN, alpha=0.14, linewidth=0, zorder=0)
        lefts = edges[:-1] + pixel / 2
        widths = np.maximum(np.diff(edges) - pixel, pixel)
        full = counts > 0
        bars = axes.bar(lefts[full], counts[full], widths[full], align="edge", color=_BLUE)
        for bar, count in zip(bars, counts[full], strict=True):
            bar.set_gid(f"{_TITLE}{count:,}")
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0, steps[-1]), xlabel=axis)
        axes.set_xticks(*zip(*ticks, strict=True))
        axes.xaxis.remove_overlapping_locs = False  # a mark may stand where a text does
        axes.set_xticks(marks, minor=True)
        axes.set_yticks(steps[1:], [f"{step:,.0f}" for step in steps[1:]])

    return _draw(paint, label, WIDE)


def draw_lines(
    lines: Sequence[tuple],
    label: str,
    axis_names: tuple[str, str],
    size: Size = WIDE,
    marks: Sequence = (),
) -> str:
    """Returns lines on axes from 0 to 1 as an SVG.

    Args:
        lines: [(points [N, 2] in 0 to 1, "line", "second" or "guide")].
        label: as for `draw_histogram`.
        axis_names: of the axis across and the axis down.
        marks: points [N, 2] to be marked.
    """
    steps = np.linspace(0, 1, 5)

    def paint(axes):
        for points, kind in lines:
            if len(points):
                axes.plot(*np.transpose(points), **_LINES[kind])
        if len(marks):
            axes.plot(*np.transpose(marks), "o", color=_MARK, markersize=6, linestyle="")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=axis_names[0], ylabel=axis_names[1])
        axes.set_xticks(steps[::2], ["0", "0.5", "1"])
        axes.set_yticks(steps, ["0", "", "0.5", "", "1"])
        axes.spines["bottom"].set_visible(False)

    return _draw(paint, label, size)


def _draw(paint, label, size):
    """Returns the SVG of a figure whose one Axes `paint` is called with."""
    from matplotlib import style
    from matplotlib.figure import Figure

    stream = io.StringIO()
    with style.context(["default", _STYLE, {"svg.hashsalt": label}]):
        figure = Figure((size.width / 72, size.height / 72), frameon=False)
        across = (size.width - size.left - size.right) / size.width
        down = (size.height - size.top - size.bottom) / size.height
        place = size.left / size.width, size.bottom / size.height, across, down
        paint(figure.add_axes(place, frame_on=True, facecolor="none"))
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=nothing)
    return _fit_page(ElementTree.fromstring(stream.getvalue()), label)


_TITLE = "title:"  # what the id of an element begins with whose rest is shown when it's pointed at
_LEFT_OUT = "style", "clipPath", "metadata"


def _fit_page(root, label):
    """Returns matplotlib's SVG as text that HTML may hold: no rules, links or ids of its own."""
    for element in root.iter():
        element.tag = element.tag.split("}")[1]
        for child in [child for child in element if child.tag.endswith(_LEFT_OUT)]:
            element.remove(child)
        element.attrib = {
            name.split("}")[-1]: _style(value) if name == "style" else value
            for name, value in element.attrib.items()
            if name not in ("width", "height", "version", "clip-path")
        }
        name = element.get("id", "")
        if element.tag == "g":
            element.attrib.pop("id", None)
        if name.startswith(_TITLE):
            ElementTree.SubElement(element, "{}title").text = name.removeprefix(_TITLE)
        element.text, element.tail = ((text or "").strip() for text in (element.text, element.tail))
    root.attrib |= {"role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _style(text):
    """Returns a style attribute with the page's colours and without a font of its own."""
    text = re.sub(r"font-family: [^;]*;? ?", "", text)
    return re.sub("#[0-9a-f]{6}", lambda found: f"var(--{_VARIABLES[found[0]]})", text)
