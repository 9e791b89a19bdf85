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
_SHARED_PREDICTOR = (
    "weight_shared_convolutional_box_predictor { depth: 16 kernel_size: 3 "
    "num_layers_before_predictor: 1 class_prediction_bias_init: -4.6 "
)
_BIFPN = "bifpn { min_level: 3 max_level: 6 num_iterations: 1 num_filters: 16 }"
_OWN_LAYERS = (
    "min_depth: 16 depth_multiplier: 1.0 "
    f"override_base_feature_extractor_hyperparams: true {_LAYERS}"
)

EFFICIENTDET = _ssd(
    192,
    f'type: "ssd_efficientnet-b0_bifpn_keras" {_BIFPN} {_BIFPN_LAYERS}',
    f"{_SHARED_PREDICTOR} use_depthwise: true {_BIFPN_LAYERS} }}",
    _PYRAMID.replace("max_level: 7", "max_level: 6"),
    _UNIT_SCALES,
) + _training(128, 300000, _COSINE, ["random_horizontal_flip"], "use_bfloat16: true")
# With anchors of its own on each level.
SSD = _ssd(
    96,
    f'type: "ssd_mobilenet_v2_keras" {_OWN_LAYERS}',
    _SINGLE_SHOT_PREDICTOR,
    _SINGLE_SHOT_ANCHORS,
    _RETINA_SCALES,
) + _training(512, 50000, _COSINE, ["random_horizontal_flip", "ssd_random_crop"])
# With a feature pyramid (RetinaNet).
SSD_FPN = _ssd(
    96,
    'type: "ssd_mobilenet_v2_fpn_keras" '
    f"fpn {{ min_level: 3 max_level: 7 additional_layer_depth: 16 }} {_OWN_LAYERS}",
    f"{_SHARED_PREDICTOR} {_LAYERS} }}",
    _PYRAMID,
    _RETINA_SCALES,
) + _training(64, 25000, _COSINE, ["random_horizontal_flip", "random_crop_image"])

_TRUNCATED = "truncated_normal_initializer { stddev: 0.01 }"
_ZERO = "regularizer { l2_regularizer { weight: 0.0 } }"
_FAN = "variance_scaling_initializer { factor: 1.0 uniform: true mode: FAN_AVG }"
FASTER_RCNN = f"""
model {{ faster_rcnn {{
  num_classes: 90
  image_resizer {{ keep_aspect_ratio_resizer {{
    min_dimension: 96 max_dimension: 96 pad_to_max_dimension: true
  }} }}
  feature_extractor {{ type: "faster_rcnn_resnet50_keras" batch_norm_trainable: true }}
  first_stage_anchor_generator {{ grid_anchor_generator {{
    scales: [0.25, 0.5, 1.0, 2.0] aspect_ratios: [0.5, 1.0, 2.0]
    height_stride: 16 width_stride: 16
  }} }}
  first_stage_box_predictor_conv_hyperparams {{ op: CONV {_ZERO} initializer {{ {_TRUNCATED} }} }}
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
    fc_hyperparams {{ op: FC {_ZERO} initializer {{ {_FAN} }} }}
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

_PENALTY_REDUCED = "penalty_reduced_logistic_focal_loss { alpha: 2.0 beta: 4.0 }"
CENTER_NET = f"""
model {{ center_net {{
  num_classes: 90
  image_resizer {{ keep_aspect_ratio_resizer {{
    min_dimension: 128 max_dimension: 128 pad_to_max_dimension: true
  }} }}
  feature_extractor {{ type: "mobilenet_v2_fpn" }}
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
    classification_loss {{ {_PENALTY_REDUCED} }}
  }}
}} }}""" + _training(128, 140000, _STEPPED, ["random_horizontal_flip", "random_adjust_brightness"])
_RESNET = SSD_FPN.replace("ssd_mobilenet_v2_fpn_keras", "ssd_resnet50_v1_fpn_keras")

FAMILIES = {
    "EfficientDet": EFFICIENTDET,
    "SSD MobileNet": SSD,
    "SSD MobileNet FPN": SSD_FPN,
    "SSD ResNet FPN": _RESNET.replace("height: 96 width: 96", "height: 160 width: 160"),
    "Faster R-CNN": FASTER_RCNN,
    # With depth_multiplier: 1.0, as in the zoo, TFOD fetches ImageNet weights to build this one.
    "CenterNet MobileNet": CENTER_NET.replace('v2_fpn"', 'v2_fpn" depth_multiplier: 0.35'),
    "CenterNet Hourglass": CENTER_NET.replace("mobilenet_v2_fpn", "hourglass_10"),
}
