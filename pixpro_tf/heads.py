"""Heads on a backbone's feature map: the projector, the predictor, and the transform inside the propagation."""

import tensorflow as tf

from pixpro_tf.normalization import BatchNorm


def _uniform_by_fan_in(fan_in: int) -> tf.keras.initializers.Initializer:
    """PyTorch's default for weights and biases: uniform in +-1/sqrt(fan_in)."""
    limit = fan_in**-0.5
    return tf.keras.initializers.RandomUniform(-limit, limit)


class ConvMLP(tf.keras.layers.Layer):
    """1x1 convolutions with biases, BN and ReLU between them; applied to every bin of a map alike.

    Args:
        hidden_channels: outputs of every layer but the last.
        out_channels: outputs of the last layer.
        num_layers: number of convolutions, at least 1.

    Input float `[B, H, W, C]`, output `[B, H, W, out_channels]`.

    Source: the authors' projector and predictor (two layers, 4096 hidden channels; the paper says 2048) and value transform.
    """

    def __init__(self, hidden_channels, out_channels, num_layers=2, **kwargs):
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, not {num_layers}")
        self.hidden_channels = hidden_channels
        self.out_channels = out_channels
        self.num_layers = num_layers

    def build(self, input_shape):
        in_channels = int(input_shape[-1])
        self.convolutions, self.norms = [], []
        for i in range(self.num_layers):
            last = i + 1 == self.num_layers
            # A lone layer has no number in PyTorch's names either: `value_transform.weight`.
            name = f"{self.name}.linear{i + 1}" if self.num_layers > 1 else self.name
            self.convolutions.append(
                tf.keras.layers.Conv2D(
                    self.out_channels if last else self.hidden_channels,
                    1,
                    kernel_initializer=_uniform_by_fan_in(in_channels),
                    bias_initializer=_uniform_by_fan_in(in_channels),
                    dtype=self.dtype_policy,
                    name=name,
                )
            )
            if not last:
                self.norms.append(BatchNorm(dtype=self.dtype_policy, name=f"{self.name}.bn{i + 1}"))
                in_channels = self.hidden_channels
        super().build(input_shape)

    def call(self, features, training=None):
        for convolution, norm in zip(self.convolutions, self.norms, strict=False):
            features = tf.nn.relu(norm(convolution(features), training=training))
        return self.convolutions[-1](features)

    def compute_output_shape(self, input_shape):
        return tf.TensorShape(input_shape[:-1]).concatenate(self.out_channels)

    def get_config(self):
        return super().get_config() | {
            "hidden_channels": self.hidden_channels,
            "out_channels": self.out_channels,
            "num_layers": self.num_layers,
        }
