"""TFRecords with boxes, from any TFDS dataset with boxes and from one's own labels, for the TF Object Detection API and TF Model Garden."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from pixpro_tf.data import pillow_images
from pixpro_tf.data.labelled.boxes import LabelledBoxes
from pixpro_tf.errors import ConfigError, RunError, first_line, listed
from pixpro_tf.export.label_map import Label

IMAGES_PER_SHARD = 1000


def class_names(builder: tfds.core.DatasetBuilder) -> list[str]:
    """Returns the class names of a detection dataset, in the order of its labels.

    Args:
        builder: TFDS builder of a prepared dataset.

    Raises:
        ConfigError: if the dataset does not contain boxes with labels.
    """
    features = dict(builder.info.features.items())
    objects = dict(getattr(features.get("objects"), "feature", {}).items())
    label = objects.get("label")
    if (
        "image" not in features
        or "bbox" not in objects
        or not isinstance(label, tfds.features.ClassLabel)
    ):
        raise ConfigError(
            f"--dataset={builder.info.full_name} does not contain boxes with labels (its features are {', '.join(features)}); "
            "use a dataset with the feature image and the feature objects, which must contain bbox and a class label called label"
        )
    return list(label.names)


class Part(Protocol):
    """Images with boxes, from one source.

    Attributes:
        num_images: number of images.
    """

    @property
    def num_images(self) -> int: ...

    def examples(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Yields the features of each image, as in TFDS, with the encoded image; and a name that no other image has."""
        ...


@dataclasses.dataclass(frozen=True)
class DatasetPart:
    """Split of a TFDS dataset that `check_split` has accepted."""

    builder: tfds.core.DatasetBuilder
    split: str

    @property
    def num_images(self) -> int:
        return int(self.builder.info.splits[self.split].num_examples)

    def examples(self) -> Iterator[tuple[dict[str, Any], str]]:
        name = self.builder.info.full_name
        dataset = self.builder.as_dataset(
            split=self.split, shuffle_files=False, decoders={"image": tfds.decode.SkipDecoding()}
        )
        try:
            for index, features in enumerate(tfds.as_numpy(dataset)):
                yield features, f"{name}/{self.split}/{index}"
        except (tf.errors.OpError, OSError) as error:
            raise RunError(
                f"{name} cannot be read: {first_line(error)}; prepare it again"
            ) from error


@dataclasses.dataclass(frozen=True)
class LabelsPart:
    """Images with one's own labels."""

    labels: LabelledBoxes

    @property
    def num_images(self) -> int:
        return len(self.labels.images)

    def examples(self) -> Iterator[tuple[dict[str, Any], str]]:
        folder = os.path.commonpath([os.path.dirname(each.path) for each in self.labels.images])
        for image in self.labels.images:
            try:
                with open(image.path, "rb") as file:
                    encoded = file.read()
                # Consumers ignore the EXIF tag.
                if image.is_turned:
                    encoded = pillow_images.as_shown(encoded)
                elif pillow_images.is_one(encoded):
                    encoded = pillow_images.png_of(encoded)
            except (OSError, ValueError) as error:
                raise RunError(f"{image.path} cannot be read: {first_line(error)}") from error
            size = np.array([image.height, image.width] * 2)
            objects = {
                "bbox": (image.boxes / size).astype(np.float32),
                "label": image.labels,
                "is_crowd": image.crowds,
                "is_difficult": image.difficult,
            }
            yield {"image": encoded, "objects": objects}, os.path.relpath(image.path, folder)


class Written(NamedTuple):
    """Contents of the records of a part: the number of images, and the largest number of boxes in one of them."""

    images: int
    most_boxes: int


def write_records(
    folder: str,
    prefix: str,
    parts: Sequence[Part],
    labels: tuple[Label, ...],
    numbered: bool = False,
) -> Written:
    """Writes `PREFIX-00000-of-00017.tfrecord` and so on.

    Args:
        folder: existing folder to write to.
        prefix: start of the file names, "train" or "evaluation".
        parts: images to write, in their order.
        labels: classes with their numbers, in the order of the parts' labels.
        numbered: whether images are identified by numbers from 1, as TF Model Garden requires, instead of by their names.

    Returns:
        What was written.

    Raises:
        RunError: if an image or a dataset cannot be read.
    """
    total = sum(part.num_images for part in parts)
    shards = max(-(-total // IMAGES_PER_SHARD), 1)
    # COCO's evaluation requires a unique name for each image.
    named = enumerate((each for part in parts for each in part.examples()), start=1)
    most_boxes = 0
    for shard in range(shards):
        path = os.path.join(folder, f"{prefix}-{shard:05d}-of-{shards:05d}.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            # The sizes of the shards differ by at most one image.
            for _ in range(total * shard // shards, total * (shard + 1) // shards):
                place, (features, name) = next(named)
                objects = _objects_of(features["objects"], is_trained=prefix == "train")
                most_boxes = max(most_boxes, len(objects["label"]))
                source_id = str(place) if numbered else name
                writer.write(_example(features | {"objects": objects}, name, labels, source_id))
    return Written(total, most_boxes)


def check_split(builder: tfds.core.DatasetBuilder, split: str, labels: tuple[Label, ...]) -> None:
    """Raises `ConfigError` unless a dataset has the expected classes and a split that contains images."""
    names = class_names(builder)
    known = [label.name for label in labels]
    # TFDS may use numbers as the class names of a dataset that is not prepared yet.
    if len(names) != len(known) or (names != known and not names[0].isdigit()):
        raise ConfigError(
            f"{builder.info.full_name} has the classes {listed(names, 5)} instead of {listed(known, 5)}; prepare the dataset again"
        )
    try:
        found = builder.info.splits[split].num_examples
    except (KeyError, ValueError, NotImplementedError):
        found = 0
    if not found:
        raise ConfigError(
            f"{builder.info.full_name} does not contain images in a split {split}; its splits are {', '.join(builder.info.splits)}"
        )


def _objects_of(objects: dict[str, Any], is_trained: bool) -> dict[str, Any]:
    """Returns the objects of an image that are trained on, without crowds, or those to evaluate on, among which VOC's difficult ones are crowds.

    Consumers train on crowds as on objects. In their evaluation, crowds count neither as missed nor as wrong, as difficult objects in VOC's
    own; in training, difficult ones are objects like others, as in Detectron2.
    """
    crowds = np.asarray(objects.get("is_crowd", np.zeros(len(objects["label"]))), bool)
    if is_trained:
        return {key: np.asarray(values)[~crowds] for key, values in objects.items()}
    if "is_difficult" not in objects:
        return objects
    return objects | {"is_crowd": crowds | np.asarray(objects["is_difficult"], bool)}


def _example(
    features: dict[str, Any], name: str, labels: tuple[Label, ...], source_id: str
) -> bytes:
    """Serialises an image with its boxes in the format of the decoders of both consumers."""
    encoded = features["image"]
    try:
        with pillow_images.opened(encoded, ("JPEG", "PNG", "GIF", "BMP")) as image:
            width, height = image.size
            image_format = str(image.format).lower()
    except ValueError as error:
        raise RunError(f"{name} cannot be read: {first_line(error)}") from error
    objects = features["objects"]
    found = [labels[label] for label in objects["label"]]
    ymin, xmin, ymax, xmax = objects["bbox"].reshape(-1, 4).T

    values = {
        "image/encoded": _bytes([encoded]),
        "image/format": _bytes([image_format]),
        "image/filename": _bytes([features.get("image/filename", name)]),
        "image/source_id": _bytes([source_id]),
        "image/key/sha256": _bytes([hashlib.sha256(encoded).hexdigest()]),
        "image/height": _integers([height]),
        "image/width": _integers([width]),
        "image/object/bbox/ymin": _floats(ymin),
        "image/object/bbox/xmin": _floats(xmin),
        "image/object/bbox/ymax": _floats(ymax),
        "image/object/bbox/xmax": _floats(xmax),
        "image/object/class/text": _bytes([label.name for label in found]),
        "image/object/class/label": _integers([label.id for label in found]),
    }
    if "is_difficult" in objects:
        values["image/object/difficult"] = _integers(objects["is_difficult"])
    if "is_crowd" in objects:
        values["image/object/is_crowd"] = _integers(objects["is_crowd"])
    if "area" in objects:
        values["image/object/area"] = _floats(objects["area"])
    example = tf.train.Example(features=tf.train.Features(feature=values))
    return example.SerializeToString(deterministic=True)


def _bytes(values: Iterable[str | bytes]) -> tf.train.Feature:
    encoded = [
        value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        for value in values
    ]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))


def _integers(values: Iterable[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values)))


def _floats(values: Iterable[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=map(float, values)))
