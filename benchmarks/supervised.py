"""A segmenter that is trained with labels from random weights on: the ceiling that frozen features are held against."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.data.segmentation import SegmentationData, random_crops
from pixpro_tf.evaluation.segmenter import LinearHead, Segmenter, train
from pixpro_tf.evaluation.sources import load_backbone


def train_with_labels(
    architecture: str,
    data: SegmentationData,
    *,
    output_stride: int,
    seed: int,
    rate: float,
    settings: Mapping[str, Any],
) -> Segmenter:
    """Trains a backbone together with a linear layer on its c5, on random crops of the split `train`, by Adam with a cosine rate.

    Args:
        architecture: as "resnet10".
        data: images and masks.
        output_stride: of the backbone.
        seed: of weights and crops.
        rate: of Adam, at the start.
        settings: `steps`, `batch_size` and `crop_size`; `min_scale` and `max_scale` of the images before they are cropped.
    """
    tf.keras.utils.set_random_seed(seed)
    backbone = load_backbone(f"random:{architecture}", "", output_stride)
    size, steps = settings["crop_size"], settings["steps"]
    channels = backbone(tf.zeros([1, size, size, 3]))["c5"].shape[-1]
    # Features are what they are: there is nothing to standardise by before they have been learnt.
    head = LinearHead(len(data.class_names), np.zeros(channels), np.ones(channels))
    segmenter = Segmenter(backbone, "c5", head, trains_backbone=True)
    segmenter(tf.zeros([1, size, size, 3]))
    crops = random_crops(
        data.split("train"), size, seed, settings["min_scale"], settings["max_scale"]
    )
    train(
        segmenter,
        segmenter.trainable_variables,
        tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(rate, steps)),
        crops.batch(settings["batch_size"], drop_remainder=True).prefetch(2).take(steps),
    )
    return segmenter
