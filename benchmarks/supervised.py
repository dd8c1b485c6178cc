"""Trains a segmenter with labels from random weights: the ceiling with which frozen features are compared."""

import time

import numpy as np
import tensorflow as tf

from pixpro_tf.data.labelled.segmentation import (
    SegmentationData,
    image_batches,
    open_segmentation,
    random_crops,
)
from pixpro_tf.evaluation import dense
from pixpro_tf.evaluation.segmentation.evaluation import evaluate
from pixpro_tf.evaluation.segmentation.segmenter import LinearHead, Segmenter, score, train
from pixpro_tf.evaluation.sources import load_backbone


def train_with_labels(
    architecture: str,
    data: SegmentationData,
    *,
    output_stride: int,
    seed: int,
    rate: float,
    steps: int,
    batch_size: int,
    crop_size: int,
) -> Segmenter:
    """Trains a backbone and a linear layer on its c5 with Adam and a cosine schedule, on random crops of the split `train`.

    Args:
        architecture: name of the architecture, e.g. "resnet10".
        data: images and masks.
        output_stride: output stride of the backbone.
        seed: seed of weights and crops.
        rate: initial learning rate of Adam.
        steps, batch_size: number of steps and batch size of training.
        crop_size: side of the crops in pixels.
    """
    tf.keras.utils.set_random_seed(seed)
    backbone = load_backbone(f"random:{architecture}", "", output_stride)
    image = tf.zeros([1, crop_size, crop_size, 3])
    channels = backbone(image)["c5"].shape[-1]
    # Features are not standardised, because their statistics are unknown before they have been learnt.
    head = LinearHead(len(data.class_names), np.zeros(channels), np.ones(channels))
    segmenter = Segmenter(backbone, "c5", head, trains_backbone=True)
    segmenter(image)
    # Crops have the scale at which the segmenter is scored; other scales cost 14 points of mIoU in training of a few hundred steps.
    crops = random_crops(data.split("train"), crop_size, seed, min_scale=1.0, max_scale=1.0)
    train(
        segmenter,
        segmenter.trainable_variables,
        tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(rate, steps)),
        crops.batch(batch_size, drop_remainder=True).prefetch(2),
        steps,
    )
    return segmenter


def measure(flags) -> tuple[dict[str, tuple], tuple[str, ...]]:
    """Returns the score and the seconds of each kind of training, by its name, and the names of the classes.

    Args:
        flags: flags of the command.
    """
    data = open_segmentation(flags.dataset, flags.data_dir)
    # Rendering the scenes does not belong to the training.
    started = time.monotonic()
    segmenter = train_with_labels(
        flags.backbone,
        data,
        output_stride=flags.output_stride,
        seed=flags.seed,
        rate=flags.rate,
        steps=flags.steps,
        batch_size=flags.batch_size,
        crop_size=flags.crop_size,
    )
    examples = image_batches(data.split(flags.split), flags.batch_size)
    supervised = score(segmenter, examples, len(data.class_names))
    supervised_ended = time.monotonic()
    random = evaluate(
        dense.Settings(
            source=f"random:{flags.backbone}",
            dataset=flags.dataset,
            data_dir=flags.data_dir,
            split=flags.split,
            output_stride=flags.output_stride,
            seed=flags.seed,
        )
    )
    results = {
        "with labels": (supervised, supervised_ended - started),
        "random weights": (random.scores, time.monotonic() - supervised_ended),
    }
    return results, data.class_names
