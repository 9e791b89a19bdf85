import re

import pytest
from checks import refused

from lowlight.core.errors import DataError
from lowlight.core.files import CONFIGS
from lowlight.dataset.overview import read_anchors

D1 = CONFIGS / "ssd_efficientdet_d1_640x640_coco17_tpu-8.config"


def test_the_d1_configs_anchors_are_three_an_octave_from_32_pixels():
    anchors = read_anchors(D1)
    assert len(anchors.sizes) == 15
    assert [round(size, 2) for size in anchors.sizes[:4]] == [32.0, 40.32, 50.8, 64.0]
    assert round(anchors.sizes[-1], 2) == 812.75
    assert anchors.ratios == (0.5, 1.0, 2.0)
    assert (anchors.min_dimension, anchors.max_dimension) == (640, 640)


CONFIG = """\
image_resizer {{ keep_aspect_ratio_resizer {{ min_dimension: 300 max_dimension: 600 }} }}
# multiscale_anchor_generator { min_level: 9 }
anchor_generator {{ multiscale_anchor_generator {{ {} }} }}
""".replace("generator { min_level: 9 }", "generator {{ min_level: 9 }}")


def read_fields(folder, fields):
    path = folder / "a.config"
    path.write_text(CONFIG.format(fields))
    return read_anchors(path)


def test_what_a_config_leaves_out_is_as_in_tfod(tmp_path):
    anchors = read_fields(tmp_path, "max_level: 3 aspect_ratios: 2 aspect_ratios: 1.0")
    assert [round(size, 2) for size in anchors.sizes] == [32.0, 45.25]
    assert anchors.ratios == (1.0, 2.0)


@pytest.mark.parametrize(
    ("size", "scale"),
    [((400, 300), 1.0), ((1200, 300), 0.5), ((100, 100), 3.0)],
    ids=["the shorter side decides", "the longer side decides", "enlarged"],
)
def test_an_image_is_resized_as_by_tfod(tmp_path, size, scale):
    assert read_fields(tmp_path, "aspect_ratios: 1").resize_scale(*size) == scale


BAD_FIELDS = {
    "min_level: three": "min_level is 'three', not a number",
    "aspect_ratios: [1.0, wide]": "aspect_ratios is ",
    "": "the anchors have no size or no aspect_ratios",
    "max_level: 2000": "max_level is '2000', not a number from 0 to 30.",
    "max_level: inf": "max_level is 'inf', not a number",
    "anchor_scale: nan": "anchor_scale is 'nan', not a number from 0 to 100,000",
    "scales_per_octave: 1e9": "scales_per_octave is '1e9', not a number from 0 to 100.",
    "aspect_ratios: 1 scales_per_octave: 0": "the anchors have no size",
}


@pytest.mark.parametrize(("fields", "message"), BAD_FIELDS.items())
def test_anchors_of_no_use_are_refused(tmp_path, fields, message):
    with pytest.raises(DataError, match=re.escape(f"a.config:3: {message}") + ".*\n  --config is "):
        read_fields(tmp_path, fields)


def test_a_config_of_another_kind_or_a_missing_one_is_refused(tmp_path):
    (tmp_path / "a.config").write_text("model { faster_rcnn {} }")
    with refused(f"{tmp_path}/a.config: no multiscale_anchor_generator."):
        read_anchors(tmp_path / "a.config")
    with refused(f"{tmp_path}/b.config: no such file."):
        read_anchors(tmp_path / "b.config")
