"""Classification checkpoint of a backbone, which the TF Object Detection API restores.

The API builds its backbones with Keras' `applications.ResNet50` and feeds them RGB in 0..255 minus (123.68, 116.779, 103.939), without
dividing by a standard deviation. The stem therefore absorbs the rest of this project's normalisation.
"""

import os

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.pretrained import normalisation

CAFFE_MEAN = -np.array(normalisation.CAFFE.offset)
KERAS_RESNETS = {"resnet50": "ResNet50", "resnet101": "ResNet101", "resnet152": "ResNet152"}


def folded_stem(
    kernel: np.ndarray,
    moving_mean: np.ndarray,
    moving_variance: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Folds the normalisation of images into the stem, so that it takes RGB in 0..255 minus `CAFFE_MEAN`.

    Let u be the new input and d the deviation. A normalised image is `u / (255 d) + s / d` with `s = CAFFE_MEAN / 255 - mean`; see
    `normalisation.folded_stem` for what follows. The consumer's zero padding corresponds to `s / d` instead of 0 in normalised images, for
    the mean and deviation of ImageNet a difference of at most 0.009 of a standard deviation.

    Args:
        kernel: kernel of the stem, `[h, w, 3, filters]`.
        moving_mean, moving_variance: running averages of the BN after the stem, `[filters]`.
        mean, deviation: mean and standard deviation of the normalisation for images in [0, 1], `[3]`.

    Returns:
        New kernel, running mean and running variance, float32.
    """
    scale, offset = 1 / (255 * deviation), (CAFFE_MEAN / 255 - mean) / deviation
    return normalisation.folded_stem(kernel, moving_mean, moving_variance, scale, offset)


def keras_resnet(backbone: ResNet) -> tf.keras.Model:
    """Returns Keras' own ResNet with the weights of a backbone, for RGB in 0..255 minus `CAFFE_MEAN`.

    Args:
        backbone: `ResNet` of the layout od_api, one of `KERAS_RESNETS`, for RGB with 8 bits and any mean and deviation.

    Returns:
        `tf.keras.applications.ResNet50(include_top=False)`, or its deeper variants. The biases of its convolutions, which the API's
        models lack, are 0.
    """
    build = getattr(tf.keras.applications, KERAS_RESNETS[backbone.architecture])
    model = build(include_top=False, weights=None, input_shape=(None, None, 3))
    kernel, norm = backbone.stem[0].kernel.numpy(), _norm_weights(backbone.stem[1])
    kernel, norm[2], norm[3] = folded_stem(
        kernel,
        norm[2],
        norm[3],
        np.array(backbone.channels.mean),
        np.array(backbone.channels.std),
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
        model: model that `keras_resnet` returned.
        folder: existing folder to write to.
    """
    # `save` instead of `write`, because the API also restores a save counter and asserts that it was found.
    tf.train.Checkpoint(feature_extractor=model).save(os.path.join(folder, "ckpt"))
