"""Checkpoint of a backbone for TF Model Garden's ResNet, and of an FPN for its decoder.

`official.vision.modeling.backbones.ResNet` is a functional Keras model with 25 layers for ResNet-50: input, stem, BN, activation and
pooling, then the blocks of each stage followed by an activation. A checkpoint names each layer by its number, once among all layers and
once among those with weights. A restore requires all of them, so the checkpoint also contains the layers without weights, as empty
objects. The dilated ResNet of the Garden's segmentation models has the same layers.

The Garden's FPN is a functional model too. Most of its layers are single operations, and Keras numbers all layers by their depth in the
graph. The numbers therefore depend on the levels; this module lists them for the levels of the Garden's two detectors.
"""

import os
from collections.abc import Sequence

import tensorflow as tf

from pixpro_tf.backbones.fpn import FPN
from pixpro_tf.backbones.resnet import ResidualBlock, ResNet
from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.layers.convolution import Convolution

# `model_id` and `depth_multiplier` in the configuration of the backbone. Other networks differ: the Garden's shallower networks project
# the shortcut of their first block, and its "d" variants pool at a position where this project's do not.
RESNETS = {
    "resnet50": (50, 1.0),
    "resnet101": (101, 1.0),
    "resnet152": (152, 1.0),
    "resnet50w2": (50, 2.0),
}

# Number of layers in the decoder, and the numbers of those with weights, by the levels of the FPN.
_DECODERS: dict[tuple[str, ...], tuple[int, dict[int, str]]] = {
    ("p3", "p4", "p5", "p6", "p7"): (
        36,
        {1: "c5", 11: "c4", 21: "p5", 23: "c3", 24: "p6", 27: "p3", 28: "p4", 29: "p7"},
    ),
    ("p2", "p3", "p4", "p5", "p6"): (
        45,
        {1: "c5", 11: "c4", 22: "c3", 33: "c2", 35: "p5", 36: "p2", 37: "p3", 38: "p4", 39: "p6"},
    ),
}


def write_checkpoint(backbone: ResNet, folder: str, fpn: FPN | None = None) -> None:
    """Writes the checkpoint `ckpt-1` for `init_checkpoint_modules: backbone`, or `[backbone, decoder]` with an FPN.

    Args:
        backbone: `ResNet` of the layout model_garden, one of `RESNETS`.
        folder: existing folder to write to.
        fpn: `FPN` of the layout model_garden with the levels of one of the Garden's detectors; None writes the backbone only.
    """
    stem = [_convolution(backbone.stem[0]), _norm(backbone.stem[1])]
    layers, weighted = [_empty(), *stem, _empty(), _empty()], stem
    for blocks in backbone.stages:
        stage = [_block(block) for block in blocks]
        layers += [*stage, _empty()]
        weighted = weighted + stage
    parts = {"backbone": _numbered(layers, weighted)}
    if fpn is not None:
        parts["decoder"] = _decoder(fpn)
    tf.train.Checkpoint(**parts).save(os.path.join(folder, "ckpt"))


def _decoder(fpn: FPN) -> tf.train.Checkpoint:
    total, numbers = _DECODERS[fpn.levels]
    convolutions = fpn.laterals | fpn.outputs
    layers = [_empty() for _ in range(total)]
    for number, level in numbers.items():
        layers[number] = _convolution(convolutions[level])
    # The batch norms of all levels come last, in the order of the levels.
    layers[-len(fpn.levels) :] = [_norm(fpn.norms[level]) for level in fpn.levels]
    weighted = [layers[number] for number in numbers] + layers[-len(fpn.levels) :]
    return _numbered(layers, weighted)


def _numbered(
    layers: Sequence[tf.train.Checkpoint], weighted: Sequence[tf.train.Checkpoint]
) -> tf.train.Checkpoint:
    """Returns the checkpoint object of a functional model with these layers."""
    edges = {f"layer-{index}": layer for index, layer in enumerate(layers)}
    edges |= {f"layer_with_weights-{index}": layer for index, layer in enumerate(weighted)}
    return tf.train.Checkpoint(**edges)


def _block(block: ResidualBlock) -> tf.train.Checkpoint:
    parts = {"_add": _empty()}
    for number, (convolution, norm) in enumerate(
        zip(block.convolutions, block.norms, strict=True), start=1
    ):
        parts |= {
            f"_conv{number}": _convolution(convolution),
            f"_norm{number}": _norm(norm),
            f"_activation{number}": _empty(),
        }
    if block.shortcut_convolution is not None:
        parts["_shortcut"] = _convolution(block.shortcut_convolution)
        parts["_norm0"] = _norm(block.shortcut_norm)
    return tf.train.Checkpoint(**parts)


def _convolution(layer: Convolution) -> tf.train.Checkpoint:
    bias = {"bias": layer.bias} if layer.use_bias else {}
    return tf.train.Checkpoint(kernel=layer.kernel, **bias)


def _norm(layer: BatchNorm) -> tf.train.Checkpoint:
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return tf.train.Checkpoint(**{name: getattr(layer, name) for name in names})


def _empty() -> tf.train.Checkpoint:
    return tf.train.Checkpoint()
