"""The convolution that backbones and necks are made of."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


@tf.function(jit_compile=True, autograph=False)
def _compiled_conv2d(
    inputs: tf.Tensor,
    kernel: tf.Tensor,
    strides: Sequence[int],
    padding: str,
    dilations: Sequence[int],
) -> tf.Tensor:
    # On the CPU, TensorFlow's own kernels have no gradient of grouped convolutions, and none of dilated ones but by way of
    # space-to-batch, ten times slower. XLA's convolution has both, on every device.
    return tf.nn.conv2d(inputs, kernel, strides, padding, dilations=dilations)


def _product(inputs: tf.Tensor, kernel: tf.Tensor | tf.Variable) -> tf.Tensor:
    """A convolution by a kernel of one pixel, which a matrix product does faster than oneDNN's convolution."""
    bins = tf.matmul(
        tf.reshape(inputs, [-1, inputs.shape[-1]]), tf.reshape(kernel, kernel.shape[2:])
    )
    return tf.reshape(bins, tf.concat([tf.shape(inputs)[:-1], kernel.shape[-1:]], axis=0))


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class Convolution(tf.keras.layers.Conv2D):
    """2-D convolution whose padding is that of the layout; without bias, and with He initialisation by fan-out, unless told otherwise.

    Args:
        filters: number of output channels.
        kernel_size: side of the square kernel.
        strides: 1 or 2.
        dilation: of the kernel.
        groups: number of groups of channels.
        symmetric: pad by the same amount on both sides, as PyTorch does; false is TensorFlow's SAME, which pads a strided
            convolution of an even size on the far side alone. Both keep ceil(size / strides) for odd kernels.
        mirror: pad so by the mirrored input, its outermost pixels included, and not by zeros; it has to be as large as the padding.
        use_bias, kernel_initializer: as of Keras' layer.

    Example:
        >>> from pixpro_tf.layers.convolution import Convolution
        >>> import tensorflow as tf
        >>> Convolution(16, 3, strides=2)(tf.zeros([1, 224, 224, 3])).shape
        TensorShape([1, 112, 112, 16])
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        dilation: int = 1,
        groups: int = 1,
        symmetric: bool = True,
        mirror: bool = False,
        use_bias: bool = False,
        kernel_initializer: str | dict[str, Any] | tf.keras.initializers.Initializer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters,
            kernel_size,
            strides=strides,
            dilation_rate=dilation,
            groups=groups,
            padding="same",
            use_bias=use_bias,
            kernel_initializer=kernel_initializer
            or tf.keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
            **kwargs,
        )
        self.symmetric = symmetric
        self.mirror = mirror

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor | tf.Variable) -> tf.Tensor:
        if self.kernel_size == self.strides == (1, 1) and self.groups == 1:
            return _product(inputs, kernel)
        pad = self.dilation_rate[0] * (self.kernel_size[0] // 2)
        padding = "SAME"
        # Without strides SAME is symmetric by itself.
        if self.symmetric and pad and (self.mirror or self.strides != (1, 1)):
            # And not by the convolution: oneDNN, much the faster on CPUs, has no gradient of those with explicit padding.
            pads = [[0, 0], [pad, pad], [pad, pad], [0, 0]]
            inputs = tf.pad(inputs, pads, "SYMMETRIC" if self.mirror else "CONSTANT")
            padding = "VALID"
        plain = self.groups == 1 and self.dilation_rate == (1, 1)
        convolve = tf.nn.conv2d if plain else _compiled_conv2d
        # As a tensor: a mirrored variable that is an argument of a nested function gets no gradient.
        kernel = tf.convert_to_tensor(kernel)
        return convolve(
            inputs, kernel, list(self.strides), padding, dilations=list(self.dilation_rate)
        )

    def get_config(self) -> dict[str, Any]:
        base = super().get_config()
        keep = (
            "name",
            "trainable",
            "dtype",
            "filters",
            "groups",
            "use_bias",
            "kernel_initializer",
        )
        return {key: base[key] for key in keep} | {
            "kernel_size": self.kernel_size[0],
            "strides": self.strides[0],
            "dilation": self.dilation_rate[0],
            "symmetric": self.symmetric,
            "mirror": self.mirror,
        }
