"""run_inference.py refuses bad flags before it loads a model."""

import subprocess
import sys
from pathlib import Path

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


def test_an_engine_that_is_not_installed_is_told_before_anything_is_listed_or_made(tmp_path):
    code = (
        "import runpy, sys; sys.modules['openvino'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    given = ["--images_folder_dir=nowhere", "--model_dir=none", "--engine=openvino"]
    given += ["--save_detection=True", "--save_path=out"]
    script = Path(__file__).parents[2] / "run_inference.py"
    command = [sys.executable, "-c", code, str(script), *given]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert message_of(done).startswith("error: --engine=openvino: the package isn't installed.")
    assert list(tmp_path.iterdir()) == []
