"""ResNet family for dense pre-training, in the layouts of its consumers and in one without zero padding.

Layer names are those of PyTorch's state dicts (`conv1`, `bn1`, `layer1.0.conv1`, `layer2.0.downsample.0`), so that weights can
be matched by name with every other implementation.
"""

import dataclasses
from typing import Any

import tensorflow as tf

from pixpro_tf.backbones.architectures import ARCHITECTURES, Architecture
from pixpro_tf.data.views.channels import RGB, Channels
from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.layers.convolution import Convolution
from pixpro_tf.layers.layouts import LAYOUTS
from pixpro_tf.ops.graphs import as_written

OUTPUT_STRIDES = (8, 16, 32)


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class ResidualBlock(tf.keras.layers.Layer):
    """Residual block: two or three convolutions with BN, added to a shortcut.

    Args:
        architecture: member of the family, an `Architecture` or its fields as a dict.
        channels: base channel count of the stage, before the bottleneck's factor of four.
        strides: stride of the block, 1 or 2.
        dilation: dilation rate of every 3x3 convolution, including those in the first block of a stage, as in the authors' dilated
            ResNet-50; their networks of basic blocks have no dilation.
        project: whether the shortcut has its own convolution.
        layout: see `ResNet`.
        zero_init: whether the last BN scale starts at 0, so that the block starts as its shortcut; otherwise it starts at 1.

    Input: float `[B, H, W, C]`. Output: `[B, ceil(H / strides), ceil(W / strides), C']`.
    """

    def __init__(
        self,
        architecture: Architecture | dict[str, Any],
        channels: int,
        strides: int,
        dilation: int,
        project: bool,
        layout: str,
        zero_init: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(architecture, dict):
            architecture = Architecture(**architecture)
        name = self.name
        self._config: dict[str, Any] = {
            "architecture": architecture,
            "channels": channels,
            "strides": strides,
            "dilation": dilation,
            "project": project,
            "layout": layout,
            "zero_init": zero_init,
        }
        padding = _padding_of(layout)

        def convolution(
            part: str, filters: int, size: int, strides: int = 1, dilation: int = 1, groups: int = 1
        ) -> Convolution:
            return Convolution(
                filters, size, strides, dilation, groups, **padding, name=f"{name}.{part}"
            )

        def norm(part: str, last: bool = False) -> BatchNorm:
            scale = "zeros" if last and zero_init else "ones"
            return BatchNorm(gamma_initializer=scale, name=f"{name}.{part}")

        if architecture.bottleneck:
            out_channels = 4 * channels
            inner = channels * architecture.group_width // 64 * architecture.groups
            first, second = (strides, 1) if layout == "od_api" else (1, strides)
            self.convolutions = [
                convolution("conv1", inner, 1, first),
                convolution("conv2", inner, 3, second, dilation, architecture.groups),
                convolution("conv3", out_channels, 1),
            ]
        else:
            out_channels = channels
            self.convolutions = [
                convolution("conv1", channels, 3, strides, dilation),
                convolution("conv2", channels, 3, 1, dilation),
            ]
        depth = len(self.convolutions)
        self.norms = [norm(f"bn{i + 1}", last=i + 1 == depth) for i in range(depth)]

        self.shortcut_pool = None
        self.shortcut_convolution = None
        if project:
            pooled = architecture.deep and strides > 1
            prefix = 1 if architecture.deep else 0
            if pooled:
                # SAME excludes the padding from the average and keeps the last row and column of an odd size.
                self.shortcut_pool = tf.keras.layers.AveragePooling2D(
                    strides, padding="same", name=f"{name}.downsample.0"
                )
            self.shortcut_convolution = convolution(
                f"downsample.{prefix}", out_channels, 1, 1 if pooled else strides
            )
            self.shortcut_norm = norm(f"downsample.{prefix + 1}")

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        shortcut = inputs
        if self.shortcut_pool is not None:
            shortcut = self.shortcut_pool(shortcut)
        if self.shortcut_convolution is not None:
            shortcut = self.shortcut_norm(self.shortcut_convolution(shortcut), training=training)
        features = inputs
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            residual = shortcut if norm is self.norms[-1] else None
            features = norm(convolution(features), training=training, residual=residual, relu=True)
        return features

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | self._config
        return config | {"architecture": dataclasses.asdict(self._config["architecture"])}


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class ResNet(tf.keras.Model):
    """Residual network without its classifier.

    Args:
        architecture: name of the architecture, a key of `ARCHITECTURES`.
        layout: "torchvision" (symmetric padding, stride on the 3x3), "od_api" (symmetric padding, stride on the first 1x1),
            "model_garden" (SAME padding, stride on the 3x3) or "mirror" (like "torchvision", but padded with the mirrored map
            instead of zeros). Weights have the same shapes in all layouts, but features differ.
        output_stride: stride of "c5", 32, 16 or 8; below 32, the last stages keep their resolution and dilate their 3x3
            convolutions instead.
        zero_init_residual: `zero_init` of every `ResidualBlock`.
        channels: channels of the images, or their attributes as a dict.

    Call with float images `[B, H, W, C]` of any H and W of at least 1, normalised by the mean and standard deviation of `channels`.
    Returns a dict of endpoints "c2" to "c5": `[B, ceil(H / s), ceil(W / s), channels]` with strides s = 4, 8, 16, 32, none
    larger than `output_stride`.

    Raises:
        ValueError: if the architecture, layout or output stride is unknown.

    Source: He et al., CVPR 2016 (https://arxiv.org/abs/1512.03385), in the form that PixPro's authors use (stride on the 3x3; "d"
        variants of He et al., CVPR 2019).
    """

    def __init__(
        self,
        architecture: str = "resnet50",
        layout: str = "torchvision",
        output_stride: int = 32,
        zero_init_residual: bool = True,
        channels: Channels | dict[str, Any] = RGB,
        name: str = "backbone",
    ) -> None:
        super().__init__(name=name)
        if architecture not in ARCHITECTURES:
            raise ValueError(
                f"unknown backbone {architecture!r}; use one of {', '.join(ARCHITECTURES)}"
            )
        if layout not in LAYOUTS:
            raise ValueError(f"unknown layout {layout!r}; use one of {', '.join(LAYOUTS)}")
        if output_stride not in OUTPUT_STRIDES:
            raise ValueError(f"output_stride must be one of {OUTPUT_STRIDES}, not {output_stride}")
        self.architecture = architecture
        self.layout = layout
        self.output_stride = output_stride
        self.zero_init_residual = zero_init_residual
        self.channels = channels if isinstance(channels, Channels) else Channels(**channels)

        spec = ARCHITECTURES[architecture]
        padding = _padding_of(layout)
        base = int(64 * spec.width)
        self.stem = self._make_stem(spec, base, padding)
        self.symmetric = padding["symmetric"]

        self.stages = []
        stride, dilation, in_channels = 4, 1, base
        for stage, num_blocks in enumerate(spec.blocks):
            width = base * 2**stage
            out_channels = width * (4 if spec.bottleneck else 1)
            strides = 1 if stage == 0 else 2
            if stride * strides > output_stride:
                dilation *= strides
                strides = 1
            stride *= strides
            blocks = []
            for index in range(num_blocks):
                first = index == 0
                blocks.append(
                    ResidualBlock(
                        spec,
                        width,
                        strides if first else 1,
                        dilation,
                        project=first and (stage > 0 or in_channels != out_channels),
                        layout=layout,
                        zero_init=zero_init_residual,
                        name=f"layer{stage + 1}.{index}",
                    )
                )
            self.stages.append(blocks)
            in_channels = out_channels

    @staticmethod
    def _make_stem(
        spec: Architecture, base: int, padding: dict[str, bool]
    ) -> list[tf.keras.layers.Layer]:
        if not spec.deep:
            return [
                Convolution(base, 7, 2, **padding, name="conv1"),
                BatchNorm(name="bn1"),
            ]
        layers = []
        for i, (filters, strides) in enumerate([(32, 2), (32, 1), (64, 1)]):
            last = i == 2
            layers += [
                Convolution(
                    filters,
                    3,
                    strides,
                    **padding,
                    name="conv1.2" if last else f"conv1.{i}.0",
                ),
                BatchNorm(name="bn1" if last else f"conv1.{i}.1"),
            ]
        return layers

    @as_written
    def call(self, images: tf.Tensor, training: bool | None = None) -> dict[str, tf.Tensor]:
        features = images
        for convolution, norm in zip(self.stem[::2], self.stem[1::2], strict=True):
            features = norm(convolution(features), training=training, relu=True)
        if self.symmetric:
            # PyTorch's pooling pads with minus infinity; after a ReLU, zeros are equivalent. XLA has no pooling with explicit padding.
            features = tf.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]])
        features = tf.nn.max_pool2d(features, 3, 2, "VALID" if self.symmetric else "SAME")
        endpoints = {}
        for stage, blocks in enumerate(self.stages):
            for block in blocks:
                features = block(features, training=training)
            endpoints[f"c{stage + 2}"] = features
        return endpoints

    def stride_of(self, level: str) -> int:
        """Returns the number of pixels from one bin of a level ("c2" to "c5") to the next."""
        return min(2 ** int(level[1:]), self.output_stride)

    def get_config(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture,
            "layout": self.layout,
            "output_stride": self.output_stride,
            "zero_init_residual": self.zero_init_residual,
            "channels": dataclasses.asdict(self.channels),
            "name": self.name,
        }


def _padding_of(layout: str) -> dict[str, bool]:
    """Returns the padding of a layout's convolutions, as arguments of `Convolution`."""
    return {"symmetric": layout != "model_garden", "mirror": layout == "mirror"}


def build(
    architecture: str,
    layout: str = "torchvision",
    output_stride: int = 32,
    zero_init_residual: bool = True,
    channels: Channels = RGB,
    name: str = "backbone",
) -> ResNet:
    """Returns a `ResNet` whose variables exist already, for images of any size."""
    model = ResNet(architecture, layout, output_stride, zero_init_residual, channels, name)
    model(tf.keras.Input([None, None, channels.count]))
    return model
