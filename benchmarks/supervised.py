"""A segmenter that is trained with labels from random weights on: the ceiling that frozen features are held against."""

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
    """Trains a backbone together with a linear layer on its c5, on random crops of the split `train`, by Adam with a cosine rate.

    Args:
        architecture: as "resnet10".
        data: images and masks.
        output_stride: of the backbone.
        seed: of weights and crops.
        rate: of Adam, at the start.
        steps, batch_size: of training.
        crop_size: side of the crops in pixels.
    """
    tf.keras.utils.set_random_seed(seed)
    backbone = load_backbone(f"random:{architecture}", "", output_stride)
    image = tf.zeros([1, crop_size, crop_size, 3])
    channels = backbone(image)["c5"].shape[-1]
    # Features are what they are: there is nothing to standardise by before they have been learnt.
    head = LinearHead(len(data.class_names), np.zeros(channels), np.ones(channels))
    segmenter = Segmenter(backbone, "c5", head, trains_backbone=True)
    segmenter(image)
    # At the scale at which it is scored: others cost a few hundred steps 14 points of mIoU.
    crops = random_crops(data.split("train"), crop_size, seed, min_scale=1.0, max_scale=1.0)
    train(
        segmenter,
        segmenter.trainable_variables,
        tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(rate, steps)),
        crops.batch(batch_size, drop_remainder=True).prefetch(2).take(steps),
    )
    return segmenter


def measure(flags) -> dict[str, tuple]:
    """Scores, and seconds until they were there, by what was trained; arguments as of the command."""
    started = time.monotonic()
    data = open_segmentation(flags.dataset, flags.data_dir)
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
    return {
        "with labels": (supervised, supervised_ended - started),
        "random weights": (random.scores, time.monotonic() - supervised_ended),
    }
