"""Feature pyramid network (FPN) and dense head of a detector, pre-trained together with the backbone."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf.layers.batch_norm import BatchNorm
from pixpro_tf.layers.convolution import Convolution
from pixpro_tf.layers.heads import DenseHead
from pixpro_tf.layers.layouts import LAYOUTS
from pixpro_tf.ops.graphs import as_written

COARSEST_STAGE = 5


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class FPN(tf.keras.layers.Layer):
    """Feature pyramid network: top-down maps with the same number of channels.

    Args:
        levels: levels to return, among "p2" to "p7". "p6" needs "p5", and "p7" needs "p6".
        channels: number of channels of every level.
        layout: consumer whose FPN this is. "torchvision" is Detectron2's: p6 is computed from c5. "model_garden" is TF Model Garden's:
            p6 is computed from p5, with SAME padding and BN after every level. "od_api" is like "torchvision" with p6 from p5, and
            "mirror" is like "torchvision" with padding by the mirrored map.

    Call with a dict of the backbone's maps. Returns a dict of `[B, H, W, channels]` by level, with a stride of 2 to the power of the
    level's number. If the size of the image is not a multiple of 32, each enlarged coarser map is cropped to the size of the finer one.

    Raises:
        ValueError: if the levels or the layout are not supported.

    Source: Lin et al., CVPR 2017 (https://arxiv.org/abs/1612.03144); p6 and p7 of Lin et al., ICCV 2017 (RetinaNet,
        https://arxiv.org/abs/1708.02002).
    """

    def __init__(
        self, levels: Sequence[str], channels: int = 256, layout: str = "torchvision", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if layout not in LAYOUTS:
            raise ValueError(f"unknown layout {layout!r}; use one of {', '.join(LAYOUTS)}")
        known = {f"p{number}" for number in range(2, 8)}
        if not levels or not set(levels) <= known:
            raise ValueError(f"levels must be one or more of p2 to p7, not {', '.join(levels)}")
        for level, below in (("p7", "p6"), ("p6", "p5")):
            if level in levels and below not in levels:
                raise ValueError(
                    f"levels must contain {below}, because {level} is computed from it"
                )
        self.levels = tuple(sorted(levels))
        self.channels = channels
        self.layout = layout
        numbers = [int(level[1:]) for level in self.levels]
        self.lowest = min(*numbers, COARSEST_STAGE)

        def convolution(name: str, size: int, strides: int = 1) -> Convolution:
            return Convolution(
                channels,
                size,
                strides,
                symmetric=layout != "model_garden",
                mirror=layout == "mirror",
                use_bias=True,
                kernel_initializer=tf.keras.initializers.VarianceScaling(1.0, "fan_in", "uniform"),
                name=name,
            )

        self.laterals = {
            f"c{number}": convolution(f"lateral{number}", 1)
            for number in range(self.lowest, COARSEST_STAGE + 1)
        }
        self.outputs = {
            f"p{number}": convolution(f"output{number}", 3)
            if number <= COARSEST_STAGE
            else convolution(f"coarser{number}", 3, 2)
            for number in numbers
        }
        self.norms = {}
        if layout == "model_garden":
            self.norms = {level: BatchNorm(name=f"norm{level[1:]}") for level in self.levels}

    @as_written
    def call(
        self, maps: dict[str, tf.Tensor], training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        top_down = self.laterals[f"c{COARSEST_STAGE}"](maps[f"c{COARSEST_STAGE}"])
        pyramid = {f"p{COARSEST_STAGE}": top_down}
        for number in reversed(range(self.lowest, COARSEST_STAGE)):
            finer = maps[f"c{number}"]
            top_down = self.laterals[f"c{number}"](finer) + _enlarged(top_down, finer)
            pyramid[f"p{number}"] = top_down
        pyramid = {
            level: self.outputs[level](pyramid[level]) for level in self.levels if level in pyramid
        }
        if "p6" in self.levels:
            below = maps["c5"] if self.layout in ("torchvision", "mirror") else pyramid["p5"]
            pyramid["p6"] = self.outputs["p6"](below)
        if "p7" in self.levels:
            pyramid["p7"] = self.outputs["p7"](tf.nn.relu(pyramid["p6"]))
        for level, norm in self.norms.items():
            pyramid[level] = norm(pyramid[level], training=training)
        return pyramid

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "levels": self.levels,
            "channels": self.channels,
            "layout": self.layout,
        }


def _enlarged(coarser: tf.Tensor, finer: tf.Tensor) -> tf.Tensor:
    """Repeats every bin twice along both axes, cropped to the size of the finer map."""
    twice = tf.repeat(tf.repeat(coarser, 2, axis=1), 2, axis=2)
    return twice[:, : tf.shape(finer)[1], : tf.shape(finer)[2]]


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class Neck(tf.keras.layers.Layer):
    """FPN, optionally followed by a dense head.

    Args:
        levels, channels, layout: see `FPN`.
        head_layers: number of 3x3 convolutions of the `DenseHead` that all levels share; 0 omits the head.

    Call with a dict of the backbone's maps. Returns a dict: e.g. "p3" is a level of the FPN, and "head_p3" is the dense head's output
    on it.
    """

    def __init__(
        self,
        levels: Sequence[str],
        channels: int = 256,
        layout: str = "torchvision",
        head_layers: int = 0,
        name: str = "neck",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.fpn = FPN(levels, channels, layout, name="fpn")
        self.levels = self.fpn.levels
        self.dense_head = DenseHead(channels, head_layers, name="head") if head_layers else None

    @as_written
    def call(
        self, maps: dict[str, tf.Tensor], training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        pyramid = self.fpn(maps, training=training)
        if self.dense_head is None:
            return pyramid
        return pyramid | {f"head_{level}": self.dense_head(pyramid[level]) for level in self.levels}

    def last(self, pyramid: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the last map of each level, by level, from the dict that `call` returned."""
        prefix = "" if self.dense_head is None else "head_"
        return {level: pyramid[prefix + level] for level in self.levels}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "levels": self.levels,
            "channels": self.fpn.channels,
            "layout": self.fpn.layout,
            "head_layers": 0 if self.dense_head is None else self.dense_head.num_layers,
        }
