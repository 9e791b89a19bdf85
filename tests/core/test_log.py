"""An interrupted evaluation goes on from the images that are whole in its log."""

import json

import pytest

from lowlight.core.json_files import DetectionLog, fingerprint

LINES = [{"file": "a.jpg", "found": []}, {"file": "b.jpg", "found": [[1, 2.5]]}]


@pytest.fixture
def path(tmp_path):
    with DetectionLog(tmp_path / "scored.jsonl", "model 1") as log:
        for line in LINES:
            log.add(line)
    return tmp_path / "scored.jsonl"


def test_the_order_of_a_dicts_keys_says_nothing(tmp_path):
    for identity, known in (({"a": 1, "b": 2}, []), ({"b": 2, "a": 1}, LINES)):
        with DetectionLog(tmp_path / "log", identity) as log:
            assert list(log.images.values()) == known
            for line in LINES:
                log.add(line)


def test_another_model_begins_from_the_start(path):
    with DetectionLog(path, "model 2") as log:
        assert log.images == {}
    assert path.read_text() == '{"identity": "model 2"}\n'


def test_wherever_the_file_was_cut_only_whole_lines_count_and_the_rest_is_written_over(path):
    data = path.read_bytes()
    head = data.index(b"\n") + 1
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        with DetectionLog(path, "model 1") as log:
            assert len(log.images) == (data[:length].count(b"\n") - 1 if length >= head else 0)
            log.add({"file": "c.jpg"})
        lines = path.read_bytes().split(b"\n")
        assert lines.pop() == b""
        assert [json.loads(line) for line in lines][-1] == {"file": "c.jpg"}


def test_a_line_of_something_else_ends_what_counts(path):
    with open(path, "ab") as file:
        file.write(b'[1]\n{"file": "d.jpg"}\n')
    with DetectionLog(path, "model 1") as log:
        assert list(log.images) == ["a.jpg", "b.jpg"]


def test_a_fingerprint_tells_files_written_anew(tmp_path):
    (tmp_path / "ckpt-1.index").write_text("one")
    before = fingerprint([tmp_path / "ckpt-1.index"])
    assert fingerprint([tmp_path / "ckpt-1.index"]) == before
    (tmp_path / "ckpt-1.index").write_text("more")
    assert fingerprint([tmp_path / "ckpt-1.index"]) != before
