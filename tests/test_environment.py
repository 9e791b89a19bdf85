"""The lists of packages and what makes an environment of them."""

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "requirements.in", *sorted(ROOT.glob("requirements/*.in"))]
_SPEC = importlib.util.spec_from_file_location("make_venv", ROOT / "requirements/make_venv.py")
make_venv = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(make_venv)

# What official and TFOD ask for and aren't given; nothing that is used here imports it.
LEFT_OUT = (  # as a regular expression
    "ai-edge-litert|Cython|google-api-python-client|immutabledict|kaggle|lvis|oauth2client|"
    "opencv-python-headless|py-cpuinfo|sacrebleu|sentencepiece|seqeval|tensorflow-datasets|"
    "tensorflow-hub|tensorflow-model-optimization|tensorflow-text|tensorflow-io"
)
OTHERWISE = "tensorflow|pyparsing"  # what they ask for in an older version


@pytest.mark.skipif(
    f"tensorflow=={importlib.metadata.version('tensorflow')} "
    not in (ROOT / "requirements.txt").read_text(),
    reason="another TensorFlow than requirements.txt's, as in `make test-next`",
)
def test_pip_check_finds_only_what_installing_without_dependencies_explains():
    command = [sys.executable, "-m", "pip", "check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    explained = re.compile(
        r"(tf-models-official|tf-models-research-object-detection) \S+ "
        rf"(requires ({LEFT_OUT}), which is not installed\."
        rf"|has requirement ({OTHERWISE})[=~]=\S+, but you have .*)",
        re.IGNORECASE,  # pip's versions write Cython and cython
    )
    lines = found.replace("_", "-").splitlines()
    assert lines
    assert [line for line in lines if not explained.fullmatch(line)] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_each_package_that_is_asked_for_is_compiled_with_hashes(source):
    compiled = source.with_suffix(".txt").read_text()
    entries = [entry for entry in re.split(r"\n(?=[\w-])", compiled) if "==" in entry]
    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    names = {entry.split("==")[0].lower().replace("_", "-") for entry in entries}
    asked = re.findall(r"^[\w-]+", source.read_text(), re.MULTILINE)
    assert {name.lower().replace("_", "-") for name in asked if not name.startswith("-")} <= names


def test_each_package_is_asked_for_with_a_reason():
    lines = (ROOT / "requirements.in").read_text().splitlines()
    assert [line for line in lines if line and "#" not in line] == []


def made(folder, prints=""):
    """Makes a folder look like an environment whose Python prints this."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho {prints}\n")
    python.chmod(0o755)
    (folder / "pyvenv.cfg").touch()
    return folder


@pytest.mark.parametrize("version", [(3, 10), (3, 14), (2, 7)])
def test_another_python_is_refused_in_one_sentence_with_the_remedy(version):
    dotted = ".".join(map(str, version))
    with pytest.raises(SystemExit, match=rf"error: this is Python {dotted}; .* make PYTHON=/path"):
        make_venv.check_python(version)


def test_the_pythons_of_the_lists_are_taken():
    for version in ((3, 11), (3, 12), (3, 13)):
        make_venv.check_python(version)


def test_only_a_whole_environment_is_left_as_it_is(tmp_path, capsys):
    whole, interrupted, gone = (made(tmp_path / name, "3 12") for name in ("a", "b", "c"))
    (interrupted / make_venv.MARK).touch()
    (gone / "bin" / "python").unlink()
    for venv in (whole, interrupted, gone):
        make_venv.check_venv(venv, make_venv.PYTHONS)
        assert ("interrupted" in capsys.readouterr().out) == (venv != whole)
    assert [*tmp_path.iterdir()] == [whole]
    assert (whole / "bin" / "python").exists()


@pytest.mark.parametrize("pythons", [make_venv.PYTHONS, [(3, 13)]])
def test_an_environment_of_another_python_is_named(tmp_path, pythons):
    venv = made(tmp_path / "venv", "3 10")
    with pytest.raises(
        SystemExit, match=rf"{venv} is of Python 3\.10, not .*3\.13.* rm -rf {venv}"
    ):
        make_venv.check_venv(venv, pythons)
    assert venv.exists()


def test_an_environment_of_the_old_lists_is_named(tmp_path):
    venv = made(tmp_path / "venv", "3 12")
    (venv / "lib/python3.12/site-packages/tensorflow_text").mkdir(parents=True)
    with pytest.raises(SystemExit, match=f"older version of this project.* rm -rf {venv}"):
        make_venv.check_venv(venv, make_venv.PYTHONS)


def test_a_folder_that_is_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(SystemExit, match="no environment"):
        make_venv.check_venv(tmp_path, make_venv.PYTHONS)
    assert (tmp_path / "letter.txt").exists()


def test_what_pip_cannot_install_is_named_after_pips_own_words(tmp_path):
    venv = made(tmp_path / "venv")
    (venv / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(SystemExit, match=r"couldn't install requirements\.txt; .* no network"):
        make_venv.install(venv, "requirements.txt")


def test_the_lists_are_installed_with_hashes_and_tfod_without_dependencies(tmp_path, capfd):
    venv = made(tmp_path / "venv", '"$@"')
    make_venv.install(venv, "requirements.txt")
    make_venv.install(venv, make_venv.TFOD)
    first, second = capfd.readouterr().out.splitlines()
    assert first.endswith("--require-hashes -r requirements.txt")
    assert second.endswith("--require-hashes -r requirements/tfod.txt --no-deps --use-pep517")
