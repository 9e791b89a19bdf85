"""ExDark's data go out as a COCO file and come back unchanged."""

import json

import pytest

from lowlight.core.files import locked
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.coco import import_coco
from lowlight.dataset.labels import Fitting


@pytest.fixture
def export(data_dir, run_script):
    """Writes a part of data_dir's data as out.json beside its tables."""

    def run(split):
        flags = f"--split={split}", f"--output={data_dir}/out.json"
        return run_script("export_labels.py", "--format=coco", f"--data_dir={data_dir}", *flags)

    return run


@pytest.mark.parametrize("classes", [CLASSES, ("street lamp", *reversed(CLASSES))])
def test_annotations_and_classes_come_back_from_coco_byte_for_byte(data_dir, export, classes):
    text = "".join(f"{name}\n" for name in classes)
    if classes != CLASSES:
        (data_dir / "classes.txt").write_text(text)
    run = export("all")
    assert (run.returncode, run.stderr) == (0, "")
    back = import_coco(data_dir / "out.json", Fitting(data_dir / "images")).write(data_dir / "back")
    assert (back / "annotations.csv").read_bytes() == (data_dir / "annotations.csv").read_bytes()
    assert (back / "classes.txt").read_text() == text
    assert (back / "images.csv").read_text().count("\n") == 9


@pytest.mark.parametrize(
    ("split", "counts"), [("train", (6, 7)), ("test", (2, 1)), ("all", (8, 8))]
)
def test_a_part_is_written(data_dir, export, split, counts):
    path = data_dir / "out.json"
    boxes = "1 box" if counts[1] == 1 else f"{counts[1]} boxes"
    assert export(split).stdout == f"{path}: {counts[0]} images, {boxes}, 12 classes\n"
    whole = json.loads(path.read_text())
    assert (len(whole["images"]), len(whole["annotations"])) == counts


@pytest.mark.parametrize(
    ("missing", "split", "message"),
    [
        (
            None,
            "val",
            "split.csv: no image is in 'val'; there are: test, train.\n  Choose another --split",
        ),
        ("split.csv", "test", "split.csv: no such file.\n  make_tfrecords.py writes"),
        ("images.csv", "all", "images.csv: no such file.\n  "),
    ],
)
def test_a_part_that_is_not_there_is_refused_and_nothing_written(
    data_dir, export, missing, split, message
):
    if missing:
        (data_dir / missing).unlink()
    run = export(split)
    assert run.returncode == 1
    assert run.stderr.startswith(f"error: {data_dir}/{message}")
    assert not (data_dir / "out.json").exists()


def test_a_folder_that_another_step_writes_is_left_alone(data_dir, export, run_script):
    """All four scripts that write beside the tables take the folder's lock."""
    raw, back = data_dir.parent, data_dir / "back"
    back.mkdir()
    export("all")
    images = f"--images_dir={data_dir}/images"
    commands = (
        ("export_labels.py", "--format=coco", f"--data_dir={data_dir}", f"--output={back}/a.json"),
        (
            "import_labels.py",
            "--format=coco",
            f"--labels={data_dir}/out.json",
            images,
            f"--output_dir={back}",
        ),
        ("describe_data.py", f"--data_dir={data_dir}", f"--output={back}/a.html"),
        (
            "make_annotations_csv.py",
            f"--annotations={raw}/ExDark_Annno",
            images,
            f"--output_dir={back}",
        ),
    )
    with locked(back):
        for command in commands:
            done = run_script(*command)
            assert (done.returncode, done.stdout) == (1, "")
            assert f"error: {back}: is being written already, by process" in done.stderr
    assert list(back.iterdir()) == []
