"""A file has its name when it is whole, and a folder has one writer at a time."""

import errno
import multiprocessing
import os
import tempfile
import threading

import pytest
from checks import refused

from lowlight.core.errors import DataError, name_some, raise_any
from lowlight.core.files import (
    existing_dir,
    existing_file,
    folder_beside,
    locked,
    output_dir,
    whole_file,
    whole_files,
    write_text,
)
from lowlight.core.json_files import DetectionLog


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_have_their_names_together_when_their_block_has_ended(tmp_path):
    with whole_files(tmp_path / "a", tmp_path / "b") as (partial, _):
        partial.write_text("new")
        assert names_in(tmp_path) == [".a.partial", ".b.partial"]
    assert names_in(tmp_path) == ["a", "b"]
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize("interruption", [DataError, KeyboardInterrupt, OSError, MemoryError])
def test_an_interrupted_block_leaves_the_old_files_and_nothing_else(tmp_path, interruption):
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    paths[0].write_text("old")

    def write_half():
        with whole_files(*paths) as (partial, _):
            partial.write_text("ha")
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert paths[0].read_text() == "old"
    assert names_in(tmp_path) == ["a.csv"]


@pytest.mark.parametrize(("others", "named"), [([], "a.csv"), (["b.csv"], "")])
def test_a_full_disk_has_the_final_name_and_keeps_the_old_file(tmp_path, others, named):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fill_disk():
        with whole_files(path, *(tmp_path / name for name in others)) as partials:
            partials[-1].unlink()
            partials[-1].symlink_to("/dev/full")
            partials[-1].write_text("new")

    with pytest.raises(OSError, match="No space left") as caught:
        fill_disk()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / named))
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["a.csv"]


@pytest.mark.parametrize(
    ("name", "error"), [("missing/a.csv", FileNotFoundError), ("folder", IsADirectoryError)]
)
def test_what_is_wrong_with_a_folder_has_the_final_name(tmp_path, name, error):
    (tmp_path / "folder").mkdir()
    with pytest.raises(error) as caught:
        write_text(tmp_path / name, "new")
    assert caught.value.filename == str(tmp_path / name)
    assert names_in(tmp_path) == ["folder"]


def test_what_a_killed_run_left_is_written_over(tmp_path):
    (tmp_path / ".a.csv.partial").write_text("of a killed run, and longer")
    write_text(tmp_path / "a.csv", "Caf\u00e9\n")
    assert (tmp_path / "a.csv").read_bytes() == b"Caf\xc3\xa9\n"  # as UTF-8 with LF
    assert names_in(tmp_path) == ["a.csv"]


@pytest.mark.parametrize("durable", [True, False])
def test_no_link_is_followed_to_another_file(tmp_path, durable):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for name in ("a.csv", ".a.csv.partial", ".lock", "log"):
        (tmp_path / name).symlink_to(mine)
    with whole_file(tmp_path / "a.csv", durable) as partial:
        partial.write_text("new")
    assert (tmp_path / "a.csv").read_text() == "new"
    assert not (tmp_path / "a.csv").is_symlink()
    with pytest.raises(OSError, match="symbolic link"), locked(tmp_path):
        pass
    with pytest.raises(OSError, match="symbolic link"):
        DetectionLog(tmp_path / "log", "")
    assert mine.read_text() == "mine"


def test_a_name_as_long_as_names_may_be_is_written(tmp_path):
    write_text(tmp_path / ("a" * 255), "new")
    assert names_in(tmp_path) == ["a" * 255]


def test_a_whole_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: calls.append("fsync") or fsync(number))
    monkeypatch.setattr(os, "replace", lambda *given: calls.append("rename") or replace(*given))
    write_text(tmp_path / "a.csv", "new")
    assert calls == ["fsync", "rename", "fsync"]  # the file's, then its folder's


WRONG_KINDS = [
    (existing_dir, "missing", "no such folder.\n  Check --data_dir."),
    (existing_dir, "file", "is a file, not a folder.\n  Check --data_dir."),
    (existing_file, "missing", "no such file.\n  data_dir"),
    (existing_file, "folder", "is a folder, not a file.\n  data_dir"),
]


@pytest.mark.parametrize(("check", "name", "message"), WRONG_KINDS)
def test_what_is_no_folder_or_no_file_is_refused_with_the_remedy(tmp_path, check, name, message):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with refused(f"{tmp_path / name}: {message}"):
        check(str(tmp_path / name), "data_dir")
    good = tmp_path / ("folder" if check is existing_dir else "file")
    assert check(str(good), "data_dir") == good


def test_an_output_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EROFS, "Read-only file system", "tmp8s9d")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OSError, match="Read-only") as caught:
        output_dir(tmp_path)
    assert caught.value.filename == str(tmp_path)


# Locks. -------------------------------------------------------------------------------------------


def _hold(folder, connection):
    with locked(folder, "written", "save_path"):
        connection.send("held")
        connection.recv()


@pytest.fixture
def holder(tmp_path):
    """(a process that holds the folder's lock, a connection whose message ends it)."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() == "held"
    yield process, ours
    process.kill()
    process.join()


def test_a_folder_that_another_process_holds_is_refused_until_it_ends(tmp_path, holder):
    process, _ = holder
    message = f"is being written already, by process {process.pid} on .*\n.*--save_path"
    with pytest.raises(DataError, match=message), locked(tmp_path, "written", "save_path"):
        pass
    process.kill()
    process.join()
    with locked(tmp_path):  # what the killed one left locks nothing
        pass
    assert names_in(tmp_path) == []


def test_who_waits_gets_the_folder_when_the_other_lets_go(tmp_path, holder, capsys):
    process, connection = holder
    threading.Timer(0.3, connection.send, ["let go"]).start()
    with locked(tmp_path, "scored", "output_dir", waits=True):
        process.join()
    assert f"is being scored by process {process.pid} on " in capsys.readouterr().out


def test_a_folder_beside_is_begun_empty_by_one_process_and_gone_at_the_end(tmp_path):
    left = tmp_path / ".run.partial" / "whole" / "left by a killed process"
    left.mkdir(parents=True)
    with folder_beside(tmp_path / "run", "made", "output_dir") as partial:
        assert names_in(partial) == []
        beside = folder_beside(tmp_path / "run", "made", "output_dir")
        with pytest.raises(DataError, match="is being made already, by .*\n.*--output_dir"), beside:
            pass
        write_text(partial / "a.txt", "a")
        os.replace(partial, tmp_path / "run")
    assert names_in(tmp_path) == ["run"]
    with pytest.raises(KeyError), folder_beside(tmp_path / "b", "made"):
        raise KeyError
    assert names_in(tmp_path) == ["run"]


# What errors say. ---------------------------------------------------------------------------------


def test_errors_are_joined_up_to_twenty():
    raise_any([], "Nothing was read.")
    with pytest.raises(DataError, match="^a\nb\nThe others are done.$"):
        raise_any([DataError("a"), DataError("b")], "The others are done.")
    with pytest.raises(DataError) as many:
        raise_any([DataError(str(i)) for i in range(23)])
    assert str(many.value).split("\n") == [*map(str, range(20)), "... and 3 more like these."]


def test_five_names_are_shown_and_the_others_counted():
    assert name_some("a") == "a"
    assert name_some("abcde") == "a, b, c, d, e"
    assert name_some(dict.fromkeys("abcdefg")) == "a, b, c, d, e and 2 more"
