"""Backbones for the evaluations: from runs, from SavedModels, or with random weights."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import tensorflow as tf

from pixpro_tf.backbones import resnet
from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.errors import ConfigError, RunError, first_line
from pixpro_tf.storage import trained_weights

RANDOM = "random:"


def load_backbone(
    source: str, network: str = "", output_stride: int = 0, any_channels: bool = False
) -> resnet.ResNet:
    """Loads a backbone in float32.

    Args:
        source: folder of a run, TF Hub-style handle of a SavedModel that `export.savedmodel` wrote, or random weights, drawn with
            TensorFlow's global seed: `random:resnet50`, or `random:runs/mine` for the architecture, layout, channels and initialisation of that
            run.
        network: network of a run, "online" or "target"; empty for the online one.
        output_stride: output stride to use instead of the one that the backbone was trained with; 0 keeps that one, and is 32 for
            `random:resnet50`.
        any_channels: whether the caller reads images with the channels of the backbone; otherwise it reads RGB with 8 bits.

    Raises:
        ConfigError: if the architecture is unknown.
        RunError: if the weights are not found, or are for images with other channels.
    """
    with open_backbone(source, network) as weights:
        if not any_channels:
            check_channels(source, weights)
        if output_stride:
            weights = dataclasses.replace(weights, output_stride=output_stride)
        return _restored(source, weights)


def load_backbone_and_neck(source: str, network: str = "") -> tuple[resnet.ResNet, Neck | None]:
    """Loads a backbone with output stride 32 and the neck that was pre-trained with it, or None.

    The arguments and errors are those of `load_backbone`.
    """
    with open_backbone(source, network) as weights:
        check_channels(source, weights)
        weights = dataclasses.replace(weights, output_stride=32)
        if source.startswith(RANDOM):
            return _restored(source, weights), None
        return trained_weights.restore_with_neck(weights)


@contextlib.contextmanager
def open_backbone(source: str, network: str = "") -> Iterator[trained_weights.Weights]:
    """Finds a backbone; the arguments and errors are those of `load_backbone`.

    Yields:
        The location of the weights, valid for the duration of the block. Those of `random:` describe a network whose weights nobody reads.
    """
    described = source.removeprefix(RANDOM)
    if source.startswith(RANDOM) and described in resnet.ARCHITECTURES:
        yield trained_weights.Weights("", "", described, "torchvision", 32)
        return
    if source.startswith(RANDOM) and not ({"/", ":"} & {*described} or os.path.exists(described)):
        raise ConfigError(
            f"--from={source} is not a known backbone; use {RANDOM} followed by one of {', '.join(resnet.ARCHITECTURES)}, "
            "or by a trained backbone"
        )
    with _loading(source), trained_weights.open_weights(described, network or None) as weights:
        yield weights


def _restored(source: str, weights: trained_weights.Weights) -> resnet.ResNet:
    if not source.startswith(RANDOM):
        return trained_weights.restore(weights)
    return resnet.build(
        weights.architecture,
        weights.layout,
        weights.output_stride,
        weights.zero_init_residual,
        channels=weights.channels,
    )


@contextlib.contextmanager
def _loading(source: str) -> Iterator[None]:
    """Turns errors of weights that cannot be read into a `RunError`; callers would take them for errors of the images."""
    try:
        yield
    except PermissionError as error:
        raise RunError(
            f"--from={source} cannot be read: {error.filename}: {error.strerror}"
        ) from error
    except tf.errors.ResourceExhaustedError:
        raise
    except tf.errors.OpError as error:
        raise RunError(f"--from={source} cannot be read: {first_line(error)}") from error


def check_channels(source: str, weights: trained_weights.Weights) -> None:
    if not weights.channels.is_photograph:
        raise RunError(
            f"{source} was pre-trained on images other than 8-bit RGB (--channels={weights.channels.count}), "
            "which evaluations with labels require; use pixpro_tf.evaluation.correspondence, or export the backbone"
        )


def maps_of(
    backbone: resnet.ResNet, images: tf.Tensor, level: str, training: bool = False, margin: int = 0
) -> tf.Tensor:
    """Computes a backbone's feature map of images in 0..255, float32 `[B, h, w, C]`.

    Args:
        backbone: network that computes the map.
        images: uint8 or float `[B, H, W, C]`, with the channels of the backbone.
        level: name of the map, "c2" to "c5".
        training: whether batch norm uses the statistics of the batch.
        margin: number of pixels by which the images are extended on all sides before the network sees them, mirrored as often as
            necessary; the map is then cut to the image itself. Must be a multiple of the level's stride. Zero padding reveals to a
            network where the border is; with a margin as wide as the reach of the padding, the map no longer shows it.
    """
    images = tf.cast(images, tf.float32)
    if margin:
        for axis in (1, 2):
            images = _mirrored(images, margin, axis)
    maps = backbone(normalize(images / 255.0, backbone.channels), training=training)[level]
    if margin:
        cut = margin // backbone.stride_of(level)
        maps = maps[:, cut:-cut, cut:-cut]
    return tf.cast(maps, tf.float32)


def _mirrored(images: tf.Tensor, margin: int, axis: int) -> tf.Tensor:
    """Extends images at both ends of an axis by mirroring them about their outermost pixels.

    `tf.pad` only supports widths smaller than the side of the image.
    """
    last = tf.shape(images)[axis] - 1
    places = tf.range(-margin, last + 1 + margin) % tf.maximum(2 * last, 1)
    return tf.gather(images, tf.minimum(places, 2 * last - places), axis=axis)
