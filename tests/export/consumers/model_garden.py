"""Restores an export, compares its features and trains a detector, in the environment of TF Model Garden.

    python model_garden.py EXPORT IMAGES RESULT

IMAGES is an .npz with normalised `images` and, from the backbone that was exported, `c2` to `c5`. RESULT is JSON.
"""

import json
import sys

import numpy as np
import tensorflow as tf
from official.core import exp_factory, task_factory
from official.modeling import hyperparams
from official.vision import registry_imports  # noqa: F401 - registers the experiments
from official.vision.modeling import backbones
from official.vision.ops import anchor

EXPERIMENTS = {
    "retinanet.yaml": "retinanet_resnetfpn_coco",
    "mask_rcnn.yaml": "maskrcnn_resnetfpn_coco",
    "semantic_segmentation.yaml": "semantic_segmentation",
}
SIDE = 128


def config_of(export, file):
    """Returns the configuration of an experiment: its defaults, overridden by the exported file, whose keys must all exist."""
    config = exp_factory.get_exp_config(EXPERIMENTS[file])
    config.override(hyperparams.read_yaml_to_params_dict(f"{export}/{file}"), is_strict=True)
    return config


def feature_errors(export, data):
    """Returns the largest error of each map relative to its largest value, for the backbone in the file of RetinaNet."""
    model = config_of(export, "retinanet.yaml").task.model
    resnet, norm = model.backbone.resnet, model.norm_activation
    backbone = backbones.ResNet(
        resnet.model_id,
        depth_multiplier=resnet.depth_multiplier,
        norm_momentum=norm.norm_momentum,
        norm_epsilon=norm.norm_epsilon,
    )
    checkpoint = tf.train.Checkpoint(backbone=backbone)
    status = checkpoint.read(f"{export}/checkpoint/ckpt-1")
    status.expect_partial().assert_existing_objects_matched()
    features = backbone(data["images"], training=False)
    return {
        f"c{level}": float(
            np.abs(value - data[f"c{level}"]).max() / np.abs(data[f"c{level}"]).max()
        )
        for level, value in features.items()
    }


def initialized_task(export, file):
    """Returns the configuration of an experiment, its task, and its model after the Garden's own restore."""
    config = config_of(export, file)
    config.task.init_checkpoint = f"{export}/{config.task.init_checkpoint}"
    if file != "semantic_segmentation.yaml":
        config.task.model.input_size = [SIDE, SIDE, 3]
    config.task.annotation_file = None
    task = task_factory.get_task(config.task)
    model = task.build_model()
    task.initialize(model)
    return config, task, model


def detector_losses(export):
    """Returns the losses of two training steps of RetinaNet.

    Both use one batch with a box in each image, and a tenth of the learning rate that follows the warm-up.
    """
    config, task, model = initialized_task(export, "retinanet.yaml")
    schedule = config.trainer.optimizer_config
    schedule.warmup.linear.warmup_learning_rate = schedule.learning_rate.stepwise.values[0] / 10
    optimizer = task.create_optimizer(schedule, config.runtime)
    images = np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    labels = {
        name: tf.nest.map_structure(lambda value: tf.stack([value, value]), value)
        for name, value in targets_of_one_box(config.task.model).items()
    }
    return [
        float(task.train_step((images, labels), model, optimizer, [])["loss"]) for _ in range(2)
    ]


def targets_of_one_box(model):
    """Returns the targets of all anchors of an image, from the Garden's own anchors and labeler."""
    generator = anchor.build_anchor_generator(
        model.min_level,
        model.max_level,
        model.anchor.num_scales,
        model.anchor.aspect_ratios,
        model.anchor.anchor_size,
    )
    anchor_boxes = generator(image_size=(SIDE, SIDE))
    box, label = tf.constant([[20.0, 30.0, 90.0, 100.0]]), tf.ones([1, 1], tf.int32)
    classes, offsets, _, class_weights, box_weights = anchor.AnchorLabeler().label_anchors(
        anchor_boxes, box, label
    )
    return {
        "cls_targets": classes,
        "box_targets": offsets,
        "anchor_boxes": anchor_boxes,
        "cls_weights": class_weights,
        "box_weights": box_weights,
        "image_info": tf.zeros([4, 2]),
    }


def stem_norm(export, file):
    """Returns the norm of the stem's kernel in the model of an experiment."""
    _, _, model = initialized_task(export, file)
    return float(tf.norm(next(v for v in model.backbone.variables if v.shape[:3] == [7, 7, 3])))


def main(export, images, result):
    data = np.load(images)
    found = {
        "feature_errors": feature_errors(export, data),
        "detector_losses": detector_losses(export),
        # Norms of the stems after the Garden's own restore, also in a model that is not a detector.
        "stem_norms": {
            file: stem_norm(export, file)
            for file in ("mask_rcnn.yaml", "semantic_segmentation.yaml")
        },
    }
    with open(result, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
