"""Draws a page's figures as SVG and HTML text; colours and letters come from the page's style."""

import math
from html import escape

# In the units of the drawing, which is shown about as wide as a phone or somewhat wider.
_WIDTH, _HEIGHT = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 340, 12, 154


class Html(str):
    """Text that is HTML already; everything else is escaped on its way into a page."""

    __slots__ = ()


def to_html(value):
    """Returns a value as HTML: Html as it is, whole numbers with their thousands divided."""
    if isinstance(value, Html):
        return value
    return Html(f"{value:,}" if isinstance(value, int) else escape(str(value)))


def percent(part, whole):
    """Returns a share as text, such as "12.5 %"; "-" of nothing."""
    return f"{100 * part / whole:.1f}\u00a0%" if whole else "-"


def draw_bar(part, whole):
    """Returns a bar as long as the share of the place it is given."""
    return Html(f'<span class="bar s0" style="width:{_share(part, whole)}%"></span>')


def draw_stack(parts, colours=(0, 1, 2)):
    """Returns one bar divided into parts, {name: amount}, with a colour of the style for each."""
    whole = sum(parts.values())
    pieces = (
        f'<span class="s{colour}" style="width:{_share(part, whole)}%" '
        f'title="{to_html(name)} {percent(part, whole)}"></span>'
        for colour, (name, part) in zip(colours, parts.items(), strict=False)
    )
    return Html(f'<span class="stack">{"".join(pieces)}</span>')


def draw_legend(names, colours=(0, 1, 2)):
    """Returns the names beside the colours that `draw_stack` gives them."""
    pairs = zip(colours, names, strict=False)
    items = (f'<span><i class="s{colour}"></i>{to_html(name)}</span>' for colour, name in pairs)
    return Html(f'<p class="legend">{"".join(items)}</p>')


def _share(part, whole):
    return f"{100 * part / whole:.2f}" if whole else "0"


def draw_histogram(counts, edges, ticks, labels, band=None, marks=()):
    """Returns a histogram as an SVG.

    Args:
        counts: [N], how much each bin holds.
        edges: [N + 1], the bins' edges, ascending, on a linear axis.
        ticks: [(place on the axis, text)].
        labels: (what the figure shows, name of the axis).
        band: (from, to) on the axis, a range shown behind the bars.
        marks: places on the axis, shown as short lines under the bars.
    """

    def across(value):
        return round(_LEFT + (value - edges[0]) / (edges[-1] - edges[0]) * (_RIGHT - _LEFT), 2)

    top, steps = _scale(max(counts, default=0))

    def down(value):
        return round(_BOTTOM - value / top * (_BOTTOM - _TOP), 2)

    parts = [_band(across(max(band[0], edges[0])), across(min(band[1], edges[-1])))] if band else []
    parts += [_grid_line(down(step), step) for step in steps]
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            parts.append(_bin(across(left), across(right), down(count), int(count)))
    parts.append(f'<path class="axis" d="M{_LEFT} {_BOTTOM}H{_RIGHT}"/>')
    parts += [f'<path class="mark" d="M{across(x)} {_BOTTOM}v6"/>' for x in marks]
    parts += [
        f'<text x="{across(x)}" y="{_BOTTOM + 19}">{to_html(text)}</text>' for x, text in ticks
    ]
    middle = (_LEFT + _RIGHT) / 2
    parts.append(f'<text class="name" x="{middle}" y="{_HEIGHT - 7}">{to_html(labels[1])}</text>')
    return Html(
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{to_html(labels[0])}">'
        f"{''.join(parts)}</svg>"
    )


def draw_lines(lines, label, axes, size=(_WIDTH, _HEIGHT), marks=()):
    """Returns lines on axes from 0 to 1 as an SVG.

    Args:
        lines: [(points [N, 2] in 0 to 1, class of the style, such as "line" or "guide")].
        label: what the figure shows.
        axes: names of the axis across and the axis down.
        size: width and height in the units of the drawing.
        marks: points [N, 2] to be marked.
    """
    width, height = size
    left, right, top, bottom = 30, width - 12, 10, height - 34

    def place(x, y):
        return f"{left + x * (right - left):.1f} {bottom - y * (bottom - top):.1f}"

    parts = []
    for step in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - step * (bottom - top)
        parts.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        if step in (0, 0.5, 1):
            x = left + step * (right - left)
            parts.append(f'<text class="amount" x="{left - 4}" y="{y + 4:.1f}">{step:g}</text>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 14}">{step:g}</text>')
    for points, kind in lines:
        if len(points):
            path = "L".join(place(x, y) for x, y in points)
            parts.append(f'<path class="{kind}" d="M{path}"/>')
    for x, y in marks:
        cx, cy = place(x, y).split()
        parts.append(f'<circle class="dot" cx="{cx}" cy="{cy}" r="3.5"/>')
    middle, across, down = (left + right) / 2, *map(to_html, axes)
    parts.append(f'<text class="name" x="{middle:.0f}" y="{height - 5}">{across}</text>')
    parts.append(f'<text class="name end" x="{right}" y="{top + 11}">{down}</text>')
    return Html(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{to_html(label)}">'
        f"{''.join(parts)}</svg>"
    )


def draw_interval(low, value, high):
    """Returns a bar to a value in 0 to 1 with its interval on it; ends of nan are left out."""
    bar = f'<i style="width:{100 * value:.1f}%"></i>'
    known = low == low and high == high
    left, right = max(low, 0), min(high, 1)
    ends = f'<b style="left:{100 * left:.1f}%;width:{100 * (right - left):.1f}%"></b>'
    return Html(f'<span class="range">{bar}{ends if known else ""}</span>')


def draw_difference(low, value, high, widest):
    """Returns a bar from the middle to a value, from -widest to widest, with its interval on it."""
    if value != value:
        return Html("")

    def place(number):
        return 50 + 50 * max(-1, min(number / (widest or 1), 1))

    left, right = sorted((50, place(value)))
    ends = (place(low), place(high)) if low == low else (0, 0)
    mark = f'<b style="left:{ends[0]:.1f}%;width:{ends[1] - ends[0]:.1f}%"></b>'
    bar = f'<i style="left:{left:.1f}%;width:{right - left:.1f}%"></i>'
    kind = "range worse" if value < 0 else "range"
    return Html(f'<span class="{kind}">{bar}{mark if low == low else ""}</span>')


def _scale(most):
    """Returns (the axis's end, its steps): about four steps of 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(max(most, 4) / 4))
    step = next(power * n for n in (1, 2, 5, 10) if power * n * 4 >= most)
    ends = math.ceil(max(most, 1) / step)
    return ends * step, [step * n for n in range(1, ends + 1)]


def _band(left, right):
    return (
        f'<rect class="band" x="{left}" y="{_TOP}" width="{max(right - left, 0):.2f}" '
        f'height="{_BOTTOM - _TOP}"/>'
    )


def _grid_line(y, step):
    return (
        f'<path class="grid" d="M{_LEFT} {y}H{_RIGHT}"/>'
        f'<text class="amount" x="{_LEFT - 5}" y="{y + 4:.2f}">{step:,}</text>'
    )


def _bin(left, right, top, count):
    return (
        f'<rect class="bin" x="{left + 0.5:.2f}" y="{top}" width="{max(right - left - 1, 1):.2f}" '
        f'height="{_BOTTOM - top:.2f}"><title>{count:,}</title></rect>'
    )
