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


def stem_for_imagenet(
    kernel: np.ndarray,
    moving_mean: np.ndarray,
    moving_variance: np.ndarray,
    normalisation: Normalisation,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Converts the first convolution and the running averages of the BN after it to images that this project has normalised.

    If x is such an image, the network takes `a x + b` with constants a and b for each channel. The kernel is multiplied by a, and its
    response to b is subtracted from the running mean. Kernel, mean and deviation are then divided by the mean of a, which BN cancels:
    the kernel keeps its size, so that the rate of an optimizer keeps its meaning. The convolution pads with 0, for which the network
    would take b: where b is not 0, maps therefore differ slightly along the border. b is 0 for `IMAGENET`, and for `CAFFE` at most
    half of a grey level.

    Args:
        kernel: `[h, w, 3, filters]`.
        moving_mean, moving_variance: `[filters]`, for this project's epsilon of 1e-5.
        normalisation: normalisation of the images with which the network was trained.

    Returns:
        New kernel, running mean and running variance, float32.
    """
    exact = kernel.astype(np.float64)
    if normalisation.bgr:
        exact = exact[:, :, ::-1]
    scale, offset = np.array(normalisation.scale), np.array(normalisation.offset)
    mean, deviation = np.array(IMAGENET_MEAN, np.float64), np.array(IMAGENET_STD, np.float64)
    factor = scale * 255 * deviation
    constant = np.einsum("hwco,c->o", exact, scale * 255 * mean + offset)
    variance = moving_variance.astype(np.float64) + EPSILON
    # Filters that do not respond keep a size at which their variance remains well above 0.
    size = np.minimum(factor.mean(), np.sqrt(variance / (2 * EPSILON)))
    converted = (
        exact * factor[:, np.newaxis] / size,
        (moving_mean - constant) / size,
        variance / size**2 - EPSILON,
    )
    kernel, moving_mean, moving_variance = (part.astype(np.float32) for part in converted)
    return kernel, moving_mean, moving_variance
