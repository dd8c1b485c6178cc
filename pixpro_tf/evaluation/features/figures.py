"""Figures of what a backbone has learnt, for the images and points in the settings."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.config import Config
from pixpro_tf.config.flag import check_used
from pixpro_tf.data.images import decode, suffixes_of
from pixpro_tf.data.labelled.reading import reading
from pixpro_tf.data.sources import bad_images, open_source
from pixpro_tf.data.views import crops, randomness
from pixpro_tf.data.views.channels import Channels
from pixpro_tf.data.views.photometric import Photometric, denormalize
from pixpro_tf.errors import ConfigError, RunError, argument_called
from pixpro_tf.evaluation import pictures
from pixpro_tf.evaluation.dense_matching.matching import Matches, match
from pixpro_tf.evaluation.features import feature_pictures
from pixpro_tf.evaluation.features.components import principal_components
from pixpro_tf.evaluation.features.projections import find_projections, propagation_weights
from pixpro_tf.evaluation.settings import save_figures
from pixpro_tf.evaluation.sources import load_backbone, maps_of
from pixpro_tf.evaluation.visualize import Settings
from pixpro_tf.ops.numerics import unit_length

_MIN_CROP_AREA = 0.3
# One component for each colour channel.
_COMPONENTS = 3


def write(folder: str, settings: Settings) -> None:
    """Writes matches.png, propagation.png, components.png and neighbours.png into a folder; raises `UserError`."""
    tf.keras.utils.set_random_seed(settings.seed)
    backbone = load_backbone(
        settings.source, settings.network, settings.output_stride, any_channels=True
    )
    with argument_called(dataset="images"), reading(settings.images, channels=backbone.channels):
        squares = _squares(settings, backbone.channels)
    images = pictures.as_rgb(squares)
    maps = maps_of(backbone, tf.constant(squares), settings.level)
    called = settings.name or settings.source
    of = f"{settings.level} of {called}"
    figures: dict[str, Any] = {}

    projections = find_projections(settings.source, settings.network)
    if projections is None:
        mixed, gamma, name = maps, Config.gamma, settings.level
    else:
        mixed = projections.function(tf.cast(squares, tf.float32))
        gamma, name = projections.gamma, projections.name
    points = settings.points_xy
    bins = tf.constant([[_bin_of(point, mixed.shape) for point in points]] * len(images))
    figures["propagation"] = feature_pictures.propagation_picture(
        images,
        [_middle_of_bin(point, mixed.shape) for point in points],
        propagation_weights(mixed, gamma, bins).numpy(),
        f"Propagation weights of points with gamma {gamma:g}, by the {name} of {called}",
    )

    if maps.shape[0] * maps.shape[1] * maps.shape[2] < _COMPONENTS:
        raise ConfigError(
            f"--image_size={settings.image_size} leaves too few bins in {settings.level} for three principal components; "
            "use a larger --image_size, or more images"
        )
    components, shares = principal_components(maps.numpy())
    figures["components"] = feature_pictures.components_picture(
        images,
        components,
        shares,
        f"First three principal components of {of}, and their shares of the variance",
    )

    unit = unit_length(maps).numpy()
    flat = unit[0].reshape(-1, unit.shape[-1])
    chosen = flat[[_bin_of(point, maps.shape) for point in points]]
    figures["neighbours"] = feature_pictures.neighbours_picture(
        images,
        [_middle_of_bin(point, maps.shape) for point in points],
        np.einsum("qc,bhwc->qbhw", chosen, unit[1:]),
        f"Bins of other images that are most similar to points of the first, by {of}",
    )

    examples = _views(settings, backbone, squares)
    found = sum(int(matches.right.sum()) for _, _, matches in examples)
    seen = sum(int(matches.seen.sum()) for _, _, matches in examples)
    figures["matches"] = pictures.matches_picture(
        examples, f"Dense matches between two views by {of}: {found} of {seen} bins matched"
    )
    save_figures(folder, figures)


def _bin_of(point: tuple[float, float], shape: tf.TensorShape) -> int:
    x, y = point
    height, width = shape[1:3]
    return int(y * height) * width + int(x * width)


def _middle_of_bin(point: tuple[float, float], shape: tf.TensorShape) -> tuple[float, float]:
    """Centre of a point's bin, at which the point is marked: a mark at the bin's corner would seem to mean another bin."""
    x, y = point
    height, width = shape[1:3]
    return (int(x * width) + 0.5) / width, (int(y * height) + 0.5) / height


def _squares(settings: Settings, channels: Channels) -> np.ndarray:
    """Returns the central square of each image, uint8 `[B, S, S, C]`."""
    squares = []
    for encoded in _encoded(settings, channels):
        image = decode(encoded, channels=channels)
        height, width = image.shape[:2]
        side = min(height, width)
        row, column = (height - side) // 2, (width - side) // 2
        square = image[row : row + side, column : column + side]
        size = [settings.image_size, settings.image_size]
        resized = tf.image.resize(square, size, antialias=True)
        squares.append(np.round(np.clip(resized.numpy(), 0, 255)).astype(np.uint8))
    return np.stack(squares)


def _encoded(settings: Settings, channels: Channels) -> list[tf.Tensor]:
    """Returns the encoded images."""
    named = settings.images.lower()
    if named.endswith(suffixes_of(channels)) and not named.startswith("folder:"):
        check_used(settings, False, ["on_bad_image"], f"--images={settings.images}")
        paths = [os.path.expanduser(path) for path in settings.images.split(",") if path]
        for path in paths:
            # TensorFlow does not look for names that are not UTF-8.
            if not (os.path.exists(path) or ("://" in path and tf.io.gfile.exists(path))):
                raise RunError(f"--images={settings.images} cannot be read: {path} does not exist")
        if len(paths) < 2:
            raise ConfigError(
                f"--images={settings.images} is a single image, without others to find neighbours in; pass at least two"
            )
        return [tf.io.read_file(os.fsencode(path)) for path in paths]
    with argument_called(dataset="images"):
        source = open_source(
            settings.images,
            data_dir=settings.data_dir,
            split=settings.split,
            shuffle_buffer=2000,
            channels=channels,
        )
    if source.passed_over:
        print(source.passed_over)
    if settings.on_bad_image == "skip":
        with argument_called(dataset="images"):
            source = bad_images.leave_out(source, bad_images.decode_all(source), settings.images)
    if source.num_images < 2:
        raise ConfigError(f"--images={settings.images} contains a single image; use at least two")
    records = source.epoch(settings.seed, tf.constant(0, tf.int64)).take(settings.count)
    return [source.encoded(record) for record in records]


def _views(
    settings: Settings, backbone: ResNet, images: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, Matches]]:
    """Creates two views of each image and matches the bins of the first to the second."""
    keys = randomness.image_key(settings.seed, tf.zeros([], tf.int64), tf.range(len(images)))
    views, boxes = [], []
    for view in (1, 2):
        made = [
            crops.make_view(tf.constant(image), key, view, settings.image_size, _MIN_CROP_AREA)
            for image, key in zip(images, keys, strict=True)
        ]
        pixels, box = (tf.stack(column) for column in zip(*made, strict=True))
        views.append(Photometric("byol", backbone.channels)(pixels, keys, view))
        boxes.append(box)
    maps = [tf.cast(backbone(view)[settings.level], tf.float32) for view in views]
    found = [each.numpy() for each in match(*maps, *boxes)]
    shown = [pictures.as_rgb(denormalize(view, backbone.channels).numpy()) for view in views]
    return [
        (shown[0][i], shown[1][i], Matches(*(each[i] for each in found)))
        for i in range(len(images))
    ]
