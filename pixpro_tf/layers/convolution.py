"""Convolution layer of the backbones, necks and heads."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf.ops.graphs import compiled_by_xla

# Whether graphs are traced that nobody differentiates.
_OF_INFERENCE = contextvars.ContextVar("of_inference", default=False)


@contextlib.contextmanager
def of_inference() -> Iterator[None]:
    """Context in which convolutions are traced without nested compiled functions, which other formats, such as ONNX, do not have.

    Gradients of grouped convolutions do not exist there on CPUs, and those of dilated ones are slow.

    Examples:
        >>> from pixpro_tf.layers.convolution import Convolution, of_inference
        >>> import tensorflow as tf
        >>> with of_inference():
        ...     maps = Convolution(16, 3, dilation=2)(tf.zeros([1, 8, 8, 3]))
        >>> maps.shape
        TensorShape([1, 8, 8, 16])
    """
    token = _OF_INFERENCE.set(True)
    try:
        yield
    finally:
        _OF_INFERENCE.reset(token)


@compiled_by_xla
def _compiled_conv2d(
    inputs: tf.Tensor,
    kernel: tf.Tensor,
    strides: Sequence[int],
    padding: str,
    dilations: Sequence[int],
) -> tf.Tensor:
    # TensorFlow's own CPU kernels have no gradient for grouped convolutions, and for dilated ones only through space-to-batch,
    # which is ten times slower. XLA's convolution supports both on every device.
    return tf.nn.conv2d(inputs, kernel, strides, padding, dilations=dilations)


def _product(inputs: tf.Tensor, kernel: tf.Tensor | tf.Variable) -> tf.Tensor:
    """Computes a 1x1 convolution as a matrix product, which is faster than oneDNN's convolution."""
    bins = tf.matmul(
        tf.reshape(inputs, [-1, inputs.shape[-1]]), tf.reshape(kernel, kernel.shape[2:])
    )
    return tf.reshape(bins, tf.concat([tf.shape(inputs)[:-1], kernel.shape[-1:]], axis=0))


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class Convolution(tf.keras.layers.Conv2D):
    """2-D convolution with the padding of a layout; by default without bias and with He initialisation by fan-out.

    Args:
        filters: number of output channels.
        kernel_size: side length of the square kernel.
        strides: stride along both axes, 1 or 2.
        dilation: dilation rate of the kernel.
        groups: number of groups of channels.
        symmetric: whether to pad by the same amount on both sides, as PyTorch does; false is TensorFlow's SAME, which pads a
            strided 3x3 convolution of an even size only on the far side. Both give outputs of ceil(size / strides) for odd kernels.
        mirror: whether to pad symmetrically with the mirrored input, its outermost pixels included, instead of zeros; the input
            must be at least as large as the padding.
        use_bias, kernel_initializer: see `tf.keras.layers.Conv2D`; an initializer of None is the He initialisation.

    Examples:
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
        # SAME is already symmetric if the stride is 1. ONNX does not know it for dilated convolutions, whose stride is always 1 here.
        dilated = _OF_INFERENCE.get() and self.dilation_rate != (1, 1)
        symmetric = self.symmetric and (self.mirror or self.strides != (1, 1))
        if pad and (symmetric or dilated):
            # Padding is an operation of its own because oneDNN, which is much faster on CPUs, has no gradient for convolutions with
            # explicit padding.
            pads = [[0, 0], [pad, pad], [pad, pad], [0, 0]]
            inputs = tf.pad(inputs, pads, "SYMMETRIC" if self.mirror else "CONSTANT")
            padding = "VALID"
        compiled = self.is_compiled and not _OF_INFERENCE.get()
        convolve = _compiled_conv2d if compiled else tf.nn.conv2d
        # The kernel is passed as a tensor because a mirrored variable passed to a nested function gets no gradient.
        kernel = tf.convert_to_tensor(kernel)
        return convolve(
            inputs, kernel, list(self.strides), padding, dilations=list(self.dilation_rate)
        )

    def _jit_compiled_convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        # Keras calls this if there are several groups. `convolution_op` compiles such convolutions itself, except for inference.
        return self.convolution_op(inputs, kernel)

    @property
    def is_compiled(self) -> bool:
        """Whether XLA compiles the convolution, because TensorFlow's own kernels lack its gradient or compute it slowly."""
        return self.groups > 1 or self.dilation_rate != (1, 1)

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
