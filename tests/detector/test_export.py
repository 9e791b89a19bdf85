"""An export is whole or isn't there, and holds nothing of another checkpoint."""

from pathlib import Path

import pytest
from onnx_model import NAMES, write_onnx_model
from small_model import NEEDS_ONNX

from lowlight.core.errors import DataError
from lowlight.core.files import locked
from lowlight.detector.runs import CONFIG, ONNX, Model, record_source, source_of

BAD_FORMATS = {
    "unknown": ("--format=saved_model,tflite", "'tflite' isn't a format"),
    "empty": ("--format=", "missing flag --format: its value is empty"),
    "a comma too many": ("--format=onnx,", "'' isn't a format"),
    "nms without onnx": ("--nms", "--nms: is for --format=onnx"),
}


@pytest.mark.parametrize(("flag", "message"), BAD_FORMATS.values(), ids=BAD_FORMATS)
def test_formats_that_are_not_known_are_refused_before_anything_is_loaded(
    tmp_path, run_script, flag, message
):
    done = run_script("export_model.py", f"--model_dir={tmp_path}", flag)
    assert done.returncode == 1
    assert message in done.stderr.removeprefix("error: ")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The Model of a run whose export, in place of the network, writes its step."""
    from lowlight.detector import export

    def write_export(model, folder, as_saved_model):
        (folder / CONFIG).write_text("model {}")
        if as_saved_model:
            for name in ("checkpoint", "saved_model"):
                (folder / name).mkdir()
            (folder / "saved_model" / "saved_model.pb").write_text(model.path.name)
            record_source(folder / "saved_model", model.path, 5)

    def write_onnx(model, network, folder, files, names):
        for name in files:
            write_onnx_model(folder / name, names, source_of(model.path, 5))

    monkeypatch.setattr(export, "_write_export", write_export)
    monkeypatch.setattr(export, "_write_onnx", write_onnx)
    for number in (1, 2):
        (tmp_path / f"ckpt-{number}.index").write_text(str(number))
    return Model(tmp_path / "ckpt-1", tmp_path, tmp_path / CONFIG, None)


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.mark.slow
@NEEDS_ONNX
def test_onnx_alone_is_written_without_a_saved_model(run, tmp_path):
    from lowlight.detector.export import export_run

    written = export_run(run, tmp_path / "out", ["onnx"], True, NAMES)
    assert names_in(tmp_path / "out") == [ONNX, "model_nms.onnx", CONFIG]
    assert [path.name for path in written] == [ONNX, "model_nms.onnx"]


@pytest.mark.slow
@NEEDS_ONNX
def test_other_formats_stay_where_they_are_of_the_same_checkpoint_alone(run, tmp_path):
    from lowlight.detector.export import export_run

    folder, both = tmp_path / "out", ["checkpoint", ONNX, CONFIG, "saved_model"]
    export_run(run, folder)
    export_run(run, folder, ["onnx"])
    assert names_in(folder) == both
    export_run(run, folder, ["saved_model"])
    assert names_in(folder) == both
    newer = run._replace(path=tmp_path / "ckpt-2")
    export_run(newer, folder, ["onnx"])
    assert names_in(folder) == [ONNX, CONFIG]
    export_run(newer, folder, ["onnx", "saved_model"])
    export_run(run, folder, ["saved_model"])
    assert names_in(folder) == ["checkpoint", CONFIG, "saved_model"]


@pytest.mark.slow
def test_two_exports_at_once_do_not_write_one_folder(run, tmp_path):
    from lowlight.detector.export import export_run

    out = tmp_path / "out"
    out.mkdir()
    with locked(out), pytest.raises(DataError, match=r"out: is being written already, by process"):
        export_run(run, out)
    assert names_in(out) == []


@pytest.mark.slow
@NEEDS_ONNX
def test_what_a_killed_export_left_is_replaced_and_others_files_are_not(run, tmp_path):
    from lowlight.detector.export import export_run

    (tmp_path / "killed" / ".partial").mkdir(parents=True)
    (tmp_path / "killed" / CONFIG).write_text("a part that has its place already")
    export_run(run, tmp_path / "killed", ["onnx"])
    assert names_in(tmp_path / "killed") == [ONNX, CONFIG]
    for name, message in ((ONNX, "model.onnx: .*not an ONNX file"), ("a.tex", "holds other files")):
        mine = tmp_path / f"with {name}" / name
        mine.parent.mkdir()
        mine.write_text("mine")
        with pytest.raises(DataError, match=message):
            export_run(run, mine.parent, ["onnx"])
        assert mine.read_text() == "mine"
