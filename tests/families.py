"""One small config of each family in TFOD 2's model zoo: its parts and schedule, tiny images.

FAMILIES: {family: text of a pipeline config that names no data yet}.
"""

_NORM = "batch_norm { scale: true decay: 0.997 epsilon: 0.001 }"
_SMALL_NORMAL = "initializer { random_normal_initializer { stddev: 0.01 mean: 0.0 } }"
_WEIGHTS = "regularizer { l2_regularizer { weight: 0.00004 } } " + _SMALL_NORMAL
_LAYERS = f"conv_hyperparams {{ activation: RELU_6 {_WEIGHTS} {_NORM} }}"
_BIFPN_LAYERS = f"conv_hyperparams {{ force_use_bias: true activation: SWISH {_WEIGHTS} {_NORM} }}"

_COSINE = """
momentum_optimizer {
  learning_rate { cosine_decay_learning_rate {
    learning_rate_base: 0.08 total_steps: 50000 warmup_learning_rate: 0.026666 warmup_steps: 1000
  } }
  momentum_optimizer_value: 0.9
}"""
_STEPPED = """
adam_optimizer {
  epsilon: 1e-7
  learning_rate { manual_step_learning_rate {
    initial_learning_rate: 0.001
    schedule { step: 90000 learning_rate: 0.0001 }
    schedule { step: 120000 learning_rate: 0.00001 }
  } }
}"""


def _ssd(side, extractor, predictor, anchors, scales, box_count=100):
    return f"""
model {{ ssd {{
  num_classes: 90
  inplace_batchnorm_update: true
  freeze_batchnorm: false
  encode_background_as_zeros: true
  image_resizer {{ fixed_shape_resizer {{ height: {side} width: {side} }} }}
  feature_extractor {{ {extractor} }}
  box_predictor {{ {predictor} }}
  anchor_generator {{ {anchors} }}
  box_coder {{ faster_rcnn_box_coder {{ {scales} }} }}
  similarity_calculator {{ iou_similarity {{}} }}
  matcher {{ argmax_matcher {{
    matched_threshold: 0.5 unmatched_threshold: 0.5 ignore_thresholds: false
    negatives_lower_than_unmatched: true force_match_for_each_row: true use_matmul_gather: true
  }} }}
  loss {{
    classification_loss {{ weighted_sigmoid_focal {{ alpha: 0.25 gamma: 2.0 }} }}
    localization_loss {{ weighted_smooth_l1 {{}} }}
    classification_weight: 1.0
    localization_weight: 1.0
  }}
  normalize_loss_by_num_matches: true
  normalize_loc_loss_by_codesize: true
  post_processing {{
    batch_non_max_suppression {{
      score_threshold: 1e-8 iou_threshold: 0.6
      max_detections_per_class: {box_count} max_total_detections: {box_count}
    }}
    score_converter: SIGMOID
  }}
}} }}"""


def _training(batch, steps, optimizer, augmentations, extra=""):
    options = " ".join(f"data_augmentation_options {{ {a} {{}} }}" for a in augmentations)
    return f"""
train_config {{
  batch_size: {batch}
  num_steps: {steps}
  optimizer {{ {optimizer} use_moving_average: false }}
  fine_tune_checkpoint: "PATH_TO_BE_CONFIGURED"
  fine_tune_checkpoint_type: "classification"
  fine_tune_checkpoint_version: V2
  max_number_of_boxes: 100
  unpad_groundtruth_tensors: false
  {extra}
  {options}
}}
train_input_reader {{
  label_map_path: "PATH_TO_BE_CONFIGURED"
  tf_record_input_reader {{ input_path: "PATH_TO_BE_CONFIGURED" }}
}}
eval_config {{ metrics_set: "coco_detection_metrics" use_moving_averages: false batch_size: 1 }}
eval_input_reader {{
  label_map_path: "PATH_TO_BE_CONFIGURED"
  shuffle: false
  num_epochs: 1
  tf_record_input_reader {{ input_path: "PATH_TO_BE_CONFIGURED" }}
}}
"""


_RETINA_SCALES = "y_scale: 10.0 x_scale: 10.0 height_scale: 5.0 width_scale: 5.0"
_UNIT_SCALES = "y_scale: 1.0 x_scale: 1.0 height_scale: 1.0 width_scale: 1.0"
_PYRAMID = (
    "multiscale_anchor_generator { min_level: 3 max_level: 7 anchor_scale: 4.0 "
    "aspect_ratios: [1.0, 2.0, 0.5] scales_per_octave: 2 }"
)
_SINGLE_SHOT_ANCHORS = (
    "ssd_anchor_generator { num_layers: 6 min_scale: 0.2 max_scale: 0.95 "
    "aspect_ratios: [1.0, 2.0, 0.5, 3.0, 0.3333] }"
)
_SINGLE_SHOT_PREDICTOR = (
    "convolutional_box_predictor { min_depth: 0 max_depth: 0 num_layers_before_predictor: 0 "
    f"kernel_size: 1 class_prediction_bias_init: -4.6 {_LAYERS} }}"
)


def shared_predictor(depth, layers, more=_LAYERS):
    """Returns a predictor that all levels of a pyramid share."""
    return (
        f"weight_shared_convolutional_box_predictor {{ depth: {depth} kernel_size: 3 "
        f"num_layers_before_predictor: {layers} class_prediction_bias_init: -4.6 {more} }}"
    )


def efficientdet(extractor="ssd_efficientnet-b0_bifpn_keras", side=192):
    """Returns an EfficientDet."""
    bifpn = "bifpn { min_level: 3 max_level: 6 num_iterations: 1 num_filters: 16 }"
    return _ssd(
        side,
        f'type: "{extractor}" {bifpn} {_BIFPN_LAYERS}',
        shared_predictor(16, 1, f"use_depthwise: true {_BIFPN_LAYERS}"),
        _PYRAMID.replace("max_level: 7", "max_level: 6"),
        _UNIT_SCALES,
    ) + _training(128, 300000, _COSINE, ["random_horizontal_flip"], "use_bfloat16: true")


def ssd(extractor="ssd_mobilenet_v2_keras", side=96):
    """Returns an SSD with anchors of its own on each level."""
    layers = f"override_base_feature_extractor_hyperparams: true {_LAYERS}"
    return _ssd(
        side,
        f'type: "{extractor}" min_depth: 16 depth_multiplier: 1.0 {layers}',
        _SINGLE_SHOT_PREDICTOR,
        _SINGLE_SHOT_ANCHORS,
        _RETINA_SCALES,
    ) + _training(512, 50000, _COSINE, ["random_horizontal_flip", "ssd_random_crop"])


def ssd_fpn(extractor="ssd_mobilenet_v2_fpn_keras", side=96):
    """Returns an SSD with a feature pyramid (RetinaNet)."""
    layers = f"override_base_feature_extractor_hyperparams: true {_LAYERS}"
    pyramid = "fpn { min_level: 3 max_level: 7 additional_layer_depth: 16 }"
    return _ssd(
        side,
        f'type: "{extractor}" {pyramid} min_depth: 16 depth_multiplier: 1.0 {layers}',
        shared_predictor(16, 1),
        _PYRAMID,
        _RETINA_SCALES,
    ) + _training(64, 25000, _COSINE, ["random_horizontal_flip", "random_crop_image"])


def faster_rcnn(extractor="faster_rcnn_resnet50_keras", side=96):
    """Returns a Faster R-CNN."""
    start = "truncated_normal_initializer { stddev: 0.01 }"
    zero = "regularizer { l2_regularizer { weight: 0.0 } }"
    fan = "variance_scaling_initializer { factor: 1.0 uniform: true mode: FAN_AVG }"
    return f"""
model {{ faster_rcnn {{
  num_classes: 90
  image_resizer {{ keep_aspect_ratio_resizer {{
    min_dimension: {side} max_dimension: {side} pad_to_max_dimension: true
  }} }}
  feature_extractor {{ type: "{extractor}" batch_norm_trainable: true }}
  first_stage_anchor_generator {{ grid_anchor_generator {{
    scales: [0.25, 0.5, 1.0, 2.0] aspect_ratios: [0.5, 1.0, 2.0]
    height_stride: 16 width_stride: 16
  }} }}
  first_stage_box_predictor_conv_hyperparams {{ op: CONV {zero} initializer {{ {start} }} }}
  first_stage_nms_score_threshold: 0.0
  first_stage_nms_iou_threshold: 0.7
  first_stage_max_proposals: 16
  first_stage_localization_loss_weight: 2.0
  first_stage_objectness_loss_weight: 1.0
  initial_crop_size: 14
  maxpool_kernel_size: 2
  maxpool_stride: 2
  second_stage_batch_size: 8
  second_stage_box_predictor {{ mask_rcnn_box_predictor {{
    fc_hyperparams {{ op: FC {zero} initializer {{ {fan} }} }}
    share_box_across_classes: true
  }} }}
  second_stage_post_processing {{
    batch_non_max_suppression {{
      score_threshold: 0.0 iou_threshold: 0.6
      max_detections_per_class: 16 max_total_detections: 16
    }}
    score_converter: SOFTMAX
  }}
  second_stage_localization_loss_weight: 2.0
  second_stage_classification_loss_weight: 1.0
  use_static_shapes: true
  use_matmul_crop_and_resize: true
  clip_anchors_to_image: true
  use_static_balanced_label_sampler: true
  use_matmul_gather_in_matcher: true
}} }}""" + _training(64, 25000, _COSINE, ["random_horizontal_flip", "random_adjust_hue"])


def center_net(extractor="mobilenet_v2_fpn", side=128, more=""):
    """Returns a CenterNet."""
    focal = "penalty_reduced_logistic_focal_loss { alpha: 2.0 beta: 4.0 }"
    return f"""
model {{ center_net {{
  num_classes: 90
  image_resizer {{ keep_aspect_ratio_resizer {{
    min_dimension: {side} max_dimension: {side} pad_to_max_dimension: true
  }} }}
  feature_extractor {{ type: "{extractor}" {more} }}
  object_detection_task {{
    task_loss_weight: 1.0
    offset_loss_weight: 1.0
    scale_loss_weight: 0.1
    localization_loss {{ l1_localization_loss {{}} }}
  }}
  object_center_params {{
    object_center_loss_weight: 1.0
    min_box_overlap_iou: 0.7
    max_box_predictions: 100
    classification_loss {{ {focal} }}
  }}
}} }}""" + _training(128, 140000, _STEPPED, ["random_horizontal_flip", "random_adjust_brightness"])


FAMILIES = {
    "EfficientDet": efficientdet(),
    "SSD MobileNet": ssd(),
    "SSD MobileNet FPN": ssd_fpn(),
    "SSD ResNet FPN": ssd_fpn("ssd_resnet50_v1_fpn_keras", 160),
    "Faster R-CNN": faster_rcnn(),
    # With depth_multiplier: 1.0, as in the zoo, TFOD fetches ImageNet weights to build this one.
    "CenterNet MobileNet": center_net(more="depth_multiplier: 0.35"),
    "CenterNet Hourglass": center_net("hourglass_10"),
}
