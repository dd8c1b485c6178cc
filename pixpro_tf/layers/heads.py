"""Heads on feature maps: projectors, predictor, value transform of the propagation, and dense head of a detector."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.layers.convolution import Convolution
from pixpro_tf.ops.graphs import as_written


def _uniform_by_fan_in(fan_in: int) -> tf.keras.initializers.Initializer:
    """PyTorch's default initializer of weights and biases: uniform in +-1/sqrt(fan_in)."""
    limit = fan_in**-0.5
    return tf.keras.initializers.RandomUniform(-limit, limit)


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class ConvMLP(tf.keras.layers.Layer):
    """1x1 convolutions with biases, and with BN and ReLU between them, applied to every bin of a map in the same way.

    Args:
        hidden_channels: number of output channels of every layer but the last.
        out_channels: number of output channels of the last layer.
        num_layers: number of convolutions, at least 1.
        final_norm: whether to add a BN after the last convolution, too.

    Input: float `[B, H, W, C]`. Output: `[B, H, W, out_channels]`.

    Source: the authors' projector and predictor (https://github.com/zdaxie/PixPro; two layers, 4096 hidden channels; the paper says 2048)
        and value transform.

    Examples:
        >>> from pixpro_tf.layers.heads import ConvMLP
        >>> import tensorflow as tf
        >>> ConvMLP(hidden_channels=64, out_channels=16)(tf.zeros([2, 7, 7, 32])).shape
        TensorShape([2, 7, 7, 16])
    """

    def __init__(
        self,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 2,
        final_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, not {num_layers}")
        self.hidden_channels = hidden_channels
        self.out_channels = out_channels
        self.num_layers = num_layers
        self.final_norm = final_norm

    def build(self, input_shape: tf.TensorShape) -> None:
        in_channels = int(input_shape[-1])
        self.convolutions, self.norms = [], []
        for i in range(self.num_layers):
            last = i + 1 == self.num_layers
            # A single layer has no number, which matches PyTorch's names: `value_transform.weight`.
            name = f"{self.name}.linear{i + 1}" if self.num_layers > 1 else self.name
            self.convolutions.append(
                Convolution(
                    self.out_channels if last else self.hidden_channels,
                    1,
                    use_bias=True,
                    kernel_initializer=_uniform_by_fan_in(in_channels),
                    bias_initializer=_uniform_by_fan_in(in_channels),
                    dtype=self.dtype_policy,
                    name=name,
                )
            )
            if not last or self.final_norm:
                self.norms.append(BatchNorm(dtype=self.dtype_policy, name=f"{self.name}.bn{i + 1}"))
            in_channels = self.hidden_channels
        super().build(input_shape)

    @as_written
    def call(self, features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        *hidden, last = self.convolutions
        for convolution, norm in zip(hidden, self.norms, strict=False):
            features = norm(convolution(features), training=training, relu=True)
        projection = last(features)
        return self.norms[-1](projection, training=training) if self.final_norm else projection

    def compute_output_shape(
        self, input_shape: tf.TensorShape | Sequence[int | None]
    ) -> tf.TensorShape:
        return tf.TensorShape(input_shape[:-1]).concatenate(self.out_channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "hidden_channels": self.hidden_channels,
            "out_channels": self.out_channels,
            "num_layers": self.num_layers,
            "final_norm": self.final_norm,
        }


@dataclasses.dataclass(frozen=True)
class ProjectorSettings:
    """Settings of a projector.

    Attributes:
        hidden_channels, out_channels, num_layers, final_norm: see `ConvMLP`.
        shared: whether all levels share one head; otherwise each level has its own.

    Examples:
        >>> from pixpro_tf.layers.heads import ProjectorSettings
        >>> ProjectorSettings(hidden_channels=2048)
        ProjectorSettings(hidden_channels=2048, out_channels=256, num_layers=2, shared=True, final_norm=False)
    """

    hidden_channels: int = 4096
    out_channels: int = 256
    num_layers: int = 2
    shared: bool = True
    final_norm: bool = False

    @classmethod
    def of(cls, settings: "ProjectorSettings | dict[str, Any]") -> "ProjectorSettings":
        """Returns the settings, which can be passed as such or as a dict of their fields."""
        return cls(**settings) if isinstance(settings, dict) else settings


def layers_by_level(
    levels: Sequence[str], shared: bool, make: Callable[[str], tf.keras.layers.Layer], name: str
) -> dict[str, tf.keras.layers.Layer]:
    """Returns a dict with the layer of each level.

    All levels share the layer that `make(name)` creates, or each has its own, e.g. that of `make("NAME_p3")` for "p3".

    Examples:
        >>> from pixpro_tf.layers.heads import DenseHead, layers_by_level
        >>> towers = layers_by_level(["p3", "p4"], shared=False, make=lambda name: DenseHead(8, name=name), name="tower")
        >>> [tower.name for tower in towers.values()]
        ['tower_p3', 'tower_p4']
    """
    if shared:
        return dict.fromkeys(levels, make(name))
    return {level: make(f"{name}_{level}") for level in levels}


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class Projector(tf.keras.layers.Layer):
    """Applies a `ConvMLP` to the map of each level.

    Args:
        levels: names of the maps to project.
        settings: a `ProjectorSettings`, or its fields as a dict.

    Call with a dict of maps `[B, H, W, C]`; maps of other levels are ignored. Returns a dict of `[B, H, W, out_channels]` by level.
    Each level is normalised by its own batch statistics; the running averages of a shared head mix the statistics of all levels.

    Examples:
        >>> from pixpro_tf.layers.heads import Projector, ProjectorSettings
        >>> import tensorflow as tf
        >>> projector = Projector(["c5"], ProjectorSettings(hidden_channels=64, out_channels=16))
        >>> projector({"c4": tf.zeros([2, 14, 14, 32]), "c5": tf.zeros([2, 7, 7, 64])})["c5"].shape
        TensorShape([2, 7, 7, 16])
    """

    def __init__(
        self, levels: Sequence[str], settings: ProjectorSettings | dict[str, Any], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.levels = tuple(levels)
        self.settings = settings = ProjectorSettings.of(settings)

        def head(name: str) -> ConvMLP:
            return ConvMLP(
                settings.hidden_channels,
                settings.out_channels,
                settings.num_layers,
                settings.final_norm,
                name=name,
            )

        self.heads = layers_by_level(self.levels, settings.shared, head, self.name)

    @as_written
    def call(
        self, maps: dict[str, tf.Tensor], training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        return {level: self.heads[level](maps[level], training=training) for level in self.levels}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "levels": self.levels,
            "settings": dataclasses.asdict(self.settings),
        }


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class DenseHead(tf.keras.layers.Layer):
    """3x3 convolutions with biases and ReLU: the tower that dense detectors apply to every level of an FPN.

    Args:
        channels: number of channels of the input and the output.
        num_layers: number of convolutions, at least 1.

    Input and output: float `[B, H, W, channels]`.

    Source: Lin et al., ICCV 2017 (RetinaNet, https://arxiv.org/abs/1708.02002), where two towers of four predict classes and boxes.

    Examples:
        >>> from pixpro_tf.layers.heads import DenseHead
        >>> import tensorflow as tf
        >>> DenseHead(channels=8, num_layers=2)(tf.zeros([2, 28, 28, 8])).shape
        TensorShape([2, 28, 28, 8])
    """

    def __init__(self, channels: int, num_layers: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, not {num_layers}")
        self.channels = channels
        self.num_layers = num_layers
        self.convolutions = [
            Convolution(
                channels,
                3,
                use_bias=True,
                # He initialisation, because a ReLU follows.
                kernel_initializer=tf.keras.initializers.VarianceScaling(2.0, "fan_in"),
                name=f"{self.name}.{i}",
            )
            for i in range(num_layers)
        ]

    @as_written
    def call(self, features: tf.Tensor) -> tf.Tensor:
        for convolution in self.convolutions:
            features = tf.nn.relu(convolution(features))
        return features

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels, "num_layers": self.num_layers}
