"""A data step that is interrupted goes on where it was, and takes nothing half-made for whole."""

import shutil

import kill_data_steps
import pytest

from lowlight.dataset.conversion import convert_images
from lowlight.dataset.tables import ConvertedRow, open_journal, read_journal
from lowlight.images import rgb_jpegs

ROW = ConvertedRow("Cat/a\n,b.png", "encoded", 1, "0" * 64, "f" * 64, "a" * 64)


def cut_journal(path, rows, rest=""):
    """Leaves a journal as an interrupted step does, with the beginning of a next line."""

    def step():
        with open_journal(path) as add:
            for row in rows:
                add(row)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step()
    with open(path, "a", encoding="latin-1") as file:
        file.write(rest)


def test_killed_at_random_moments_the_steps_end_with_the_bytes_of_a_quiet_run(tmp_path):
    killed, ends, files, differ = kill_data_steps.survive(tmp_path, kills=4)
    assert (killed.total(), files, differ) == (4, 93, [])
    assert ends >= 1


@pytest.fixture
def encoded(monkeypatch):
    """A list that grows by one with each image that is encoded."""
    calls = []
    encode = rgb_jpegs._encode
    monkeypatch.setattr(rgb_jpegs, "_encode", lambda *given: calls.append(1) or encode(*given))
    return calls


def test_a_conversion_run_again_converts_nothing(tiny_exdark, tmp_path, encoded):
    first = convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").glob("*.jpg")}
    again = convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    assert (first.found, again.found, len(encoded)) == (0, 8, 3)
    assert again._replace(found=0) == first
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


def test_a_verified_conversion_is_made_anew(tiny_exdark, tmp_path, encoded):
    convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    assert convert_images(tiny_exdark / "ExDark", tmp_path / "images", verify=True).found == 0
    assert len(encoded) == 6


@pytest.mark.parametrize("change", ["source", "image", "image removed"])
def test_what_changed_is_converted_again(tiny_exdark, tmp_path, change):
    convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    converted = tmp_path / "images/2015_00002.jpg"
    before = converted.read_bytes()
    if change == "source":
        shutil.copy(
            tiny_exdark / "ExDark/Bus/2015_00004.png", tiny_exdark / "ExDark/Boat/2015_00002.png"
        )
    elif change == "image":
        converted.write_bytes(before[:-1] + b"x")
    else:
        converted.unlink()
    again = convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    assert again.found == 7
    assert (converted.read_bytes() == before) is (change != "source")


def test_an_interrupted_conversion_goes_on_from_its_journal(tiny_exdark, tmp_path, encoded):
    folder = tmp_path / "images"
    done = convert_images(tiny_exdark / "ExDark", folder)
    (folder / "converted.csv").unlink()
    cut_journal(folder / ".converted.journal", done.rows[:5])
    assert convert_images(tiny_exdark / "ExDark", folder).found == 5
    assert not (folder / ".converted.journal").exists()


@pytest.mark.parametrize(
    "rest", ["", "Cat/c.png,enc", '\0\xff,"\n', "a,b\n", "a,kept,one,0,0\n"], ids=repr
)
def test_a_journal_gives_its_whole_rows_whatever_follows(tmp_path, rest):
    path = tmp_path / "journal"
    cut_journal(path, [ROW], rest)
    assert read_journal(path, ConvertedRow) == [ROW]


def test_a_journal_goes_on_behind_its_last_whole_line(tmp_path):
    path = tmp_path / "journal"
    cut_journal(path, [ROW], "Cat/c.png,enc")
    with open_journal(path) as add:
        add(ROW._replace(file="b"))
        assert [row.file for row in read_journal(path, ConvertedRow)] == [ROW.file, "b"]
    assert not path.exists()
