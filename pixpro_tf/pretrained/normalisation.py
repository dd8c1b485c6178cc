"""Weights of a first convolution and its batch norm for images that are normalised in another way."""

import dataclasses

import numpy as np

from pixpro_tf.data.views.channels import IMAGENET_MEAN, IMAGENET_STD, RGB, Channels

# Epsilon of this project's batch norm.
EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """Linear map of pixels to the input of a network.

    Attributes:
        scale, offset: the network takes `scale * pixel + offset`, for pixels in 0..255 and each channel of RGB.
        bgr: whether the network takes the channels in the order blue, green, red.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    bgr: bool = False

    @classmethod
    def of(cls, channels: Channels) -> "Normalisation":
        """Returns the normalisation of this project for images with these channels, scaled to 0..255."""
        return cls(
            tuple(1 / (255 * deviation) for deviation in channels.std),
            tuple(
                -mean / deviation
                for mean, deviation in zip(channels.mean, channels.std, strict=True)
            ),
        )

    def is_near(self, other: "Normalisation") -> bool:
        """Returns whether two normalisations are the same up to the rounding of their numbers."""
        return self.bgr == other.bgr and np.allclose(
            self.scale + self.offset, other.scale + other.offset, rtol=1e-6, atol=0
        )


# Of this project, PyTorch and KerasHub: RGB, minus ImageNet's mean, divided by its standard deviation.
IMAGENET = Normalisation.of(RGB)
# Of the ResNets in Keras Applications, which were converted from Caffe's: BGR in 0..255, minus a mean.
CAFFE = Normalisation((1.0, 1.0, 1.0), (-123.68, -116.779, -103.939), bgr=True)


def folded_stem(
    kernel: np.ndarray,
    moving_mean: np.ndarray,
    moving_variance: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Folds a linear map of the images into the first convolution and the running averages of the BN after it.

    The network takes `scale * x + offset`, for each channel; the result takes x. The kernel is multiplied by the scale, and its response
    to the offset is subtracted from the running mean. Kernel, mean and deviation are then divided by the mean of the scale, which BN
    cancels: the kernel keeps its size on inputs of another one. Without this, a kernel that takes inputs 57 times as large would be 57
    times smaller, with a gradient that is 3000 times larger relative to it: the first steps of further training would destroy it.

    The convolution pads with 0, for which the network took 0 before and takes the offset now: where it is not 0, maps differ along the
    border.

    Args:
        kernel: `[h, w, C, filters]`.
        moving_mean, moving_variance: `[filters]`, for this project's epsilon of 1e-5.
        scale, offset: `[C]`; the scales are greater than 0.

    Returns:
        New kernel, running mean and running variance, float32.

    Examples:
        >>> import numpy as np
        >>> from pixpro_tf.pretrained.normalisation import folded_stem
        >>> kernel, mean, variance = np.full([1, 1, 1, 1], 3.0), np.zeros([1]), np.ones([1])
        >>> folded_stem(kernel, mean, variance, np.array([2.0]), np.array([0.5]))[1]  # 3 * 0.5, divided by 2
        array([-0.75], dtype=float32)
    """
    exact = kernel.astype(np.float64)
    constant = np.einsum("hwco,c->o", exact, offset)
    variance = moving_variance.astype(np.float64) + EPSILON
    # Filters that do not respond keep a size at which their variance remains well above 0.
    size = np.minimum(scale.mean(), np.sqrt(variance / (2 * EPSILON)))
    converted = (
        exact * scale[:, np.newaxis] / size,
        (moving_mean - constant) / size,
        variance / size**2 - EPSILON,
    )
    kernel, moving_mean, moving_variance = (part.astype(np.float32) for part in converted)
    return kernel, moving_mean, moving_variance


def stem_for_imagenet(
    kernel: np.ndarray,
    moving_mean: np.ndarray,
    moving_variance: np.ndarray,
    normalisation: Normalisation,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Converts the first convolution and the BN after it to images that this project has normalised; see `folded_stem`.

    Zero padding then stands for another colour than that of the source, except for `IMAGENET`; for `CAFFE`, the colours differ by at
    most half of a grey level.

    Args:
        kernel: `[h, w, 3, filters]`.
        moving_mean, moving_variance: `[filters]`, for this project's epsilon of 1e-5.
        normalisation: normalisation of the images with which the network was trained.

    Returns:
        New kernel, running mean and running variance, float32.
    """
    if normalisation.bgr:
        kernel = kernel[:, :, ::-1]
    scale, offset = np.array(normalisation.scale), np.array(normalisation.offset)
    mean, deviation = np.array(IMAGENET_MEAN, np.float64), np.array(IMAGENET_STD, np.float64)
    pixels = 255 * scale
    return folded_stem(
        kernel, moving_mean, moving_variance, pixels * deviation, pixels * mean + offset
    )


def between(found: Channels, wanted: Channels) -> tuple[np.ndarray, np.ndarray]:
    """Returns the linear map between two normalisations of the same stored values.

    If one of them is of values with 8 bits and the other one is not, the same image has different values in them. The ends of both ranges
    are then taken as equal: 255 is as bright as the other channels' `high`.

    Args:
        found: channels of the images with which a network was trained.
        wanted: channels of the images that it takes from now on, as many as in `found`.

    Returns:
        Scale and offset, float64 `[C]`: an image x that is normalised for `wanted` is `scale * x + offset` normalised for `found`. Values
        outside of either range are not limited to it.

    Examples:
        >>> from pixpro_tf.data.views.channels import Channels
        >>> from pixpro_tf.pretrained.normalisation import between
        >>> found = Channels((0.0,), (1000.0,), (0.5,), (0.25,))
        >>> between(found, Channels((0.0,), (2000.0,), (0.5,), (0.25,)))  # 0 stands for 1000 instead of 500
        (array([2.]), array([2.]))
    """
    low, high, mean, std = (np.array(values) for values in dataclasses.astuple(found))
    new_low, new_high, new_mean, new_std = (
        np.array(values) for values in dataclasses.astuple(wanted)
    )
    if found.has_8_bits != wanted.has_8_bits:
        low, high = new_low, new_high
    width, new_width = high - low, new_high - new_low
    scale = new_width * new_std / (width * std)
    offset = ((new_low + new_width * new_mean - low) / width - mean) / std
    return scale, offset
