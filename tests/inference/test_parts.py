"""What was found is kept in Parquet files, each whole, which say how it was made."""

import pandas as pd
import pytest

from lowlight.core.errors import DataError
from lowlight.inference.parts import DetectionParts

CAT = {"class": "Cat", "class_id": 1, "score": 0.75, "box": [1.5, 2.0, 9.0, 8.5]}
DOG = {"class": "Dog", "class_id": 2, "score": 0.5, "box": [0.0, 0.0, 3.0, 4.0]}
IDENTITY = {"model": "m", "thresholds": {1: 0.3}}
LISTS = ["class", "class_id", "score", "xmin", "ymin", "xmax", "ymax"]


def image(name, *found, seen=(7, 8)):
    entry = {"file": name, "width": 20, "height": 10, "seen": seen and list(seen)}
    return [entry | {"detections": list(found)}]


@pytest.fixture
def folder(tmp_path):
    """Two parts: a and b, and in the second c."""
    parts = DetectionParts(tmp_path, IDENTITY)
    parts.collect(image("b.jpg"))
    parts.collect(image("a.jpg", CAT, DOG))
    parts.close()
    parts.add(image("c.jpg", DOG))
    return tmp_path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_pandas_reads_a_row_an_image_and_explodes_it_to_a_row_a_detection(folder):
    frame = pd.read_parquet(folder)
    assert frame.file.tolist() == ["a.jpg", "b.jpg", "c.jpg"]
    assert {key: getattr(v, "tolist", lambda v=v: v)() for key, v in frame.iloc[0].items()} == {
        "file": "a.jpg",
        "width": 20,
        "height": 10,
        "size": 7,
        "mtime_ns": 8,
        "class": ["Cat", "Dog"],
        "class_id": [1, 2],
        "score": [0.75, 0.5],
        "xmin": [1.5, 0.0],
        "ymin": [2.0, 0.0],
        "xmax": [9.0, 3.0],
        "ymax": [8.5, 4.0],
    }
    rows = frame.explode(LISTS).dropna(subset="class")
    assert rows[["file", "class", "ymax"]].to_numpy().tolist() == [
        ["a.jpg", "Cat", 8.5],
        ["a.jpg", "Dog", 4.0],
        ["c.jpg", "Dog", 4.0],
    ]


def test_the_next_run_knows_what_is_done(folder):
    parts = DetectionParts(folder, IDENTITY)
    assert parts.done() == dict.fromkeys(["a.jpg", "b.jpg", "c.jpg"], [7, 8])
    assert (parts.count(), parts.broken) == (3, [])
    parts.add(image("in.zip", seen=None))
    assert DetectionParts(folder, IDENTITY).done()["in.zip"] is None
    assert names_in(folder) == [f"part-0000{number}.parquet" for number in range(3)]


def test_what_is_taken_out_leaves_the_rest_as_it_was(folder):
    parts = DetectionParts(folder, IDENTITY)
    parts.remove(["a.jpg", "c.jpg"])
    assert names_in(folder) == ["part-00000.parquet"]
    assert pd.read_parquet(folder).file.tolist() == ["b.jpg"]
    assert DetectionParts(folder, IDENTITY).done() == {"b.jpg": [7, 8]} == parts.done()


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_part_that_is_not_whole_counts_as_not_done(folder, size):
    path = folder / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:size])
    parts = DetectionParts(folder, IDENTITY)
    assert parts.broken == ["part-00001.parquet"]
    assert set(parts.done()) == {"a.jpg", "b.jpg"}
    assert names_in(folder) == [".part-00001.parquet.broken", "part-00000.parquet"]


def test_what_a_killed_run_was_writing_is_no_part(folder):
    (folder / "part-00001.parquet").rename(folder / ".part-00001.parquet.partial")
    parts = DetectionParts(folder, IDENTITY)
    assert set(parts.done()) == {"a.jpg", "b.jpg"} == set(pd.read_parquet(folder).file)
    parts.add(image("c.jpg"))
    assert names_in(folder) == ["part-00000.parquet", "part-00001.parquet"]


def test_detections_made_in_another_way_are_not_mixed_with_these(folder):
    with pytest.raises(DataError, match=r"part-00000.parquet: made with another thresholds\.\n"):
        DetectionParts(folder, IDENTITY | {"thresholds": {1: 0.5}})


def test_a_parquet_file_of_another_program_is_left_alone(tmp_path):
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "part-00000.parquet")
    with pytest.raises(DataError, match="part-00000.parquet: made with another model, thresholds"):
        DetectionParts(tmp_path, IDENTITY)
    assert names_in(tmp_path) == ["part-00000.parquet"]
