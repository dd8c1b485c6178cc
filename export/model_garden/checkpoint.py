"""A backbone as the checkpoint that TF Model Garden's ResNet restores.

`official.vision.modeling.backbones.ResNet` is a functional Keras model of 25 layers (with 50 convolutions): input, stem, BN, activation,
pooling, then for each stage its blocks and an activation. A checkpoint names its layers by their numbers, once among all and once
among those with weights, and a restore asks for all of them, so the layers without weights are in it too, as empty objects. The
dilated ResNet of its segmentation models has the same layers.
"""

import os

import tensorflow as tf

# `model_id` and `depth_multiplier` of the backbone's configuration. The Garden's shallower networks project the shortcut of their
# first block, and its "d" variants pool where ours do not.
RESNETS = {
    "resnet50": (50, 1.0),
    "resnet101": (101, 1.0),
    "resnet152": (152, 1.0),
    "resnet50w2": (50, 2.0),
}


def write_checkpoint(backbone, folder: str) -> None:
    """Writes the checkpoint `ckpt-1` for `init_checkpoint_modules: backbone` into a folder.

    Args:
        backbone: `ResNet` of layout model_garden, one of `RESNETS`.
        folder: that exists.
    """
    stem = [_convolution(backbone.stem[0]), _norm(backbone.stem[1])]
    layers, weighted = [_empty(), *stem, _empty(), _empty()], stem
    for blocks in backbone.stages:
        stage = [_block(block) for block in blocks]
        layers += [*stage, _empty()]
        weighted = weighted + stage
    edges = {f"layer-{index}": layer for index, layer in enumerate(layers)}
    edges |= {f"layer_with_weights-{index}": layer for index, layer in enumerate(weighted)}
    tf.train.Checkpoint(backbone=tf.train.Checkpoint(**edges)).save(os.path.join(folder, "ckpt"))


def _block(block) -> tf.train.Checkpoint:
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


def _convolution(layer) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(kernel=layer.kernel)


def _norm(layer) -> tf.train.Checkpoint:
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return tf.train.Checkpoint(**{name: getattr(layer, name) for name in names})


def _empty() -> tf.train.Checkpoint:
    return tf.train.Checkpoint()
