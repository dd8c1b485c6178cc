"""TF Model Garden experiments that start from an exported backbone, with the paper's fine-tuning schedules.

Each experiment is a file for `python -m official.vision.train --experiment=NAME --config_file=FILE`.
"""

import dataclasses
from string import Template

# The Garden's default for the number of boxes per image.
_MAX_BOXES = 100

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
  annotation_file: $annotation_file
  losses:
    l2_weight_decay: 0.0001
  train_data:
    input_path: $train_path
    global_batch_size: 16
    dtype: float32
    parser:
      max_num_instances: $max_boxes
  validation_data:
    input_path: $evaluation_path
    global_batch_size: 8
    dtype: float32
    drop_remainder: $drop_remainder
    parser:
      max_num_instances: $max_boxes
"""

_DETECTION_TRAINER = """\
trainer:
  train_steps: $steps
  steps_per_loop: $loop
  summary_interval: $loop
  checkpoint_interval: $interval
  validation_interval: $interval
$validation_steps\
  optimizer_config:
    optimizer:
      type: sgd
      sgd:
        momentum: 0.9
    learning_rate:
      type: stepwise
      stepwise:
        boundaries: [$first_drop, $second_drop]
        values: [$rate, $second_rate, $third_rate]
    warmup:
      type: linear
      linear:
        warmup_steps: $warmup
        warmup_learning_rate: $first_rate
"""

_RETINANET = (
    _BACKBONE
    + """\
    num_classes: $num_classes
    input_size: [1024, 1024, 3]
$decoder"""
    + _RESNET
    + _DETECTION_DATA
    + _DETECTION_TRAINER
)

_RCNN = (
    _BACKBONE
    + """\
    num_classes: $num_classes
    input_size: [1024, 1024, 3]
    include_mask: $include_mask
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
class DetectionData:
    """Data of a detector, and how long to train on it.

    Attributes:
        num_classes: number of classes, the background among them.
        train_path, evaluation_path: patterns of the TFRecord files.
        steps: number of steps; the drops of the learning rate and the warm-up scale with it.
        annotation_file: COCO file of the evaluated images; empty uses the boxes in the TFRecord files.
        num_evaluated: number of evaluated images; 0 for those of COCO.
        most_boxes: largest number of boxes in an image; the Garden drops those beyond `max_num_instances`, which is at least its usual 100.
    """

    num_classes: int = 91
    train_path: str = "coco/train*"
    evaluation_path: str = "coco/val*"
    steps: int = 90_000
    annotation_file: str = "coco/instances_val2017.json"
    num_evaluated: int = 0
    most_boxes: int = 0

    def values(self) -> dict[str, object]:
        """Returns the values of the names in the templates."""
        share = self.steps / 90_000
        loop = min(500, self.steps)
        # The last batch of COCO's images is left out, as the Garden does; that of a few images matters.
        validation = (
            f"  validation_steps: {-(-self.num_evaluated // 8)}\n" if self.num_evaluated else ""
        )
        return {
            "num_classes": self.num_classes,
            "annotation_file": self.annotation_file or "null",
            "train_path": self.train_path,
            "evaluation_path": self.evaluation_path,
            "drop_remainder": "false" if self.num_evaluated else "true",
            "max_boxes": max(_MAX_BOXES, self.most_boxes),
            "steps": self.steps,
            "loop": loop,
            "interval": min(5000, self.steps),
            "validation_steps": validation,
            "first_drop": max(round(60_000 * share), 1),
            "second_drop": max(round(80_000 * share), 2),
            "warmup": max(min(1000, self.steps // 10), 1),
        }


COCO = DetectionData()
# Steps on one's own boxes, as many as the paper's for VOC.
DEFAULT_STEPS = 24_000


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
        masks: whether a detector predicts masks.
    """

    name: str
    comment: str
    template: str
    dilated: bool = False
    rate: float = 0.0
    fpn_levels: tuple[str, ...] = ()
    masks: bool = False


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
        _RCNN,
        rate=0.02,
        fpn_levels=("p2", "p3", "p4", "p5", "p6"),
        masks=True,
    ),
    "semantic_segmentation.yaml": Experiment(
        "semantic_segmentation",
        "FCN with a dilated backbone on Cityscapes, as in the paper; the schedule is the usual polynomial decay.",
        _SEGMENTATION,
        dilated=True,
    ),
}


# Experiments on one's own boxes, which have no masks.
OWN_EXPERIMENTS = {
    "retinanet.yaml": dataclasses.replace(
        EXPERIMENTS["retinanet.yaml"],
        comment="RetinaNet on your boxes, COCO's schedule scaled to its steps.",
    ),
    "faster_rcnn.yaml": dataclasses.replace(
        EXPERIMENTS["mask_rcnn.yaml"],
        name="fasterrcnn_resnetfpn_coco",
        comment="Faster R-CNN with FPN on your boxes, the paper's schedule for COCO scaled to its steps.",
        masks=False,
    ),
}


def yaml_of(
    experiment: Experiment,
    model_id: int,
    depth_multiplier: float,
    fpn_channels: int = 0,
    data: DetectionData = COCO,
) -> str:
    """Returns the text of an experiment file.

    Args:
        experiment: experiment to write.
        model_id, depth_multiplier: the Garden's configuration of the backbone.
        fpn_channels: number of channels of the FPN in the checkpoint, if it fits the experiment; 0 otherwise.
        data: data of a detector.
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
        include_mask="true" if experiment.masks else "false",
        **data.values(),
        # Decimal notation, because YAML reads 2e-05 as a string.
        **{name: f"{rate:.6f}" for name, rate in rates.items()},
    )
