"""Images with a class for every pixel: `scenes`, `composites`, Cityscapes, the folder of Pascal VOC, and folders of images and masks."""

import collections
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.data import pillow_images
from pixpro_tf.data.images import IMAGE_SUFFIXES, decode, is_hidden
from pixpro_tf.data.labelled.order import mixed, shuffled
from pixpro_tf.data.labelled.reading import readable
from pixpro_tf.data.labelled.user_files import read_lines, read_text
from pixpro_tf.data.parallelism import untuned
from pixpro_tf.data.sources.tfds_datasets import OF_THIS_PROJECT, prepared_builder, read_split
from pixpro_tf.data.views.channels import IMAGENET_MEAN
from pixpro_tf.errors import ConfigError, RunError, printable, why_not_a_folder
from pixpro_tf.ops.cores import num_cores

# Mask value of pixels that count neither in training nor in scores.
IGNORED = 255
# Limits of the shuffle buffer, in examples and in bytes, and of a dataset that is kept in memory, in bytes.
_KEPT_BYTES = 2 << 30

_VOC_CLASSES = [
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "table",
    "dog",
    "horse",
    "motorbike",
    "person",
    "plant",
    "sheep",
    "sofa",
    "train",
    "monitor",
]
# Names and ids of the nineteen classes of Cityscapes that are evaluated; all other ids are ignored.
_CITYSCAPES_IDS = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}


@dataclasses.dataclass(frozen=True)
class SegmentationData:
    """Dataset of images and masks.

    Attributes:
        name: name of the dataset, as the user passed it.
        class_names: names of the classes 0, 1, ...
        split: function from the name of a split to its examples `{"image": uint8 [H, W, 3], "mask": uint8 [H, W]}`, always in the same
            order; a mask contains classes and `IGNORED`. Raises `ConfigError` for an unknown split.
    """

    name: str
    class_names: tuple[str, ...]
    split: Callable[[str], tf.data.Dataset]


def open_segmentation(dataset: str, data_dir: str = "", skip_bad: bool = False) -> SegmentationData:
    """Opens a dataset by its name.

    Args:
        dataset: `scenes/128`, `composites/128`, `cityscapes`, `voc:PATH` (the folder VOC2012 of the challenge's archive) or `folder:PATH`
            (`PATH/classes.txt` with one class name on each line, `PATH/SPLIT/images/X.jpg` and `PATH/SPLIT/masks/X.png`).
        data_dir: data directory of TFDS; empty for the default.
        skip_bad: whether files whose image or mask cannot be read are left out; see `reading.readable`.

    Raises:
        ConfigError: if the dataset does not exist.
        RunError: if the dataset is not on this machine; the message says what to do.
    """
    kind, _, path = dataset.partition(":")
    if kind == "voc" and path:
        return _of_files(
            dataset, _VOC_CLASSES, lambda split: _voc_files(dataset, path, split), skip_bad
        )
    if kind == "folder" and path:
        files = _folder_files(dataset, path)
        return _of_files(dataset, _read_classes(dataset, path), files, skip_bad)
    name = dataset.partition("/")[0]
    if name in OF_THIS_PROJECT:
        return _of_this_project(dataset, data_dir)
    if name == "cityscapes":
        return _of_cityscapes(dataset, data_dir)
    raise ConfigError(
        f"{dataset} is not a known segmentation dataset; use scenes/128, composites/128, cityscapes, voc:PATH or folder:PATH",
        of="dataset",
    )


def _of_this_project(dataset: str, data_dir: str) -> SegmentationData:
    builder = prepared_builder(dataset, data_dir)
    class_names = builder.info.features["objects"]["label"].names

    def example(features: dict[str, Any]) -> dict[str, tf.Tensor]:
        return {"image": features["image"], "mask": features["segmentation_mask"][..., 0]}

    return SegmentationData(
        dataset, tuple(class_names), lambda split: read_split(dataset, builder, split).map(example)
    )


def _of_cityscapes(dataset: str, data_dir: str) -> SegmentationData:
    builder = prepared_builder("cityscapes/semantic_segmentation", data_dir)
    class_of_id = np.full(256, IGNORED, np.uint8)
    class_of_id[list(_CITYSCAPES_IDS.values())] = np.arange(len(_CITYSCAPES_IDS))

    def example(features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        ids = tf.cast(features["segmentation_label"][..., 0], tf.int32)
        return {
            "image": features["image_left"],
            "mask": tf.gather(tf.constant(class_of_id), ids),
        }

    return SegmentationData(
        dataset,
        tuple(_CITYSCAPES_IDS),
        lambda split: read_split(dataset, builder, split).map(example),
    )


_MASK_FORMATS = ("PNG", "BMP", "GIF", "TIFF")


def _of_files(
    dataset: str,
    class_names: Sequence[str],
    files_of: Callable[[str], list[tuple[str, str]]],
    skip_bad: bool,
) -> SegmentationData:
    """Dataset of image and mask files; Pillow reads the masks, because TensorFlow turns palette indices into colours."""
    classes = len(class_names)

    def read_mask(path: bytes, height: np.int32, width: np.int32) -> np.ndarray:
        file = os.fsdecode(path)
        name = printable(file)
        try:
            with (
                open(file, "rb") as content,
                pillow_images.opened(content.read(), _MASK_FORMATS) as image,
            ):
                pixels = np.asarray(image)
        except (OSError, ValueError) as error:
            raise ValueError(f"{name} is not a mask: {error}") from None
        if pixels.ndim != 2 or pixels.dtype != np.uint8:
            raise ValueError(f"{name} is not a mask: it must be 8-bit with a single channel")
        if pixels.shape != (height, width):
            raise ValueError(
                f"{name} is {pixels.shape[1]} x {pixels.shape[0]} pixels, but its image is {width} x {height}; they must have the same size"
            )
        unknown = pixels[(pixels >= classes) & (pixels != IGNORED)]
        if unknown.size:
            raise ValueError(
                f"{name} contains the value {unknown[0]}, which is not a class; use 0 to {classes - 1}, or {IGNORED} for pixels to ignore"
            )
        return pixels

    def example(image: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        image = decode(tf.io.read_file(image))
        height, width, _ = tf.unstack(tf.shape(image))
        mask = tf.numpy_function(read_mask, [mask, height, width], tf.uint8)
        mask.set_shape([None, None])
        return {"image": image, "mask": mask}

    @functools.cache
    def split(name: str) -> tf.data.Dataset:
        files = mixed(files_of(name))
        images, masks = zip(
            *(readable(files, example, dataset) if skip_bad else files), strict=True
        )
        names = tuple(tf.constant([*map(os.fsencode, each)]) for each in (images, masks))
        return tf.data.Dataset.from_tensor_slices(names).map(
            example, num_parallel_calls=num_cores()
        )

    return SegmentationData(dataset, tuple(class_names), split)


def _voc_files(dataset: str, path: str, split: str) -> list[tuple[str, str]]:
    path = os.path.expanduser(path)
    listing = os.path.join(path, "ImageSets", "Segmentation", f"{split}.txt")
    if reason := why_not_a_folder(path):
        raise RunError(
            f"{dataset} cannot be read: {path} {reason}; use an existing folder", of="dataset"
        )
    if not os.path.isfile(listing):
        raise ConfigError(f"{split!r} is not a split of {dataset}: {listing} does not exist")
    names = read_text(listing).split()
    if not names:
        raise RunError(f"{dataset} contains no images in {listing}", of="dataset")
    return [
        (
            os.path.join(path, "JPEGImages", f"{name}.jpg"),
            os.path.join(path, "SegmentationClass", f"{name}.png"),
        )
        for name in names
    ]


def _read_classes(dataset: str, path: str) -> list[str]:
    listing = os.path.join(os.path.expanduser(path), "classes.txt")
    if not os.path.isfile(listing):
        raise RunError(
            f"{dataset} cannot be read: {listing} does not exist; create it with one class name on each line",
            of="dataset",
        )
    names = read_lines(listing)
    if not names:
        raise RunError(f"{listing} contains no class names; write one on each line")
    if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
        raise RunError(f"{listing} contains {twice[0]} twice; give each class a name of its own")
    if len(names) > IGNORED:
        raise RunError(
            f"{listing} contains {len(names)} classes; masks of 8 bits have at most {IGNORED}, because {IGNORED} stands for pixels to ignore"
        )
    return names


def _folder_files(dataset: str, path: str) -> Callable[[str], list[tuple[str, str]]]:
    path = os.path.expanduser(path)

    def files(split: str) -> list[tuple[str, str]]:
        images, masks = (os.path.join(path, split, kind) for kind in ("images", "masks"))
        if not (os.path.isdir(images) and os.path.isdir(masks)):
            raise ConfigError(
                f"{split!r} is not a split of {dataset}: it needs the folders {images} and {masks}"
            )
        found: dict[str, str] = {}
        for file in sorted(os.listdir(images)):
            stem, suffix = os.path.splitext(file)
            if suffix.lower() not in IMAGE_SUFFIXES or is_hidden(file):
                continue
            mask = os.path.join(masks, f"{stem}.png")
            if not os.path.isfile(mask):
                raise RunError(
                    f"{dataset} cannot be read: the mask of {os.path.join(images, file)} was not found: {mask}",
                    of="dataset",
                )
            if mask in found:
                raise RunError(
                    f"{dataset} cannot be read: {found[mask]} and {file} have the same mask, {mask}; rename one of them",
                    of="dataset",
                )
            found[mask] = os.path.join(images, file)
        if not found:
            raise RunError(f"{dataset} contains no images in {images}", of="dataset")
        return [(image, mask) for mask, image in found.items()]

    return files


def image_batches(examples: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
    """Batches of images and masks, in the order of their split.

    Args:
        examples: examples of a `SegmentationData`.
        batch_size: number of images in a batch if all images have the same size; the last batch may be smaller. Otherwise each batch
            contains one image.

    Returns:
        Dataset of `(uint8 [B, H, W, 3], uint8 [B, H, W])`.
    """
    shape = examples.element_spec["image"].shape
    size = batch_size if shape.is_fully_defined() else 1
    pairs = examples.map(lambda example: (example["image"], example["mask"]))
    return untuned(pairs.batch(size).prefetch(2))


def random_crops(
    examples: tf.data.Dataset,
    size: int,
    seed: int,
    min_scale: float = 0.5,
    max_scale: float = 2.0,
) -> tf.data.Dataset:
    """Endless random crops of randomly scaled and flipped images, in random order; a pure function of the arguments.

    Args:
        examples: examples of a `SegmentationData`.
        size: side of the crops in pixels. Areas beyond the image are grey and ignored.
        seed: seed of all random choices.
        min_scale, max_scale: range of the log-uniform factor that scales the images' sides.

    Returns:
        Dataset of `(uint8 [size, size, 3], uint8 [size, size])`.
    """
    grey = tf.cast(tf.round(255 * tf.constant(IMAGENET_MEAN)), tf.uint8)

    def crop(index: tf.Tensor, example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        seeds = tf.random.experimental.stateless_split([seed, index], 4)
        image, mask = example["image"], example["mask"]
        low, high = math.log(min_scale), math.log(max_scale)
        scale = tf.exp(tf.random.stateless_uniform([], seeds[0], low, high))
        shape = tf.shape(mask)
        scaled = tf.maximum(tf.cast(tf.round(scale * tf.cast(shape, tf.float32)), tf.int32), 1)
        image = tf.image.resize(image, scaled, antialias=True)
        image = tf.cast(tf.round(tf.clip_by_value(image, 0, 255)), tf.uint8)
        mask = tf.image.resize(mask[..., None], scaled, method="nearest")
        missing = tf.maximum(size - scaled, 0)
        room = tf.maximum(scaled, size) - size
        before = tf.stack([_below(missing[axis] + 1, seeds[1], axis) for axis in (0, 1)])
        padding = tf.concat([tf.stack([before, missing - before], axis=1), [[0, 0]]], axis=0)
        image = tf.pad(tf.cast(image, tf.int32) - tf.cast(grey, tf.int32), padding)
        image = tf.cast(image + tf.cast(grey, tf.int32), tf.uint8)
        mask = tf.pad(mask, padding, constant_values=IGNORED)
        offset = [_below(room[axis] + 1, seeds[2], axis) for axis in (0, 1)]
        image = tf.slice(image, [*offset, 0], [size, size, 3])
        mask = tf.slice(mask, [*offset, 0], [size, size, 1])
        if tf.random.stateless_uniform([], seeds[3]) < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        return tf.ensure_shape(image, [size, size, 3]), tf.ensure_shape(mask[..., 0], [size, size])

    bytes_each = sum(value.nbytes for value in next(examples.take(1).as_numpy_iterator()).values())
    if bytes_each * int(examples.cardinality()) <= _KEPT_BYTES:
        examples = examples.cache()
    crops = (
        shuffled(examples, bytes_each, seed)
        .repeat()
        .enumerate()
        .map(crop, num_parallel_calls=num_cores())
    )
    return untuned(crops)


def _below(bound: tf.Tensor, seed: tf.Tensor, fold: int) -> tf.Tensor:
    """Random integer in [0, bound)."""
    return tf.random.stateless_uniform(
        [], tf.random.experimental.stateless_fold_in(seed, fold), 0, bound, tf.int32
    )
