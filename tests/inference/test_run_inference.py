"""run_inference.py refuses bad flags before it loads a model."""

import pytest
from checks import message_of, write_files
from PIL import Image

from lowlight.dataset.classes import format_label_map

REFUSED = {
    "no such folder": (["--images_folder_dir=nowhere"], "nowhere: no such folder"),
    "empty folder": (["--images_folder_dir=empty"], "empty: holds no image"),
    "no label map": (["--label_map_path=map.txt"], "map.txt: no such file"),
    "label map without items": (["--label_map_path=a.txt"], "a.txt:1: not a label map"),
    "no save_path": (["--save_path="], "missing flag --save_path"),
    "save_path of the images": (["--save_path=in"], "in: "),
    "save_path below a file": (["--save_path=a.txt/x"], "a.txt/x: Not a directory"),
    "crops of a video": (["--images_folder_dir=a.mp4", "--crops"], "a.mp4: --crops are for images"),
    "more of a video": (
        ["--images_folder_dir=a.mp4", "--gif", "--recursive"],
        "a.mp4: --gif, --recursive are for images",
    ),
    "COCO's form of a video": (
        ["--images_folder_dir=a.mp4", "--format=coco"],
        "a.mp4: --format=coco are for images",
    ),
    "frames of images": (["--every=2"], "--every=2: "),
}


@pytest.mark.parametrize(("flags", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_flags_are_refused_before_a_model_is_loaded(tmp_path, run_script, flags, message):
    texts = {"a.txt": "dear", "a.mp4": "", "label_map.txt": format_label_map()}
    write_files(tmp_path, texts)
    for name in ("in", "empty"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "a.jpg")
    given = ["--images_folder_dir=in", "--model_dir=nowhere", "--label_map_path=label_map.txt"]
    given += ["--save_detection=True", "--save_path=out", *flags]  # of a flag the last counts
    done = run_script("run_inference.py", *given, cwd=tmp_path)
    assert message_of(done).startswith(f"error: {message}")
    assert done.stdout == ""
