"""The convolution that backbones and necks are made of."""

import tensorflow as tf

LAYOUTS = ("torchvision", "od_api", "model_garden", "mirror")


@tf.function(jit_compile=True)
def _compiled_conv2d(inputs, kernel, strides, padding, dilations):
    # On the CPU, TensorFlow's own kernels have no gradient of grouped convolutions, and none of dilated ones but by way of
    # space-to-batch, ten times slower. XLA's convolution has both, on every device.
    return tf.nn.conv2d(inputs, kernel, strides, padding, dilations=dilations)


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
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        dilation=1,
        groups=1,
        symmetric=True,
        mirror=False,
        use_bias=False,
        kernel_initializer=None,
        **kwargs,
    ):
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

    def convolution_op(self, inputs, kernel):
        padding: str | list[list[int]] = "SAME"
        if self.symmetric:
            pad = [self.dilation_rate[0] * (self.kernel_size[0] // 2)] * 2
            padding = [[0, 0], pad, pad, [0, 0]]
            if self.mirror and pad[0]:
                inputs, padding = tf.pad(inputs, padding, "SYMMETRIC"), "VALID"
        plain = self.groups == 1 and self.dilation_rate == (1, 1)
        convolve = tf.nn.conv2d if plain else _compiled_conv2d
        # As a tensor: a mirrored variable that is an argument of a nested function gets no gradient.
        kernel = tf.convert_to_tensor(kernel)
        return convolve(
            inputs, kernel, list(self.strides), padding, dilations=list(self.dilation_rate)
        )

    def get_config(self):
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
