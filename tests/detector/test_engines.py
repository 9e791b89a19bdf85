"""An engine is what is installed and asked for, and runs where and as it is told to."""

import itertools
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from small_model import ENGINES, NEEDS_ONNX, NEEDS_OPENVINO

from lowlight.core import tensorflow
from lowlight.core.errors import DataError
from lowlight.detector import engines
from lowlight.detector.detector import Detector
from lowlight.detector.network import cached_network

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parents[2] / "scripts"


@NEEDS_OPENVINO
def test_a_kept_openvino_network_that_is_damaged_is_made_again(saved_model, tmp_path):
    image = np.random.default_rng(0).integers(0, 120, (96, 128, 3), np.uint8)
    shutil.copytree(saved_model, tmp_path / "model")
    kept = tmp_path / "model" / "assets.extra"
    first = Detector(tmp_path / "model", engine="openvino").detect(image)
    for path in kept.glob("*.blob"):
        path.unlink()
    (path,) = kept.glob("*.openvino.zip")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255  # of a weight
    path.write_bytes(data)
    again = Detector(tmp_path / "model", engine="openvino").detect(image)
    assert again.scores.tolist() == first.scores.tolist()


THERE = {
    "tensorflow": "TensorFlow finds here.\n  It finds cpu:0",
    "openvino": "OpenVINO finds here.\n  It finds cpu",
    "onnxruntime": "ONNX Runtime finds here.\n  It finds .*CPUExecutionProvider",
}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_device_that_is_not_there_is_named_with_those_that_are(saved_model, engine):
    with pytest.raises(DataError, match=f"--device=gpu:7: not a device that {THERE[engine]}"):
        Detector(saved_model, engine=engine, device="gpu:7")


@NEEDS_ONNX
def test_a_precision_that_onnx_runtime_lacks_is_refused(saved_model):
    with pytest.raises(DataError, match="--precision=bfloat16: ONNX Runtime"):
        Detector(saved_model, engine="onnxruntime", precision="bfloat16")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_engine_without_its_package_is_refused_with_the_command(monkeypatch, engine):
    monkeypatch.setattr(engines, "is_installed", lambda package: package == "tensorflow")
    with pytest.raises(DataError, match=r"pip install -r requirements/\w+\.txt"):
        engines.choose_engine(engine)
    assert engines.choose_engine("auto").name == "tensorflow"


def test_auto_goes_by_what_is_installed_and_by_the_gpu_that_tensorflow_finds(monkeypatch):
    there = {"tensorflow", "openvino", "onnxruntime"}
    monkeypatch.setattr(engines, "is_installed", there.__contains__)
    monkeypatch.setattr(engines, "has_gpu", lambda: False)
    assert engines.choose_engine("auto").name == "openvino"
    monkeypatch.setattr(engines, "has_gpu", lambda: True)
    assert engines.choose_engine("auto").name == "tensorflow"
    there -= {"tensorflow", "openvino"}
    assert engines.choose_engine("auto").name == "onnxruntime"


def test_a_process_takes_of_each_gpu_what_it_needs_unless_it_uses_it_already(monkeypatch):
    growth = mock.Mock(side_effect=[RuntimeError("initialized"), None])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0", "GPU:1"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", growth)
    tensorflow.share_gpus()
    assert growth.call_args_list == [mock.call("GPU:0", True), mock.call("GPU:1", True)]


def test_a_batch_that_does_not_fit_into_memory_is_told(saved_model, monkeypatch):
    detector = Detector(saved_model, "tensorflow", batch_size=4)
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    monkeypatch.setattr(detector._engine, "_turns", itertools.repeat(mock.Mock(side_effect=error)))
    with pytest.raises(DataError, match=r"--batch_size=4: .*\(OOM when allocating tensor\)"):
        detector.detect(np.zeros((96, 128, 3), np.uint8))


def test_a_driver_without_a_gpu_that_tensorflow_finds_is_told_once(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(tensorflow, "_DRIVER", tmp_path / "none")
    assert tensorflow.find_gpus() == []
    assert not capsys.readouterr().err
    monkeypatch.setattr(tensorflow, "_DRIVER", tmp_path)
    assert tensorflow.find_gpus() == tensorflow.find_gpus() == []
    assert capsys.readouterr().err.count("pip install -r requirements/gpu.txt") == 1


@NEEDS_ONNX
@NEEDS_OPENVINO
def test_nothing_reports_its_use_or_writes_into_the_home_folder(saved_model, tmp_path, monkeypatch):
    monkeypatch.delenv("CI", raising=False)  # with it OpenVINO would be silent by itself
    monkeypatch.setenv("HOME", str(tmp_path))
    code = """
        import socket, sys
        socket.getaddrinfo = lambda host, *rest, **more: print(f"looked {host} up")
        from lowlight.detector.detector import Detector
        Detector(sys.argv[1], engine="openvino")
        import matplotlib.font_manager, onnxruntime, tf_keras
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(saved_model)]
    assert subprocess.check_output(command, cwd=SCRIPTS, text=True) == ""
    assert list(tmp_path.iterdir()) == []


def test_an_engine_keeps_to_the_threads_of_omp_num_threads(saved_model, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    configs = []  # of TensorFlow's sessions
    monkeypatch.setattr(engines, "_session_call", lambda *given: configs.append(given[-1]))
    engines.TensorFlowEngine(cached_network(saved_model))
    assert [config.intra_op_parallelism_threads for config in configs] == [1]


@NEEDS_OPENVINO
def test_openvino_keeps_to_the_threads_of_omp_num_threads(saved_model, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    engine = Detector(saved_model, engine="openvino")._engine
    assert engine._compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert engine.parallel == 1
