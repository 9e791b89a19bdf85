"""The report of an evaluation in a real browser."""

import numpy as np
import pytest
from browser import check_quiet
from scored import evaluate, make_data, make_results

from lowlight.evaluation import report as report_module
from lowlight.evaluation.metrics import Curve


@pytest.fixture(scope="module")
def pages(tmp_path_factory, run_script):
    """(the report of an evaluation, the comparison of it with one of better detections alone)."""
    data_dir = make_data(tmp_path_factory.mktemp("reports") / "some {data}")
    flags = f"--detections={make_results(data_dir)}", f"--data_dir={data_dir}", "--bootstrap=50"
    folders = [data_dir / name for name in ("all", "better")]
    for folder, threshold in zip(folders, (0, 0.6), strict=True):
        given = f"--output_dir={folder}", f"--score_threshold={threshold}"
        evaluate(run_script, *flags, *given)
    page = data_dir / "comparison.html"
    done = run_script("compare_runs.py", *folders, "--bootstrap=50", f"--output={page}")
    assert done.returncode == 0, done.stderr
    return folders[0] / "report.html", page


def test_a_report_opens_whole_and_quietly(browser, pages):
    check_quiet(browser, pages[0])
    headings = "[...document.querySelectorAll('h2')].map(h => h.textContent).join()"
    assert browser.evaluate(headings) == (
        "Score,Where it fails,What goes wrong,How far scores can be trusted,Pictures"
    )


def test_a_comparison_opens_whole_and_quietly(browser, pages):
    check_quiet(browser, pages[1])


def test_a_click_on_a_columns_name_sorts_by_it_and_another_turns_it(browser, pages):
    browser.open(pages[0])
    table = "[...document.querySelectorAll('h3')].find(h => h.textContent == 'Lighting')"
    table += ".nextElementSibling.querySelector('table')"
    names = f"[...{table}.tBodies[0].rows].map(r => r.cells[0].textContent)"
    values = f"[...{table}.tBodies[0].rows].map(r => parseFloat(r.cells[3].textContent))"
    assert browser.evaluate(names) == ["Low", "Weak", "Strong"]
    browser.evaluate(f"{table}.tHead.rows[0].cells[3].firstChild.click(), 1")
    falling = browser.evaluate(values)
    assert falling == sorted(falling, reverse=True)
    browser.evaluate(f"{table}.tHead.rows[0].cells[3].firstChild.click(), 1")
    assert browser.evaluate(values) == falling[::-1]
    browser.evaluate(f"{table}.tHead.rows[0].cells[0].firstChild.click(), 1")
    assert browser.evaluate(names) == ["Low", "Strong", "Weak"]
    assert browser.complaints == []


def test_a_curve_with_a_long_tail_of_wrong_detections_goes_through_its_right_ones(monkeypatch):
    drawn = []
    monkeypatch.setattr(report_module, "draw_lines", lambda *given: drawn.extend(given))
    ranks = np.array([0, 1, 2, 4, 9, 30])
    curve = Curve("Cat", len(ranks), np.linspace(1, 0, 3000), np.isin(np.arange(3000), ranks))
    report_module.draw_precision(curve)
    ((points, _),), *_, marks = drawn
    counts = np.arange(1, 1 + len(ranks))
    expected = np.column_stack([counts / len(ranks), counts / (ranks + 1)])
    assert points.tolist() == [*expected.tolist(), [1, len(ranks) / 3000]]
    assert marks == [tuple(expected[3])]
