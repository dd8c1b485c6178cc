"""Images with bounding boxes, in padded batches: `scenes`, TFDS datasets with the same object features, and one's own labels."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.data.images import decode, decode_turned
from pixpro_tf.data.labelled.boxes import LabelledBoxes
from pixpro_tf.data.parallelism import untuned
from pixpro_tf.data.sources.tfds_datasets import prepared_builder, read_split
from pixpro_tf.data.views.channels import IMAGENET_MEAN
from pixpro_tf.errors import ConfigError
from pixpro_tf.ops.cores import num_cores

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
            "labels": int64 [N], "crowds": bool [N]}`, always in the same order; boxes are (y0, x0, y1, x1) in pixels, and crowds are boxes
            around groups of objects. Raises `ConfigError` for an unknown split.
        prepare: function that turns what `split` returns into such examples; None if it returns them. It runs after shuffling, so that
            only the images of a batch are in memory.
    """

    name: str
    class_names: tuple[str, ...]
    split: Callable[[str], tf.data.Dataset]
    prepare: Callable[[Any], dict[str, tf.Tensor]] | None = None


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
            f"{dataset} contains images of different sizes; use scenes/128 or scenes/256, pass COCO, VOC or YOLO annotation files with "
            "--labels, or export the backbone to the TF Object Detection API or Model Garden",
            of="dataset",
        )

    def example(features: dict[str, Any]) -> dict[str, tf.Tensor]:
        size = tf.cast(tf.shape(features["image"])[:2], tf.float32)
        objects = features["objects"]
        boxes = objects["bbox"] * tf.concat([size, size], axis=0)
        crowds = objects.get("is_crowd", tf.zeros_like(objects["label"], tf.bool))
        return {
            "image": features["image"],
            "boxes": boxes,
            "labels": objects["label"],
            "crowds": tf.cast(crowds, tf.bool),
        }

    return DetectionData(
        dataset,
        tuple(features["objects"]["label"].names),
        lambda split: read_split(dataset, builder, split).map(example),
    )


def open_labels(train: LabelledBoxes, evaluation: LabelledBoxes, image_size: int) -> DetectionData:
    """Opens one's own labels; the splits are "train" and "evaluation", in which VOC's difficult objects are crowds.

    Args:
        train, evaluation: labels with the same classes.
        image_size: side of the square to which `letterboxed` fits the images, in pixels.
    """
    parts = {"train": train, "evaluation": evaluation}

    def split(name: str) -> tf.data.Dataset:
        images = parts[name].images
        counts = [len(image.labels) for image in images]
        boxes = np.concatenate([image.boxes for image in images]).astype(np.float32)
        labels = np.concatenate([image.labels for image in images])
        crowds = np.concatenate(
            [image.crowds if name == "train" else image.ignored for image in images]
        )
        ragged = {
            key: tf.RaggedTensor.from_row_lengths(values, counts)
            for key, values in (("boxes", boxes), ("labels", labels), ("crowds", crowds))
        }
        paths = tf.constant([os.fsencode(image.path) for image in images])
        turned = tf.constant([image.is_turned for image in images])
        return tf.data.Dataset.from_tensor_slices(ragged | {"path": paths, "turned": turned})

    def prepare(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        encoded = tf.io.read_file(example["path"])
        # The frame of the boxes is that of Pillow, which also follows the tag of a PNG.
        decoded = tf.cond(
            example["turned"], lambda: decode_turned(encoded), lambda: decode(encoded)
        )
        image, boxes = letterboxed(decoded, example["boxes"], image_size)
        return {
            "image": image,
            "boxes": boxes,
            "labels": example["labels"],
            "crowds": example["crowds"],
        }

    return DetectionData(train.source, train.class_names, split, prepare)


def letterboxed(image: tf.Tensor, boxes: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Fits an image into the upper left corner of a square, the rest of which has ImageNet's mean colour.

    Args:
        image: uint8 `[H, W, 3]`.
        boxes: float32 `[N, 4]`, (y0, x0, y1, x1) in pixels.
        size: side of the square, in pixels.

    Returns:
        uint8 `[size, size, 3]`, and the boxes in its pixels.
    """
    before = tf.cast(tf.shape(image)[:2], tf.float32)
    after = tf.maximum(tf.round(before * (size / tf.reduce_max(before))), 1.0)
    sides = tf.cast(after, tf.int32)
    fitted = tf.image.resize(image, sides, antialias=True)
    mean = 255 * tf.constant(IMAGENET_MEAN)
    fitted = tf.pad(fitted - mean, [[0, size - sides[0]], [0, size - sides[1]], [0, 0]]) + mean
    fitted = tf.saturate_cast(tf.round(tf.ensure_shape(fitted, [size, size, 3])), tf.uint8)
    return fitted, boxes * tf.tile(after / before, [2])


def object_batches(
    examples: tf.data.Dataset, batch_size: int, prepare: Callable[..., Any] | None = None
) -> tf.data.Dataset:
    """Batches of examples, in the order of their split.

    Args:
        examples: examples of a `DetectionData`.
        batch_size: number of images in a batch; the last batch may be smaller.
        prepare: `prepare` of the `DetectionData`.

    Returns:
        Dataset of `{"image": [B, H, W, 3], "boxes": [B, M, 4], "labels": [B, M], "crowds": [B, M]}`; rows beyond the number of objects of
        an image have the label `NO_OBJECT`.
    """
    if prepare is not None:
        examples = examples.map(prepare, num_parallel_calls=num_cores())
    return untuned(_padded(examples, batch_size, drop_remainder=False).prefetch(2))


def random_object_batches(
    examples: tf.data.Dataset,
    batch_size: int,
    seed: int,
    prepare: Callable[..., Any] | None = None,
) -> tf.data.Dataset:
    """Endless batches in random order, with images flipped at random; a pure function of the arguments.

    Arguments and elements are those of `object_batches`.
    """

    def flip(index: tf.Tensor, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        if prepare is not None:
            example = prepare(example)
        seeds = tf.random.experimental.stateless_split([seed, index], 1)
        if tf.random.stateless_uniform([], seeds[0]) < 0.5:
            example = flipped(example)
        return example

    # Before `prepare`, an example is little more than a path, so all of them can be shuffled.
    buffer = _SHUFFLED if prepare is None else max(_SHUFFLED, int(examples.cardinality()))
    shuffled = examples.cache().shuffle(buffer, seed=seed).repeat()
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
    def with_a_row(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        # Every batch needs a row, also one of images without objects: the smallest of an empty set of objects is undefined.
        missing = tf.maximum(1 - tf.shape(example["labels"])[0], 0)
        return example | {
            "boxes": tf.pad(example["boxes"], [[0, missing], [0, 0]]),
            "labels": tf.pad(example["labels"], [[0, missing]], constant_values=NO_OBJECT),
            "crowds": tf.pad(example["crowds"], [[0, missing]]),
        }

    padding = {
        "image": tf.constant(0, tf.uint8),
        "boxes": tf.constant(0.0),
        "labels": tf.constant(NO_OBJECT, tf.int64),
        "crowds": tf.constant(False),
    }
    rows = examples.map(with_a_row)
    return rows.padded_batch(batch_size, padding_values=padding, drop_remainder=drop_remainder)
