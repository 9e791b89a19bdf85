"""A data step that is interrupted continues where it was, and takes nothing half-made for whole."""

import itertools
import shutil

import kill_data_steps
import pytest

from lowlight.core import parallel
from lowlight.core.errors import DataError
from lowlight.dataset import conversion
from lowlight.dataset.conversion import ConversionOptions, convert_images
from lowlight.images import rgb_jpegs


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


def test_a_verified_conversion_is_made_again(tiny_exdark, tmp_path, encoded):
    convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    options = ConversionOptions(verify=True)
    again = convert_images(tiny_exdark / "ExDark", tmp_path / "images", options=options)
    assert (again.found, len(encoded)) == (0, 6)


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


def interrupt(tiny_exdark, folder, monkeypatch, count):
    """Interrupts a conversion behind so many images."""
    results = parallel.map_in_threads

    def interrupted(*given):
        yield from itertools.islice(results(*given), count)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "map_in_processes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert_images(tiny_exdark / "ExDark", folder)


def test_an_interrupted_conversion_continues_from_its_table(tiny_exdark, tmp_path, monkeypatch):
    interrupt(tiny_exdark, tmp_path / "images", monkeypatch, 5)
    assert convert_images(tiny_exdark / "ExDark", tmp_path / "images").found == 5


def test_a_conversion_writes_its_table_while_it_works(tiny_exdark, tmp_path, monkeypatch):
    written, write = [], conversion.write_texts
    monkeypatch.setattr(conversion, "_WRITTEN_EACH", 0)
    monkeypatch.setattr(
        conversion, "write_texts", lambda texts: written.append(len(texts)) or write(texts)
    )
    convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    assert written == [1] * 8 + [2]


def test_more_images_keep_what_an_interruption_left(tiny_exdark, tmp_path, monkeypatch):
    convert_images(tiny_exdark / "ExDark", tmp_path / "images")
    interrupt(tiny_exdark, tmp_path / "images", monkeypatch, 1)
    assert convert_images(tiny_exdark / "ExDark", tmp_path / "images").found == 8


def test_a_table_that_cannot_be_read_is_told(tiny_exdark, tmp_path):
    (tmp_path / "converted.csv").write_text("file,how\n")
    with pytest.raises(DataError, match=r"converted\.csv:1: no column orientation.*\n  Remove it"):
        convert_images(tiny_exdark / "ExDark", tmp_path)
