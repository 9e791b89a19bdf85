"""What a page shows is text, whatever it holds, and looks as its numbers say."""

import base64
import hashlib
import json
import re

import jinja2
import pytest

from lowlight.pages import rendering


def show(template, **data):
    """Renders a template's text, with the macros of parts.html as `parts`."""
    environment = rendering._environment()
    source = '{% import "parts.html" as parts %}' + template
    return environment.from_string(source).render(data)


@pytest.mark.parametrize(
    ("value", "html"),
    [
        (12345, "12,345"),
        ("12345", "12345"),
        ("<b> & \"x\" 'y'", "&lt;b&gt; &amp; &#34;x&#34; &#39;y&#39;"),
    ],
    ids=["number", "text of digits", "text"],
)
def test_only_a_template_holds_html(value, html):
    assert show("{{ parts.text(value) }}", value=value) == f"<td>{html}</td>"


def test_a_template_that_lacks_what_it_shows_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'title' is undefined"):
        rendering.render("page.html", sections=[])


def test_a_page_runs_its_own_script_alone():
    found = {"name": "</script><script>alert(1)"}
    page = rendering.render("detections.html", facts={}, classes=[], lowest=0, found=found)
    (data, script) = re.findall("<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert json.loads(data) == found
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in page
    assert "document.getElementById" in script


@pytest.mark.parametrize("odd", ["\udcff", "\u202e", "\x1b"])
def test_what_is_not_utf8_or_would_turn_the_text_is_shown_as_an_escape(odd):
    facts = {"Model": f"a{odd}"}
    page = rendering.render("detections.html", facts=facts, classes=[], lowest=0, found={})
    assert f"<dd>a{odd.encode('unicode_escape').decode()}</dd>" in page


def test_a_legend_names_each_colour():
    legend = show("{{ parts.legend(names) }}", names=["train", "<b>"])
    assert re.findall(r'<i class="(s\d)"></i>([^<]*)<', legend) == [
        ("s0", "train"),
        ("s1", "&lt;b&gt;"),
    ]


def test_shares_are_drawn_and_written():
    assert rendering.percent(1, 8) == "12.5\u00a0%"
    assert rendering.percent(0, 0) == "-"
    assert 'style="width:25.00%"' in show("{{ parts.bar(1, 4) }}")
    stack = show("{{ parts.stack(amounts) }}", amounts={"train": 3, "a & b": 1})
    assert re.findall(r"width:([\d.]+)%", stack) == ["75.00", "25.00"]
    assert 'title="a &amp; b 25.0\u00a0%"' in stack


def test_a_number_is_sorted_by_all_its_digits_and_one_that_is_not_known_is_not_shown():
    assert show("{{ parts.number(0.12345) }}") == '<td data-key="0.12345">0.123</td>'
    assert show("{{ parts.number(x) }}", x=float("nan")) == '<td data-key="nan"></td>'


def test_an_interval_lies_on_its_bar_and_one_that_is_not_known_is_left_out():
    assert show("{{ parts.interval(0.25, 0.5, 0.75) }}") == (
        '<td class="drawn"><span class="range"><i style="width:50.0%"></i>'
        '<b style="left:25.0%;width:50.0%"></b></span></td>'
    )
    bar = show("{{ parts.interval(x, 0.5, x) }}", x=float("nan"))
    assert bar == '<td class="drawn"><span class="range"><i style="width:50.0%"></i></span></td>'


def test_a_difference_goes_from_the_middle_either_way():
    gain = show("{{ parts.difference(0.0, 0.1, 0.2, 0.2) }}")
    assert 'class="range"><i style="left:50.0%;width:25.0%">' in gain
    loss = show("{{ parts.difference(-0.2, -0.1, 0.0, 0.2) }}")
    assert 'class="range worse"><i style="left:25.0%;width:25.0%">' in loss
    assert '<b style="left:0.0%;width:50.0%">' in loss
    assert show("{{ parts.difference(0, x, 0, 1) }}", x=float("nan")) == "<td></td>"
