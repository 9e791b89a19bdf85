"""An exported ONNX file is a model by itself; what is no such file is refused with its reason."""

import json
import re
import shutil

import numpy as np
import pytest
from checks import message_of
from onnx_model import (
    NAMES,
    SIDE,
    SOURCE,
    infer_without_tensorflow,
    picture_with_a_square,
    write_onnx_model,
)
from PIL import Image
from small_model import NEEDS_ONNX

from lowlight.core.errors import DataError
from lowlight.dataset.classes import format_label_map
from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.dataset.writing import write_records
from lowlight.detector import engines
from lowlight.detector.detector import Detector
from lowlight.detector.onnx_files import read_facts
from lowlight.detector.runs import find_model

pytestmark = NEEDS_ONNX


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("an ONNX file")
    return write_onnx_model(folder / "model.onnx", NAMES, SOURCE)


@pytest.mark.parametrize("part", ["model.onnx", ""], ids=["a file", "its folder"])
@pytest.mark.parametrize("engine", [None, "auto", "onnxruntime"])
def test_a_file_by_itself_is_a_model(onnx_file, part, engine):
    detector = Detector(onnx_file.parent / part, engine=engine)
    found = detector.detect(picture_with_a_square())
    assert detector.engine == "onnxruntime"
    np.testing.assert_allclose(found.boxes, [[8, 16, 16, 24]], atol=1e-4)
    assert found.classes.tolist() == [1]
    np.testing.assert_allclose(found.scores, [0.8], atol=1e-6)
    assert Detector(onnx_file, most=1, most_iou=0.1).detect(picture_with_a_square())


def test_a_file_says_what_it_was_made_from_and_what_its_classes_are(onnx_file):
    model, facts = find_model(onnx_file), read_facts(onnx_file)
    assert (model.step(), model.num_classes(), facts.names) == (7, 3, NAMES)
    assert model.files() == [onnx_file]


@pytest.mark.slow
def test_a_file_is_scored_on_records_like_any_model(onnx_file, tmp_path):
    from lowlight.evaluation.evaluation import evaluate_model
    from lowlight.evaluation.scoring import ScoringOptions

    Image.fromarray(picture_with_a_square()).save(tmp_path / "a.jpg", quality=95, subsampling=0)
    box = AnnotationRow("a.jpg", SIDE, SIDE, "Red", 8, 16, 16, 24)
    entries, records = [(ImageRow("a.jpg", "", SIDE, SIDE), [box])], tmp_path / "test.tfrecord"
    ids = {name: number for number, name in NAMES.items()}
    write_records(records, entries, tmp_path, ids, lambda: None)
    label_map = tmp_path / "label_map.txt"
    label_map.write_text(format_label_map(list(ids)))
    metrics, path = evaluate_model(
        onnx_file,
        records=[str(records)],
        label_map_path=label_map,
        eval_dir=tmp_path / "eval",
        options=ScoringOptions(detector={"engine": None}),
    )
    assert path == onnx_file
    assert metrics["DetectionBoxes_Precision/mAP"] == 1
    about = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert (about["step"], about["detector"]) == (7, {"engine": "onnxruntime"})


def test_a_larger_picture_is_resized_as_the_file_says(onnx_file):
    tall = picture_with_a_square()[:, :16].repeat(2, 0).repeat(2, 1)  # 32x64 pixels
    found = Detector(onnx_file).detect(tall)
    np.testing.assert_allclose(found.boxes, [[16, 32, 32, 48]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.8], atol=1e-6)


@pytest.mark.parametrize("with_label_map", [False, True])
def test_a_folder_with_nothing_else_is_enough_to_detect(onnx_file, tmp_path, with_label_map):
    model = shutil.copy(onnx_file, tmp_path)
    if with_label_map:
        (tmp_path / "label_map.txt").write_text(format_label_map(["Fire", "Grass", "Sea"]))
    done = infer_without_tensorflow(tmp_path, picture_with_a_square(), tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"model: {model} (step 7), run by onnxruntime" in done.stdout
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert found["label_map"] == str(tmp_path / "label_map.txt" if with_label_map else model)
    (entry,) = found["images"][0]["detections"]
    assert (entry["class"], entry["box"]) == ("Fire" if with_label_map else "Red", [8, 16, 16, 24])
    assert (tmp_path / "out" / "index.html").is_file()


def test_a_file_without_names_asks_for_the_label_map(tmp_path):
    write_onnx_model(tmp_path / "model.onnx")
    done = infer_without_tensorflow(tmp_path, picture_with_a_square(), tmp_path)
    assert message_of(done).startswith("error: missing flag --label_map_path")
    assert not (tmp_path / "out").exists()


def write_of_another_program(path):
    from onnx import TensorProto, helper

    tensor = helper.make_tensor_value_info
    given = tensor("images", TensorProto.FLOAT, [1, 3, 640, 640])
    out = tensor("output0", TensorProto.FLOAT, ["batch", 84, None])
    node = helper.make_node("Identity", ["images"], ["output0"])
    graph = helper.make_graph([node], "graph", [given], [out])
    model = helper.make_model(graph, producer_name="pytorch", producer_version="2.3")
    path.write_bytes(model.SerializeToString())


REFUSED = {
    "another program's": (
        write_of_another_program,
        "model.onnx: an ONNX file of another program.\n  It takes images and gives output0; its "
        "producer is pytorch 2.3.\n  export_model.py --format=onnx writes",
    ),
    "with its own choice": (
        lambda path: write_onnx_model(path, NAMES, with_choice=True),
        "chooses among the boxes by itself.*\n  Give the model.onnx",
    ),
    "a text": (lambda path: path.write_text("hello"), "not an ONNX file"),
    "empty": (lambda path: path.write_bytes(b""), "not an ONNX file"),
    "cut": (
        lambda path: path.write_bytes(write_onnx_model(path, NAMES).read_bytes()[:200]),
        "damaged, or not an ONNX file",
    ),
    "missing": (lambda path: None, "no such file"),
}


@pytest.mark.parametrize(("write", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_exported_file_is_refused_with_what_was_found(tmp_path, write, message):
    write(tmp_path / "model.onnx")
    with pytest.raises(DataError, match=message) as caught:
        Detector(tmp_path / "model.onnx")
    assert str(tmp_path) in str(caught.value)


def test_a_file_whose_network_is_damaged_is_named(onnx_file, tmp_path):
    data = onnx_file.read_bytes()
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(data.replace(b"AveragePool", b"AveragePuhl"))
    with pytest.raises(DataError, match=r"model.onnx: ONNX Runtime can't load it \("):
        Detector(damaged)


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_another_engine_is_refused(onnx_file, engine):
    with pytest.raises(DataError, match=f"--engine={engine}: .*model.onnx is an ONNX file"):
        Detector(onnx_file, engine=engine)


def test_a_provider_that_is_not_there_is_named_with_the_remedy(onnx_file, monkeypatch):
    with pytest.raises(DataError, match=r"(?s)gpu:0: not a device.*CPUExec.*onnxruntime-gpu"):
        Detector(onnx_file, device="gpu:0")
    there = [("CUDAExecutionProvider", {"device_id": 0}), "CPUExecutionProvider"]
    monkeypatch.setattr(engines, "_onnx_providers", lambda *given: there[1:])
    with pytest.raises(DataError, match="gpu:0: ONNX Runtime can't load what it needs"):
        Detector(onnx_file, device="gpu:0")  # as where CUDA's libraries are missing


def test_a_label_map_of_other_classes_is_refused(onnx_file, tmp_path):
    (tmp_path / "label_map.txt").write_text(format_label_map(["Cat"]))
    flag = f"--label_map_path={tmp_path / 'label_map.txt'}"
    done = infer_without_tensorflow(tmp_path, picture_with_a_square(), onnx_file, flag)
    assert re.search("label_map.txt: ids up to 1, but .* has 3 classes", message_of(done))
