"""The report of an evaluation in a real browser."""

import pytest
from browser import check_quiet
from scored import evaluate


@pytest.fixture
def report(data_dir, results, run_script):
    evaluate(run_script, f"--detections={results}", f"--data_dir={data_dir}", "--bootstrap=50")
    return data_dir / "results_eval" / "report.html"


@pytest.fixture
def comparison(data_dir, results, run_script):
    folders = [data_dir / name for name in ("one", "other")]
    for folder, threshold in zip(folders, (0, 0.6), strict=True):
        evaluate(
            run_script,
            f"--detections={results}",
            f"--data_dir={data_dir}",
            f"--output_dir={folder}",
            f"--score_threshold={threshold}",
            "--bootstrap=0",
        )
    page = data_dir / "comparison.html"
    done = run_script("compare_runs.py", *folders, "--bootstrap=50", f"--output={page}")
    assert done.returncode == 0, done.stderr
    return page


def test_a_report_opens_whole_and_quietly(browser, report):
    check_quiet(browser, report)
    headings = browser.evaluate("[...document.querySelectorAll('h2')].map(h => h.textContent)")
    assert headings == [
        "Score",
        "Where it fails",
        "What goes wrong",
        "How far scores can be trusted",
        "Pictures",
    ]


def test_a_comparison_opens_whole_and_quietly(browser, comparison):
    check_quiet(browser, comparison)


def test_a_click_on_a_columns_name_sorts_by_it_and_another_turns_it(browser, report):
    browser.open(report)
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
