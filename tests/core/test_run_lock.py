import multiprocessing
import threading

import pytest

from lowlight.core.errors import DataError
from lowlight.core.files import locked
from lowlight.core.log import DetectionLog


def hold(folder, connection):
    with locked(folder, "written", "save_path"):
        connection.send("held")
        connection.recv()


def test_a_lock_and_a_log_follow_no_link(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for name in (".lock", "log"):
        (tmp_path / name).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic link"), locked(tmp_path):
        pass
    with pytest.raises(OSError, match="symbolic link"):
        DetectionLog(tmp_path / "log", "")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_folder_that_another_process_holds_is_refused_until_it_ends(tmp_path):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() == "held"
    message = f"is being written already, by process {process.pid} on .*\n.*--save_path"
    with pytest.raises(DataError, match=message), locked(tmp_path, "written", "save_path"):
        pass
    process.kill()
    process.join()
    with locked(tmp_path):  # what the killed one left locks nothing
        pass
    assert list(tmp_path.iterdir()) == []


def test_who_waits_gets_the_folder_when_the_other_lets_go(tmp_path, capsys):
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() == "held"
    threading.Timer(0.3, ours.send, ["let go"]).start()
    with locked(tmp_path, "scored", "output_dir", waits=True):
        process.join()
    assert f"is being scored by process {process.pid} on " in capsys.readouterr().out
