"""Images with one class each: any such dataset of TFDS, and folders with a folder for each class."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pixpro_tf.data.parallelism import num_cores, untuned
from pixpro_tf.data.sources.tfds_datasets import prepared_builder, read_split
from pixpro_tf.data.views import crops, randomness
from pixpro_tf.errors import ConfigError, RunError

_SHUFFLED = 2000
# Of the image's shorter side, what a central view shows: 224 pixels of 256.
_CENTRE = 224 / 256


@dataclasses.dataclass(frozen=True)
class ClassificationData:
    """A dataset of images with a class.

    Attributes:
        name: of the dataset, as its user names it.
        class_names: of the classes 0, 1, ...
        split: from a split's name to its examples, `(uint8 [H, W, 3], int64 scalar)`, always in one order. Raises `ConfigError` for a
            split that is not there.
    """

    name: str
    class_names: tuple[str, ...]
    split: Callable[[str], tf.data.Dataset]


def open_classification(dataset: str, data_dir: str = "") -> ClassificationData:
    """A dataset by its name.

    Args:
        dataset: a TFDS name, as imagenet2012 or food101, or `folder:PATH` with images as `PATH/SPLIT/CLASS/X.jpg`.
        data_dir: of TFDS; empty for its default.

    Raises:
        ConfigError: if there is no such dataset, or its images have no single class.
        RunError: if it is not on this machine, with what to do.
    """
    import tensorflow_datasets as tfds

    if dataset.startswith("folder:"):
        path = os.path.expanduser(dataset.removeprefix("folder:"))
        if not os.path.isdir(path):
            raise RunError(f"{dataset}: there is no folder {path}", of="dataset")
        builder = tfds.ImageFolder(path)
        if not sum(split.num_examples for split in builder.info.splits.values()):
            raise RunError(
                f"{dataset} has no images; they have to be {path}/SPLIT/CLASS/NAME.jpg",
                of="dataset",
            )
    else:
        builder = prepared_builder(dataset, data_dir)
    features = builder.info.features
    labels = [
        name for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)
    ]
    if "image" not in features or not labels:
        raise ConfigError(
            f"{dataset} does not give each image a class; its features are {', '.join(features)}",
            of="dataset",
        )
    label = "label" if "label" in labels else labels[0]

    def example(features: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        image = features["image"]
        if image.shape[-1] == 1:
            image = tf.image.grayscale_to_rgb(image)
        return image, features[label]

    return ClassificationData(
        dataset,
        tuple(features[label].names),
        lambda split: read_split(dataset, builder, split).map(example),
    )


def central_views(examples: tf.data.Dataset, size: int, batch_size: int) -> tf.data.Dataset:
    """The middle of each image, in the order of the split.

    Args:
        examples: of a `ClassificationData`.
        size: side of the views in pixels; they show 7/8 of the image's shorter side.
        batch_size: the last batch may be smaller.

    Returns:
        Of `(uint8 [B, size, size, 3], int64 [B])`.
    """

    def central(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shape = tf.shape(image)
        side = tf.cast(tf.round(_CENTRE * tf.cast(tf.reduce_min(shape[:2]), tf.float32)), tf.int32)
        side = tf.maximum(side, 1)
        row, column = (shape[0] - side) // 2, (shape[1] - side) // 2
        square = image[row : row + side, column : column + side]
        resized = tf.image.resize(square, [size, size], antialias=True)
        return tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8), label

    views = examples.map(central, num_parallel_calls=num_cores())
    return untuned(views.batch(batch_size).prefetch(2))


def random_views(
    examples: tf.data.Dataset, size: int, batch_size: int, min_area: float, seed: int
) -> tf.data.Dataset:
    """Endless batches of random crops, flipped at random, in random order.

    Args:
        examples: of a `ClassificationData`.
        size: side of the views in pixels.
        batch_size: of every batch.
        min_area: smallest area of a crop, as a share of the image.
        seed: of everything random.

    Returns:
        Of `(uint8 [batch_size, size, size, 3], int64 [batch_size])`.
    """

    def crop(index: tf.Tensor, example: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = example
        key = randomness.image_key(seed, tf.zeros([], tf.int64), index)
        return crops.make_view(image, key, 1, size, min_area)[0], label

    shuffled = examples.shuffle(_SHUFFLED, seed=seed).repeat().enumerate()
    views = shuffled.map(crop, num_parallel_calls=num_cores())
    return untuned(views.batch(batch_size, drop_remainder=True).prefetch(2))
