"""A backbone as the classification checkpoint that the TF Object Detection API restores.

The API builds its backbones with Keras' `applications.ResNet50` and feeds them RGB in 0..255 minus (123.68, 116.779, 103.939), not
divided by anything. So the stem absorbs what our normalisation does beyond that.
"""

import os

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.views.photometric import IMAGENET_MEAN, IMAGENET_STD
from pixpro_tf.layers.batch_norm import BatchNorm

CAFFE_MEAN = np.array([123.68, 116.779, 103.939])
# Of the API's batch normalisation, and of ours.
_EPSILON = 1e-5
KERAS_RESNETS = {"resnet50": "ResNet50", "resnet101": "ResNet101", "resnet152": "ResNet152"}


def folded_stem(
    kernel: np.ndarray,
    moving_mean: np.ndarray,
    moving_variance: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A stem that takes RGB in 0..255 minus `CAFFE_MEAN` where the given one takes normalised images.

    With u the new input, a normalised image is `u / (255 d) + s / d`, `s = CAFFE_MEAN / 255 - mean`. The kernel is divided by 255 d,
    and what it makes of the constant `s / d` is taken off the running mean of the BN behind it. Then kernel, mean and deviation are
    multiplied by one number, 255 times the mean of d, which the BN takes back: a kernel 57 times smaller on inputs 57 times larger gives
    the same features too, and a gradient that is 3000 times larger relative to it, with which the first steps of a fine-tuning would
    wipe it out. Where the consumer's zero padding reaches in, its padding stands for `s / d` and not for 0, at most 0.009 of a standard
    deviation.

    Args:
        kernel: `[h, w, 3, filters]`.
        moving_mean, moving_variance: `[filters]`, of the BN behind it.
        mean, deviation: `[3]`, of the normalisation, for images in [0, 1].

    Returns:
        The new kernel, running mean and running variance, float32.
    """
    exact = kernel.astype(np.float64)
    constant = np.einsum("hwco,c->o", exact, (CAFFE_MEAN / 255 - mean) / deviation)
    scale = 255 * deviation.mean()
    folded = exact * scale / (255 * deviation[:, np.newaxis])
    folded_mean = scale * (moving_mean - constant)
    # Epsilon stays what it is, and has to become larger with the rest.
    folded_variance = scale**2 * (moving_variance.astype(np.float64) + _EPSILON) - _EPSILON
    return tuple(part.astype(np.float32) for part in (folded, folded_mean, folded_variance))


def keras_resnet(backbone: ResNet) -> tf.keras.Model:
    """Keras' own ResNet with a backbone's weights, for RGB in 0..255 minus `CAFFE_MEAN`.

    Args:
        backbone: `ResNet` of layout od_api, one of `KERAS_RESNETS`.

    Returns:
        `tf.keras.applications.ResNet50(include_top=False)` or its like; its convolutions' biases, which the API's have not, are 0.
    """
    build = getattr(tf.keras.applications, KERAS_RESNETS[backbone.architecture])
    model = build(include_top=False, weights=None, input_shape=(None, None, 3))
    kernel, norm = backbone.stem[0].kernel.numpy(), _norm_weights(backbone.stem[1])
    kernel, norm[2], norm[3] = folded_stem(
        kernel,
        norm[2],
        norm[3],
        np.array(IMAGENET_MEAN, np.float64),
        np.array(IMAGENET_STD, np.float64),
    )
    _assign(model, "conv1", kernel, norm)
    for stage, blocks in enumerate(backbone.stages):
        for index, block in enumerate(blocks):
            pairs = dict(enumerate(zip(block.convolutions, block.norms, strict=True), start=1))
            if block.shortcut_convolution is not None:
                pairs[0] = (block.shortcut_convolution, block.shortcut_norm)
            for number, (convolution, bn) in pairs.items():
                name = f"conv{stage + 2}_block{index + 1}_{number}"
                _assign(model, name, convolution.kernel.numpy(), _norm_weights(bn))
    return model


def _norm_weights(norm: BatchNorm) -> list[np.ndarray]:
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return [getattr(norm, name).numpy() for name in names]


def _assign(model: tf.keras.Model, name: str, kernel: np.ndarray, norm: list[np.ndarray]) -> None:
    model.get_layer(f"{name}_conv").set_weights([kernel, np.zeros(kernel.shape[-1], np.float32)])
    model.get_layer(f"{name}_bn").set_weights(norm)


def write_checkpoint(model: tf.keras.Model, folder: str) -> None:
    """Writes the checkpoint `ckpt-1` for `fine_tune_checkpoint_type: "classification"` into a folder.

    Args:
        model: of `keras_resnet`.
        folder: that exists.
    """
    # Not `write`: the API restores a save counter too, and asserts that it was found.
    tf.train.Checkpoint(feature_extractor=model).save(os.path.join(folder, "ckpt"))
