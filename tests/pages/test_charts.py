import re

import pytest

from lowlight.pages.charts import (
    Html,
    draw_bar,
    draw_difference,
    draw_histogram,
    draw_interval,
    draw_legend,
    draw_lines,
    draw_stack,
    percent,
    to_html,
)


@pytest.mark.parametrize(
    ("value", "html"),
    [
        (12345, "12,345"),
        ("12345", "12345"),
        ("<b> & \"x\" 'y'", "&lt;b&gt; &amp; &quot;x&quot; &#x27;y&#x27;"),
        (Html("<b>"), "<b>"),
    ],
    ids=["number", "text of digits", "text", "html"],
)
def test_only_html_reaches_a_page_as_it_is(value, html):
    assert to_html(value) == html


def test_a_legend_names_each_colour():
    legend = draw_legend(["train", "<b>"])
    assert re.findall(r'<i class="(s\d)"></i>([^<]*)<', legend) == [
        ("s0", "train"),
        ("s1", "&lt;b&gt;"),
    ]


def test_shares_are_drawn_and_written():
    assert percent(1, 8) == "12.5\u00a0%"
    assert percent(0, 0) == "-"
    assert 'style="width:25.00%"' in draw_bar(1, 4)
    stack = draw_stack({"train": 3, "a & b": 1})
    assert re.findall(r"width:([\d.]+)%", stack) == ["75.00", "25.00"]
    assert 'title="a &amp; b 25.0\u00a0%"' in stack


def test_a_histograms_bars_are_as_high_as_their_counts():
    svg = draw_histogram([2, 0, 4], [0, 1, 2, 3], [(0, "<0>")], ("Three bins", "x"))
    bars = re.findall(r'class="bin" x="([\d.]+)" y="([\d.]+)" width="99.00" height="([\d.]+)"', svg)
    assert bars == [("40.50", "83.0", "71.00"), ("240.50", "12.0", "142.00")]
    assert "&lt;0&gt;" in svg
    assert 'aria-label="Three bins"' in svg


@pytest.mark.parametrize(
    ("most", "steps"),
    [
        (0, ["1"]),
        (3, ["1", "2", "3"]),
        (7, ["2", "4", "6", "8"]),
        (1201, ["500", "1,000", "1,500"]),
        (7363, ["2,000", "4,000", "6,000", "8,000"]),
    ],
)
def test_an_axis_has_a_few_round_steps(most, steps):
    svg = draw_histogram([most], [0, 1], [], ("", ""))
    assert re.findall(r'class="amount"[^>]*>([\d,]+)<', svg) == steps


def test_lines_run_from_the_lower_left_to_the_upper_right():
    drawing = draw_lines([([(0, 0), (1, 1)], "line")], "a figure", ("x", "y"), (240, 170), [(0, 1)])
    assert '<path class="line" d="M30.0 136.0L228.0 10.0"/>' in drawing
    assert '<circle class="dot" cx="30.0" cy="10.0" r="3.5"/>' in drawing
    assert 'aria-label="a figure"' in drawing


def test_an_interval_lies_on_its_bar_and_one_that_is_not_known_is_left_out():
    assert draw_interval(0.25, 0.5, 0.75) == (
        '<span class="range"><i style="width:50.0%"></i>'
        '<b style="left:25.0%;width:50.0%"></b></span>'
    )
    nan = float("nan")
    assert draw_interval(nan, 0.5, nan) == '<span class="range"><i style="width:50.0%"></i></span>'


def test_a_difference_goes_from_the_middle_either_way():
    assert 'class="range"><i style="left:50.0%;width:25.0%">' in draw_difference(0.0, 0.1, 0.2, 0.2)
    loss = draw_difference(-0.2, -0.1, 0.0, 0.2)
    assert 'class="range worse"><i style="left:25.0%;width:25.0%">' in loss
    assert '<b style="left:0.0%;width:50.0%">' in loss
    assert draw_difference(0, float("nan"), 0, 1) == ""
