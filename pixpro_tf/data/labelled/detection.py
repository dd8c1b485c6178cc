"""Images with boxes, padded to batches: `scenes`, and datasets of TFDS that list objects in the same way."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pixpro_tf.data.parallelism import num_cores, untuned
from pixpro_tf.data.sources.tfds_datasets import prepared_builder, read_split
from pixpro_tf.errors import ConfigError

# Label of the rows that fill a batch up.
NO_OBJECT = -1
_SHUFFLED = 2000


@dataclasses.dataclass(frozen=True)
class DetectionData:
    """A dataset of images with objects.

    Attributes:
        name: of the dataset, as its user names it.
        class_names: of the labels 0, 1, ...
        split: from a split's name to its examples `{"image": uint8 [H, W, 3], "boxes": float32 [N, 4], "labels": int64 [N]}`, always in
            one order; boxes are (y0, x0, y1, x1) in pixels. Raises `ConfigError` for a split that is not there.
    """

    name: str
    class_names: tuple[str, ...]
    split: Callable[[str], tf.data.Dataset]


def open_detection(dataset: str, data_dir: str = "") -> DetectionData:
    """A dataset by its name.

    Args:
        dataset: scenes/128 or scenes/256, or a TFDS name whose images are all of one size and have `objects` of `bbox` and `label`.
        data_dir: of TFDS; empty for its default.

    Raises:
        ConfigError: if there is no such dataset, or it is of another kind.
        RunError: if it has not been prepared, with what to do.
    """
    builder = prepared_builder(dataset, data_dir)
    features = builder.info.features
    listed = features["objects"].keys() if "objects" in features else ()
    if "image" not in features or not {"bbox", "label"} <= set(listed):
        raise ConfigError(
            f"{dataset} does not list objects of bbox and label; its features are {', '.join(features)}",
            of="dataset",
        )
    if None in features["image"].shape:
        raise ConfigError(
            f"{dataset} has images of different sizes; this detector takes scenes/128 and scenes/256. "
            "For VOC and COCO, export the backbone to the TF Object Detection API or Model Garden",
            of="dataset",
        )

    def example(features: dict[str, Any]) -> dict[str, tf.Tensor]:
        size = tf.cast(tf.shape(features["image"])[:2], tf.float32)
        objects = features["objects"]
        boxes = objects["bbox"] * tf.concat([size, size], axis=0)
        return {"image": features["image"], "boxes": boxes, "labels": objects["label"]}

    return DetectionData(
        dataset,
        tuple(features["objects"]["label"].names),
        lambda split: read_split(dataset, builder, split).map(example),
    )


def object_batches(examples: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Examples in the order of their split.

    Args:
        examples: of a `DetectionData`.
        batch_size: the last batch may be smaller.

    Returns:
        Of `{"image": [B, H, W, 3], "boxes": [B, M, 4], "labels": [B, M]}`, whose rows beyond an image's objects have the label
        `NO_OBJECT`.
    """
    return untuned(_padded(examples, batch_size, drop_remainder=False).prefetch(2))


def random_object_batches(examples: tf.data.Dataset, batch_size: int, seed: int) -> tf.data.Dataset:
    """Endless batches in random order, each image flipped at random; a pure function of its arguments. Elements as of `object_batches`."""

    def flip(index: tf.Tensor, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        seeds = tf.random.experimental.stateless_split([seed, index], 1)
        if tf.random.stateless_uniform([], seeds[0]) < 0.5:
            example = flipped(example)
        return example

    shuffled = examples.cache().shuffle(_SHUFFLED, seed=seed).repeat()
    chosen = shuffled.enumerate().map(flip, num_parallel_calls=num_cores())
    return untuned(_padded(chosen, batch_size, drop_remainder=True).prefetch(2))


def flipped(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """An example, mirrored from left to right."""
    image, boxes = example["image"], example["boxes"]
    width = tf.cast(tf.shape(image)[1], tf.float32)
    y0, x0, y1, x1 = tf.unstack(boxes, axis=-1)
    mirrored = tf.stack([y0, width - x1, y1, width - x0], axis=-1)
    return example | {"image": image[:, ::-1], "boxes": mirrored}


def _padded(examples: tf.data.Dataset, batch_size: int, drop_remainder: bool) -> tf.data.Dataset:
    padding = {
        "image": tf.constant(0, tf.uint8),
        "boxes": tf.constant(0.0),
        "labels": tf.constant(NO_OBJECT, tf.int64),
    }
    return examples.padded_batch(batch_size, padding_values=padding, drop_remainder=drop_remainder)
