"""Workers of Ray find what run_inference.py finds, and lose nothing when they are killed."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checks import message_of, write_files
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.classes import format_label_map
from lowlight.inference import ray_inference

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_inference_ray.py"
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs requirements/ray.txt"
)
LISTS = ["class", "class_id", "score", "xmin", "ymin", "xmax", "ymax"]
NAMES = ["a b.png", "c.jpg", "turned.jpg"]
MANY = 40


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder with three images and a broken one, and the path of an output folder."""
    folder = tmp_path_factory.mktemp("in put")
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        image = Image.fromarray(rng.integers(0, 120, (90 + number, 140, 3), np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 6 if name == "turned.jpg" else 1
        image.save(folder / name, exif=exif)
    (folder / "broken.jpg").write_bytes((folder / "c.jpg").read_bytes()[:300])
    return folder, folder.parent / "out put"


def arguments(folders, model_dir):
    return [
        f"--input_dir={folders[0]}",
        f"--output_dir={folders[1]}",
        f"--model_dir={model_dir}",
        f"--label_map_path={model_dir.parent / 'label_map.txt'}",
    ]


@pytest.fixture(scope="module")
def first(folders, saved_model, run_script):
    """The first run, of three images and a broken one."""
    pytest.importorskip("ray", reason="needs requirements/ray.txt")
    return run_script("run_inference_ray.py", *arguments(folders, saved_model))


@pytest.mark.slow
def test_a_broken_image_is_named_and_the_others_are_done(folders, first):
    assert first.returncode == 1, first.stderr
    *progress, error, remedy, rest = first.stderr.splitlines()
    assert error.startswith(f"error: {folders[0]}/broken.jpg: damaged or cut short")
    assert rest == "The other 3 images are done."
    assert all(line.startswith("image ") for line in progress)  # and nothing of Ray's
    assert [line.split()[0] for line in first.stdout.splitlines()] == ["model:"]


@pytest.mark.slow
def test_what_is_found_is_what_run_inference_finds(
    folders, first, saved_model, run_forked, tmp_path
):
    done = run_forked(
        "run_inference.py",
        f"--images_folder_dir={folders[0]}",
        *arguments(folders, saved_model)[2:],
        "--save_detection=True",
        f"--save_path={tmp_path / 'drawn'}",
        "--gallery=False",
    )
    images = json.loads((tmp_path / "drawn" / "detections.json").read_text())["images"]
    assert [image["file"] for image in images] == NAMES, done.stderr
    frame = pd.read_parquet(folders[1])
    assert frame[["file", "width", "height"]].to_dict("records") == [
        {key: image[key] for key in ("file", "width", "height")} for image in images
    ]
    for row, image in zip(frame.to_dict("records"), images, strict=True):
        found = [
            {**dict(zip(LISTS[:3], values[:3], strict=True)), "box": list(values[3:])}
            for values in zip(*(row[name] for name in LISTS), strict=True)
        ]
        assert len(found) > 50
        assert found == image["detections"]


@pytest.mark.slow
def test_the_next_run_does_what_is_left_and_survives_a_killed_worker(folders, first, saved_model):
    folder, output = folders
    before = {path: path.read_bytes() for path in output.glob("part-*")}
    (folder / "broken.jpg").unlink()
    large = Image.open(folder / "c.jpg").resize((2400, 1800))
    large.save(folder / "large 0.jpg")
    for number in range(1, MANY):
        os.link(folder / "large 0.jpg", folder / f"large {number}.jpg")
    command = [sys.executable, SCRIPT, *arguments(folders, saved_model)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stderr.readline().startswith(f"image 1/{MANY}")
        os.kill(worker_of(process.pid), signal.SIGKILL)
        stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert "3 of them by an earlier run" in stdout
    assert "workers that died: 1; their images went to others" in stdout
    assert all(path.read_bytes() == data for path, data in before.items())
    frame = pd.read_parquet(output)
    assert sorted(frame.file) == sorted(
        [*NAMES, *(f"large {number}.jpg" for number in range(MANY))]
    )
    scores = frame[frame.file.str.startswith("large")].score
    assert len({tuple(row) for row in scores}) == 1


def worker_of(pid):
    """Returns the id of the process that holds the model, of those that a process has started."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (place / "cmdline").read_bytes().startswith(b"ray::Worker") and pid in ancestors(
                place
            ):
                return int(place.name)
    raise AssertionError("no worker")


def ancestors(place):
    """Yields the ids of the processes that a process of /proc descends from."""
    while place.name not in ("0", "1"):
        parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
        yield int(parent)
        place = place.parent / parent


@needs_ray
def test_workers_without_room_and_those_that_die_leave_the_images_to_others(monkeypatch):
    class Mortal:  # pickled whole: a worker can't import this module
        def __init__(self, job):
            self.job = job

        def detect(self, images):
            if ("fatal", "path") in images:
                os.abort()
            return images, {}

    monkeypatch.setattr(ray_inference, "Worker", Mortal)
    images = [(name, "path") for name in ("a", "fatal", "b", "c")]
    with ray_inference.connected(ray_inference.HERE) as ray:
        share = ray_inference.Share(int(ray.cluster_resources()["CPU"]) + 1, cores=1, gpus=0)
        found = list(ray_inference._results(ray, images, None, share, size=1))
    deaths = found.count(None)
    assert deaths == 1 + ray_inference._RETRIES
    done = [entries for entries, _ in filter(None, found)]
    assert sorted(done) == [[(name, "path")] for name in "abc"]


BAD_INPUT = {
    "no such folder": ("--input_dir=nowhere", "nowhere: no such folder", "--input_dir"),
    "no image": ("--input_dir=empty", "empty: holds no image", "--input_dir"),
    "output among the images": (
        "--output_dir=in/out",
        "in/out: lies in the folder of the images",
        "--output_dir",
    ),
    "a video": ("--input_dir=film.mp4", "film.mp4: is a video", "run_inference.py"),
    "output below a file": ("--output_dir=map.txt/x", "map.txt/x: Not a directory", "path"),
    "other classes": ("--model_dir=model", "map.txt: ids up to 1, but", "has 3 classes"),
}


@needs_ray
@pytest.mark.parametrize(("flag", "message", "remedy"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_told_before_anything_is_loaded(tmp_path, run_script, flag, message, remedy):
    files = {"film.mp4": "", "map.txt": format_label_map(["Cat"])}
    files["model/saved_model/saved_model.pb"] = ""
    files["model/pipeline.config"] = "model {\n  num_classes: 3\n}\n"
    write_files(tmp_path, files)
    for name in ("in", "empty"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "in" / "a.jpg")
    given = ["--input_dir=in", "--output_dir=out", "--model_dir=nowhere"]
    given += ["--label_map_path=map.txt", flag]  # of a flag the last counts
    told = message_of(run_script("run_inference_ray.py", *given, cwd=tmp_path))
    assert told.startswith(f"error: {message}")
    assert remedy in told


def test_without_ray_the_command_that_installs_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError, match=r"pip install -r requirements/ray\.txt"):
        ray_inference.load_ray()


def test_what_needs_pyarrow_is_imported_where_ray_is_known_to_be_there():
    check = "import sys; sys.modules['pyarrow'] = None; import lowlight.inference.ray_inference"
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parent)}
    subprocess.run([sys.executable, "-c", check], env=environment, check=True)


@needs_ray
def test_ray_reports_its_use_to_nobody(monkeypatch):
    from ray._common.usage import usage_lib

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")  # so that it is as it was afterwards
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    assert usage_lib.usage_stats_enabled()
    ray_inference.load_ray()
    assert not usage_lib.usage_stats_enabled()


@needs_ray
def test_a_ray_of_this_machine_asks_no_cloud_and_keeps_its_token_to_itself(monkeypatch):
    from ray._private import services

    monkeypatch.setattr(services, "start_api_server", services.start_api_server)  # restored so
    monkeypatch.setenv("RAY_AUTH_TOKEN", "restored, too")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    ray_inference._keep_private()
    assert services.start_api_server("its process looks clouds up") == (None, None)
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:9", "auto"])
def test_a_cluster_that_does_not_answer_is_named_though_ray_noted_its_address(
    tmp_path, monkeypatch, address
):
    from ray._private import services

    monkeypatch.setattr(services, "find_gcs_addresses", set)  # another test's may run
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    message = f"--address={address}: no Ray cluster can be used .* refused"
    with pytest.raises(DataError, match=message), ray_inference.connected(address):
        pass


def test_an_address_of_ray_client_is_refused_with_one_that_would_do():
    message = "ray://head:10001: Ray Client can't.*\n.*host:6379"
    with pytest.raises(DataError, match=message), ray_inference.connected("ray://head:10001"):
        pass


SHARES = {
    "two cores": ([(2, 0)], None, True, (1, 2, 0)),
    "one core": ([(1, 0)], None, True, (1, 1, 0)),
    "two cores for each of two": ([(4, 0)], None, True, (2, 2, 0)),
    "all cores for one": ([(8, 0)], 1, True, (1, 8, 0)),
    "a core for each": ([(8, 0)], 8, True, (8, 1, 0)),
    "two machines that five don't fill evenly": ([(8, 0), (8, 0)], 5, True, (5, 2, 0)),
    "a GPU each, and a share of the cores": ([(16, 4), (16, 4)], None, True, (8, 4, 1)),
    "machines without a GPU are left out": ([(16, 2), (64, 0)], None, True, (2, 8, 1)),
    "more GPUs than cores": ([(2, 4)], None, True, (2, 1, 1)),
    "GPUs that are not to be used": ([(4, 1)], None, False, (2, 2, 0)),
}


@pytest.mark.parametrize(("nodes", "workers", "use_gpus", "share"), SHARES.values(), ids=SHARES)
def test_cores_and_gpus_are_shared_out(nodes, workers, use_gpus, share):
    assert tuple(ray_inference.share_out(nodes, workers, use_gpus)) == share


@pytest.mark.parametrize(("node", "there"), [((2, 0), "2 cores"), ((64, 2), "2 GPUs and 64 cores")])
def test_more_workers_than_there_is_room_for_are_refused(node, there):
    with pytest.raises(DataError, match=f"--workers=3: too many for {there}"):
        ray_inference.share_out([node], 3)
