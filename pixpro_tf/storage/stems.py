"""Conversion of a backbone's first convolution to images with other channels, or with another range, mean or standard deviation."""

import numpy as np
import tensorflow as tf

from pixpro_tf.backbones.resnet import ResNet
from pixpro_tf.data.views.channels import Channels
from pixpro_tf.errors import listed
from pixpro_tf.pretrained import normalisation


def convert(
    backbone: ResNet, found: Channels, wanted: Channels, source: ResNet | None = None
) -> None:
    """Converts the first convolution of a backbone and the BN after it.

    Features stay the same, except along the border, where zero padding stands for another colour; see `normalisation.folded_stem`. This
    holds for the same number of channels, and for grey images if either number is 1. Nothing says how other numbers of channels
    correspond: their kernels are only adapted, see `adapted_kernel`.

    Args:
        backbone: built backbone, whose first convolution has the channels `wanted`.
        found: channels of the images with which the weights were trained.
        wanted: channels of the images that the backbone takes from now on.
        source: backbone whose first convolution is converted, with the channels `found`; None converts that of `backbone` in place.
    """
    kernel, mean, variance = (each.numpy() for each in _variables(source or backbone))
    if found.count == 1:
        kernel = adapted_kernel(kernel, wanted.count)
    before, after = _as_many(found, wanted)
    if before.count == after.count and _differ(before, after):
        scale, offset = normalisation.between(before, after)
        kernel, mean, variance = normalisation.folded_stem(kernel, mean, variance, scale, offset)
    if kernel.shape[2] != wanted.count:
        kernel = adapted_kernel(kernel, wanted.count)
    for variable, value in zip(_variables(backbone), (kernel, mean, variance), strict=True):
        variable.assign(value)


def description(found: Channels, wanted: Channels) -> str:
    """Returns what `convert` does, for people; empty if it changes nothing.

    Examples:
        >>> from pixpro_tf.data.views.channels import RGB, Channels
        >>> from pixpro_tf.storage.stems import description
        >>> description(RGB, Channels(RGB.low, RGB.high, (0.5, 0.5, 0.5), RGB.std))
        'converted to --channel_mean of this run'
    """
    done = []
    if found.count != wanted.count:
        done.append(f"adapted from {found.count} to {wanted.count} channels")
    before, after = _as_many(found, wanted)
    if before.count == after.count:
        in_8_bits = before.has_8_bits != after.has_8_bits
        names = ("mean", "std") if in_8_bits else ("low", "high", "mean", "std")
        changed = [name for name in names if getattr(before, name) != getattr(after, name)]
        if changed and _differ(before, after):
            flags = listed([f"--channel_{name}" for name in changed], len(names))
            done.append(f"converted to {flags} of this run")
        if in_8_bits:
            done.append("0 to 255 taken as the whole of the other range")
    return ", ".join(done)


def adapted_kernel(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Adapts the kernel of a first convolution to images with another number of channels.

    A single channel gets the sum over all channels, so that grey images have the same features as before. Otherwise the channels are
    repeated as often as necessary, and scaled such that the responses keep their size.

    Args:
        kernel: `[h, w, C, filters]`.
        channels: number of channels of the images.

    Returns:
        `[h, w, channels, filters]`.

    Examples:
        >>> import numpy as np
        >>> from pixpro_tf.storage.stems import adapted_kernel
        >>> adapted_kernel(np.ones([7, 7, 3, 64]), 6).shape
        (7, 7, 6, 64)
    """
    found = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return kernel[:, :, np.arange(channels) % found] * (found / channels)


def _variables(backbone: ResNet) -> tuple[tf.Variable, ...]:
    convolution, norm = backbone.stem[:2]
    return convolution.kernel, norm.moving_mean, norm.moving_variance


def _as_many(found: Channels, wanted: Channels) -> tuple[Channels, Channels]:
    """Returns the channels with a single one repeated, because the others all have its values in grey images."""
    if found.count == 1:
        found = found.repeated(wanted.count)
    return found, wanted.repeated(found.count) if wanted.count == 1 else wanted


def _differ(found: Channels, wanted: Channels) -> bool:
    """Returns whether the normalisations differ by more than the rounding of their numbers."""
    scale, offset = normalisation.between(found, wanted)
    return not (np.allclose(scale, 1, rtol=1e-6) and np.allclose(offset, 0, atol=1e-6))
