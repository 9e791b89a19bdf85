"""Figures show their numbers, in the page's colours."""

import re

import pytest

from lowlight.pages.figures import SMALL, draw_histogram, draw_lines


def test_a_histograms_bars_are_as_high_as_their_counts():
    svg = draw_histogram([-1, 0, 2, 2.5, 3, 4], [0, 1, 2, 3], [(0, "<0>")], "Three bins", "x")
    bars = re.findall(r'd="([^"]*)" style="fill: var\(--s0\)" /><title>(\d)</title>', svg)
    assert bars == [
        ("M 40.5 154  L 139.5 154  L 139.5 83  L 40.5 83  z ", "2"),
        ("M 240.5 154  L 339.5 154  L 339.5 12  L 240.5 12  z ", "4"),
    ]
    assert ">&lt;0&gt;</text>" in svg
    assert svg.startswith('<svg viewBox="0 0 360 200" role="img" aria-label="Three bins">')


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
    svg = draw_histogram([0.5] * most, [0, 1], [(0, "left")], "", "")
    assert re.findall(r"text-anchor: end[^>]*>([\d,]+)<", svg) == steps


def test_lines_run_from_the_lower_left_to_the_upper_right():
    lines = [([(0, 0), (1, 1)], "line")]
    svg = draw_lines(lines, "a <figure>", ("x", "y"), SMALL, [(0, 1)])
    assert re.search(r"M 38 134  L 228 10  .{1,30}stroke: var\(--s0\)", svg)
    assert re.search(r'<use href="#\w+" x="38" y="10" style="fill: var\(--mark\)', svg)
    assert 'aria-label="a &lt;figure&gt;"' in svg


@pytest.mark.parametrize("marks", [(), (0.25, 0.5)], ids=["no marks", "marks"])
def test_a_figure_takes_nothing_but_its_colours_from_elsewhere_and_is_always_the_same(marks):
    drawn = [
        draw_histogram([0, 0.6, 0.7], [0, 0.5, 1], [(0.5, "half")], "a", "x", (0, 0.3), marks)
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    assert not re.search(r"https?:|url\(|<style|font-family|#[0-9a-f]{6}\b(?!\")", drawn[0])
    assert drawn[0].count("<use") == len(marks)
