"""What can't be trained here is told by its config, before anything is built."""

import pytest
from families import CENTER_NET, EFFICIENTDET, FASTER_RCNN, SSD, SSD_FPN
from google.protobuf import text_format

from lowlight.core.errors import DataError
from lowlight.tfod.config_parts import check_model
from lowlight.tfod.model import PipelineConfig

pytestmark = pytest.mark.slow

REFUSED = {
    "an extractor of TF 1": (
        SSD.replace("ssd_mobilenet_v2_keras", "ssd_mobilenet_v2"),
        r"'ssd_mobilenet_v2' isn't one .*\n  Take mobilenet_v2 or ssd_mobilenet_v2_keras",
    ),
    "keypoints": (
        CENTER_NET.replace("center_net {", "center_net { keypoint_estimation_task {}"),
        "keypoint_estimation_task needs more than",
    ),
    "masks": (
        FASTER_RCNN.replace("fc_hyper", "predict_instance_masks: true fc_hyper"),
        "predict_instance_masks needs more than the boxes",
    ),
    "a side that a BiFPN can't halve": (
        EFFICIENTDET.replace("192", "200"),
        "images of 200 pixels; .* sides that 64 divides.\n.* to 192",
    ),
    "autoaugment": (
        SSD.replace("ssd_random_crop", "autoaugment_image"),
        "autoaugment_image needs TensorFlow 1",
    ),
    "no model": ("train_config { batch_size: 8 }", "no model, or not one of ssd, faster_rcnn, "),
    "a side that is too small": (
        SSD_FPN.replace("mobilenet_v2_fpn", "resnet50_v1_fpn"),
        "under 129",
    ),
    "too many levels": (
        EFFICIENTDET.replace("max_level: 6", "max_level: 2000"),
        "max_level: 2000 in the model; at most 12",
    ),
    "too many classes": (
        EFFICIENTDET.replace("num_classes: 90", "num_classes: 999999999"),
        "num_classes: 999999999 in",
    ),
    "no number": (EFFICIENTDET.replace("decay: 0.997", "decay: nan"), "decay: nan in the model"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_an_architecture_that_cannot_be_trained_here_is_refused(text, message):
    with pytest.raises(DataError, match=f"base.config: .*{message}"):
        check_model(text_format.Parse(text, PipelineConfig()), "base.config")
