"""Each repair of TFOD repairs what breaks without it, and steps aside where nothing does."""

import importlib.abc
import importlib.util
import inspect
import json
import os
import sys
import warnings

import pytest
from unrepaired import SCRIPTS, Unimportable, error_of, repairs, run_python

# The least of TFOD that shows what each repair is for ---------------------------------------------


def legacy_keras():
    from object_detection.core import freezable_sync_batch_norm

    freezable_sync_batch_norm.FreezableSyncBatchNorm()


def old_protos():
    from object_detection.protos import pipeline_pb2

    pipeline_pb2.TrainEvalPipelineConfig().model.ssd.num_classes = 12


def moved_control_flow():
    import tensorflow as tf
    from tf_slim import tfexample_decoder

    png = tf.io.encode_png(tf.zeros([2, 2, 3], tf.uint8))
    decoder = tfexample_decoder.Image("image", "format")
    assert decoder.tensors_to_item({"image": png, "format": tf.constant("png")}).shape == (2, 2, 3)


def removed_estimator():
    from tensorflow.compat.v1 import estimator

    assert estimator.ModeKeys.TRAIN == "train"


def late_tensorflow_io():
    with warnings.catch_warnings(action="error"):
        import tensorflow_io  # noqa: F401


def missing_lvis():
    from object_detection.metrics import lvis_evaluation  # noqa: F401


def removed_font_size():
    from object_detection.utils import visualization_utils
    from PIL import Image

    image = Image.new("RGB", (64, 64))
    visualization_utils.draw_bounding_box_on_image(image, 0, 0, 1, 1, display_str_list=["car"])


def removed_numpy_names():
    import numpy as np
    from object_detection.utils import metrics

    assert metrics.compute_average_precision(np.array([1.0]), np.array([1.0])) == 1.0
    assert np.isnan(metrics.compute_average_precision(None, None))


def private_resnet():
    from object_detection.models.keras_models import resnet_v1

    resnet_v1.resnet_v1_18(weights=None, include_top=False, input_shape=(32, 32, 3))


# What fails without the repair, in the words of the error.
BREAKAGES = {
    legacy_keras: "keras.layers' has no attribute 'experimental'",
    old_protos: "Descriptors cannot be created directly",
    moved_control_flow: "control_flow_ops' has no attribute 'case'",
    removed_estimator: "cannot import name 'estimator'",
    late_tensorflow_io: "No module named 'tensorflow_io'",
    missing_lvis: "No module named 'lvis'",
    removed_font_size: "no attribute 'getsize'",
    removed_numpy_names: "module 'numpy' has no attribute",
    private_resnet: "no attribute 'ResNet'",
}


def try_repairs():
    sys.meta_path.insert(0, Unimportable("cv2"))
    tried = {}
    for breakage in list(BREAKAGES)[1:]:
        repair = getattr(repairs, breakage.__name__)
        before, made = error_of(breakage), repair()
        tried[breakage.__name__] = before, made, error_of(breakage), repair()
    print(json.dumps(tried))


@pytest.fixture(scope="module")
def tried():
    """{repair: (error without it, whether it was made, error with it, whether it was made again)}.

    Of all but legacy_keras, which a process either begins with or can't make any more.
    """
    return json.loads(run_python("import test_repairs; test_repairs.try_repairs()").stdout)


def test_there_is_a_breakage_for_every_repair():
    assert [b.__name__ for b in BREAKAGES] == [repair.__name__ for repair in repairs.REPAIRS]


@pytest.mark.slow
@pytest.mark.parametrize("name", [breakage.__name__ for breakage in list(BREAKAGES)[1:]])
def test_what_breaks_without_a_repair_works_with_it_and_the_repair_then_steps_aside(tried, name):
    before, made, after, made_again = tried[name]
    assert BREAKAGES[globals()[name]] in before
    assert made is True
    assert after == ""
    assert made_again is False


@pytest.mark.slow
def test_tfod_breaks_with_keras_3_and_it_is_then_too_late_to_repair():
    run = run_python("""
        import test_repairs
        print(test_repairs.error_of(test_repairs.legacy_keras))
        print(test_repairs.error_of(test_repairs.repairs.legacy_keras))
    """)
    breakage, refusal = run.stdout.splitlines()
    assert BREAKAGES[legacy_keras] in breakage
    assert "import lowlight.tfod before anything else uses tf.keras" in refusal


# All repairs together, where OpenCV, tensorflow-io and lvis can't be imported ---------------------


def print_facts():
    sys.meta_path.insert(0, Unimportable("cv2", "tensorflow_io", "lvis"))
    from google.protobuf import text_format
    from google.protobuf.internal import api_implementation

    from lowlight.tfod import model as tfod
    from lowlight.tfod import repairs

    config = text_format.Parse(CONFIG, tfod.PipelineConfig())
    again = config.FromString(config.SerializeToString())
    lvis_tools = importlib.import_module("object_detection.metrics.lvis_tools")
    facts = {
        "made": repairs.apply(),
        "made again": [repair.__name__ for repair in repairs.REPAIRS if repair()],
        "keras": error_of(legacy_keras),
        "protobuf": api_implementation.Type(),
        "config": text_format.MessageToString(again, as_one_line=True),
        "lvis": error_of(lambda: lvis_tools.LVISWrapper({})),
        "tensorflow_io": error_of(lambda: sys.modules["tensorflow_io"].experimental),
        "module": inspect.getmodule(tfod.read_config).__name__,
    }
    print(json.dumps(facts))


CONFIG = 'model { ssd { num_classes: 12 } } eval_config { metrics_set: "coco_detection_metrics" }'


@pytest.fixture(scope="module")
def facts():
    """What `print_facts` finds, and what else is printed while it does."""
    run = run_python("import test_repairs; test_repairs.print_facts()")
    *printed, found = run.stdout.splitlines()
    return json.loads(found) | {"printed": [*printed, run.stderr]}


@pytest.mark.slow
def test_tfod_loads_without_opencv_tensorflow_io_and_lvis_and_prints_nothing(facts):
    assert facts["made"] == [repair.__name__ for repair in repairs.REPAIRS]
    assert facts["printed"] == [""]


@pytest.mark.slow
def test_repairs_made_twice_do_no_harm(facts):
    assert facts["made again"] == ["legacy_keras"]  # it only looks, and tf.keras is tf-keras still
    assert facts["keras"] == ""


@pytest.mark.slow
def test_tfods_protos_are_on_the_fast_runtime_and_a_config_keeps_its_content(facts):
    assert facts["protobuf"] == "upb"
    assert facts["config"] == CONFIG


@pytest.mark.slow
def test_a_stand_in_says_what_is_missing_and_leaves_inspect_working(facts):
    for package in ("lvis", "tensorflow_io"):
        assert f"No module named {package!r}" in facts[package]
        assert "need" in facts[package]
    assert facts["module"] == "lowlight.tfod.model"


@pytest.mark.slow
@pytest.mark.parametrize("package", ["official", "object_detection"])
def test_a_script_without_tfods_packages_says_how_to_install_them(package):
    run = run_python(
        f"""
        import runpy, sys, test_repairs
        sys.meta_path.insert(0, test_repairs.Unimportable({package!r}))
        sys.argv = ["make_config.py", "--data_dir=.", "--output=never.config"]
        runpy.run_path("{SCRIPTS}/make_config.py", run_name="__main__")
        """,
        status=1,
    )
    assert run.stderr == (
        f"error: TFOD isn't installed (No module named {package!r}).\n"
        "  pip install --no-deps -r requirements/tfod.txt\n"
    )


# What needs no TensorFlow -------------------------------------------------------------------------


def test_a_stand_in_answers_only_to_its_own_names(monkeypatch):
    stand_in = repairs.StandIn("gone", "It left with 2.16.", KEPT=1)
    monkeypatch.setitem(sys.modules, "gone", stand_in)
    assert stand_in.KEPT == 1
    assert not hasattr(stand_in, "__file__")
    assert not hasattr(stand_in, "__path__")
    with pytest.raises(AttributeError, match="gone.Other: It left with 2.16."):
        _ = stand_in.Other
    assert inspect.getmodule(printed_with).__name__ == __name__
    assert importlib.util.find_spec("gone").name == "gone"


def printed_with(files, folder, code):
    """Returns what code prints where these files ({name: text}) are found before installed ones."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for above in {*path.parents} - {folder, *folder.parents}:
            (above / "__init__.py").touch()
        path.write_text(text)
    return run_python(code, f"{folder}{os.pathsep}{SCRIPTS}").stdout.split()


# What the repairs look at, as TFOD 2.8 found it; its protos as today's protoc writes them.
NOTHING_BROKEN = {
    "tensorflow/__init__.py": "from tensorflow import compat, keras",
    "tensorflow/keras/__init__.py": "from tensorflow.keras import layers; __version__ = '2.8.0'",
    "tensorflow/keras/layers.py": "class Layer: __module__ = 'keras.engine.base_layer'",
    "tensorflow/compat/__init__.py": "from tensorflow.compat import v1",
    "tensorflow/compat/v1.py": "case = cond = while_loop = estimator = ...",
    "tensorflow/python/ops/control_flow_ops.py": "case = cond = while_loop = ...",
    "tensorflow_io.py": "",
    "object_detection/protos/pipeline_pb2.py": "DESCRIPTOR = pool.AddSerializedFile(b'...')",
    "lvis.py": "",
    "PIL/ImageFont.py": "class ImageFont: getsize = ...\nclass FreeTypeFont: getsize = ...",
    "numpy.py": "bool = float = int = object = nan = NAN = bytes_ = string_ = ...",
    "keras/applications/resnet.py": "ResNet = ...",
}


def test_every_repair_steps_aside_where_nothing_is_broken(tmp_path):
    code = "import tensorflow_io, test_repairs; print(test_repairs.repairs.apply())"
    assert printed_with(NOTHING_BROKEN, tmp_path, code) == ["()"]


def test_the_real_tensorflow_io_is_loaded_when_it_is_used_and_once(tmp_path):
    code = """
        from test_repairs import repairs
        print(repairs.late_tensorflow_io())
        import tensorflow_io
        print("imported")
        print(tensorflow_io.experimental, tensorflow_io.experimental)
    """
    files = {"tensorflow_io.py": "print('loaded')\nexperimental = 'real'"}
    printed = printed_with(files, tmp_path, code)
    assert printed == ["True", "imported", "loaded", "real", "real"]
