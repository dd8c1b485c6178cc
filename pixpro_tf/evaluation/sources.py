"""The backbones that evaluations take: of runs, of SavedModels, and with random weights."""

import dataclasses

import tensorflow as tf

from pixpro_tf.backbones import resnet
from pixpro_tf.backbones.fpn import Neck
from pixpro_tf.data.views.photometric import normalize
from pixpro_tf.errors import ConfigError
from pixpro_tf.storage import trained_weights

RANDOM = "random:"


def load_backbone(source: str, network: str = "", output_stride: int = 0) -> resnet.ResNet:
    """A backbone in float32.

    Args:
        source: folder of a run, TF Hub-style handle of a SavedModel that `export.savedmodel` wrote, or `random:resnet50` for that
            architecture with random weights, by TensorFlow's global seed.
        network: "online" or "target" of a run; empty for the online one.
        output_stride: in the place of that which it was trained with; 0 keeps it, and for random weights is 32.

    Raises:
        ConfigError: for an architecture that is not known.
        RunError: if there are no such weights.
    """
    if source.startswith(RANDOM):
        return _random_backbone(source, output_stride or 32)
    with trained_weights.open_weights(source, network or None) as weights:
        if output_stride:
            weights = dataclasses.replace(weights, output_stride=output_stride)
        return trained_weights.restore(weights)


def load_backbone_and_neck(source: str, network: str = "") -> tuple[resnet.ResNet, Neck | None]:
    """A backbone of output stride 32, and the neck that was pre-trained with it or None; arguments and errors as of `load_backbone`."""
    if source.startswith(RANDOM):
        return _random_backbone(source, 32), None
    with trained_weights.open_weights(source, network or None) as weights:
        return trained_weights.restore_with_neck(dataclasses.replace(weights, output_stride=32))


def _random_backbone(source: str, output_stride: int) -> resnet.ResNet:
    architecture = source.removeprefix(RANDOM)
    if architecture not in resnet.ARCHITECTURES:
        raise ConfigError(
            f"--from={source} is no backbone; give {RANDOM} and one of {', '.join(resnet.ARCHITECTURES)}"
        )
    return resnet.build(architecture, output_stride=output_stride)


def maps_of(
    backbone: resnet.ResNet, images: tf.Tensor, level: str, training: bool = False, margin: int = 0
) -> tf.Tensor:
    """A backbone's map of images in 0..255, float32 `[B, h, w, C]`.

    Args:
        images: uint8 or float `[B, H, W, 3]`, RGB.
        level: "c2" to "c5".
        training: whether BN goes by the batch.
        margin: pixels by which images are continued on all sides, mirrored as often as it takes, while the network sees them; the map
            is cut to the image itself. Zero padding tells a network where the border is, and with a margin as wide as that reaches
            its maps do not. A multiple of the level's stride.
    """
    images = tf.cast(images, tf.float32)
    if margin:
        for axis in (1, 2):
            images = _mirrored(images, margin, axis)
    maps = backbone(normalize(images / 255.0), training=training)[level]
    if margin:
        cut = margin // backbone.stride_of(level)
        maps = maps[:, cut:-cut, cut:-cut]
    return tf.cast(maps, tf.float32)


def _mirrored(images: tf.Tensor, margin: int, axis: int) -> tf.Tensor:
    """Continues images along an axis at both ends, about their outermost pixels. `tf.pad` does that for less than an image's side."""
    last = tf.shape(images)[axis] - 1
    places = tf.range(-margin, last + 1 + margin) % tf.maximum(2 * last, 1)
    return tf.gather(images, tf.minimum(places, 2 * last - places), axis=axis)
