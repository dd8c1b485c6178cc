"""PixContrast: each bin distinguishes the target network's bins at the same position from its other bins."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pixpro_tf import losses
from pixpro_tf.layers.heads import ProjectorSettings
from pixpro_tf.objectives.base import Metrics
from pixpro_tf.objectives.pixel import PixelObjective
from pixpro_tf.ops.geometry import Bins


@tf.keras.utils.register_keras_serializable(package="pixpro_tf")
class PixelContrast(PixelObjective):
    """Pixel-level contrastive loss on the projections themselves, averaged over both directions.

    Args:
        levels, projector: see `PixelObjective`.
        temperature: temperature of the loss, greater than 0.
        common: other arguments of `PixelObjective`.

    Source: the PixContrast of Xie et al., CVPR 2021 (https://arxiv.org/abs/2011.10043). Bins without a positive pair do not count, and an
        image without positive pairs adds 0.

    Examples:
        >>> import pixpro_tf
        >>> objective = pixpro_tf.PixelContrast(["c5"], {"hidden_channels": 64, "out_channels": 16}, temperature=0.3)
        >>> objective.name, objective.levels, objective.threshold
        ('pixel', ('c5',), 0.7)
    """

    def __init__(
        self,
        levels: Sequence[str],
        projector: ProjectorSettings | dict[str, Any],
        temperature: float = 0.3,
        **common: Any,
    ) -> None:
        super().__init__(levels, projector, **common)
        self.temperature = temperature

    def compare_bins(
        self, online: Sequence[tf.Tensor], target: Sequence[tf.Tensor], bins: Sequence[Bins]
    ) -> tuple[tf.Tensor, Metrics]:
        contrast = self.form_of(losses.pixel_contrast, target[0].shape[1])
        settings = (self.threshold, self.temperature)
        loss_1, counted_1, right_1 = contrast(online[0], target[1], *bins, *settings)
        loss_2, counted_2, right_2 = contrast(online[1], target[0], *bins[::-1], *settings)
        counted = counted_1 + counted_2
        overlapping = tf.cast(counted > 0, counted.dtype)
        return (loss_1 + loss_2) / 2, {
            "matching_accuracy": tf.math.divide_no_nan(
                tf.reduce_sum(right_1 + right_2), tf.reduce_sum(counted)
            ),
            "matched_bins": tf.reduce_mean(counted) / 2,
            "no_overlap": 1 - tf.reduce_mean(overlapping),
        }

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"temperature": self.temperature}
