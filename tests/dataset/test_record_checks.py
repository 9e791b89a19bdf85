"""Records are checked by what TFOD and TensorFlow make of them, before a training or evaluation."""

import os

import pytest
from checks import write_examples
from pictures import encode
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset.classes import LabelMap
from lowlight.dataset.record_counts import count_and_check
from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.dataset.writing import make_example

NAMES = LabelMap()
NAMES |= {1: "Fox", 2: "Owl", 3: "Hedgehog"}
NAMES.ids = {name: number for number, name in NAMES.items()}


def encoded(form="JPEG", mode="RGB"):
    return encode(Image.new("RGB", (8, 6), (30, 60, 90)).convert(mode), form)


def example(label=1, text="Fox", box=(0.1, 0.2, 0.5, 0.6), size=(8, 6), image=None):
    """Returns the example of an image of 8x6 pixels with one box, (ymin, xmin, ymax, xmax)."""
    about = ImageRow("a.jpg", "a.jpg", *size, "", "", "", "", 1)
    row = AnnotationRow("a.jpg", 8, 6, text or "", 0, 0, 8, 6)
    data = encoded() if image is None else image
    made = make_example(about, [row], data, {text or "": label})
    for edge, value in zip(("ymin", "xmin", "ymax", "xmax"), box, strict=True):
        made.features.feature[f"image/object/bbox/{edge}"].float_list.value[:] = [value]
    if text is None:
        del made.features.feature["image/object/class/text"]
    return made


BAD_RECORDS = {
    "a label above the map's": ({"label": 4, "text": None}, r"\(a.jpg\): label 4, which the label"),
    "label 0": ({"label": 0, "text": None}, "label 0, which the label map lacks .it has 1, 2, 3"),
    "a text that the map lacks": ({"text": "Hare"}, "class 'Hare' .* isn't in the label map"),
    "text and label": ({"label": 2}, r"class/text is that of 'Fox', id 1 .*class/label is 2"),
    "a box turned round": ({"box": (0.5, 0.1, 0.2, 0.3)}, "isn't inside its image"),
    "a box outside": ({"box": (0.5, 0.1, 1.2, 0.3)}, "isn't inside its image"),
    "a box of NaN": ({"box": (float("nan"), 0.1, 0.2, 0.3)}, "isn't inside its image"),
    "another size": ({"size": (9, 6)}, "8x6 pixels, but the record says 9x6"),
    "no image": ({"image": b"dear"}, "not an image"),
    "a TIFF": ({"image": encoded("TIFF")}, "a TIFF, which TFOD's decoder doesn't read"),
    "a GIF": ({"image": encoded("GIF")}, "a GIF, which TFOD's decoder doesn't read"),
    "a BMP with a palette": ({"image": encoded("BMP", "P")}, "a BMP with a palette, or cut short"),
    "a cut BMP": ({"image": encoded("BMP")[:-1]}, "a BMP with a palette, or cut short"),
    "a cut JPEG": ({"image": encoded()[:-2]}, "a JPEG that is cut short"),
    "a cut PNG": ({"image": encoded("PNG")[:-14]}, "a PNG that is cut short"),
}


@pytest.mark.parametrize(("changed", "message"), BAD_RECORDS.values(), ids=BAD_RECORDS)
def test_a_record_that_cannot_be_learned_from_is_named(tmp_path, changed, message):
    path = write_examples(tmp_path / "train.tfrecord", example(), example(**changed))
    with pytest.raises(DataError, match=f"train.tfrecord: record 2.*{message}"):
        count_and_check([path], NAMES)


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("BMP", "RGB"),
        ("BMP", "RGBA"),
        *(("PNG", m) for m in ("L", "P", "LA")),
    ],
)
def test_what_tensorflow_decodes_is_taken(tmp_path, form, mode):
    path = write_examples(tmp_path / "train.tfrecord", example(image=encoded(form, mode)))
    assert count_and_check([path], NAMES).images == 1


def test_an_image_that_a_decoder_refuses_is_named(tmp_path):
    def decode(encoded):
        raise RuntimeError(f"{len(encoded)} bad bytes")

    path = write_examples(tmp_path / "train.tfrecord", example())
    with pytest.raises(DataError, match=r"record 1 .*can't be decoded .\d+ bad bytes"):
        count_and_check([path], NAMES, decode)


def test_records_that_are_empty_or_cut_short_are_named(tmp_path):
    path = write_examples(tmp_path / "train.tfrecord", example(), example())
    os.truncate(path, path.stat().st_size - 3)
    with pytest.raises(DataError, match="train.tfrecord: damaged after record 1"):
        count_and_check([path], NAMES)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="train.tfrecord: holds no record"):
        count_and_check([path], NAMES)


def test_boxes_and_classes_are_counted_over_all_files(tmp_path):
    owl = {"label": 2, "text": "Owl"}
    files = [write_examples(tmp_path / name, example(**owl), example(**owl)) for name in "ab"]
    counts = count_and_check(files, NAMES)
    assert (counts.files, counts.images, counts.boxes, counts.most) == (2, 4, 4, 1)
    assert counts.unseen == ("Fox", "Hedgehog")
