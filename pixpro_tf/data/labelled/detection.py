"""Images with bounding boxes, in padded batches: `scenes`, and TFDS datasets with the same object features."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pixpro_tf.data.parallelism import num_cores, untuned
from pixpro_tf.data.sources.tfds_datasets import prepared_builder, read_split
from pixpro_tf.errors import ConfigError

# Label of the rows that pad the objects of an image in a batch.
NO_OBJECT = -1
_SHUFFLED = 2000


@dataclasses.dataclass(frozen=True)
class DetectionData:
    """Dataset of images with objects.

    Attributes:
        name: name of the dataset, as the user passed it.
        class_names: names of the labels 0, 1, ...
        split: function from the name of a split to its examples `{"image": uint8 [H, W, 3], "boxes": float32 [N, 4],
            "labels": int64 [N]}`, always in the same order; boxes are (y0, x0, y1, x1) in pixels. Raises `ConfigError` for an unknown
            split.
    """

    name: str
    class_names: tuple[str, ...]
    split: Callable[[str], tf.data.Dataset]


def open_detection(dataset: str, data_dir: str = "") -> DetectionData:
    """Opens a dataset by its name.

    Args:
        dataset: scenes/128, scenes/256, or the name of a TFDS dataset whose images all have the same size and have `objects` with `bbox`
            and `label`.
        data_dir: data directory of TFDS; empty for the default.

    Raises:
        ConfigError: if the dataset does not exist or is of another kind.
        RunError: if the dataset has not been prepared; the message says what to do.
    """
    builder = prepared_builder(dataset, data_dir)
    features = builder.info.features
    listed = features["objects"].keys() if "objects" in features else ()
    if "image" not in features or not {"bbox", "label"} <= set(listed):
        raise ConfigError(
            f"{dataset} does not contain objects with bbox and label (its features are {', '.join(features)}); "
            "use a dataset with boxes, e.g. scenes/128",
            of="dataset",
        )
    if None in features["image"].shape:
        raise ConfigError(
            f"{dataset} contains images of different sizes; use scenes/128 or scenes/256. "
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
    """Batches of examples, in the order of their split.

    Args:
        examples: examples of a `DetectionData`.
        batch_size: number of images in a batch; the last batch may be smaller.

    Returns:
        Dataset of `{"image": [B, H, W, 3], "boxes": [B, M, 4], "labels": [B, M]}`; rows beyond the number of objects of an image have the
        label `NO_OBJECT`.
    """
    return untuned(_padded(examples, batch_size, drop_remainder=False).prefetch(2))


def random_object_batches(examples: tf.data.Dataset, batch_size: int, seed: int) -> tf.data.Dataset:
    """Endless batches in random order, with images flipped at random; a pure function of the arguments.

    Elements are those of `object_batches`.
    """

    def flip(index: tf.Tensor, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        seeds = tf.random.experimental.stateless_split([seed, index], 1)
        if tf.random.stateless_uniform([], seeds[0]) < 0.5:
            example = flipped(example)
        return example

    shuffled = examples.cache().shuffle(_SHUFFLED, seed=seed).repeat()
    chosen = shuffled.enumerate().map(flip, num_parallel_calls=num_cores())
    return untuned(_padded(chosen, batch_size, drop_remainder=True).prefetch(2))


def flipped(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Mirrors an example from left to right."""
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
