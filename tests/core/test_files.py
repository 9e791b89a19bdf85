import errno
import os
import tempfile

import pytest

from lowlight.core.errors import DataError, format_count, join_errors, name_some
from lowlight.core.files import (
    existing_dir,
    existing_file,
    output_dir,
    whole_file,
    whole_files,
    write_text,
)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_only_when_its_block_has_ended(tmp_path):
    path = tmp_path / "a.csv"
    with whole_file(path) as partial:
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("interruption", [DataError, KeyboardInterrupt, OSError, MemoryError])
def test_an_interrupted_block_leaves_the_old_file_and_nothing_else(tmp_path, interruption):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def write_half():
        with whole_file(path) as partial:
            partial.write_text("ha")
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.csv"]


def test_several_files_appear_together_or_not_at_all(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]

    def write_one_of_two():
        with whole_files(*paths) as (a, _):
            a.write_text("whole")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_one_of_two()
    assert names_in(tmp_path) == []
    with whole_files(*paths) as partials:
        for partial in partials:
            partial.touch()
    assert names_in(tmp_path) == ["a", "b"]


def test_a_full_disk_is_told_under_the_final_name_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fill_disk(*paths):
        with whole_files(*paths) as partials:
            partials[-1].unlink()
            partials[-1].symlink_to("/dev/full")
            partials[-1].write_text("new")

    for paths, named in (([path], path), ([path, tmp_path / "b.csv"], tmp_path)):
        with pytest.raises(OSError, match="No space left") as caught:
            fill_disk(*paths)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(named))
        assert path.read_text() == "old"
        assert names_in(tmp_path) == ["a.csv"]


def test_a_missing_folder_is_told_under_the_final_name(tmp_path):
    path = tmp_path / "missing" / "a.csv"
    with pytest.raises(FileNotFoundError) as caught:
        write_text(path, "new")
    assert caught.value.filename == str(path)


def test_a_folder_in_the_way_is_told_under_the_final_name(tmp_path):
    path = tmp_path / "a.csv"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_text(path, "new")
    assert caught.value.filename == str(path)
    assert names_in(tmp_path) == ["a.csv"]


def test_what_a_killed_run_left_is_written_over(tmp_path):
    with whole_file(tmp_path / "a.csv") as partial:
        partial.touch()
    partial.write_text("of a killed run, and longer")
    write_text(tmp_path / "a.csv", "new")
    assert (tmp_path / "a.csv").read_text() == "new"
    assert names_in(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("durable", [True, False])
def test_no_link_is_followed_to_another_file(tmp_path, durable):
    (tmp_path / "mine").write_text("mine")
    for name in ("a.csv", ".a.csv.partial"):
        (tmp_path / name).symlink_to(tmp_path / "mine")
    with whole_file(tmp_path / "a.csv", durable) as partial:
        partial.write_text("new")
    assert (tmp_path / "a.csv").read_text() == "new"
    assert not (tmp_path / "a.csv").is_symlink()
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_name_as_long_as_names_may_be_is_written(tmp_path):
    write_text(tmp_path / ("a" * 255), "new")
    assert names_in(tmp_path) == ["a" * 255]


def test_a_whole_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: calls.append("fsync") or fsync(number))
    monkeypatch.setattr(os, "replace", lambda *given: calls.append("rename") or replace(*given))
    write_text(tmp_path / "a.csv", "new")
    assert calls == ["fsync", "rename", "fsync"]  # the file's, then its folder's


def test_text_is_utf8_with_lf(tmp_path):
    write_text(tmp_path / "a.csv", "Caf\u00e9\n")
    assert (tmp_path / "a.csv").read_bytes() == b"Caf\xc3\xa9\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("missing", "no such folder.\n  Check --data_dir.", id="missing"),
        pytest.param("file", "is a file, not a folder.\n  Check --data_dir.", id="a file"),
    ],
)
def test_what_is_no_folder_is_refused_with_its_flag(tmp_path, name, message):
    (tmp_path / "file").touch()
    with pytest.raises(DataError) as caught:
        existing_dir(str(tmp_path / name), "data_dir")
    assert str(caught.value) == f"{tmp_path / name}: {message}"
    assert existing_dir(str(tmp_path), "data_dir") == tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("missing", "no such file.\n  Make it.", id="missing"),
        pytest.param("folder", "is a folder, not a file.\n  Make it.", id="a folder"),
    ],
)
def test_what_is_no_file_is_refused_with_the_remedy(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(DataError) as caught:
        existing_file(str(tmp_path / name), "Make it.")
    assert str(caught.value) == f"{tmp_path / name}: {message}"
    assert existing_file(str(tmp_path / "file"), "Make it.") == tmp_path / "file"


def test_an_output_folder_is_made_with_its_parents_and_left_empty(tmp_path):
    folder = output_dir(str(tmp_path / "a" / "b"))
    assert folder == tmp_path / "a" / "b"
    assert names_in(folder) == []
    assert output_dir(folder) == folder


def test_an_output_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EROFS, "Read-only file system", "tmp8s9d")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OSError, match="Read-only") as caught:
        output_dir(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_errors_are_told_together_up_to_twenty():
    few = join_errors([DataError("a"), DataError("b")], "The others are done.")
    assert str(few) == "a\nb\nThe others are done."
    many = str(join_errors([DataError(str(i)) for i in range(23)])).split("\n")
    assert many == [*map(str, range(20)), "... and 3 more like these."]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "a"),
        (["a", "b", "c", "d", "e"], "a, b, c, d, e"),
        ({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1}, "a, b, c, d, e and 2 more"),
    ],
)
def test_five_names_are_shown_and_the_others_counted(names, text):
    assert name_some(names) == text


def test_a_count_of_one_is_singular():
    counts = (0, "box"), (1, "box"), (2, "box"), (1, "image"), (2, "image")
    assert [format_count(*count) for count in counts] == [
        "0 boxes",
        "1 box",
        "2 boxes",
        "1 image",
        "2 images",
    ]
