"""README and docs/: what they name is there, and what is there is named."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("[!.]*/README.md")]
SCRIPTS = [ROOT / "run_inference.py", *sorted((ROOT / "scripts").glob("*.py"))]
BENCHMARKS = sorted((ROOT / "scripts" / "benchmarks").glob("bench_*.py"))
_NAME = {"ids": lambda path: path.name}


def _code(page):
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.mark.parametrize("script", [*SCRIPTS, *BENCHMARKS], **_NAME)
def test_every_script_stands_in_the_docs(script):
    assert any(script.name in page.read_text() for page in PAGES)


@pytest.mark.parametrize("page", PAGES, **_NAME)
def test_links_inside_the_project_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, **_NAME)
def test_commands_name_scripts_and_flags_that_there_are(page):
    text = " ".join(code for _, code in _code(page)).replace("\\\n", " ")
    for name, rest in re.findall(r"python ((?:scripts/)?[\w/]+\.py)([^\n]*)", text):
        script = ROOT / name
        assert script.is_file(), name
        source = script.read_text() + "".join(
            path.read_text() for path in (ROOT / "scripts" / "lowlight").rglob("flags.py")
        )
        flags = re.findall(r"--(?:no)?(\w+)", rest)
        if "runpy" not in source:  # a program of TFOD's, with flags of its own
            assert [flag for flag in flags if f'"{flag}"' not in source] == []


@pytest.mark.parametrize("page", PAGES, **_NAME)
def test_python_in_the_docs_is_python(page):
    for language, code in _code(page):
        if language == "python":
            ast.parse(code)


@pytest.mark.parametrize("page", PAGES, **_NAME)
def test_prose_keeps_to_100_columns(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    long = [line for line in prose.splitlines() if len(line) > 100]
    assert [line for line in long if not line.startswith("|") and " " in line] == []


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220


def test_the_modules_that_the_docs_name_are_those_of_the_house():
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|", (ROOT / "docs/development.md").read_text(), re.M)
    packages = {name: set(re.findall(r"`(\w+)`", text)) for name, text in rows}
    for name, named in packages.items():
        folder = ROOT / "scripts" / "lowlight" / name
        assert named == {path.stem for path in folder.glob("*.py")} - {"__init__"}, name
