"""The API's pipeline.config: a model with the paper's fine-tuning schedule.

`Model.not_translated` lists the details for which the API has no setting, for the reader of an export.
"""

import dataclasses
from string import Template

from pixpro_tf.export.od_api.tasks import Schedule

# The API's usual number of boxes per image in training.
_MAX_BOXES = 100

# The paper fine-tunes with synchronised BN. Epsilon must be that of the backbone, which is not the default: the API's own configurations
# set 0.001 for the backbone too, through `override_base_feature_extractor_hyperparams`.
_CONV_HYPERPARAMS = """\
conv_hyperparams {
  activation: RELU
  regularizer { l2_regularizer { weight: 0.0001 } }
  initializer { variance_scaling_initializer { factor: 2.0 mode: FAN_OUT } }
  sync_batch_norm { scale: true decay: 0.9 epsilon: 0.00001 }
}"""

# A wider initialisation would cancel the bias that makes all anchors background at first.
_PREDICTOR_HYPERPARAMS = _CONV_HYPERPARAMS.replace(
    "variance_scaling_initializer { factor: 2.0 mode: FAN_OUT }",
    "random_normal_initializer { mean: 0.0 stddev: 0.01 }",
)

_RESIZER = """\
image_resizer {
  keep_aspect_ratio_resizer {
    min_dimension: $min_side
    max_dimension: $max_side
    pad_to_max_dimension: true
    # Pad with the means that the API subtracts afterwards, so that the padding is 0 for the backbone, as in pre-training.
    per_channel_pad_value: 123.68
    per_channel_pad_value: 116.779
    per_channel_pad_value: 103.939
  }
}"""

_TWO_STAGES = """\
first_stage_box_predictor_conv_hyperparams {
  op: CONV
  regularizer { l2_regularizer { weight: 0.0001 } }
  initializer { truncated_normal_initializer { stddev: 0.01 } }
}
first_stage_nms_score_threshold: 0.0
first_stage_nms_iou_threshold: 0.7
first_stage_max_proposals: $proposals
first_stage_localization_loss_weight: 1.0
first_stage_objectness_loss_weight: 1.0
initial_crop_size: 14
maxpool_kernel_size: $region_pooling
maxpool_stride: $region_pooling
second_stage_batch_size: $second_stage_batch
second_stage_box_predictor {
  mask_rcnn_box_predictor {
    use_dropout: false
    fc_hyperparams {
      op: FC
      regularizer { l2_regularizer { weight: 0.0001 } }
      initializer { variance_scaling_initializer { factor: 1.0 uniform: true mode: FAN_AVG } }
    }
  }
}
second_stage_post_processing {
  batch_non_max_suppression {
    score_threshold: 0.05
    iou_threshold: 0.5
    max_detections_per_class: 100
    max_total_detections: 100
  }
  score_converter: SOFTMAX
}
second_stage_localization_loss_weight: 1.0
second_stage_classification_loss_weight: 1.0"""

_FASTER_RCNN_C4 = f"""\
model {{
  faster_rcnn {{
    num_classes: $num_classes
    {_RESIZER}
    # All BN layers are trained. The API builds this backbone without weight decay and with a BN epsilon of 0.00001.
    feature_extractor {{
      type: "faster_rcnn_resnet${{depth}}_keras"
      batch_norm_trainable: true
    }}
    # Anchors of 32 to 512 pixels; scales are relative to 256 pixels.
    first_stage_anchor_generator {{
      grid_anchor_generator {{
        scales: [0.125, 0.25, 0.5, 1.0, 2.0]
        aspect_ratios: [0.5, 1.0, 2.0]
        height_stride: 16
        width_stride: 16
      }}
    }}
    {_TWO_STAGES}
  }}
}}
"""

_FASTER_RCNN_FPN = f"""\
model {{
  faster_rcnn {{
    num_classes: $num_classes
    {_RESIZER}
    # All BN layers are trained and synchronised over replicas, with the backbone's epsilon.
    feature_extractor {{
      type: "faster_rcnn_resnet${{depth}}_fpn_keras"
      batch_norm_trainable: true
      fpn {{ min_level: 2 max_level: 6 }}
      {_CONV_HYPERPARAMS}
      override_base_feature_extractor_hyperparams: true
    }}
    first_stage_anchor_generator {{
      multiscale_anchor_generator {{
        min_level: 2
        max_level: 6
        anchor_scale: 8.0
        aspect_ratios: [1.0, 2.0, 0.5]
        scales_per_octave: 1
        normalize_coordinates: false
      }}
    }}
    {_TWO_STAGES}
  }}
}}
"""

_SSD_FPN = f"""\
model {{
  ssd {{
    num_classes: $num_classes
    {_RESIZER}
    freeze_batchnorm: false
    inplace_batchnorm_update: true
    box_coder {{
      faster_rcnn_box_coder {{ y_scale: 10.0 x_scale: 10.0 height_scale: 5.0 width_scale: 5.0 }}
    }}
    matcher {{
      argmax_matcher {{
        matched_threshold: 0.5
        unmatched_threshold: 0.4
        ignore_thresholds: false
        negatives_lower_than_unmatched: true
        force_match_for_each_row: true
        use_matmul_gather: true
      }}
    }}
    similarity_calculator {{ iou_similarity {{}} }}
    encode_background_as_zeros: true
    anchor_generator {{
      multiscale_anchor_generator {{
        min_level: 3
        max_level: 7
        anchor_scale: 4.0
        aspect_ratios: [1.0, 2.0, 0.5]
        scales_per_octave: 3
      }}
    }}
    box_predictor {{
      weight_shared_convolutional_box_predictor {{
        depth: 256
        num_layers_before_predictor: 4
        kernel_size: 3
        class_prediction_bias_init: -4.6
        {_PREDICTOR_HYPERPARAMS}
      }}
    }}
    # All BN layers are trained and synchronised over replicas, with the backbone's epsilon.
    feature_extractor {{
      type: "ssd_resnet${{depth}}_v1_fpn_keras"
      fpn {{ min_level: 3 max_level: 7 }}
      min_depth: 16
      depth_multiplier: 1.0
      {_CONV_HYPERPARAMS}
      override_base_feature_extractor_hyperparams: true
    }}
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
        score_threshold: 0.00000001
        iou_threshold: 0.5
        max_detections_per_class: 100
        max_total_detections: 100
      }}
      score_converter: SIGMOID
    }}
  }}
}}
"""

_TRAINING = """
# Schedule: scaled in proportion from $origin.
train_config {
  batch_size: $batch_size
  num_steps: $steps
  optimizer {
    momentum_optimizer {
      learning_rate {
        manual_step_learning_rate {
          initial_learning_rate: $first_rate
          warmup: true
          $stages
        }
      }
      momentum_optimizer_value: 0.9
    }
    use_moving_average: false
  }
  # Paths are relative to this folder.
  fine_tune_checkpoint: "checkpoint/ckpt-1"
  fine_tune_checkpoint_type: "classification"
  fine_tune_checkpoint_version: V2
  data_augmentation_options { random_horizontal_flip {} }
  unpad_groundtruth_tensors: false
}

train_input_reader {
  label_map_path: "label_map.pbtxt"
  max_number_of_boxes: $max_boxes
  tf_record_input_reader { input_path: "records/train-*.tfrecord" }
}

eval_config {
  metrics_set: "coco_detection_metrics"
  use_moving_averages: false
  batch_size: 1
}

eval_input_reader {
  label_map_path: "label_map.pbtxt"
  shuffle: false
  num_epochs: 1
  max_number_of_boxes: $max_boxes
  tf_record_input_reader { input_path: "records/evaluation-*.tfrecord" }
}
"""


@dataclasses.dataclass(frozen=True)
class Model:
    """Detector of the API, one of `MODELS`.

    Attributes:
        title: common name of the detector.
        template: template of its part of the configuration.
        rate_factor: ratio of its learning rate to that of Faster R-CNN.
        proposals, second_stage_batch: numbers of proposals and of second-stage samples per image; only used by Faster R-CNN.
        region_pooling: stride from a region's 14x14 bins to the box head. The head sees 7x7 bins, to which C5 itself reduces them in C4.
        not_translated: details of the paper for which the API has no setting.
        remark: note on the detector itself, if it is not the paper's.
        least_side: smallest side of an image that the API accepts, in pixels.
        side_multiple: number of which the longer side must be a multiple; the feature pyramid of this model adds maps of doubled size.
    """

    title: str
    template: str
    rate_factor: float
    proposals: int
    second_stage_batch: int
    not_translated: tuple[str, ...]
    remark: str = ""
    region_pooling: int = 2
    least_side: int = 1
    side_multiple: int = 1


_SCALES = "a shorter side drawn at random for each batch (480 to 800 pixels on VOC, 640 to 800 on COCO); here, all images have one size"
MODELS = {
    "faster_rcnn_resnet50_keras": Model(
        "Faster R-CNN C4",
        _FASTER_RCNN_C4,
        1.0,
        1000,
        512,
        (
            _SCALES,
            "a BN after C5, in the box head",
            "BN synchronised over replicas, and weight decay in the backbone, neither of which the backbone of this model supports",
        ),
        region_pooling=1,
    ),
    "faster_rcnn_resnet50_fpn_keras": Model(
        "Faster R-CNN with FPN",
        _FASTER_RCNN_FPN,
        1.0,
        1000,
        512,
        (_SCALES,),
        "The paper uses this detector on COCO with an additional mask head (Mask R-CNN), and not on VOC.",
    ),
    "ssd_resnet50_v1_fpn_keras": Model(
        "SSD with FPN (RetinaNet)",
        _SSD_FPN,
        0.5,
        0,
        0,
        (_SCALES,),
        "The paper does not use this detector. Its learning rate is half that of Faster R-CNN, as Detectron2 trains RetinaNet.",
        least_side=129,
        side_multiple=32,
    ),
}


def pipeline_config(
    model: Model,
    depth: int,
    num_classes: int,
    schedule: Schedule,
    origin: str,
    most_boxes: int = 0,
) -> str:
    """Returns the text of a pipeline.config whose paths are relative to its own folder.

    Args:
        model: one of `MODELS`.
        depth: depth of the ResNet, 50, 101 or 152.
        num_classes: largest number of a class.
        schedule: schedule of Faster R-CNN; its learning rate is adapted to other models.
        origin: source of the schedule.
        most_boxes: largest number of boxes in an image; the API drops those beyond `max_number_of_boxes`, which is at least its usual 100.
    """
    rate = schedule.rate * model.rate_factor
    stages = [(schedule.warmup_steps, rate)]
    for drop in schedule.drops:
        stages.append((drop, stages[-1][1] / 10))
    values = {
        "depth": depth,
        "num_classes": num_classes,
        "min_side": schedule.min_side,
        "max_side": schedule.max_side,
        "proposals": model.proposals,
        "second_stage_batch": model.second_stage_batch,
        "region_pooling": model.region_pooling,
        "origin": origin,
        "max_boxes": max(_MAX_BOXES, most_boxes),
        "batch_size": schedule.batch_size,
        "steps": schedule.steps,
        "first_rate": _decimal(rate / 1000),
        "stages": "\n".join(
            f"schedule {{ step: {step} learning_rate: {_decimal(value)} }}"
            for step, value in stages
        ),
    }
    text = Template(model.template + _TRAINING).substitute(values)
    return _indented(text)


def _decimal(value: float) -> str:
    """Formats a number with six significant digits and always a point, because the API distinguishes integers from floats."""
    text = f"{value:.6g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _indented(text: str) -> str:
    """Indents lines by the number of open braces, because the templates contain blocks at any depth."""
    lines, depth = [], 0
    for line in text.splitlines():
        line = line.strip()
        closing = line.startswith("}")
        lines.append("  " * (depth - closing) + line if line else "")
        depth += 0 if line.startswith("#") else line.count("{") - line.count("}")
    return "\n".join(lines).rstrip() + "\n"
