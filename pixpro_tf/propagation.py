"""The pixel propagation module (PPM): every bin becomes a mixture of the bins that resemble it."""

import tensorflow as tf

from pixpro_tf.heads import ConvMLP
from pixpro_tf.numerics import unit_length

SMALL_POWER_EPSILON = 1e-6


def propagate(features: tf.Tensor, values: tf.Tensor, gamma: float) -> tf.Tensor:
    """Mixes values by the similarity of features, the dense form.

    `y_i = sum_j max(cos(z_i, z_j), 0)^gamma * g_j / ||g_j||`, the bin itself (j = i) included.

    Args:
        features: float `[B, N, C]`, the projections z.
        values: float `[B, N, C]`, the transformed projections g(z).
        gamma: sharpness of the similarity, at least 0.

    Returns:
        `[B, N, C]` in at least float32, not normalised.

    Source: Xie et al., CVPR 2021, equations 2 and 3; g is normalised as in the authors' code, which for gamma < 1 adds 1e-6 before
        the power, whose gradient at 0 is infinite.
    """
    unit = unit_length(features)
    similarity = tf.nn.relu(tf.einsum("bnc,bmc->bnm", unit, unit))
    if gamma == 2:
        similarity = tf.square(similarity)
    elif gamma != 1:
        similarity = tf.pow(similarity + SMALL_POWER_EPSILON if gamma < 1 else similarity, gamma)
    return tf.einsum("bnm,bmc->bnc", similarity, unit_length(values))


_propagate_compiled = tf.function(propagate, jit_compile=True)


class PixelPropagation(tf.keras.layers.Layer):
    """The PPM as a layer on the online projections.

    Args:
        num_layers: depth of the transform g: 0 is the identity, 1 a 1x1 convolution with bias, more have BN and ReLU between them.
        gamma: sharpness of the similarity, at least 0.
        jit_compile: whether XLA compiles the propagation; where the whole step is compiled it makes no difference.

    Input float `[B, H, W, C]`; output `[B, H, W, C]` in at least float32, whatever the precision of the input; not normalised.
    """

    def __init__(self, num_layers=1, gamma=2.0, jit_compile=True, **kwargs):
        super().__init__(**kwargs)
        if num_layers < 0:
            raise ValueError(f"num_layers must be at least 0, not {num_layers}")
        if gamma < 0:
            raise ValueError(f"gamma must be at least 0, not {gamma}")
        self.num_layers = num_layers
        self.gamma = gamma
        self.jit_compile = jit_compile
        self.value_transform = None

    def build(self, input_shape):
        channels = int(input_shape[-1])
        if self.num_layers:
            self.value_transform = ConvMLP(
                channels,
                channels,
                self.num_layers,
                dtype=self.dtype_policy,
                name="value_transform",
            )
        super().build(input_shape)

    def call(self, features, training=None):
        values = features
        if self.value_transform is not None:
            values = self.value_transform(features, training=training)
        shape = tf.shape(features)
        flat = tf.stack([shape[0], shape[1] * shape[2], shape[3]])
        static_flat = [
            features.shape[0],
            features.shape[1:3].num_elements(),
            features.shape[3],
        ]
        function = _propagate_compiled if self.jit_compile else propagate
        features, values = (
            tf.ensure_shape(tf.reshape(tensor, flat), static_flat) for tensor in (features, values)
        )
        return tf.reshape(function(features, values, self.gamma), shape)

    def compute_output_shape(self, input_shape):
        return tf.TensorShape(input_shape)

    def get_config(self):
        return super().get_config() | {
            "num_layers": self.num_layers,
            "gamma": self.gamma,
            "jit_compile": self.jit_compile,
        }
