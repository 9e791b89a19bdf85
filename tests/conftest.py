"""What several tests share: a tiny ExDark, the real one, scripts run as users run them, a model."""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import forked
import pytest
from browser import COMMAND, Browser
from checks import write_files
from pictures import encode, rotation
from PIL import Image
from small_model import export_small_model

from lowlight.core.tensorflow import prepare_tensorflow
from lowlight.dataset.annotations import gather_annotations
from lowlight.dataset.conversion import convert_images

prepare_tensorflow()  # before a test imports it
os.environ.pop("PYTHONUNBUFFERED", None)  # users have none, and it hides what isn't printed in time
# A shell's background job ignores Ctrl-C, and what it starts would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup
ROOT = Path(__file__).parents[1]
_REAL_PARTS = "ExDark", "ExDark_Annno.zip", "imageclasslist.txt", "image_sizes.csv"

# Image, colour mode, width, height, what is odd about it, its boxes as bbGt lines.
_TINY = (
    ("Bicycle/2015_00001.jpg", "RGB", 40, 30, "", ["Bicycle 4 5 20 15", "People 30 2 8 24"]),
    ("Boat/2015_00002.png", "RGBA", 36, 24, "", ["Boat -2 6 20 10"]),
    ("Bottle/2015_00003.png", "L", 24, 36, "", ["Bottle 2 3 10 33"]),
    ("Bus/2015_00004.png", "P", 48, 32, "", ["Bus 8 8 32 16"]),
    ("Cat/2015_00005.JPG", "RGB", 40, 30, "annotation in lower case", ["Cat 10 10 12 14"]),
    ("Dog/2015_00006.jpeg", "RGB", 40, 20, "EXIF rotation", ["Dog 25 2 15 16"]),
    ("Motorbike/2015_00007.JPEG", "RGB", 32, 32, "", []),
    ("Table/2015_00008.jpg", "RGB", 32, 24, "no end marker", ["Chair 1 2 14 20"]),
)
_IMAGE_LIST = """\
Name | Class | Light | In/Out | Train/Val/Test
2015_00001.jpg 1 1 2 1
2015_00002.png 2 10 2 2
2015_00003.png 3 3 1 3
2015_00004.png 4 6 2 1
2015_00005.JPG 6 7 1 2
2015_00006.jpeg 9 4 2 3
2015_00007.JPEG 10 5 2 1
2015_00008.jpg 12 2 1 1
"""
_STRAYS = (
    "ExDark/.DS_Store",
    "ExDark/Bicycle/._2015_00001.jpg",
    "ExDark/Boat/2015_00002.png~",
    "ExDark_Annno/Boat/._2015_00002.png.txt",
)


def _is_slow(path):
    return path.suffix == ".py" and "\npytestmark = pytest.mark.slow\n" in path.read_text()


def pytest_ignore_collect(collection_path, config):
    """Leaves a file of slow tests, which imports TensorFlow, unread where none is asked for."""
    return config.option.markexpr == "not slow" and _is_slow(collection_path) or None


def pytest_pycollect_makemodule(module_path):
    """Repairs TFOD for a file of slow tests: it may import `object_detection` as any package."""
    if _is_slow(module_path):
        importlib.import_module("lowlight.tfod")


def pytest_collection_modifyitems(items):
    """Puts files with slow tests first, so that no process is at them when the others have none."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_runtest_setup(item):
    """Repairs TFOD for the slow tests of other files, which import it themselves."""
    if item.get_closest_marker("slow"):
        importlib.import_module("lowlight.tfod")


@pytest.fixture
def tiny_exdark(tmp_path):
    """Eight images as ExDark's authors hand theirs out, with each irregularity of the real set.

    Of the images 4 are RGB JPEGs, 1 is one without its end marker, and 3 are PNGs (RGBA, L, P).
    There are 8 boxes of 8 classes; one reaches 2 px outside on the left, and 2015_00007 has none.
    Table/2015_00008 holds no table. By the list 4 images are for training, 2 for validation and
    2 for testing. Four stray files lie about.
    """
    files = dict.fromkeys(_STRAYS, "stray")
    files["imageclasslist.txt"] = _IMAGE_LIST.replace("\n", "\r\n")
    for name, mode, width, height, oddity, boxes in _TINY:
        files[f"ExDark/{name}"] = _image_bytes(mode, width, height, Path(name).suffix, oddity)
        text_name = name.replace("JPG", "jpg") if oddity == "annotation in lower case" else name
        lines = ["% bbGt version=3", *(f"{box} 0 0 0 0 0 0 0" for box in boxes)]
        files[f"ExDark_Annno/{text_name}.txt"] = "".join(f"{line}\n" for line in lines)
    return write_files(tmp_path / "tiny", files)


def _image_bytes(mode, width, height, suffix, oddity):
    """Returns a gradient: each pixel differs from its neighbours, so that a turn is noticed."""
    across, down = Image.linear_gradient("L").rotate(90), Image.linear_gradient("L")
    image = Image.merge("RGB", (across, down, across.rotate(180))).resize((width, height))
    if mode == "RGBA":
        image.putalpha(down.resize((width, height)))
    options = {"exif": rotation()} if oddity == "EXIF rotation" else {}
    data = encode(image.convert(mode), "PNG" if suffix == ".png" else "JPEG", **options)
    return data[: -2 if oddity == "no end marker" else None]


@pytest.fixture
def tiny_data(tiny_exdark):
    """tiny_exdark as far as make_annotations_csv.py brings it."""
    data = tiny_exdark / "data"
    convert_images(tiny_exdark / "ExDark", data / "images")
    image_list = tiny_exdark / "imageclasslist.txt"
    found = gather_annotations(tiny_exdark / "ExDark_Annno", data / "images", image_list)
    found.write(data)
    (data / "problems.csv").unlink()
    return data


@pytest.fixture
def browser(tmp_path):
    """A Browser, headless Chromium, with one empty page."""
    if COMMAND is None:
        pytest.skip("needs chromium on the PATH")
    browser = Browser(tmp_path / "profile")
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def exdark_root():
    """The folder with the real ExDark, or a part of it: ExDark/ and the three files beside it."""
    folder = os.environ.get("EXDARK_ROOT")
    if not folder:
        pytest.skip(f"needs ExDark: set EXDARK_ROOT to a folder with {', '.join(_REAL_PARTS)}")
    missing = [part for part in _REAL_PARTS if not Path(folder, part).exists()]
    assert not missing, f"EXDARK_ROOT={folder} lacks {', '.join(missing)}"
    return Path(folder)


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory):
    """The path of a small exported model beside its label map, which tests leave as they are."""
    return export_small_model(tmp_path_factory.mktemp("an export"))


@pytest.fixture(scope="session")
def run_script():
    """Runs scripts/<name>, or run_inference.py, as a user does; returns the CompletedProcess.

    run_script("convert_images.py", "--input_dir=..."); cwd is the project's.
    """

    def run(name, *arguments, cwd=None):
        cwd = cwd or ROOT
        script = ROOT / name if name == "run_inference.py" else ROOT / "scripts" / name
        return subprocess.run(
            [sys.executable, os.path.relpath(script, cwd), *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def run_forked(tmp_path_factory):
    """The same for a script that loads TensorFlow, which is there from the beginning."""
    return lambda *given: forked.run(tmp_path_factory.mktemp("printed"), *given)
