"""Images with one class each: TFDS classification datasets, and folders with a subfolder for each class."""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pixpro_tf.data.images import decode, is_hidden, is_image_name
from pixpro_tf.data.labelled.order import mixed, shuffled
from pixpro_tf.data.labelled.reading import readable
from pixpro_tf.data.parallelism import untuned
from pixpro_tf.data.sources.tfds_datasets import part_of, prepared_builder, read_split
from pixpro_tf.data.views import crops, randomness
from pixpro_tf.errors import ConfigError, RunError, why_not_a_folder
from pixpro_tf.ops.cores import num_cores

# Side of a central view as a share of the image's shorter side: 224 of 256 pixels.
_CENTRE = 224 / 256


@dataclasses.dataclass(frozen=True)
class ClassificationData:
    """Dataset of images with one class each.

    Attributes:
        name: name of the dataset, as the user passed it.
        class_names: names of the classes 0, 1, ...
        split: function from the name of a split to its examples, `(uint8 [H, W, 3], int64 scalar)`, always in the same order, in which
            classes are mixed. Raises `ConfigError` for an unknown split.
    """

    name: str
    class_names: tuple[str, ...]
    split: Callable[[str], tf.data.Dataset]


def open_classification(
    dataset: str, data_dir: str = "", skip_bad: bool = False
) -> ClassificationData:
    """Opens a dataset by its name.

    Args:
        dataset: a TFDS name, e.g. imagenet2012 or food101, or `folder:PATH` with images named `PATH/SPLIT/CLASS/X.jpg`.
        data_dir: data directory of TFDS; empty for the default.
        skip_bad: whether the images of a folder that cannot be read are left out; see `reading.readable`.

    Raises:
        ConfigError: if the dataset does not exist, or its images do not have exactly one class.
        RunError: if the dataset is not on this machine; the message says what to do.
    """
    import tensorflow_datasets as tfds

    if dataset.startswith("folder:"):
        return _of_folder(dataset, os.path.expanduser(dataset.removeprefix("folder:")), skip_bad)
    builder = prepared_builder(dataset, data_dir)
    features = builder.info.features
    labels = [
        name for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)
    ]
    if "image" not in features or not labels:
        raise ConfigError(
            f"{dataset} does not have one class for each image (its features are {', '.join(features)}); "
            "use a dataset with an image and a class label",
            of="dataset",
        )
    label = "label" if "label" in labels else labels[0]

    def example(features: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        return decode(features["image"]), features[label]

    return ClassificationData(
        dataset,
        tuple(features[label].names),
        lambda split: read_split(dataset, builder, split, encoded="image").map(
            example, num_parallel_calls=num_cores()
        ),
    )


def _of_folder(dataset: str, path: str, skip_bad: bool) -> ClassificationData:
    """Opens a folder of images named `SPLIT/CLASS/NAME.jpg`."""
    if reason := why_not_a_folder(path):
        raise RunError(
            f"{dataset} cannot be read: {path} {reason}; use an existing folder", of="dataset"
        )
    files: dict[str, list[tuple[str, str]]] = {}
    deeper: list[str] = []
    for split in _folders(path):
        for name in _folders(os.path.join(path, split)):
            folder = os.path.join(path, split, name)
            found = [
                (os.path.join(folder, file), name)
                for file in sorted(os.listdir(folder))
                if is_image_name(file)
            ]
            if found:
                files.setdefault(split, []).extend(found)
            deeper += [os.path.join(folder, each) for each in _folders(folder)]
    if not files:
        raise RunError(
            f"{dataset} contains no images; name them {path}/SPLIT/CLASS/NAME.jpg", of="dataset"
        )
    if deeper:
        print(f"Skipped folders inside of classes: {len(deeper)} (such as {deeper[0]})")
    # A part of a split, too, must have all classes.
    files = {split: mixed(found) for split, found in files.items()}
    class_names = sorted({name for found in files.values() for _, name in found})

    def read(path: tf.Tensor) -> tf.Tensor:
        return decode(tf.io.read_file(path))

    @functools.cache
    def examples(split: str) -> tf.data.Dataset:
        chosen = part_of(dataset, files, split)
        if skip_bad:
            chosen = readable(chosen, lambda path, _: read(path), dataset)
        paths = tf.constant([os.fsencode(path) for path, _ in chosen])
        labels = tf.constant([class_names.index(name) for _, name in chosen], tf.int64)
        return tf.data.Dataset.from_tensor_slices((paths, labels)).map(
            lambda path, label: (read(path), label), num_parallel_calls=num_cores()
        )

    return ClassificationData(dataset, tuple(class_names), examples)


def _folders(path: str) -> list[str]:
    """Returns the names of the folders in a folder, in alphabetical order."""
    return sorted(
        entry.name for entry in os.scandir(path) if entry.is_dir() and not is_hidden(entry.name)
    )


def central_views(examples: tf.data.Dataset, size: int, batch_size: int) -> tf.data.Dataset:
    """Central square of each image, in the order of the split.

    Args:
        examples: examples of a `ClassificationData`.
        size: side of the views in pixels; they show 7/8 of the image's shorter side.
        batch_size: number of images in a batch; the last batch may be smaller.

    Returns:
        Dataset of `(uint8 [B, size, size, 3], int64 [B])`.
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
        examples: examples of a `ClassificationData`.
        size: side of the views in pixels.
        batch_size: number of images in every batch.
        min_area: smallest area of a crop, as a share of the image.
        seed: seed of all random choices.

    Returns:
        Dataset of `(uint8 [batch_size, size, size, 3], int64 [batch_size])`.
    """

    def crop(index: tf.Tensor, example: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = example
        key = randomness.image_key(seed, tf.zeros([], tf.int64), index)
        return crops.make_view(image, key, 1, size, min_area)[0], label

    # The bytes of the first image stand for those of all.
    image, _ = next(examples.take(1).as_numpy_iterator())
    numbered = shuffled(examples, image.nbytes, seed).repeat().enumerate()
    views = numbered.map(crop, num_parallel_calls=num_cores())
    return untuned(views.batch(batch_size, drop_remainder=True).prefetch(2))
