"""TF Model Garden experiments that start from an exported backbone, with the paper's fine-tuning schedules.

Each experiment is a file for `python -m official.vision.train --experiment=NAME --config_file=FILE`.
"""

import dataclasses
from string import Template

# The Garden configures epsilon and decay of BN, by default 0.001 and 0.99. A backbone with another epsilon computes different features.
_BACKBONE = """\
# $comment
# Paths are relative to this folder. Replace the paths of the data with yours.
runtime:
  distribution_strategy: mirrored
  enable_xla: false
  mixed_precision_dtype: float32
task:
  init_checkpoint: checkpoint/ckpt-1
  init_checkpoint_modules: $modules
  model:
    norm_activation:
      activation: relu
      norm_epsilon: 0.00001
      norm_momentum: 0.9
      use_sync_bn: true
"""

_RESNET = """\
    backbone:
      type: resnet
      resnet:
        model_id: $model_id
        depth_multiplier: $depth_multiplier
"""

_DECODER = """\
    decoder:
      type: fpn
      fpn:
        num_filters: $channels
"""

_DETECTION_DATA = """\
  annotation_file: coco/instances_val2017.json
  losses:
    l2_weight_decay: 0.0001
  train_data:
    input_path: coco/train*
    global_batch_size: 16
    dtype: float32
  validation_data:
    input_path: coco/val*
    global_batch_size: 8
    dtype: float32
"""

_DETECTION_TRAINER = """\
trainer:
  train_steps: 90000
  steps_per_loop: 500
  summary_interval: 500
  checkpoint_interval: 5000
  validation_interval: 5000
  optimizer_config:
    optimizer:
      type: sgd
      sgd:
        momentum: 0.9
    learning_rate:
      type: stepwise
      stepwise:
        boundaries: [60000, 80000]
        values: [$rate, $second_rate, $third_rate]
    warmup:
      type: linear
      linear:
        warmup_steps: 1000
        warmup_learning_rate: $first_rate
"""

_RETINANET = (
    _BACKBONE
    + """\
    num_classes: 91
    input_size: [1024, 1024, 3]
$decoder"""
    + _RESNET
    + _DETECTION_DATA
    + _DETECTION_TRAINER
)

_MASK_RCNN = (
    _BACKBONE
    + """\
    num_classes: 91
    input_size: [1024, 1024, 3]
    include_mask: true
$decoder"""
    + _RESNET
    + _DETECTION_DATA
    + _DETECTION_TRAINER
)

_SEGMENTATION = (
    _BACKBONE
    + """\
    num_classes: 19
    input_size: [null, null, 3]
    min_level: 4
    max_level: 4
    head:
      level: 4
      num_convs: 1
      num_filters: 256
    decoder:
      type: identity
    backbone:
      type: dilated_resnet
      dilated_resnet:
        model_id: $model_id
        output_stride: 16
  losses:
    l2_weight_decay: 0.0001
    top_k_percent_pixels: 1.0
  train_data:
    input_path: cityscapes/train_fine*
    is_training: true
    global_batch_size: 16
    crop_size: [512, 1024]
    output_size: [1024, 2048]
    aug_scale_min: 0.5
    aug_scale_max: 2.0
  validation_data:
    input_path: cityscapes/val_fine*
    is_training: false
    global_batch_size: 4
    output_size: [1024, 2048]
    resize_eval_groundtruth: true
    drop_remainder: false
trainer:
  train_steps: 40000
  steps_per_loop: 500
  summary_interval: 500
  checkpoint_interval: 2000
  validation_interval: 2000
  validation_steps: 125
  optimizer_config:
    optimizer:
      type: sgd
      sgd:
        momentum: 0.9
    learning_rate:
      type: polynomial
      polynomial:
        initial_learning_rate: 0.01
        decay_steps: 40000
        end_learning_rate: 0.0
        power: 0.9
    warmup:
      type: linear
      linear:
        warmup_steps: 500
        warmup_learning_rate: 0.00001
"""
)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Experiment file for the Garden.

    Attributes:
        name: name of the Garden's experiment whose defaults the file changes.
        comment: first line of the file.
        template: template of the file's text.
        dilated: whether the backbone is the Garden's dilated ResNet, which has a single width.
        rate: peak learning rate of a detector.
        fpn_levels: levels of the decoder; a pre-trained FPN must have the same levels to fit.
    """

    name: str
    comment: str
    template: str
    dilated: bool = False
    rate: float = 0.0
    fpn_levels: tuple[str, ...] = ()


EXPERIMENTS = {
    "retinanet.yaml": Experiment(
        "retinanet_resnetfpn_coco",
        "RetinaNet on COCO, 1x schedule (90k steps, batch size 16), Detectron2's learning rate; the paper does not use RetinaNet.",
        _RETINANET,
        rate=0.01,
        fpn_levels=("p3", "p4", "p5", "p6", "p7"),
    ),
    "mask_rcnn.yaml": Experiment(
        "maskrcnn_resnetfpn_coco",
        "Mask R-CNN with FPN on COCO, with the paper's 1x schedule: 90k steps, batch size 16, "
        "a tenth of the learning rate after 60k steps and a hundredth after 80k.",
        _MASK_RCNN,
        rate=0.02,
        fpn_levels=("p2", "p3", "p4", "p5", "p6"),
    ),
    "semantic_segmentation.yaml": Experiment(
        "semantic_segmentation",
        "FCN with a dilated backbone on Cityscapes, as in the paper; the schedule is the usual polynomial decay.",
        _SEGMENTATION,
        dilated=True,
    ),
}


def yaml_of(
    experiment: Experiment, model_id: int, depth_multiplier: float, fpn_channels: int = 0
) -> str:
    """Returns the text of an experiment file.

    Args:
        experiment: experiment to write.
        model_id, depth_multiplier: the Garden's configuration of the backbone.
        fpn_channels: number of channels of the FPN in the checkpoint, if it fits the experiment; 0 otherwise.
    """
    rates = {
        "first_rate": experiment.rate / 1000,
        "rate": experiment.rate,
        "second_rate": experiment.rate / 10,
        "third_rate": experiment.rate / 100,
    }
    return Template(experiment.template).substitute(
        comment=experiment.comment,
        modules="[backbone, decoder]" if fpn_channels else "backbone",
        decoder=Template(_DECODER).substitute(channels=fpn_channels) if fpn_channels else "",
        model_id=model_id,
        depth_multiplier=depth_multiplier,
        # Decimal notation, because YAML reads 2e-05 as a string.
        **{name: f"{rate:.6f}" for name, rate in rates.items()},
    )
