import multiprocessing

import pytest

from lowlight.core.errors import DataError
from lowlight.core.files import locked


def hold(folder, connection):
    with locked(folder, "written", "save_path"):
        connection.send("held")
        connection.recv()


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
